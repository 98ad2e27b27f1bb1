# SPDX-License-Identifier: Apache-2.0
"""zeropull-controller has what rights it needs, and no others: those of deploy/kubernetes, beside the API server's log of
what it asks for."""
import base64
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import debian, kubernetes_programs
from support.controller import controller, played_node, until
from support.controller_site import ACCOUNT, API_OPTIONS, GROUP, NAMESPACE, Site, install, kubeconfig, manifests
from support.kubernetes import cluster
from support.kubernetes_audit import Audit
from support.kubernetes_node import private_network
from support.registry import registry

reason = kubernetes_programs.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

USER, PASSWORD = "puller", "xyzzy"
CLUSTERS = "/apis/zeropull.dev/v1alpha1/clusterimagesnapshots"
# Rights for what no request says, or seldom: server-side apply of what is not there yet, and an event that comes again.
APPLIED = {("zeropull.dev", "imagesnapshots"), ("zeropull.dev", "nodesnapshotcaches"), ("rbac.authorization.k8s.io", "roles"),
           ("rbac.authorization.k8s.io", "rolebindings")}  # fmt: skip
EVENTS_LIST = ("events.k8s.io", "events", "list")
NOT_ASKED = {(*resource, "create") for resource in APPLIED} | {("events.k8s.io", "events", "patch")}


@pytest.fixture
def site():
    kubernetes = kubernetes_programs.programs(may_build=False)
    if not kubernetes:
        pytest.skip("no Kubernetes in the cache of test tools. `./run-tests --long e2e` builds it, given Go")
    with ExitStack() as stack:
        stack.enter_context(private_network())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=debian.CACHE / "tmp", prefix="ctl-")))
        server = stack.enter_context(registry(directory / "open"))
        locked = stack.enter_context(registry(directory / "locked", users={USER: PASSWORD}))
        audit = Audit(directory, NAMESPACE, ACCOUNT)
        kube = stack.enter_context(cluster(directory / "cluster", kubernetes, api_options=[*API_OPTIONS, *audit.options]))
        install(kube)
        site = Site(directory, kube, server, locked)
        site.audit = audit
        yield site


@pytest.fixture
def node(site):
    """Whose builds cost nothing."""
    with played_node(site.kube, site.directory / site.name()) as node:
        node.is_real = False
        yield node


def granted(kube, *components):
    """{(group, resource, verb)} of the rules for the controller."""
    found = set()
    for item in manifests(kube, *components):
        if item["kind"] in ("Role", "ClusterRole") and item["metadata"]["labels"]["app.kubernetes.io/component"] == "controller":
            for rule in item["rules"]:
                found |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return found


def private_image(site, namespace):
    """An ImageSnapshot whose image wants a Secret to be read."""
    config = {"auths": {site.locked.host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
    site.api.create(f"/api/v1/namespaces/{namespace}/secrets", {
        "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": json.dumps(config)},
    })  # fmt: skip
    site.locked.push(f"docker://{site.image(repository='r/private')[0]}", "r/private", "latest", "--src-tls-verify=false")
    return site.snapshot(namespace, f"{site.locked.host}/r/private:latest", pullSecrets=[{"name": "pull"}], serviceAccountName="default")


def warm(site, snapshot):
    """Has a node warmed with it, and not any more."""
    site.api.create("/api/v1/nodes", {"metadata": {"name": "here", "labels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}}})
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now}
    site.api.merge("/api/v1/nodes/here/status", {"status": {"conditions": [ready]}})
    site.api.merge(snapshot.path, {"spec": {"warmUp": {"nodeSelector": {"kubernetes.io/os": "linux"}}}})
    until(lambda: site.api.find("/apis/zeropull.dev/v1alpha1/nodesnapshotcaches/here"))
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{snapshot.namespace}/roles/zeropull-warmup-{snapshot.uid}"
    until(lambda: site.api.find(role) and site.api.get(role)["rules"])
    site.api.merge(snapshot.path, {"spec": {"warmUp": None}})
    until(lambda: not site.api.get(role)["rules"])


def follow_pods(site, namespace):
    """What a rule makes of a pod, and takes away again."""
    image, _ = site.image()
    pod = f"/api/v1/namespaces/{namespace}/pods/p"
    site.api.create(pod.removesuffix("/p"), {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}]}})
    site.api.create(CLUSTERS, {"apiVersion": GROUP, "kind": "ClusterImageSnapshot", "metadata": {"name": namespace}, "spec": {
        "namespaces": [namespace], "repositories": [image.rpartition(":")[0]], "unusedTTL": "1s"}})  # fmt: skip
    made = f"/apis/{GROUP}/namespaces/{namespace}/imagesnapshots"
    until(lambda: len(site.api.list(made)) == 2)
    until(lambda: site.api.get(f"{CLUSTERS}/{namespace}").get("status", {}).get("ready") == 1)
    site.api.call("DELETE", pod, {"gracePeriodSeconds": 0})
    until(lambda: len(site.api.list(made)) == 1)
    site.api.delete(f"{CLUSTERS}/{namespace}")


def change_ones_mind(site, node, namespace):
    """A build that two want, that one does not want any more, and then the other."""
    image, _ = site.image()
    node.is_held = True
    snapshots = [site.snapshot(namespace, image) for _ in range(2)]
    for snapshot in snapshots:
        until(lambda: snapshot.get().get("status", {}).get("images", [{}])[0].get("phase") == "Queued")
    for snapshot in snapshots:
        snapshot.delete()
        until(snapshot.is_gone)
    node.is_held = False


def ask_how_far_a_build_is(site, node, namespace):
    """Its pod runs, and is looked at."""
    node.is_busy = True
    snapshot = site.snapshot(namespace, site.image()[0])

    def look():
        site.api.merge(snapshot.path, {"metadata": {"labels": {"look": f"at-{time.monotonic_ns()}"}}})
        return [image["phase"] for image in snapshot.get().get("status", {}).get("images", [])] == ["Building"]

    until(look)
    node.is_busy = False
    snapshot.wait()
    snapshot.delete()
    until(snapshot.is_gone)


def ask_why_a_build_does_not_begin(site, node, namespace, position):
    """Its pod is there, and nobody starts it."""
    node.is_held = True
    snapshot = site.snapshot(namespace, site.image()[0])

    def is_asked():
        site.api.merge(snapshot.path, {"metadata": {"labels": {"look": f"at-{time.monotonic_ns()}"}}})
        return any((*request.resource, request.verb) == EVENTS_LIST for request in site.audit.since(position))

    until(is_asked)
    node.is_held = False
    snapshot.wait()
    snapshot.delete()
    until(snapshot.is_gone)


def test_it_has_the_rights_that_it_needs_and_no_others(site, node):
    """What it lacks is in the audit log; what it does not use, could be taken away."""
    namespace, user = site.namespace(), kubeconfig(site.kube, site.directory / site.name())
    private = private_image(site, namespace)
    with controller(site.directory / site.name(), user, site.config(), "--leader-elect"):
        assert "may not be read" in private.wait("False", reason="AccessDenied")["message"]
    install(site.kube, "pull-secrets")
    position = site.audit.mark()
    with controller(site.directory / site.name(), user, site.config(), "--leader-elect"):
        private.annotate(retry="now")
        private.wait()
        warm(site, private)
        follow_pods(site, namespace)
        ask_how_far_a_build_is(site, node, namespace)
        ask_why_a_build_does_not_begin(site, node, namespace, position)
        change_ones_mind(site, node, namespace)
        private.delete()
        until(private.is_gone)
    assert [request for request in site.audit.since(position) if request.code == 403] == []
    used = {(*request.resource, request.verb) for request in site.audit.since(0) if request.code != 403}
    assert granted(site.kube, "pull-secrets") - used == NOT_ASKED
