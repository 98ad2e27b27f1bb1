# SPDX-License-Identifier: Apache-2.0
"""What zeropull-controller cannot remove when an object's time is over, or the object goes: how long it is tried, and by whom
it can be asked again."""
import threading
import time

import pytest

from support.controller import until
from support.controller_world import controller_world

LONG_AGO = "2020-01-02T03:04:05Z"


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def expire(world, name, **spec):
    """Its `ttl` is over, for years."""
    key = (world.snapshots.resource, world.snapshots.namespace, name)
    world.kube.objects.items[key]["metadata"]["creationTimestamp"] = LONG_AGO
    world.snapshots.patch(name, {"spec": {"ttl": "24h", **spec}})


def message(world, name):
    return world.snapshots.get(name)["status"]["images"][0]["message"]


def test_what_fails_once_long_after_its_time_is_tried_again(world):
    image = world.image("app")
    refused = world.kube.add_fault(method="DELETE", path="/jobs/", status=500)
    with world.controller():
        world.snapshot("app", image)
        world.wait_for_job(image)
        expire(world, "app")
        world.wait("app", "Expired", "Expired")
        assert (refused.happened, message(world, "app"), world.jobs.list()) == (1, "its time (ttl) is over", [])


def test_a_deletion_that_nobody_saw_at_first_is_tried_for_as_long_as_any(world):
    image = world.image("app")
    with world.controller():
        world.snapshot("app", image)
        world.wait_for_job(image)
    world.snapshots.delete("app")
    since = time.monotonic()
    until(lambda: time.monotonic() > since + 4)
    refused = world.kube.add_fault(method="DELETE", path="/jobs/", status=500)
    with world.controller(**{"cleanup-timeout": "3s"}):
        until(lambda: refused.happened)
        until(lambda: not world.snapshots.list())
        assert (world.kube.count("DELETE", "/jobs/"), world.jobs.list()) == (2, [])


def test_a_retry_removes_what_could_not_be_removed_in_time(world):
    image = world.image("app")
    with world.controller(**{"cleanup-timeout": "1s"}):
        world.snapshot("app", image)
        world.end(image)
        world.wait("app", "Ready", "")
        expire(world, "app", target="127.0.0.1:1/app")  # where nobody answers
        world.wait("app", "Expired", "Expired")
        assert message(world, "app").startswith("not removed: ")
        world.snapshots.patch("app", {"metadata": {"annotations": {"zeropull.dev/retry": "1"}}, "spec": {"target": None}})
        until(lambda: message(world, "app") == "its time (ttl) is over", explain=lambda: str(world.snapshots.get("app")))
        assert "snapshotDigest" not in world.snapshots.get("app")["status"]["images"][0]


def test_a_job_that_another_object_has_just_joined_outlives_the_first(world):
    """Whose status does not say so yet."""
    image, owners, is_held, written = world.image("app"), [], threading.Event(), threading.Event()

    def hold():
        (job,) = world.jobs.list()
        if [owner["name"] for owner in job["metadata"]["ownerReferences"]] == ["second"]:  # a real API server has both
            both = [*owners, *job["metadata"]["ownerReferences"]]
            world.jobs.patch(job["metadata"]["name"], {"metadata": {"ownerReferences": both}})
            is_held.set()
            written.wait()

    world.kube.add_fault(method="PATCH", path="/imagesnapshots/second/status", times=100, first=hold)
    with world.controller():
        world.snapshot("first", image)
        world.wait_for_job(image)
        owners.extend(world.jobs.list()[0]["metadata"]["ownerReferences"])
        world.snapshot("second", image)
        try:
            until(is_held.is_set, explain=lambda: str(world.snapshots.list()))
            world.snapshots.delete("first")
            until(lambda: len(world.snapshots.list()) == 1)
            assert world.kube.count("DELETE", "/jobs/") == 0
        finally:
            written.set()
        world.end(image)
        world.wait("second", "Ready", "")
        assert len(world.jobs.list()) == 1
