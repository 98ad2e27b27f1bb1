# SPDX-License-Identifier: Apache-2.0
"""How far a build is, in the status of its image: the same of a Job, by its pod's log, as of the hook's queue; and nothing
that is wrong with that log, or with who keeps it, is wrong with the build."""
import threading
import time
from contextlib import contextmanager

import pytest

from support.controller import until
from support.controller_world import controller_world
from support.hook import fake_builder, hook

LOG = r"/api/v1/namespaces/a/pods/[^/]+/log\?"
POLL_SECONDS = 10
LIMIT = 64 << 10


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def tasks(done, total=120):
    return '{"tasks":[{"label":"layer 1/2","done":%d,"total":%d}]}\n' % (done, total)


def say(world, pod, text):
    """This is all that it has said until now."""
    world.kube.objects.logs[world.pods.namespace, pod] = text.encode(errors="surrogateescape")


def look_again(world, name):
    """Has the controller look at an object at once."""
    world.snapshots.patch(name, {"metadata": {"labels": {"look": f"at-{time.monotonic_ns()}"}}})


def shown(world, name):
    """(phase, reason, progress, message) of its image."""
    (image,) = world.snapshots.get(name).get("status", {}).get("images") or [{}]
    return image.get("phase"), image.get("reason"), image.get("progressPercent"), image.get("message")


def await_shown(world, name, *wanted):
    until(lambda: shown(world, name) == wanted, explain=lambda: f"{shown(world, name)}, not {wanted}")


def run(world, name, text, **pod):
    """A Job's pod runs and has said so much: (image, pod)."""
    image = world.image(name)
    world.snapshot(name, image)
    started = world.pod(image, waiting={"reason": "ContainerCreating"}, **pod)
    say(world, started, text)
    world.pod(image, running={})
    look_again(world, name)
    return image, started


@contextmanager
def building(world, text, **config):
    """(image, pod, controller)"""
    with world.controller(**config) as running:
        yield *run(world, "s", text), running


def requests(world):
    return world.kube.count("GET", LOG)


# --- what is shown


def test_it_is_the_same_whether_a_job_builds_or_the_hook(world):
    text = f"layer 1/2: converting\n{tasks(30)}"
    directory = world.directory / "hook"
    directory.mkdir()
    builder = fake_builder(directory, f"#!/bin/sh\nprintf '%s' '{text}' >&2\nexec sleep 1000\n")
    configuration = directory / "hook.yaml"
    configuration.write_text(f"version: 1\nanonymous: admin\nregistries: [{{host: '{world.server.host}'}}]\n"
                             f"rules: [{{name: all, repositories: '{world.server.host}/**'}}]\n")  # fmt: skip
    with hook(directory / "state", config=configuration, builder=builder) as service:
        with building(world, text, hook={"url": service.url}):
            await_shown(world, "s", "Building", "Building", 25, "layer 1/2: converting")
            world.snapshot("by-hook", world.image("other"), executor="Hook")
            await_shown(world, "by-hook", "Building", "Building", 25, "layer 1/2: converting")


def test_what_a_build_said_last_stays_while_it_tells_of_its_tasks_only(world):
    with building(world, f"begins\n{tasks(30)}") as (image, pod, _):
        await_shown(world, "s", "Building", "Building", 25, "begins")
        say(world, pod, "begins\n" + tasks(60) * 1000)
        look_again(world, "s")
        await_shown(world, "s", "Building", "Building", 50, "begins")
        say(world, pod, "begins\n" + tasks(60) * 1000 + 'merging\n{"tasks":[]}\n')
        look_again(world, "s")
        await_shown(world, "s", "Building", "Building", None, "merging")
        world.end(image)
        await_shown(world, "s", "Ready", None, None, None)


def test_a_pod_that_does_not_run_is_asked_nothing(world):
    image = world.image("s")
    with world.controller():
        world.snapshot("s", image)
        world.pod(image, waiting={"reason": "ContainerCreating"})
        look_again(world, "s")
        world.wait("s", "Queued", "PodStarting")
        world.pod(image, terminated={"exitCode": 1})
        look_again(world, "s")
        await_shown(world, "s", "Building", "Building", None, "the build's pod has ended")
        assert requests(world) == 0


def test_a_build_that_goes_on_all_the_time_is_looked_at_every_ten_seconds(world):
    """What is written of it is no reason to look again and again."""
    begun, pod, seen = time.monotonic(), [], []

    def go_on():
        seen.append(int(2 * (time.monotonic() - begun)))  # a builder tells twice a second
        say(world, *pod, tasks(seen[-1], 1000))

    world.kube.add_fault(path=LOG, times=-1, first=go_on)
    image = world.image("s")
    with world.controller() as running:
        world.snapshot("s", image)
        pod.append(world.pod(image, running={}))
        look_again(world, "s")
        until(lambda: seen)
        writes, first = running.metric("status_writes_total"), seen[0]
        until(lambda: seen[-1] > first + 4 * (POLL_SECONDS - 1))
        assert running.metric("status_writes_total") - writes <= 6


# --- what may be wrong


def test_a_log_that_may_not_be_read_is_not_known_and_the_build_goes_on(world):
    world.kube.add_fault(path=LOG, times=-1, status=403)
    with building(world, tasks(30)) as (image, _, _):
        until(lambda: requests(world) == 1)
        look_again(world, "s")  # no reason not to ask for another's
        until(lambda: requests(world) == 2)
        await_shown(world, "s", "Building", "Building", None, None)
        world.end(image)
        await_shown(world, "s", "Ready", None, None, None)
        assert "attempts" not in world.snapshots.get("s")["status"]["images"][0]


@pytest.mark.parametrize("how", ["slow", "broken", "busy"])
def test_a_kubelet_that_does_not_answer_keeps_nobody_waiting_and_is_not_asked_again_soon(world, how):
    """By one worker, who looks at others meanwhile. What was said last is still shown, how far it is is not known."""
    end = threading.Event()
    faults = {"slow": {"first": end.wait}, "broken": {"drop": True}, "busy": {"status": 503, "headers": {"Retry-After": "1"}}}
    job = {"image": "x", "concurrency": 3, "namespace-concurrency": 3}
    try:
        with building(world, f"begins\n{tasks(30)}", workers=1, job=job) as (image, pod, running):
            await_shown(world, "s", "Building", "Building", 25, "begins")
            fault = world.kube.add_fault(path=f"/pods/{pod}/log", times=-1, **faults[how])
            look_again(world, "s")
            until(lambda: fault.happened)
            begun = time.monotonic()
            _, neighbour = run(world, "neighbour", tasks(30))
            run(world, "other", f"goes on\n{tasks(60)}", node="other")
            await_shown(world, "other", "Building", "Building", 50, "goes on")
            assert time.monotonic() - begun < 15
            await_shown(world, "s", "Building", "Building", None, "begins")
            asked = fault.happened  # what was kept open is tried anew when it breaks
            for name in ("s", "neighbour") * 2:
                looks = running.metric("reconciles_total")
                look_again(world, name)
                until(lambda: running.metric("reconciles_total") > looks)
            await_shown(world, "neighbour", "Building", "Building", None, None)
            assert (fault.happened, world.kube.count("GET", f"/pods/{neighbour}/log")) == (asked, 0)
            world.end(image)
            await_shown(world, "s", "Ready", None, None, None)
    finally:
        end.set()


@pytest.mark.parametrize("text, message", [
    ("\x00" * 1000 + "\n", None),
    ("\x1b[2J\x07gone\n", " [2J gone"),
    ("x" * 5000 + "\n", "x" * 511),
    ("\udcff\n", "?"),
    ('{"tasks":' + "[" * 5000 + "\n", "begins"),
    ('{"tasks":[' + '{"done":1,"total":1},' * 5000 + "]}\n", "begins"),  # cut where it is too long
    ('{"tasks":[{"label":"x","done":-9,"total":0}]}\n', "begins"),
], ids=["NUL", "terminal", "long", "not UTF-8", "deep", "many", "numbers"])  # fmt: skip
def test_a_log_says_what_it_likes_and_is_shown_as_text_of_bounded_size(world, text, message):
    with building(world, f"begins\n{tasks(30)}") as (image, pod, _):
        await_shown(world, "s", "Building", "Building", 25, "begins")
        say(world, pod, text)
        look_again(world, "s")
        await_shown(world, "s", "Building", "Building", None, message)
        world.end(image)
        await_shown(world, "s", "Ready", None, None, None)


@pytest.mark.parametrize("more, progress, message", [(1 << 10, 50, "goes on"), (8 << 10, None, "begins")])
def test_not_much_more_of_a_log_is_taken_than_was_asked_for(world, more, progress, message):
    text = f"goes on\n{tasks(60)}".encode()
    with building(world, f"begins\n{tasks(30)}") as (image, _, _):
        await_shown(world, "s", "Building", "Building", 25, "begins")
        world.kube.add_fault(path=LOG, times=-1, status=200, body=text + b"x" * (LIMIT + more - len(text)))
        look_again(world, "s")
        await_shown(world, "s", "Building", "Building", progress, message)
        world.end(image)
        await_shown(world, "s", "Ready", None, None, None)
