# SPDX-License-Identifier: Apache-2.0
"""What ImageSnapshots share, and what one leaves behind: builds, places for builds, rights. With a real API server and
Kubernetes' own controllers, garbage collection among them; builds are played."""
import base64
import json
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import debian, kubernetes_programs
from support.controller import controller, played_node, until
from support.controller_site import API_OPTIONS, Site, install, kubeconfig
from support.kubernetes import cluster
from support.kubernetes_node import private_network
from support.registry import registry

reason = kubernetes_programs.missing()
pytestmark = [pytest.mark.skipif(reason is not None, reason=str(reason)), pytest.mark.long]

USER, PASSWORD = "puller", "xyzzy-and-plugh"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"
SECRETS = "/api/v1/namespaces/{}/secrets"


@pytest.fixture(scope="module")
def site():
    kubernetes = kubernetes_programs.programs(may_build=False)
    if not kubernetes:
        pytest.skip("no Kubernetes in the cache of test tools. `./run-tests --long e2e` builds it, given Go")
    with ExitStack() as stack:
        stack.enter_context(private_network())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=debian.CACHE / "tmp", prefix="share-")))
        server = stack.enter_context(registry(directory / "open"))
        locked = stack.enter_context(registry(directory / "locked", users={USER: PASSWORD}))
        kube = stack.enter_context(cluster(directory / "cluster", kubernetes, api_options=API_OPTIONS))
        install(kube, "pull-secrets")
        site = Site(directory, kube, server, locked)
        site.kubeconfig = kubeconfig(kube, directory / "controller.kubeconfig")
        yield site


@pytest.fixture
def node(site):
    with played_node(site.kube, site.directory / site.name()) as node:
        yield node


def owners(job):
    return {owner["uid"]: owner.get("controller", False) for owner in job["metadata"]["ownerReferences"]}


def image_of(snapshot):
    """As far as its status says."""
    return snapshot.get().get("status", {}).get("images", [{}])[0]


def build_of(snapshot):
    return image_of(snapshot).get("buildID")


# --- builds


def test_a_job_that_two_objects_want_outlives_the_one_that_had_it_begun(site, node):
    node.is_real, node.is_held = False, True
    namespace, (image, _) = site.namespace(), site.image()
    with controller(site.directory / site.name(), site.kubeconfig, site.config()):
        first = site.snapshot(namespace, image)
        until(lambda: site.jobs(namespace))
        second = site.snapshot(namespace, image)
        (job,) = until(lambda: [job for job in site.jobs(namespace) if len(owners(job)) == 2])
        assert owners(job) == {first.uid: True, second.uid: False}
        until(lambda: build_of(second) == job["metadata"]["name"])
        first.delete()
        until(first.is_gone)
        (left,) = until(lambda: [job for job in site.jobs(namespace) if len(owners(job)) == 1])  # the collector has been there
        assert (left["metadata"]["uid"], owners(left)) == (job["metadata"]["uid"], {second.uid: False})
        node.is_held = False
        second.wait()
        assert len([ran for ran in node.ran if ran[0] == namespace]) == 1


def test_a_shared_job_ends_with_the_last_that_wants_it(site, node):
    node.is_real, node.is_held = False, True
    namespace, (image, _), (other, _) = site.namespace(), site.image(), site.image()
    with controller(site.directory / site.name(), site.kubeconfig, site.config()):
        first = site.snapshot(namespace, image)
        until(lambda: site.jobs(namespace))
        second = site.snapshot(namespace, image)
        build = until(lambda: len(owners(site.jobs(namespace)[0])) == 2 and build_of(second))
        first.delete()
        until(first.is_gone)
        site.api.merge(second.path, {"spec": {"images": [other]}})  # it stays, and wants something else
        until(lambda: build not in [job["metadata"]["name"] for job in site.jobs(namespace)])
        node.is_held = False
        second.wait()


# --- places for builds


def test_a_namespace_that_wants_much_leaves_room_for_another(site, node):
    node.is_real, node.is_held = False, True
    config = site.config(job={"image": "x", "concurrency": 4})
    greedy, modest = site.namespace(), site.namespace()
    with controller(site.directory / site.name(), site.kubeconfig, config) as running:
        many = [site.snapshot(greedy, site.image()[0], priority=100) for _ in range(5)]
        until(lambda: running.metric("builds_waiting") == 3)
        assert len(site.jobs(greedy)) == 2
        one = site.snapshot(modest, site.image()[0])
        until(lambda: len(site.jobs(modest)) == 1)
        assert len(site.jobs(greedy)) == 2
        node.is_held = False
        for snapshot in (*many, one):
            snapshot.wait()


# --- pull secrets


def test_a_job_uses_a_pull_secret_of_the_older_type(site, node):
    namespace, (open_image, _) = site.namespace(), site.image()
    subprocess.run(["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", f"--dest-creds={USER}:{PASSWORD}",
                    f"docker://{open_image}", site.locked.reference("r/locked")], check=True)  # fmt: skip
    image = f"{site.locked.host}/r/locked:latest"
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    old = {f"https://{site.locked.host}/v1/": {"auth": auth, "email": "nobody@example"}}
    site.api.create(SECRETS.format(namespace), {
        "metadata": {"name": "old"}, "type": "kubernetes.io/dockercfg",
        "data": {".dockercfg": base64.b64encode(json.dumps(old).encode()).decode()}})  # fmt: skip
    with controller(site.directory / site.name(), site.kubeconfig, site.config()):
        snapshot = site.snapshot(namespace, image, pullSecrets=[{"name": "old"}])
        snapshot.wait()
    assert [ran[0] for ran in node.ran if ran[0] == namespace] == [namespace]  # it was built, with the secret and nothing else


def test_what_left_the_spec_while_no_controller_ran_is_not_readable_any_more(site):
    namespace, (image, _) = site.namespace(), site.image()
    site.api.create(SECRETS.format(namespace), {
        "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(b'{"auths": {}}').decode()}})  # fmt: skip
    directory, config = site.directory / site.name(), site.config()
    kept = site.snapshot(namespace, image, warmUp={}, pullSecrets=[{"name": "pull"}])
    changed = site.snapshot(namespace, image, warmUp={}, pullSecrets=[{"name": "pull"}])

    def names(snapshot):
        role = site.api.find(f"{ROLES.format(namespace)}/zeropull-warmup-{snapshot.uid}") or {}
        return [name for rule in role.get("rules") or [] for name in rule["resourceNames"]]

    with controller(directory, site.kubeconfig, config):
        until(lambda: names(kept) == names(changed) == ["pull"])
    site.api.merge(changed.path, {"spec": {"pullSecrets": None}})
    with controller(directory, site.kubeconfig, config):
        until(lambda: names(changed) == [])
        assert names(kept) == ["pull"]
