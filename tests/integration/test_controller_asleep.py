# SPDX-License-Identifier: Apache-2.0
"""A leader of zeropull-controllers that falls asleep when the API server has just told it to come back in a moment, and wakes
when another is the leader: it changes nothing any more, and that is nobody's trouble."""
import signal
import time
from contextlib import contextmanager

import pytest

from support.controller import Controller, until
from support.controller_world import CONFIG, Objects, add_node, controller_world

RENEW_DEADLINE_SECONDS = 10  # after which a leader is none any more that has not renewed its lease


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


@contextmanager
def leader(world):
    config = {**CONFIG, "lease": {"namespace": "a", "name": "lease"}}
    running = Controller(world.directory / "controller", world.kube.kubeconfig(), config, "--leader-elect").start()
    try:
        yield running
    finally:
        if running.is_running():
            running.kill()


def sleep_over_lease(world, running, busy):
    until(lambda: busy.happened, explain=running.said)
    running.process.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    until(lambda: time.monotonic() > start + RENEW_DEADLINE_SECONDS + 0.5)
    Objects(world.kube, "leases").patch("lease", {"spec": {"holderIdentity": "another"}})
    requests = world.kube.count(busy.method, busy.path.pattern)
    running.process.send_signal(signal.SIGCONT)
    assert running.process.wait(30) == 1
    assert "is not the leader any more" in running.said()
    assert world.kube.count(busy.method, busy.path.pattern) == requests


def come_back(world, method, path):
    return world.kube.add_fault(method=method, path=path, status=429, headers={"Retry-After": "2"})


@pytest.mark.parametrize("path", ["/nodesnapshotcaches/", pytest.param("/roles/", marks=pytest.mark.long)])
def test_it_writes_nothing_that_it_had_planned(world, path):
    image, busy = world.image("app"), come_back(world, "PATCH", path)
    add_node(world)
    with leader(world) as running:
        world.snapshot("app", image, pullSecrets=[{"name": "own"}], warmUp={})
        world.end(image)
        sleep_over_lease(world, running, busy)
        assert not Objects(world.kube, "nodesnapshotcaches", "").list()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_it_tells_of_no_trouble_with_a_job_that_is_another_leaders(world, method):
    image, busy = world.image("app"), come_back(world, method, "/jobs")
    with leader(world) as running:
        world.snapshot("app", image)
        if method == "DELETE":
            world.wait_for_job(image)
            world.wait("app", "Queued", "JobCreated")
            world.snapshots.delete("app")
        sleep_over_lease(world, running, busy)
        assert [event["note"] for event in Objects(world.kube, "events").list() if event["type"] == "Warning"] == []
