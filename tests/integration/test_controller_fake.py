# SPDX-License-Identifier: Apache-2.0
"""zeropull-controller with an API server that answers 429 and 5xx, breaks connections in the middle of a chunk, loses answers
and its history: no build is lost, none is made twice, every status says at last what is so, and nothing is listed again
that need not be."""
import json
import threading
from contextlib import contextmanager

import pytest

from support.controller import controller, push_tiny, snapshot_of, until
from support.fake_kubernetes import fake_kubernetes
from support.registry import registry

IMAGES = 8
LISTED = ["imagesnapshots", "clusterimagesnapshots", "jobs", "nodes", "nodesnapshotcaches"]


class PlayedJobs:
    """Plays Jobs' controller and the node that runs their pods: whatever is to be built, is built. A thread of its own."""

    def __init__(self, kube):
        self.kube, self.made = kube, {}  # uid of the Job: what it builds
        self.is_held = False
        self._jobs, self._pods = kube.resource("jobs"), kube.resource("pods")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def _play(self):
        while not self._ending.wait(0.05):
            for job in self.kube.objects.list(self._jobs, "")[0]:
                self.made[job["metadata"]["uid"]] = job["spec"]["template"]["spec"]["containers"][0]["command"][-1]
                if not self.is_held and "status" not in job:
                    self._run(job)

    def _run(self, job):
        objects, name, namespace = self.kube.objects, job["metadata"]["name"], job["metadata"]["namespace"]
        digest = self.made[job["metadata"]["uid"]].rpartition("@")[2]
        message = json.dumps({"snapshot": snapshot_of(digest), "snapshotSize": 42})
        objects.create(self._pods, namespace, {"metadata": {"name": f"{name}-x", "labels": {"job-name": name}}})
        objects.merge_patch(self._pods, namespace, f"{name}-x", {"status": {"containerStatuses": [
            {"name": "build", "state": {"terminated": {"exitCode": 0, "message": message}}}]}}, "status")  # fmt: skip
        objects.merge_patch(self._jobs, namespace, name, {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, "status")

    def stop(self):
        self._ending.set()
        self._thread.join()


class World:
    """ImageSnapshots at a fake API server, each with an image of its own."""

    def __init__(self, directory, kube, server, jobs):
        self.directory, self.kube, self.server, self.jobs = directory, kube, server, jobs
        self.snapshots = kube.resource("imagesnapshots")
        self.wanted = {}  # name: what is to be built

    def add(self, count):
        for number in range(len(self.wanted), len(self.wanted) + count):
            digest = push_tiny(self.server, f"r/{number}", salt=f"{number}")
            image = f"{self.server.host}/r/{number}:latest"
            self.wanted[f"s{number}"] = f"docker://{image}@{digest}"
            self.kube.objects.create(self.snapshots, "default", {"metadata": {"name": f"s{number}"}, "spec": {"images": [image]}})

    def status(self, name):
        return self.kube.objects.get(self.snapshots, "default", name).get("status", {})

    def is_ready(self, name):
        conditions = {condition["type"]: condition["status"] for condition in self.status(name).get("conditions", [])}
        return conditions == {"Ready": "True", "Progressing": "False", "Resolved": "True", "Degraded": "False"}

    def assert_ready_and_built_once(self):
        for name, source in self.wanted.items():
            until(lambda: self.is_ready(name), explain=lambda: json.dumps(self.status(name), indent=1))
            (image,) = self.status(name)["images"]
            assert (image["phase"], image["snapshotDigest"]) == ("Ready", snapshot_of(source.rpartition("@")[2]))
            found = self.kube.objects.get(self.snapshots, "default", name)
            assert found["metadata"]["finalizers"] == ["zeropull.dev/cleanup"]
            assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
        assert sorted(self.jobs.made.values()) == sorted(self.wanted.values())

    def lists(self):
        """How often all of a kind was listed."""
        return {kind: self.kube.count("GET", rf"/{kind}(\?|$)", watch=False) for kind in LISTED}

    @contextmanager
    def controller(self):
        config = {"platforms": ["linux/amd64"], "job": {"image": "x", "concurrency": 50},
                  "lease": {"namespace": "default", "name": "lease"}}  # fmt: skip
        with controller(self.directory / "controller", self.kube.kubeconfig(), config, "--leader-elect") as running:
            yield running


@pytest.fixture
def world(work):
    with fake_kubernetes(work) as kube, registry(work / "registry") as server:
        jobs = PlayedJobs(kube)
        yield World(work, kube, server, jobs)
        jobs.stop()


def always(world, method="GET", every=1, times=1000, path="", **fault):
    """A fault that comes again and again, but for leases: whoever cannot renew his own ends, which is another test."""
    return world.kube.add_fault(method=method, path=rf"^(?!.*/leases).*{path}", every=every, times=times, **fault)


def test_an_api_server_with_too_many_requests_is_given_time(world):
    faults = [always(world, method, every=3, status=429, headers={"Retry-After": "1"}) for method in ("GET", "POST", "PATCH")]
    with world.controller() as running:
        world.add(IMAGES)
        world.assert_ready_and_built_once()
        assert sum(fault.happened for fault in faults) >= IMAGES
        until(lambda: running.metric("api_throttled_total") == sum(fault.happened for fault in faults))
        assert (running.metric("builds_started_total"), running.metric("lists_total")) == (IMAGES, 1)


def test_connections_that_break_in_the_middle_of_a_chunk_lose_nothing(world):
    cuts = [always(world, watch=True, every=2, cut=size, times=20) for size in (30, 300, 700)]
    cuts.append(always(world, watch=False, every=4, cut=200))
    with world.controller() as running:
        for _ in range(IMAGES):
            world.add(1)
            until(lambda: world.is_ready(list(world.wanted)[-1]))
        world.assert_ready_and_built_once()
        assert sum(cut.happened for cut in cuts[:-1]) >= 6 and cuts[-1].happened > 0
        assert running.metric("lists_total") == 1


@pytest.mark.parametrize("status", [500, 503])
def test_an_api_server_that_fails_now_and_then_costs_nothing(world, status):
    faults = [always(world, method, every=3, times=12, status=status) for method in ("GET", "PATCH")]
    with world.controller():
        world.add(IMAGES)
        world.assert_ready_and_built_once()
        assert all(fault.happened >= 3 for fault in faults)


def test_a_job_of_which_nobody_knows_whether_it_was_made_is_not_made_twice(world):
    """One answer is lost on its way, one request is; it is asked for again after 30 seconds."""
    lost = world.kube.add_fault(method="POST", path="/jobs", cut=40, times=1)
    unheard = world.kube.add_fault(method="POST", path="/jobs", drop=True, times=1)
    with world.controller():
        world.add(3)
        until(lambda: sum("ExecutorUnavailable" in json.dumps(world.status(name)) for name in world.wanted) == 2)
        world.assert_ready_and_built_once()
        assert (lost.happened, unheard.happened) == (1, 1)


def test_in_steady_state_nothing_is_listed_again(world):
    world.kube.bookmark_seconds, world.kube.watch_seconds = 0.5, 3
    with world.controller() as running:
        world.add(IMAGES)
        world.assert_ready_and_built_once()
        assert set(world.lists().values()) == {1}
        for _ in range(3):
            watches = running.metric("watches_total")
            world.kube.break_watches()
            until(lambda: running.metric("watches_total") > watches)
        world.kube.stop()
        until(lambda: running.metric("watch_failures_total") > 3)
        world.kube.start()
        watches = running.metric("watches_total")
        until(lambda: running.metric("watches_total") >= watches + 3)  # each ends after its time
        world.add(2)
        world.assert_ready_and_built_once()
        assert set(world.lists().values()) == {1}


def test_history_that_is_gone_costs_one_list(world):
    with world.controller() as running:
        world.add(IMAGES)
        world.assert_ready_and_built_once()
        until(lambda: world.kube.count("GET", "", watch=True) >= len(LISTED))
        world.kube.objects.create(world.kube.resource("configmaps"), "default", {"metadata": {"name": "of-others"}})
        world.kube.objects.compact()
        world.kube.break_watches()
        until(lambda: running.metric("lists_total") == 2)
        world.add(2)
        world.assert_ready_and_built_once()
        assert world.lists()["imagesnapshots"] == 2
