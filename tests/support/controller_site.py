# SPDX-License-Identifier: Apache-2.0
"""Where zeropull-controller works in tests: a control plane with the CRDs and rights of deploy/kubernetes, images, and what
a test asks of ImageSnapshots."""
import json
import os
import subprocess

from .controller import SECONDS, push_tiny, until
from .kubernetes import API
from .kubernetes_api import JOBS, SNAPSHOTS, KubernetesApi
from .programs import SOURCE

DEPLOY = SOURCE / "deploy" / "kubernetes"
GROUP = "zeropull.dev/v1alpha1"
ACCOUNT, NAMESPACE = "zeropull-controller", "zeropull-system"
CLEANUP_SECONDS = 3
# of a cluster in which owning an object so that it cannot go needs a right of its own, as OpenShift has it
API_OPTIONS = ["--enable-admission-plugins=OwnerReferencesPermissionEnforcement"]
_KINDS = {"Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "CustomResourceDefinition"}


def manifests(kube, *components):
    """What deploy/kubernetes/base makes of the cluster before any program of it runs, as dictionaries."""
    import yaml

    overlay = kube.directory / "rights"
    overlay.mkdir(exist_ok=True)
    relative = {name: os.path.relpath(DEPLOY / name, overlay.resolve()) for name in ("base", *(f"components/{c}" for c in components))}
    (overlay / "kustomization.yaml").write_text(json.dumps({
        "resources": [relative["base"]], "components": [relative[f"components/{c}"] for c in components],
    }))  # fmt: skip
    made = kube.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(overlay))
    return [item for item in yaml.safe_load_all(made) if item["kind"] in _KINDS]


def install(kube, *components):
    """Applies them. Nothing that kubectl or the API server has to say of them is let pass."""
    text = "---\n".join(json.dumps(item) + "\n" for item in manifests(kube, *components))
    said = kube.run_kubectl("apply", "-f", "-", stdin=text)
    assert (said.returncode, said.stderr) == (0, ""), said
    kube.kubectl("wait", "--for=condition=Established", "crd", "--all")


def kubeconfig(kube, path, *token_options):
    """For the controller, as its service account and nobody else; its token is in `path`.token."""
    token = path.with_suffix(".token")
    renew(kube, token, *token_options)
    cluster = {"server": API, "certificate-authority": str(kube.directory / "keys" / "ca.crt")}
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"tokenFile": token.name}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
    }))  # fmt: skip
    return path


def renew(kube, token, *options):
    """Another token in the file, as a kubelet puts it there."""
    fresh = token.with_suffix(".new")
    fresh.write_text(kube.kubectl("create", "token", ACCOUNT, "-n", NAMESPACE, *options))
    os.replace(fresh, token)


class Site:
    def __init__(self, directory, kube, server, locked):
        self.directory, self.kube, self.server, self.locked = directory, kube, server, locked
        self.api = KubernetesApi(kube)
        self.count = 0

    def name(self):
        self.count += 1
        return f"t{self.count}"

    def namespace(self, name=None):
        """A new one, where pods can be made."""
        name = name or f"ns-{self.name()}"
        self.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        until(lambda: self.api.find(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
        return name

    def image(self, server=None, repository=None, tag="latest", salt=None):
        """(name, digest) of a new image."""
        server, repository = server or self.server, repository or f"r/{self.name()}"
        digest = push_tiny(server, repository, tag, salt or self.name())
        return f"{server.host}/{repository}:{tag}", digest

    def snapshot(self, namespace, *images, **spec):
        """Creates an ImageSnapshot."""
        name = self.name()
        return Snapshot(self, self.api.create(SNAPSHOTS.format(namespace), {
            "apiVersion": GROUP, "kind": "ImageSnapshot", "metadata": {"name": name}, "spec": {"images": list(images), **spec},
        }))  # fmt: skip

    def jobs(self, namespace):
        return self.api.list(JOBS.format(namespace))

    def artifacts(self, image, digest):
        """The snapshots that lie beside an image."""
        repository = image.split("/", 1)[1].rpartition(":")[0]
        tag = digest.replace(":", "-")
        found = subprocess.run(["curl", "-s", "-f", "-H", "Accept: application/vnd.oci.image.index.v1+json",
                                f"{self.server.url}/v2/{repository}/manifests/{tag}"], capture_output=True)  # fmt: skip
        return [entry["digest"] for entry in json.loads(found.stdout)["manifests"]] if found.returncode == 0 else []

    def config(self, **more):
        return {"platforms": ["linux/amd64"], "cleanup-timeout": f"{CLEANUP_SECONDS}s",
                "job": {"image": "registry.example/zeropull:test", "concurrency": 50}, **more}  # fmt: skip


class Snapshot:
    """One ImageSnapshot."""

    def __init__(self, site, created):
        self.site, self.name = site, created["metadata"]["name"]
        self.namespace, self.uid = created["metadata"]["namespace"], created["metadata"]["uid"]
        self.path = f"{SNAPSHOTS.format(self.namespace)}/{self.name}"

    def get(self):
        return self.site.api.get(self.path)

    def condition(self, kind="Ready"):
        found = [c for c in self.get().get("status", {}).get("conditions", []) if c["type"] == kind]
        return found[0] if found else {"status": None, "reason": None, "message": None}

    def wait(self, status="True", kind="Ready", reason=None, seconds=SECONDS):
        def is_so():
            condition = self.condition(kind)
            return condition if condition["status"] == status and reason in (None, condition["reason"]) else None

        return until(is_so, seconds, lambda: json.dumps(self.get().get("status"), indent=1))

    def images(self):
        return self.get()["status"]["images"]

    def image(self):
        (only,) = self.images()
        return only

    def events(self):
        found = self.site.api.list(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")
        return [e for e in found if e["regarding"]["uid"] == self.uid]

    def wait_for_event(self, reason):
        return until(lambda: [e for e in self.events() if e["reason"] == reason], explain=lambda: [e["reason"] for e in self.events()])[0]

    def annotate(self, **annotations):
        self.site.api.merge(self.path, {"metadata": {"annotations": {f"zeropull.dev/{k}": v for k, v in annotations.items()}}})

    def delete(self):
        self.site.api.delete(self.path)

    def is_gone(self):
        found = self.site.api.find(self.path)
        return not found or found["metadata"]["uid"] != self.uid
