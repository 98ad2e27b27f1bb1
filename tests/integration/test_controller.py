# SPDX-License-Identifier: Apache-2.0
"""zeropull-controller with a real API server and Kubernetes' own controllers, with the rights of deploy/kubernetes and no
other; what a kubelet does for the pods of builds is played (support/controller.py), and their command is really run where a
test says nothing else."""
import base64
import json
import re
import sqlite3
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import debian, kubernetes_programs
from support.controller import Controller, controller, played_node, push_tiny, snapshot_of, until
from support.controller_site import API_OPTIONS, CLEANUP_SECONDS, DEPLOY, GROUP, Site, install, kubeconfig
from support.hook import fake_builder, hook
from support.kubernetes import KubernetesError, cluster
from support.kubernetes_api import JOBS, SNAPSHOTS, ApiError
from support.kubernetes_node import private_network
from support.programs import ZEROPULL
from support.registry import registry

reason = kubernetes_programs.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

CRDS = DEPLOY / "base" / "crds"
EXAMPLES = sorted((DEPLOY / "examples").glob("*.yaml"))
CLUSTERS = "/apis/zeropull.dev/v1alpha1/clusterimagesnapshots"
USER, PASSWORD = "puller", "xyzzy-and-plugh"
LEASE_SECONDS = 20


@pytest.fixture(scope="module")
def site():
    kubernetes = kubernetes_programs.programs(may_build=False)
    if not kubernetes:
        pytest.skip("no Kubernetes in the cache of test tools. `./run-tests --long e2e` builds it, given Go")
    with ExitStack() as stack:
        stack.enter_context(private_network())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=debian.CACHE / "tmp", prefix="ctl-")))
        server = stack.enter_context(registry(directory / "open"))
        locked = stack.enter_context(registry(directory / "locked", users={USER: PASSWORD}))
        kube = stack.enter_context(cluster(directory / "cluster", kubernetes, api_options=API_OPTIONS))
        install(kube, "pull-secrets")
        site = Site(directory, kube, server, locked)
        site.kubeconfig = kubeconfig(kube, directory / "controller.kubeconfig")
        yield site


@pytest.fixture(scope="module")
def node(site):
    with played_node(site.kube, site.directory / "node") as node:
        yield node


@pytest.fixture(scope="module")
def working(site, node):
    """A controller that builds by Jobs."""
    with controller(site.directory / "controller", site.kubeconfig, site.config()) as running:
        yield running


@pytest.fixture
def alone(working):
    """Nobody else cares for what a controller of the test's own does."""
    working.stop()
    yield
    working.start()


@pytest.fixture
def pretending(node):
    """Builds cost nothing."""
    node.is_real = False
    yield node
    node.is_real, node.is_held, node.left, node.exit_code = True, False, None, 0


# --- what can be said


def create(site, kind, spec, name="x"):
    """Without keeping it; what the API server made of it, or KubernetesError."""
    text = json.dumps({"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec})
    return json.loads(site.kube.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=text))["spec"]


def test_defaults_are_filled_in(site):
    assert create(site, "ImageSnapshot", {"images": ["nginx"]}) == {
        "images": ["nginx"], "mode": "Once", "deletionPolicy": "Retain", "priority": 0,
    }  # fmt: skip
    spec = create(site, "ImageSnapshot", {"images": ["nginx"], "warmUp": {}, "base": {}})
    assert (spec["warmUp"], spec["base"]) == ({"parallelism": 10, "complete": False}, {"policy": "Auto"})
    assert create(site, "ClusterImageSnapshot", {"namespaces": ["*"], "repositories": ["**"]})["unusedTTL"] == "24h"


@pytest.mark.parametrize(("spec", "message"), [
    ({"images": []}, "at least 1"),
    ({"images": ["a"] * 2}, "Duplicate value"),
    ({"images": [f"a:{n}" for n in range(65)]}, "at most 64"),
    ({"images": ["docker://nginx"]}, "an image is named as in a pod, without docker://"),
    ({"images": ["a b"]}, "an image's name has no spaces"),
    ({"images": ["a" * 513]}, "may not be more than 512"),
    ({"images": ["a@sha256:1"], "mode": "Track"}, "mode Track follows tags"),
    ({"images": ["a"], "mode": "Sometimes"}, 'supported values: "Once", "Track"'),
    ({"images": ["a"], "interval": "5m"}, "interval: only with mode: Track"),
    ({"images": ["a"], "mode": "Track", "interval": "5 min"}, "a duration is written like 90s, 5m or 1h30m"),
    ({"images": ["a"], "mode": "Track", "interval": "29s"}, "interval: 30s at least"),
    ({"images": ["a"], "ttl": "1d"}, "a duration is written like 90m or 168h"),
    ({"images": ["a"], "ttl": "59s"}, "ttl: 60s at least"),
    ({"images": ["a"], "platforms": ["windows/amd64"]}, "a platform is linux/ARCHITECTURE"),
    ({"images": ["a"], "target": "docker://r.io/x"}, "target: a repository like registry.example/snapshots"),
    ({"images": ["a"], "priority": 101}, "less than or equal to 100"),
    ({"images": ["a"], "executor": "Hook", "target": "r.io/x"}, "executor Hook: target, signing and base are in the hook's own rules"),
    ({"images": ["a"], "base": {"policy": "None", "image": "x"}}, "an image with policy None makes no sense"),
    ({"images": ["a"], "pullSecrets": [{"name": "A"}]}, "spec.pullSecrets[0].name"),
    ({"images": ["a"], "pullSecrets": [{"name": "a"}] * 2}, "Duplicate value"),
    ({"images": ["a"], "warmUp": {"parallelism": 0}}, "greater than or equal to 1"),
    ({"images": ["a"], "imagez": ["b"]}, 'unknown field "spec.imagez"'),
    ({}, "spec.images: Required value"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_reason(site, spec, message):
    with pytest.raises(KubernetesError, match=re.escape(message)):
        create(site, "ImageSnapshot", spec)


@pytest.mark.parametrize(("spec", "message"), [
    ({"namespaces": ["a"]}, "spec.repositories: Required value"),
    ({"namespaces": ["a"], "repositories": ["nginx"]}, "a repository is matched with its registry in front"),
    ({"namespaces": ["a"], "repositories": ["**"], "template": {"interval": "5m"}}, "interval: only with mode: Track"),
    ({"namespaces": ["a"], "repositories": ["**"], "unusedTTL": "x"}, "a duration is written like"),
])  # fmt: skip
def test_rules_that_make_no_sense_are_refused_with_a_reason(site, spec, message):
    with pytest.raises(KubernetesError, match=re.escape(message)):
        create(site, "ClusterImageSnapshot", spec)


def test_a_rules_name_must_fit_into_a_label(site):
    with pytest.raises(KubernetesError, match="63 characters at most"):
        create(site, "ClusterImageSnapshot", {"namespaces": ["a"], "repositories": ["**"]}, name="n" * 64)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_can_be_applied_as_they_are(site, example):
    site.kube.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", example)


def test_both_kinds_say_the_same_of_builds():
    import yaml

    def properties(kind):
        document = yaml.safe_load((CRDS / f"{kind}.yaml").read_text())
        return document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]

    template, spec = properties("clusterimagesnapshots")["template"]["properties"], properties("imagesnapshots")
    assert {name: spec[name] for name in template} == template
    assert set(spec) - set(template) == {"images", "pullSecrets", "serviceAccountName"}


# --- builds by Jobs


def test_a_snapshot_is_built_by_a_job_and_lies_beside_its_image(site, working):
    namespace, (image, digest) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image)
    snapshot.wait()
    found = snapshot.image()
    assert site.artifacts(image, digest) == [found["snapshotDigest"]]
    assert (found["phase"], found["digest"], found["platform"]) == ("Ready", digest, "linux/amd64")
    assert found["sizeBytes"] > 0 and found["lastBuildTime"]
    (job,) = site.jobs(namespace)
    assert job["metadata"]["name"] == found["buildID"]
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (snapshot.uid, True)
    status = snapshot.get()["status"]
    assert (status["desired"], status["ready"], status["failed"], status["observedGeneration"]) == (1, 1, 0, 1)
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Ready": "True", "Progressing": "False", "Resolved": "True", "Degraded": "False",
    }  # fmt: skip
    snapshot.wait_for_event("BuildStarted")
    snapshot.wait_for_event("SnapshotReady")


def test_a_jobs_pod_has_no_rights_it_does_not_need(site, working, pretending):
    namespace, (image, _) = site.namespace(), site.image()
    site.snapshot(namespace, image).wait()
    (job,) = site.jobs(namespace)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_what_is_published_is_not_built_again(site, working):
    (image, digest), first, second = site.image(), site.namespace(), site.namespace()
    site.snapshot(first, image).wait()
    found = site.snapshot(second, image)
    found.wait()
    assert found.image()["snapshotDigest"] == site.artifacts(image, digest)[0]
    found.wait_for_event("SnapshotFound")
    assert site.jobs(second) == []


def test_unchanged_objects_cause_no_writes(site, working, pretending):
    namespace = site.namespace()
    snapshots = [site.snapshot(namespace, site.image()[0]) for _ in range(5)]
    for snapshot in snapshots:
        snapshot.wait()
    until(lambda: working.metric("queue_ready") == 0)
    before = [s.get()["metadata"]["resourceVersion"] for s in snapshots]
    writes, looks = working.metric("status_writes_total"), working.metric("reconciles_total")
    for snapshot in snapshots:
        site.api.merge(snapshot.path, {"metadata": {"labels": {"looked": "at"}}})
    until(lambda: working.metric("reconciles_total") >= looks + len(snapshots))
    until(lambda: working.metric("queue_ready") == 0)
    assert working.metric("status_writes_total") == writes
    after = [s.get()["metadata"]["resourceVersion"] for s in snapshots]
    assert all(int(b) > int(a) for a, b in zip(before, after))  # but for the label
    assert working.metric("lists_total") == 1


def test_status_goes_forward_only(site, working):
    """Whoever watches sees each phase at most once, and Ready become True once."""
    namespace, (image, _) = site.namespace(), site.image()
    path = SNAPSHOTS.format(namespace)
    version = site.api.get(path)["metadata"]["resourceVersion"]
    snapshot = site.snapshot(namespace, image)
    snapshot.wait()
    site.api.merge(snapshot.path, {"metadata": {"labels": {"end": "here"}}})
    seen = site.kube.kubectl("get", "--raw", f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=3")
    states = [json.loads(line)["object"].get("status", {}) for line in seen.splitlines()]
    phases = [s["images"][0]["phase"] for s in states if s.get("images")]
    order = ["Pending", "Resolving", "Queued", "Building", "Ready"]
    assert phases == sorted(phases, key=order.index) and phases[-1] == "Ready"
    ready = [c["status"] for s in states for c in s.get("conditions", []) if c["type"] == "Ready"]
    assert ready == sorted(ready) and set(ready) == {"False", "True"}


def test_an_image_that_is_not_there_is_said_to_be_missing(site, working):
    namespace = site.namespace()
    snapshot = site.snapshot(namespace, f"{site.server.host}/nothing/there:1", site.image()[0])
    condition = snapshot.wait("False", reason="ImageNotFound")
    assert f"{site.server.host}/nothing/there:1 (linux/amd64): " in condition["message"] and "404" in condition["message"]
    until(lambda: snapshot.get()["status"]["ready"] == 1)  # the other one is built all the same
    snapshot.wait("True", "Degraded")
    described = site.kube.kubectl("describe", "isnap", snapshot.name, "-n", namespace)
    assert re.search(r"Warning +ImageNotFound .* " + re.escape(f"{site.server.host}/nothing/there:1 (linux/amd64): "), described)
    row = site.kube.kubectl("get", "isnap", snapshot.name, "-n", namespace).splitlines()[1].split()
    assert row[1:5] == ["False", "ImageNotFound", "2", "1"]


@pytest.mark.parametrize("image", ["a/UPPER", "a:b:c", "registry.example/x@sha256:short"])
def test_what_is_no_images_name_is_said_to_be_none(site, working, image):
    site.snapshot(site.namespace(), image).wait("False", reason="InvalidName")


def secret_of(site, namespace, name="pull"):
    config = {"auths": {site.locked.host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
    site.api.create(f"/api/v1/namespaces/{namespace}/secrets", {
        "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": json.dumps(config)},
    })  # fmt: skip


@contextmanager
def locked_image(site):
    """An image in the registry that wants to know who asks."""
    repository = f"r/{site.name()}"
    image, _ = site.image(repository=repository)
    subprocess.run(["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", f"--dest-creds={USER}:{PASSWORD}",
                    f"docker://{image}", site.locked.reference(repository)], check=True)  # fmt: skip
    yield f"{site.locked.host}/{repository}:latest"


def test_credentials_are_those_of_the_objects_own_namespace(site, working):
    with locked_image(site) as image:
        namespace, other = site.namespace(), site.namespace()
        secret_of(site, other)
        snapshot = site.snapshot(namespace, image, pullSecrets=[{"name": "pull"}])
        condition = snapshot.wait("False", reason="AccessDenied")
        assert "pull secret 'pull': is not there" in condition["message"]
        secret_of(site, namespace)
        snapshot.annotate(retry="1")
        snapshot.wait()
        assert PASSWORD not in json.dumps(snapshot.get()) + json.dumps(site.jobs(namespace)) + working.log.read_text()


def test_a_service_account_brings_its_pull_secrets(site, working):
    with locked_image(site) as image:
        namespace = site.namespace()
        secret_of(site, namespace, "first")
        site.api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts",
                        {"metadata": {"name": "builder"}, "imagePullSecrets": [{"name": "absent"}, {"name": "first"}]})  # fmt: skip
        snapshot = site.snapshot(namespace, image, serviceAccountName="builder")
        snapshot.wait()
        (job,) = site.jobs(namespace)
        assert job["spec"]["template"]["spec"]["serviceAccountName"] == "builder"


def test_a_refused_image_is_not_tried_again_by_itself_but_when_asked_to(site, working, pretending):
    pretending.exit_code, pretending.says = 4, "zeropull: build: layer 1: entry 'x': path leaves the root\n  hint: h"
    namespace, (image, _) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image)
    condition = snapshot.wait("False", reason="BuildRefused")
    assert "build: layer 1: entry 'x': path leaves the root" in condition["message"]
    assert "nextAttemptTime" not in snapshot.image()
    assert len(site.jobs(namespace)) == 1
    pretending.exit_code = 0
    snapshot.annotate(retry="again")
    snapshot.wait()
    assert len(site.jobs(namespace)) == 2


def test_a_failed_build_is_tried_again_later(site, working, pretending):
    pretending.exit_code, pretending.says = 1, "zeropull: push: the registry is away"
    snapshot = site.snapshot(site.namespace(), site.image()[0])
    snapshot.wait("False", reason="BuildFailed")
    image = snapshot.image()
    assert (image["phase"], image["attempts"]) == ("Failed", 1) and image["nextAttemptTime"] and "registry is away" in image["message"]


def test_a_job_that_somebody_deletes_is_made_again(site, working, pretending):
    pretending.is_held = True
    namespace, (image, _) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image)
    (job,) = until(lambda: site.jobs(namespace))
    until(lambda: snapshot.image()["phase"] == "Queued")
    site.api.call("DELETE", f"{JOBS.format(namespace)}/{job['metadata']['name']}", {"propagationPolicy": "Background"})
    until(lambda: any(other["metadata"]["uid"] != job["metadata"]["uid"] for other in site.jobs(namespace)))
    pretending.is_held = False
    snapshot.wait()


def test_a_pod_that_cannot_start_is_the_answer_to_why(site, working, pretending):
    pretending.is_held = True
    namespace, (image, _) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image)
    path = f"/api/v1/namespaces/{namespace}/pods"
    (pod,) = until(lambda: site.api.list(path))
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    site.api.merge(f"{path}/{pod['metadata']['name']}/status", {"status": {"containerStatuses": [
        {"name": "build", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": waiting}}]}})  # fmt: skip
    condition = snapshot.wait("False", reason="ImagePullBackOff")
    assert f"the build's pod {pod['metadata']['name']} waits: ImagePullBackOff: no such image" in condition["message"]


def test_a_pod_that_cannot_be_made_is_the_answer_to_why(site, working, pretending):
    """Kubernetes makes none for a service account that is not there, and says so in an event on the Job only."""
    namespace, (image, _) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image, serviceAccountName="absent")
    condition = snapshot.wait("False", reason="PodNotCreated")
    assert re.search(r"the build's Job has no pod yet: .*forbidden: .*serviceaccount \"absent\" not found", condition["message"])


def test_a_change_of_spec_ends_what_is_not_wanted_and_begins_what_is(site, working, pretending):
    pretending.is_held = True
    namespace, (first, _), (second, _) = site.namespace(), site.image(), site.image()
    snapshot = site.snapshot(namespace, first)
    (old,) = until(lambda: site.jobs(namespace))
    until(lambda: snapshot.image()["phase"] == "Queued")
    site.api.merge(snapshot.path, {"spec": {"images": [second]}})
    until(lambda: [i["image"] for i in snapshot.images()] == [second])
    until(lambda: old["metadata"]["uid"] not in [job["metadata"]["uid"] for job in site.jobs(namespace)])
    pretending.is_held = False
    snapshot.wait()
    assert snapshot.get()["status"]["observedGeneration"] == 2


# --- tracking


def test_a_moved_tag_is_noticed_and_built(site, working):
    namespace, repository = site.namespace(), f"r/{site.name()}"
    image, first = site.image(repository=repository, salt="a")
    snapshot = site.snapshot(namespace, image, mode="Track", interval="30s")
    snapshot.wait()
    assert snapshot.image()["digest"] == first
    _, second = site.image(repository=repository, salt="b")
    until(lambda: snapshot.image()["digest"] == second)  # by itself
    snapshot.wait()
    assert site.artifacts(image, second) == [snapshot.image()["snapshotDigest"]]
    assert "from " + first in snapshot.wait_for_event("TagMoved")["note"]


def test_a_tag_that_cannot_be_looked_at_leaves_what_is_there(site, working, pretending):
    namespace, repository = site.namespace(), f"r/{site.name()}"
    image, digest = site.image(repository=repository)
    snapshot = site.snapshot(namespace, image, mode="Track")
    snapshot.wait()
    subprocess.run(["skopeo", "delete", "--tls-verify=false", f"docker://{image}"], check=True)
    snapshot.annotate(retry="look")
    snapshot.wait("True", "Degraded", reason="CheckFailed")
    assert snapshot.condition()["status"] == "True" and snapshot.image()["digest"] == digest


def test_once_is_once(site, working, pretending):
    namespace, repository = site.namespace(), f"r/{site.name()}"
    image, first = site.image(repository=repository, salt="a")
    snapshot = site.snapshot(namespace, image)
    snapshot.wait()
    site.image(repository=repository, salt="b")
    looks = working.metric("reconciles_total")
    snapshot.annotate(retry="look")
    until(lambda: working.metric("reconciles_total") > looks)
    until(lambda: snapshot.get()["status"]["observedRetry"] == "look")
    assert snapshot.image()["digest"] == first


# --- the end


@pytest.mark.parametrize(("policy", "is_kept"), [("Retain", True), ("Delete", False)])
def test_a_deleted_object_leaves_its_snapshot_or_takes_it_with_it(site, working, policy, is_kept):
    namespace, (image, digest) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image, deletionPolicy=policy)
    snapshot.wait()
    assert "zeropull.dev/cleanup" in snapshot.get()["metadata"]["finalizers"]
    snapshot.delete()
    until(snapshot.is_gone)
    assert bool(site.artifacts(image, digest)) == is_kept


def test_a_snapshot_that_another_object_names_stays(site, working):
    (image, digest), first, second = site.image(), site.namespace(), site.namespace()
    snapshots = [site.snapshot(namespace, image, deletionPolicy="Delete") for namespace in (first, second)]
    for snapshot in snapshots:
        snapshot.wait()
    snapshots[0].delete()
    until(snapshots[0].is_gone)
    assert site.artifacts(image, digest)
    snapshots[1].delete()
    until(snapshots[1].is_gone)
    assert not site.artifacts(image, digest)


def test_a_deletion_does_not_wait_for_ever_for_a_registry_that_is_away(site, working, pretending):
    namespace = site.namespace()
    with registry(site.directory / site.name()) as away:
        image = f"{away.host}/r/x:latest"
        push_tiny(away, "r/x")
        snapshot = site.snapshot(namespace, image, deletionPolicy="Delete")
        snapshot.wait()
    start = time.monotonic()
    snapshot.delete()
    until(snapshot.is_gone)
    assert time.monotonic() - start >= CLEANUP_SECONDS - 1
    assert f"; it is tried for {CLEANUP_SECONDS} s" in snapshot.wait_for_event("CleanupFailed")["note"]
    assert "not cleaned up" in snapshot.wait_for_event("CleanupAbandoned")["note"]


def test_a_deletion_ends_the_build(site, working, pretending):
    pretending.is_held = True
    namespace, (image, _) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image)
    until(lambda: site.jobs(namespace))
    snapshot.delete()
    until(snapshot.is_gone)
    until(lambda: not site.jobs(namespace))


@pytest.mark.long
def test_after_its_time_a_snapshot_is_removed(site, working):
    namespace, (image, digest) = site.namespace(), site.image()
    snapshot = site.snapshot(namespace, image, ttl="60s")
    snapshot.wait()
    assert site.artifacts(image, digest)
    snapshot.wait("False", reason="Expired", seconds=90)
    assert not site.artifacts(image, digest)
    assert snapshot.image()["phase"] == "Expired"
    snapshot.delete()
    until(snapshot.is_gone)


# --- how many at a time


def test_no_more_builds_run_than_may_and_the_most_urgent_comes_first(site, node, alone, pretending):
    pretending.is_held = True
    namespace = site.namespace()
    config = site.config(job={"image": "x", "concurrency": 2, "namespace-concurrency": 2})

    def jobs():
        return {job["metadata"]["name"] for job in site.jobs(namespace)}

    with controller(site.directory / site.name(), site.kubeconfig, config, "--namespace", namespace):
        running = [site.snapshot(namespace, site.image()[0]) for _ in range(2)]
        until(lambda: len(jobs()) == 2)
        lazy = site.snapshot(namespace, site.image()[0], priority=-5)
        lazy.wait("False", reason="WaitingForTurn")
        urgent = site.snapshot(namespace, site.image()[0], priority=5)
        urgent.wait("False", reason="WaitingForTurn")
        assert len(jobs()) == 2
        before = jobs()
        pretending.left, pretending.is_held = 1, False
        until(lambda: jobs() - before)  # one place is free
        assert jobs() - before == {urgent.image()["buildID"]}
        pretending.left = None
        for snapshot in (*running, urgent, lazy):
            snapshot.wait()
        assert len([job for where, job, _ in node.ran if where == namespace]) == 4


# --- two controllers


def test_a_killed_leader_is_followed_and_no_build_is_lost_or_doubled(site, node, alone, pretending):
    namespace, count = site.namespace(), 20
    config = site.config()
    options = ("--namespace", namespace, "--leader-elect")
    first, second = (Controller(site.directory / site.name(), site.kubeconfig, config, *options) for _ in range(2))
    try:
        first.start()
        until(lambda: first.metric("leader") == 1)
        second.start()
        snapshots = [site.snapshot(namespace, site.image()[0]) for _ in range(count)]
        until(lambda: first.metric("builds_started_total") >= 3)
        first.kill()
        start = time.monotonic()
        until(lambda: second.metric("leader") == 1, LEASE_SECONDS)
        took = time.monotonic() - start
        for snapshot in snapshots:
            snapshot.wait()
        built = [image for where, _, image in node.ran if where == namespace]
        assert len(built) == len(set(built)) == count
        assert took < LEASE_SECONDS
        for snapshot in snapshots:
            assert snapshot.image()["snapshotDigest"] == snapshot_of(snapshot.image()["digest"])
        second.stop()
    finally:
        for one in (first, second):
            if one.process and one.is_running():
                one.kill()


def test_who_does_not_lead_writes_nothing_and_is_ready_all_the_same(site, alone):
    namespace = site.namespace()
    config = site.config()
    options = ("--namespace", namespace, "--leader-elect")
    with controller(site.directory / site.name(), site.kubeconfig, config, *options) as first:
        until(lambda: first.metric("leader") == 1)
        with controller(site.directory / site.name(), site.kubeconfig, config, *options) as second:
            site.snapshot(namespace, f"{site.server.host}/nothing:1").wait("False", reason="ImageNotFound")
            until(lambda: second.get("/readyz")[0] == 200)
            until(lambda: second.metric("imagesnapshots") == 1)
            assert (second.metric("leader"), second.metric("reconciles_total"), second.metric("status_writes_total")) == (0, 0, 0)
            first.stop()
            until(lambda: second.metric("leader") == 1, 10)  # given back, not timed out
        first.start()


# --- the hook's queue

HOOK_CONFIG = """version: 1
anonymous: builder
registries: [{{host: '127.0.0.1:*'}}]
rules:
- {{name: all, repositories: '**', exclude: {{repositories: '**/unmarked'}}}}
"""


@contextmanager
def hook_site(site, builder=None):
    """A hook, and a controller that has its builds done there."""
    directory, namespace = site.directory / site.name(), site.namespace()
    directory.mkdir()
    configuration = directory / "hook.yaml"
    configuration.write_text(HOOK_CONFIG.format())
    with hook(directory / "state", config=configuration, builder=builder or fake_builder(directory)) as service:
        config = {"platforms": ["linux/amd64"], "hook": {"url": service.url}, "cleanup-timeout": f"{CLEANUP_SECONDS}s"}
        with controller(directory / "controller", site.kubeconfig, config, "--namespace", namespace) as running:
            yield namespace, service, running


def test_the_hooks_queue_builds_with_the_same_status(site, alone):
    with hook_site(site) as (namespace, service, _):
        image, digest = site.image()
        snapshot = site.snapshot(namespace, image)
        snapshot.wait()
        found = snapshot.image()
        (build,) = service.builds()
        assert (found["digest"], found["snapshotDigest"], found["sizeBytes"]) == (digest, "sha256:" + "a" * 64, 10)
        assert found["buildID"] == f"hook-{build['id']}" and build["digest"] == digest
        snapshot.wait_for_event("SnapshotReady")


def test_pull_secrets_go_with_the_wish_to_the_hook_and_are_forgotten_with_the_build(site, alone):
    with hook_site(site, ZEROPULL) as (namespace, service, _), locked_image(site) as image:
        site.snapshot(namespace, image).wait("False", reason="AccessDenied")
        secret_of(site, namespace)
        snapshot = site.snapshot(namespace, image, pullSecrets=[{"name": "pull"}])
        snapshot.wait()
        (build,) = service.builds()
        shown = json.dumps(service.get(f"/v1/builds/{build['id']}")) + service.said()
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode())
        assert credentials.decode() not in shown and PASSWORD not in shown
        assert list((service.state / "auths").iterdir()) == []
        assert sqlite3.connect(f"file:{service.state}/hook.db?mode=ro", uri=True).execute(
            "SELECT (SELECT count(*) FROM event_auths) + (SELECT count(*) FROM build_auths)").fetchone() == (0,)  # fmt: skip
        status, answer = service.request("/v1/builds", {"reference": image, "auths": {"r": "x"}})
        assert (status, answer["error"]) == (400, "'auths': 'r' is no object")


def test_what_the_hooks_rules_do_not_mark_is_said_so(site, alone):
    with hook_site(site) as (namespace, _, _):
        image, _ = site.image(repository=f"r/{site.name()}/unmarked")
        condition = site.snapshot(namespace, image).wait("False", reason="NotMarked")
        assert "the hook's rules do not build it: not marked" in condition["message"]


def test_what_the_hook_cannot_do_is_said_at_once(site, alone):
    with hook_site(site) as (namespace, service, _):
        condition = site.snapshot(namespace, site.image()[0], target=f"{site.server.host}/elsewhere").wait("False", reason="NotSupported")
        assert "use executor: Job" in condition["message"]
        assert service.builds() == []


def test_a_hook_that_is_away_is_waited_for(site, alone):
    with hook_site(site) as (namespace, service, _):
        service.stop()
        snapshot = site.snapshot(namespace, site.image()[0])
        snapshot.wait("False", reason="ExecutorUnavailable")
        service.start()
        snapshot.annotate(retry="now")
        snapshot.wait()


def test_a_deletion_does_not_wait_for_ever_for_a_hook_that_is_away(site, alone):
    with hook_site(site) as (namespace, service, _):
        slow = fake_builder(site.directory, "#!/bin/sh\nexec sleep 1000\n")
        service.stop()
        service.builder = slow
        service.start()
        snapshot = site.snapshot(namespace, site.image()[0])
        until(lambda: re.fullmatch(r"hook-\d+", (snapshot.get().get("status", {}).get("images") or [{}])[0].get("buildID", "")))
        service.stop()
        snapshot.delete()
        until(snapshot.is_gone)
        assert f"; it is tried for {CLEANUP_SECONDS} s" in snapshot.wait_for_event("CleanupFailed")["note"]
        snapshot.wait_for_event("CleanupAbandoned")
        service.start()


# --- rules for the cluster


def pod(site, namespace, image, **spec):
    name = site.name()
    site.api.create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": {
        "containers": [{"name": "c", "image": image}], **spec}})  # fmt: skip
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def test_pods_of_the_namespaces_get_snapshots_of_what_they_name(site, working, pretending):
    team, prefix = site.name(), f"r/{site.name()}"
    first, second, other = (site.namespace(f"{name}-{team}") for name in ("a", "b", "other"))
    image, _ = site.image(repository=f"{prefix}/app")
    unwanted, _ = site.image(repository=f"{prefix}/scratch/app")
    pods = [pod(site, namespace, image, imagePullSecrets=[{"name": "s"}]) for namespace in (first, second, other)]
    pod(site, first, unwanted)
    site.api.create(CLUSTERS, {"apiVersion": GROUP, "kind": "ClusterImageSnapshot", "metadata": {"name": team}, "spec": {
        "namespaces": [f"[ab]-{team}", f"a-{team}", f"b-{team}"], "repositories": [f"{site.server.host}/{prefix}/**"],
        "exclude": {"repositories": ["**/scratch/*"]}, "template": {"priority": 3}, "unusedTTL": "1s"}})  # fmt: skip
    until(lambda: site.api.get(f"{CLUSTERS}/{team}").get("status", {}).get("ready") == 2,
          explain=lambda: site.api.get(f"{CLUSTERS}/{team}"))  # fmt: skip
    (made,) = site.api.list(SNAPSHOTS.format(first))
    assert made["spec"]["images"] == [image] and made["spec"]["priority"] == 3
    assert made["spec"]["pullSecrets"] == [{"name": "s"}] and made["spec"]["serviceAccountName"] == "default"
    assert made["metadata"]["ownerReferences"][0]["kind"] == "ClusterImageSnapshot"
    assert site.api.list(SNAPSHOTS.format(other)) == []
    site.api.call("DELETE", pods[0], {"gracePeriodSeconds": 0})
    until(lambda: site.api.list(SNAPSHOTS.format(first)) == [])  # nothing names it any more
    assert len(site.api.list(SNAPSHOTS.format(second))) == 1
    site.api.delete(f"{CLUSTERS}/{team}")
    until(lambda: site.api.list(SNAPSHOTS.format(second)) == [])


def test_a_namespace_that_takes_no_snapshots_keeps_none_from_the_others(site, working, pretending):
    team, repository = site.name(), f"r/{site.name()}"
    full, other = site.namespace(f"a-{team}"), site.namespace(f"b-{team}")  # in this order
    site.api.create(f"/api/v1/namespaces/{full}/resourcequotas", {"metadata": {"name": "none"}, "spec": {
        "hard": {"count/imagesnapshots.zeropull.dev": "0"}}})  # fmt: skip

    def is_full():
        try:
            site.snapshot(full, "x").delete()
        except ApiError as error:
            return "quota" in str(error)
        return False

    until(is_full)
    image, _ = site.image(repository=repository)
    secrets = [{"name": name} for name in ("s", "Not_A_Name", "t")]
    for namespace in (full, other):
        pod(site, namespace, image, imagePullSecrets=secrets)
    site.api.create(CLUSTERS, {"apiVersion": GROUP, "kind": "ClusterImageSnapshot", "metadata": {"name": team}, "spec": {
        "namespaces": [f"a-{team}", f"b-{team}"], "repositories": [f"{site.server.host}/{repository}"]}})  # fmt: skip
    (made,) = until(lambda: site.api.list(SNAPSHOTS.format(other)))
    assert made["spec"]["pullSecrets"] == [{"name": "s"}, {"name": "t"}]

    def degraded():
        conditions = site.api.get(f"{CLUSTERS}/{team}").get("status", {}).get("conditions", [])
        return [c for c in conditions if (c["type"], c["status"]) == ("Degraded", "True")]

    (condition,) = until(degraded)
    assert condition["reason"] == "NotMade" and condition["message"].startswith(f"{full}/") and "quota" in condition["message"]
    site.api.delete(f"{CLUSTERS}/{team}")
    until(lambda: site.api.list(SNAPSHOTS.format(other)) == [])


# --- the program


def test_a_bad_configuration_ends_the_program_with_its_line(site):
    path = site.directory / "bad.yaml"
    path.write_text("job: {image: x}\nspeed: 3\n")
    command = Controller(site.directory / site.name(), site.kubeconfig, {}).command
    for extra in (["--check-config"], []):
        result = subprocess.run(list(map(str, [command[0], "--config", path, *extra])), capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (1, f"zeropull-controller: {path}:2: configuration: 'speed' is not known\n")
    assert subprocess.run([command[0], "--what"], capture_output=True).returncode == 2
