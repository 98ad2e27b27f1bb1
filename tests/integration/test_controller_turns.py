# SPDX-License-Identifier: Apache-2.0
"""Builds of zeropull-controller when one may run at a time: whatever becomes of the object that has the turn, of its spec and
of the controller, who waits gets his. The API server is a fake one; the test itself ends the Jobs."""
import json
from contextlib import contextmanager

import pytest

from support.controller import controller, push_tiny, snapshot_of, until
from support.fake_kubernetes import fake_kubernetes
from support.registry import registry

CONFIG = {"platforms": ["linux/amd64"], "cleanup-timeout": "1h", "job": {"image": "x", "concurrency": 1}}


class Objects:
    """Of one kind, in one namespace."""

    def __init__(self, kube, plural, namespace="a"):
        self.objects, self.resource, self.namespace = kube.objects, kube.resource(plural), namespace

    def create(self, name, labels=None, **more):
        return self.objects.create(self.resource, self.namespace, {"metadata": {"name": name, "labels": labels or {}}, **more})

    def get(self, name):
        return self.objects.get(self.resource, self.namespace, name)

    def list(self):
        return self.objects.list(self.resource, self.namespace)[0]

    def patch(self, name, patch, subresource=None):
        return self.objects.merge_patch(self.resource, self.namespace, name, patch, subresource)

    def delete(self, name):
        self.objects.delete(self.resource, self.namespace, name, {})


class World:
    def __init__(self, directory, kube, server):
        self.directory, self.kube, self.server = directory, kube, server
        self.snapshots, self.jobs, self.pods = (Objects(kube, kind) for kind in ("imagesnapshots", "jobs", "pods"))
        self.digests = {}

    def image(self, repository):
        """A name; the image is there."""
        image = f"{self.server.host}/{repository}:latest"
        self.digests[image] = push_tiny(self.server, repository, salt=repository)
        return image

    def snapshot(self, name, image, **spec):
        self.snapshots.create(name, spec={"images": [image], **spec})

    def look(self, name):
        """(reason of Ready, phase, reason of the image)"""
        status = self.snapshots.get(name).get("status", {})
        ready = [c["reason"] for c in status.get("conditions", []) if c["type"] == "Ready"]
        (image,) = status.get("images") or [{}]
        return (*(ready or [None]), image.get("phase"), image.get("reason", ""))

    def wait(self, name, *seen):
        """Until the last words of look() are these."""
        until(lambda: self.look(name)[-len(seen) :] == seen, explain=lambda: json.dumps(self.snapshots.get(name), indent=1))

    def job(self, image):
        """The name of the Job that builds it, or None."""
        found = [job["metadata"]["name"] for job in self.jobs.list() if job["metadata"]["annotations"]["zeropull.dev/image"] == image]
        assert len(found) <= 1
        return (*found, None)[0]

    def wait_for_job(self, image):
        return until(lambda: self.job(image), explain=lambda: f"no Job for {image}")

    def end(self, image):
        """Its Job ends well."""
        name = self.wait_for_job(image)
        said = json.dumps({"snapshot": snapshot_of(self.digests[image]), "snapshotSize": 42})
        self.pods.create(f"{name}-x", labels={"job-name": name})
        self.pods.patch(f"{name}-x", {"status": {"containerStatuses": [{"name": "build", "state": {
            "terminated": {"exitCode": 0, "message": said}}}]}}, "status")  # fmt: skip
        self.jobs.patch(name, {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, "status")

    @contextmanager
    def controller(self):
        with controller(self.directory / "controller", self.kube.kubeconfig(), CONFIG) as running:
            yield running


@pytest.fixture
def world(work):
    with fake_kubernetes(work) as kube, registry(work / "registry") as server:
        yield World(work, kube, server)


@pytest.fixture
def waiting(world):
    """One object builds, another one waits: (image of the first, of the second)."""
    first, second = world.image("first"), world.image("second")
    with world.controller() as running:
        world.snapshot("first", first)
        world.wait_for_job(first)
        world.wait("first", "Queued", "JobCreated")
        world.snapshot("second", second)
        world.wait("second", "Queued", "WaitingForTurn")
        yield first, second, running


# --- an object with which nothing can be done any more


@pytest.mark.parametrize("change, reason", [({"executor": "Hook"}, "NotSupported"), ({"platforms": 3}, "InvalidSpec")])
def test_an_object_that_asks_for_what_cannot_be_done_gives_up_its_turn(world, waiting, change, reason):
    first, second, _ = waiting
    world.snapshots.patch("first", {"spec": change})
    world.wait("first", reason, "Pending", "")
    until(lambda: not world.job(first))
    world.wait_for_job(second)
    world.snapshots.patch("first", {"spec": {key: None for key in change}})
    world.wait("first", "Queued", "WaitingForTurn")
    world.end(second)
    world.end(first)
    world.wait("first", "Ready", "")


@pytest.mark.parametrize("change, reason", [({"executor": "Hook"}, "NotSupported"), ({"platforms": 3}, "InvalidSpec")])
def test_a_restart_gives_no_turn_to_an_object_that_asks_for_what_cannot_be_done(world, change, reason):
    first, second = world.image("first"), world.image("second")
    with world.controller():
        world.snapshot("first", first)
        world.wait("first", "Queued", "JobCreated")
    world.snapshots.patch("first", {"spec": change})
    world.snapshot("second", second)
    with world.controller() as running:
        world.wait_for_job(second)
        until(lambda: not world.job(first))
        assert running.metric("builds_running") == 1


def test_a_turn_that_cannot_be_taken_back_at_once_is_taken_back_later(world, waiting):
    """The object's time is over, and the API server does not delete its Job."""
    first, second, _ = waiting
    fault = world.kube.add_fault(method="DELETE", path="/jobs/", status=500, times=2)
    world.snapshots.patch("first", {"spec": {"ttl": "1s"}})
    world.wait("first", "Expired", "Expired")
    assert fault.happened == 2 and not world.job(first)
    world.wait_for_job(second)


# --- two objects that want the same


@pytest.fixture
def both(world, waiting):
    """Another one waits for what the second waits for."""
    world.snapshot("third", waiting[1])
    world.wait("third", "Queued", "WaitingForTurn")
    return waiting


def test_a_build_that_two_objects_wait_for_makes_both_ready(world, both):
    first, second, running = both
    world.end(first)
    world.end(second)
    for name in ("first", "second", "third"):
        world.wait(name, "Ready", "")
    assert running.metric("builds_running") == running.metric("builds_waiting") == 0
    assert len(world.jobs.list()) == 2


def test_who_waits_keeps_waiting_when_another_who_waits_for_the_same_goes(world, both):
    first, second, _ = both
    world.snapshots.delete("second")
    until(lambda: [item["metadata"]["name"] for item in world.snapshots.list()] == ["first", "third"])
    world.end(first)
    world.end(second)
    world.wait("third", "Ready", "")


def test_a_build_that_another_object_wants_as_well_keeps_its_place(world, waiting):
    first, second, running = waiting
    world.snapshot("third", first)
    world.wait("third", "Queued", "JobCreated")
    world.snapshots.delete("first")
    until(lambda: [item["metadata"]["name"] for item in world.snapshots.list()] == ["second", "third"])
    assert (running.metric("builds_running"), running.metric("builds_waiting")) == (1, 1)
    assert world.job(first) and not world.job(second)
    world.end(first)
    world.wait("third", "Ready", "")
    world.wait_for_job(second)
