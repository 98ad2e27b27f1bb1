# SPDX-License-Identifier: Apache-2.0
"""Builds by Jobs whose pod does not begin, or does not run alone: what zeropull-controller says of them. The events are those
that Kubernetes' own controllers and a kubelet write of a quota, and of a Secret that is not there."""
import itertools
import json
import threading
import time

import pytest

from support.controller import push_tiny, snapshot_of, until
from support.controller_world import Objects, controller_world

QUOTA = 'Error creating: pods "x" is forbidden: exceeded quota: small'
MOUNT = 'MountVolume.SetUp failed for volume "signing" : secret "key" not found'


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def tell(world, name, item, note, kind="Warning", at="2026-01-02T03:04:05Z"):
    """An event on an object."""
    Objects(world.kube, "events").create(
        name, regarding={"uid": item["metadata"]["uid"]}, note=note, type=kind, reason="R", action="A", eventTime="2026-01-01T00:00:00.000000Z",
        reportingController="c", reportingInstance="i", deprecatedLastTimestamp=at)  # fmt: skip


def wait_for(world, *seen):
    """Has the object looked at until this is what is seen; its message then."""
    labels = itertools.count()

    def is_so():
        world.snapshots.patch("app", {"metadata": {"labels": {"look": f"n{next(labels)}"}}})
        return world.look("app")[-len(seen) :] == seen

    until(is_so, explain=lambda: json.dumps(world.snapshots.get("app"), indent=1))
    return world.snapshots.get("app")["status"]["images"][0]["message"]


@pytest.fixture
def queued(world):
    """A build's Job, which has no pod."""
    image = world.image("app")
    with world.controller():
        world.snapshot("app", image)
        world.wait_for_job(image)
        yield image


def test_a_job_without_a_pod_says_what_the_cluster_has_said_of_that(world, queued):
    job = world.jobs.get(world.job(queued))
    tell(world, "old", job, "something else", at="2026-01-02T03:04:04Z")
    tell(world, "new", job, QUOTA)
    tell(world, "normal", job, "a word", kind="Normal", at="2026-01-02T03:04:06Z")
    tell(world, "other", world.snapshots.get("app"), "of another", at="2026-01-02T03:04:07Z")
    assert wait_for(world, "PodNotCreated", "Queued", "PodNotCreated") == f"the build's Job has no pod yet: {QUOTA}"
    world.jobs.patch(job["metadata"]["name"], {"status": {"conditions": [
        {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline"}]}},
        "status")  # fmt: skip
    message = wait_for(world, "DeadlineExceeded", "Failed", "DeadlineExceeded")
    assert message == f"the build did not begin within its time: the build's Job has no pod yet: {QUOTA}"


def test_a_pod_that_does_not_start_says_what_the_kubelet_has_said_of_that(world, queued):
    name = world.pod(queued, waiting={"reason": "ContainerCreating"})
    tell(world, "job", world.jobs.get(world.job(queued)), QUOTA)
    tell(world, "pod", world.pods.get(name), MOUNT)
    message = wait_for(world, "PodNotStarting", "Queued", "PodNotStarting")
    assert message == f"the build's pod is starting: {MOUNT}"
    world.end(queued)
    world.wait("app", "Ready", "")


@pytest.mark.parametrize("how", ["forbidden", "slow"])
def test_events_that_cannot_be_had_keep_nobody_waiting_and_are_not_asked_for_again_soon(world, how):
    """By one worker, who does not know why and goes on."""
    end = threading.Event()
    fault = world.kube.add_fault(path="/events", times=-1, **{"forbidden": {"status": 403}, "slow": {"first": end.wait}}[how])
    image, labels = world.image("app"), itertools.count()

    def look_again():
        world.snapshots.patch("app", {"metadata": {"labels": {"look": f"n{next(labels)}"}}})

    try:
        with world.controller(workers=1) as running:
            world.snapshot("app", image)
            world.wait_for_job(image)
            until(lambda: look_again() or fault.happened)
            begun = time.monotonic()
            for _ in range(3):  # the first of these looks may be the one that has asked: the next begins when it is over
                looks = running.metric("reconciles_total")
                look_again()
                until(lambda: running.metric("reconciles_total") > looks)
            assert time.monotonic() - begun < 15
            assert world.look("app") == ("JobCreated", "Queued", "JobCreated")
            world.end(image)
            world.wait("app", "Ready", "")
            assert fault.happened == 1
    finally:
        end.set()


def test_a_container_beside_the_builds_own_is_not_taken_for_it(world, queued):
    """A service mesh has put it into the pod, before the build's."""
    name = world.pod(queued, running={})

    def states(**own):
        beside = {"name": "a-mesh", "state": {"terminated": {"exitCode": 0, "message": "not a result"}}}
        world.pods.patch(name, {"status": {"containerStatuses": [beside, {"name": "build", "state": own}]}}, "status")

    states(waiting={"reason": "ImagePullBackOff"})
    assert "waits: ImagePullBackOff" in wait_for(world, "Queued", "ImagePullBackOff")
    states(terminated={"exitCode": 0, "message": json.dumps({"snapshot": snapshot_of(world.digests[queued]), "snapshotSize": 42})})
    world.jobs.patch(world.job(queued), {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, "status")
    world.wait("app", "Ready", "")
    (image,) = world.snapshots.get("app")["status"]["images"]
    assert (image["snapshotDigest"], image["sizeBytes"]) == (snapshot_of(world.digests[queued]), 42)


def test_two_tags_of_an_image_are_built_once(world):
    image = world.image("app")
    other = image.replace(":latest", ":v1")
    assert push_tiny(world.server, "app", "v1", salt="app") == world.digests[image]
    with world.controller(job={"image": "x", "concurrency": 2}) as running:
        world.snapshots.create("app", spec={"images": [image, other]})
        until(lambda: [i["phase"] for i in world.snapshots.get("app").get("status", {}).get("images", [])] == ["Queued"] * 2)
        until(lambda: all(i.get("buildID") for i in world.snapshots.get("app")["status"]["images"]))
        assert (len(world.jobs.list()), running.metric("builds_running")) == (1, 1)
        world.snapshots.patch("app", {"spec": {"images": [other]}})
        until(lambda: world.snapshots.get("app")["status"].get("desired") == 1)
        assert len(world.jobs.list()) == 1
        world.end(image)
        world.wait("app", "Ready", "")
        until(lambda: running.metric("builds_running") == 0)
    assert len(world.jobs.list()) == 1
