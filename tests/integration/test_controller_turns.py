# SPDX-License-Identifier: Apache-2.0
"""Builds of zeropull-controller when one may run at a time: whatever becomes of the object that has the turn, of its spec and
of the controller, who waits gets his."""
import pytest

from support.controller import until
from support.controller_world import controller_world


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


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
