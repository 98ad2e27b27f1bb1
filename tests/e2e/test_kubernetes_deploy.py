# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes on a real one-node cluster: one kubectl apply brings everything up in pods, the DaemonSet's snapshotter
serves the node's containerd, and nothing that uses it notices when its pod is replaced. The tests go on from each other."""
import json
import os
import subprocess
import time

import pytest

from support import images, kubernetes_programs, oci
from support.containerd import TOOLS, containerd_1_7_or_skip, containerd_2_or_skip
from support.kubernetes import NODE, KubernetesError
from support.kubernetes_deploy import DEPLOY, NAMESPACE, SLEEP, deployment
from support.programs import SOURCE

reason = kubernetes_programs.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


# 1.6 has no RuntimeClass with another snapshotter: there, it is installed as a service
VERSIONS = [name for name in os.environ.get("ZP_KUBERNETES", "2.2").split(",") if name != "1.6"]


@pytest.fixture(scope="module", params=VERSIONS)
def site(request):
    for name in ("busybox", "python"):
        images.layout(name)  # in the private network there is nowhere to get anything from
    if not (kubernetes := kubernetes_programs.programs(may_build=False)):
        pytest.skip("no Kubernetes in the cache of test tools. `./run-tests --long e2e` builds it, given Go")
    programs = {"1.7": containerd_1_7_or_skip, "2.2": containerd_2_or_skip}[request.param]()
    with deployment(programs, kubernetes) as here:
        here.push_programs()
        overlay = here.overlay()
        try:
            here.applied = here.cluster.kubectl("apply", "-k", str(overlay), timeout=120)
            here.roll_out()
            yield here
        finally:
            here.cluster.kubectl("delete", "-k", str(overlay), "--ignore-not-found", "--timeout=120s", timeout=150)


def snapshot(name, image, **spec):
    return {"apiVersion": "zeropull.dev/v1alpha1", "kind": "ImageSnapshot", "metadata": {"name": name},
            "spec": {"images": [image], **spec}}  # fmt: skip


def pod(name, image, command, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                     "containers": [{"name": "c", "image": image, "command": command}], **spec}}  # fmt: skip


def layers_of(name):
    return {layer["digest"] for layer in oci.Layout(images.layout(name)).manifest(name)["layers"]}


def downloaded(site, name, already):
    return layers_of(name) & {digest for digest in layers_of(name) if digest in site.requests()[already:]}


def events_of(site, name, namespace="default"):
    found = json.loads(site.cluster.kubectl("get", "events", "-n", namespace, "-o", "json", "--field-selector", f"involvedObject.name={name}"))
    return {event["reason"]: event.get("message") or event.get("note") for event in found["items"]}


def await_event(site, name, reason, namespace="default"):
    site.cluster.wait_for(f"event {reason} of {name}", lambda: reason in events_of(site, name, namespace), 60)
    return events_of(site, name, namespace)[reason]


def test_one_command_brings_everything_up(site):
    assert "warning" not in site.applied.lower()
    pods = site.cluster.get("pods", "-n", NAMESPACE)["items"]
    assert sorted(item["metadata"]["labels"]["app.kubernetes.io/component"] for item in pods) == [
        "controller", "controller", "keeper", "snapshotter"]  # fmt: skip
    assert all(status["restartCount"] == 0 for item in pods for status in item["status"]["containerStatuses"])


def test_an_image_built_by_a_job_starts_without_its_layers(site):
    image = site.push(images.source("python"), "python")
    site.apply(snapshot("python", image))
    site.wait("wait", "--for=condition=Ready", "imagesnapshot/python")
    already = len(site.requests())
    site.apply(pod("accelerated", image, images.config("python")["Cmd"]))
    site.wait("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/accelerated")
    assert images.config("python")["Labels"]["test.output"] in site.cluster.kubectl("logs", "accelerated")
    assert downloaded(site, "python", already) == set()
    assert "without downloading" in await_event(site, "accelerated", "Accelerated")


def test_an_ordinary_image_says_why_it_is_not_accelerated(site):
    image = site.push(images.source("busybox"), "busybox")
    site.apply(pod("ordinary", image, ["true"]))
    site.wait("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/ordinary")
    assert "does not start from a snapshot" in await_event(site, "ordinary", "NotAccelerated")


def waiting(site, name, namespace="default"):
    """(reason, message) for which the pod's container does not run."""
    statuses = site.cluster.get("pod", name, "-n", namespace)["status"].get("containerStatuses", [])
    state = statuses[0]["state"].get("waiting", {}) if statuses else {}
    return state.get("reason", ""), state.get("message", "")


def await_refusal(site, name, reason, *words, namespace="default"):
    """The container is not made, and the pod says why."""
    site.cluster.wait_for(f"{reason} of {name}: {words}", lambda: waiting(site, name, namespace)[0] == reason
                          and all(word in waiting(site, name, namespace)[1] for word in words), 90)  # fmt: skip
    (status,) = site.cluster.get("pod", name, "-n", namespace)["status"]["containerStatuses"]
    assert status["restartCount"] == 0 and not {"running", "terminated"} & set(status["state"]) and not status.get("lastState")


def with_wish(wish, *args, **spec):
    found = pod(*args, **spec)
    found["metadata"]["annotations"] = {"zeropull.dev/acceleration": wish}
    return found


def never(*args):
    found = with_wish("never", *args, runtimeClassName="overlayfs")
    found["metadata"]["annotations"]["io.containerd.cri.runtime-handler"] = "overlayfs"
    found["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    return found


def test_a_pod_that_requires_a_snapshot_runs_with_one_and_not_without(site):
    fast, slow = f"{site.host}/python:latest", site.push(images.source("busybox"), "required")
    site.apply(with_wish("required", "required-fast", fast, ["true"]), with_wish("required", "required-slow", slow, ["true"]))
    site.wait("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/required-fast")
    await_refusal(site, "required-slow", "CreateContainerError", "zeropull.dev/acceleration: required")
    site.cluster.kubectl("delete", "pod", "required-slow", "--wait", "--timeout=60s")


def test_a_pod_that_wants_no_snapshot_has_none_even_of_an_image_that_is_there(site):
    image = f"{site.host}/python:latest"
    already = len(site.requests())
    site.apply(never("never", image, ["true"]))
    site.wait("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/never")
    assert downloaded(site, "python", already) != set()
    site.apply(pod("after-never", image, ["true"]))
    site.wait("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/after-never")
    assert "without downloading" in await_event(site, "after-never", "Accelerated")
    assert "Accelerated" not in events_of(site, "never")  # what the agent had to say of it came before


def refused(site, found):
    with pytest.raises(KubernetesError) as error:
        site.apply(found)
    return str(error.value)


def test_what_a_wish_lacks_is_said_when_the_pod_is_made(site):
    image = f"{site.host}/python:latest"
    assert "'perhaps' is neither 'required' nor 'never'" in refused(site, with_wish("perhaps", "p", image, ["true"]))
    assert "runtimeClassName: overlayfs" in refused(site, with_wish("never", "p", image, ["true"]))
    from_the_node = never("p", image, ["true"])
    from_the_node["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    assert "imagePullPolicy: Always" in refused(site, from_the_node)
    assert "start without zeropull" in refused(site, with_wish("required", "p", image, ["true"], runtimeClassName="overlayfs"))
    site.apply(pod("unchanged", image, SLEEP))
    with pytest.raises(KubernetesError, match="cannot be changed"):
        site.cluster.kubectl("annotate", "pod", "unchanged", "zeropull.dev/acceleration=required")
    site.cluster.kubectl("label", "pod", "unchanged", "something=else")


def test_the_node_keeps_a_wish_that_nobody_looked_at_before(site):
    policy = ("validatingadmissionpolicybinding", "zeropull-acceleration")
    saved = site.cluster.get(*policy)
    site.cluster.kubectl("delete", *policy)
    site.cluster.wait_for("a policy that is gone", lambda: site.cluster.is_true(
        "create", "--dry-run=server", "-f", str(site.file(with_wish("never", "p", f"{site.host}/python:latest", ["true"])))), 60)  # fmt: skip
    site.apply(with_wish("never", "unlooked", f"{site.host}/python:latest", ["true"]))
    await_refusal(site, "unlooked", "CreateContainerError", "zeropull.dev/acceleration: never", "runtimeClassName")
    site.cluster.kubectl("delete", "pod", "unlooked", "--wait", "--timeout=60s")
    for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
        saved["metadata"].pop(key, None)
    site.apply(saved)


def cache(site):
    return site.cluster.get("nodesnapshotcache", NODE)


def test_a_warmed_node_has_the_snapshot_before_a_pod_asks(site):
    image = site.push(images.source("python"), "warm")
    site.apply(snapshot("warm", image, warmUp={"complete": True, "nodeSelector": {"kubernetes.io/hostname": NODE}}))
    site.wait("wait", "--for=jsonpath={.status.warmUp.ready}=1", "imagesnapshot/warm")
    (status,) = cache(site)["status"]["images"]
    assert (status["image"], status["phase"], status["complete"]) == (image, "Ready", True)
    assert site.cluster.kubectl("get", "nsc", NODE, "-o", "jsonpath={.metadata.ownerReferences[0].kind}") == "Node"
    site.cluster.kubectl("delete", "imagesnapshot", "warm", "--wait", "--timeout=60s")
    site.cluster.wait_for("an empty cache", lambda: cache(site)["status"].get("images", []) == [], 60)


def test_containers_read_on_while_the_snapshotters_pod_is_replaced(site):
    """Twice: the second time nothing that is mounted was mounted by the pod that goes."""
    image = f"{site.host}/python:latest"
    site.apply(pod("reader", image, SLEEP))
    site.wait("wait", "--for=condition=Ready", "pod/reader")
    for file in ("/usr/lib/python3.11/zipfile.py", "/usr/lib/python3.11/tarfile.py"):
        before = site.cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=snapshotter", "-o", "name")
        site.cluster.kubectl("delete", before.strip(), "-n", NAMESPACE, "--wait", "--timeout=60s")
        site.roll_out()
        assert int(site.cluster.kubectl("exec", "reader", "--", "sh", "-c", f"cat {file} | wc -c")) > 50000
        name = f"after-{time.monotonic_ns()}"
        site.apply(pod(name, image, ["true"]))
        site.wait("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}")
        assert "without downloading" in await_event(site, name, "Accelerated")


def pods_of(site, component):
    found = site.cluster.get("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={component}")["items"]
    return {pod["metadata"]["uid"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


@pytest.mark.long
def test_a_changed_configuration_replaces_the_pods_that_read_it_and_no_others(site):
    controllers, snapshotters = pods_of(site, "controller"), pods_of(site, "snapshotter")
    overlay = site.overlay()
    with open(overlay / "base" / "config" / "controller.yaml", "a") as configuration:
        configuration.write("workers: 4\n")
    site.cluster.kubectl("apply", "-k", str(overlay), timeout=120)
    site.roll_out()
    assert pods_of(site, "controller").isdisjoint(controllers)
    assert pods_of(site, "snapshotter") == snapshotters


def rule_and_a_snapshot_elsewhere(site):
    """Objects that only a controller can let go: one that a rule makes, and one in a namespace of its own."""
    image = f"{site.host}/python:latest"
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}},
               {"apiVersion": "zeropull.dev/v1alpha1", "kind": "ClusterImageSnapshot", "metadata": {"name": "rule"},
                "spec": {"namespaces": ["default"], "repositories": [f"{site.host}/**"]}},
               pod("ruled", image, ["true"]))  # fmt: skip
    elsewhere = snapshot("web", image, warmUp={})
    elsewhere["metadata"]["namespace"] = "elsewhere"
    site.apply(elsewhere)
    made = ("get", "isnap", "-n", "default", "-l", "zeropull.dev/cluster-image-snapshot=rule", "-o", "name")
    site.cluster.wait_for("the rule's ImageSnapshot", lambda: site.cluster.kubectl(*made) != "", 60)
    site.wait("wait", "--for=condition=Ready", "isnap/web", "-n", "elsewhere")


def assert_nothing_of_it_is_left(site):
    kinds = "clusterroles,clusterrolebindings,runtimeclasses,validatingadmissionpolicies,crds"
    assert site.cluster.kubectl("get", kinds, "-l", "app.kubernetes.io/name=zeropull", "-o", "name") == ""
    site.cluster.kubectl("delete", "namespace", NAMESPACE, "elsewhere", "--ignore-not-found", "--timeout=120s", timeout=150)
    assert site.cluster.kubectl("get", "pods", "--all-namespaces", "-o", "name") == ""


def documented(command):
    """Is what docs/kubernetes.md says, as arguments."""
    text = " ".join((SOURCE / "docs" / "kubernetes.md").read_text().split())
    assert f"`{command}" in text
    return command.split()[1:]


def test_what_the_docs_say_takes_it_away_with_all_objects(site):
    rule_and_a_snapshot_elsewhere(site)
    site.cluster.kubectl(*documented("kubectl delete cisnap,isnap --all -A"), timeout=120)
    site.cluster.kubectl("delete", "pods", "--all", "--wait", "--timeout=120s")
    site.cluster.kubectl(*documented("kubectl delete -k"), str(site.overlay()), "--timeout=120s", timeout=150)
    assert NAMESPACE not in site.cluster.kubectl("get", "namespaces", "-o", "name")
    assert_nothing_of_it_is_left(site)


@pytest.fixture
def helm(site):
    """Runs helm, of whose own nothing gets out of the test's directory."""
    program = TOOLS / "helm"
    if not program.exists():
        pytest.skip("no helm in the cache of test tools: go install helm.sh/helm/v3/cmd/helm@latest")
    homes = {f"HELM_{name}_HOME": str(site.directory / "helm" / name) for name in ("CACHE", "CONFIG", "DATA")}

    def run(*arguments):
        command = [program, "--kubeconfig", site.cluster.kubeconfig, "-n", NAMESPACE, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env={**os.environ, **homes})
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{site.describe()}"
        return done.stdout + done.stderr

    return run


@pytest.mark.long
def test_helm_installs_it_upgrades_it_and_its_uninstall_lets_all_objects_go(site, helm):
    values = site.file({
        "registry": f"{site.host}/zeropull",
        "controller": {"registries": [{"host": host, "plain-http": "true"} for host in (site.host, site.locked_host)]},
        "snapshotter": {"root": str(site.directory / "snapshotter"), "run": str(site.directory / "run"),
                        "certsDirectory": str(site.directory / "certs.d"), "nri": str(site.directory / "nri")},
    })  # fmt: skip
    said = helm("install", "zeropull", DEPLOY / "chart", "--create-namespace", "--values", values)
    assert "warning" not in said.lower()
    site.roll_out()
    controllers = pods_of(site, "controller")
    *apply, crds = documented("kubectl apply --server-side --force-conflicts -f deploy/kubernetes/chart/crds")
    assert "warning" not in site.cluster.kubectl(*apply, str(SOURCE / crds)).lower()
    helm("upgrade", "zeropull", DEPLOY / "chart", "--values", values, "--set", "job.cpu=1")
    site.roll_out()
    assert pods_of(site, "controller").isdisjoint(controllers)
    rule_and_a_snapshot_elsewhere(site)
    helm(*documented("helm uninstall zeropull"), "--wait")
    assert json.loads(site.cluster.kubectl("get", "cisnap,isnap", "-A", "-o", "json"))["items"] == []
    left = ("get", "all,serviceaccounts,configmaps,roles", "-n", NAMESPACE, "-o", "name")  # pods take a moment
    site.cluster.wait_for("namespace without anything of it", lambda: "zeropull" not in site.cluster.kubectl(*left), 60)
    site.cluster.kubectl("delete", "pods", "--all", "--wait", "--timeout=120s")
    site.cluster.kubectl(*documented("kubectl delete crds -l app.kubernetes.io/name=zeropull"))
    assert_nothing_of_it_is_left(site)
