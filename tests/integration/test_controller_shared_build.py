# SPDX-License-Identifier: Apache-2.0
"""Objects of two namespaces that wait for one build of a hook, each knowing it by another name. The hook is a played one, which
says of a wish what the test wants."""
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.controller import push_tiny, snapshot_of, until
from support.controller_world import Objects, controller_world
from support.serving import serving


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"{self.command} {self.path}")
        answer = json.dumps(self.server.answer(self.command, self.path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _answer


class PlayedHook(ThreadingHTTPServer):
    """Each wish is an event; those that are decided lead to build 7, or to what `leads` says: another one, or none (None)."""

    daemon_threads = True

    def __init__(self, digest):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.digest, self.asked, self.events, self.decided = digest, [], 0, set()
        self.leads, self.states = {}, {}

    def answer(self, method, path, body):
        if (method, path) == ("POST", "/v1/builds"):
            self.events += 1
            return {"event": self.events}
        if event := re.fullmatch(r"/v1/decisions/(\d+)", path):
            number = self.leads.get(int(event[1]), 7)
            found = {"marked": 1, "builds": [{"id": number}]} if number else {"marked": 0, "builds": [], "text": "not marked"}
            return {"decided": int(event[1]) in self.decided, **found}
        number = int(re.fullmatch(r"/v1/builds/(\d+)(/cancel)?", path)[1])
        if method == "POST":
            self.states[number] = "cancelled"
        return {"id": number, "digest": self.digest, "state": self.states.get(number, "queued"),
                "result": {"snapshot": snapshot_of(self.digest), "snapshotSize": 42}}  # fmt: skip

    def cancelled(self, number=7):
        return self.states.get(number) == "cancelled"


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def found(world, key="buildID"):
    """Of each image of the object."""
    return [image.get(key) for image in world.snapshots.get("app").get("status", {}).get("images", [])]


def test_a_hooks_build_ends_with_the_last_object_of_all_namespaces_that_waits_for_it(world):
    image = world.image("app")
    with serving(PlayedHook(world.digests[image])) as hook:
        hook.decided.add(1)
        spaces = [Objects(world.kube, "imagesnapshots", namespace) for namespace in ("a", "b")]

        def build(space):
            (found,) = space.get("app").get("status", {}).get("images") or [{}]
            return found.get("buildID")

        with world.controller(hook={"url": f"http://127.0.0.1:{hook.server_port}"}):
            for space, known in zip(spaces, ("hook-7", "hook-event-2")):
                space.create("app", spec={"images": [image], "executor": "Hook"})
                until(lambda: build(space) == known, explain=lambda: json.dumps(space.list(), indent=1))
            spaces[0].delete("app")
            until(lambda: not spaces[0].list())
            assert not hook.cancelled()
            hook.decided.add(2)
            until(lambda: build(spaces[1]) == "hook-7")
            spaces[1].delete("app")
            until(lambda: not spaces[1].list())
            assert hook.cancelled()


def test_a_build_goes_on_for_the_tag_that_is_left_and_ends_with_the_last_one(world):
    image = world.image("app")
    latest, other = image, image.replace(":latest", ":v1")
    push_tiny(world.server, "app", "v1", salt="app")
    with serving(PlayedHook(world.digests[image])) as hook:
        hook.decided |= {1, 2}
        with world.controller(hook={"url": f"http://127.0.0.1:{hook.server_port}"}):
            world.snapshots.create("app", spec={"images": [other, latest], "executor": "Hook"})
            until(lambda: found(world) == ["hook-7"] * 2, explain=lambda: json.dumps(world.snapshots.list(), indent=1))
            world.snapshots.patch("app", {"spec": {"images": [latest]}})
            until(lambda: found(world) == ["hook-7"])
            assert not hook.cancelled()
            world.snapshots.delete("app")
            until(lambda: not world.snapshots.list())
            assert hook.cancelled()


@contextmanager
def two_tags(world, decided):
    """An object with two tags of one image, of whose wishes one is decided: (hook, the second tag)."""
    image = world.image("app")
    first = image.replace(":latest", ":v1")
    push_tiny(world.server, "app", "v1", salt="app")
    builds = [("hook-7" if event in decided else f"hook-event-{event}") for event in (1, 2)]
    with serving(PlayedHook(world.digests[image])) as hook:
        hook.decided |= decided
        with world.controller(hook={"url": f"http://127.0.0.1:{hook.server_port}"}):
            world.snapshots.create("app", spec={"images": [first, image], "executor": "Hook"})
            until(lambda: found(world) == builds, explain=lambda: json.dumps(world.snapshots.list(), indent=1))
            yield hook, image


@pytest.fixture
def undecided(world):
    """The first one's wish has led to the build, the second one's is not decided."""
    with two_tags(world, {1}) as found:
        yield found


def test_a_wish_that_is_decided_after_its_build_has_ended_makes_its_tag_ready_too(world, undecided):
    hook, _ = undecided
    hook.states[7] = "done"
    until(lambda: found(world, "phase") == ["Ready", "Queued"], explain=lambda: json.dumps(world.snapshots.list(), indent=1))
    assert found(world, "message")[1] == "the hook decides about it"
    hook.decided.add(2)
    until(lambda: found(world, "phase") == ["Ready"] * 2)
    assert found(world, "snapshotDigest") == [snapshot_of(hook.digest)] * 2


def test_a_build_goes_on_for_a_tag_whose_wish_is_not_decided_yet(world, undecided):
    hook, left = undecided
    world.snapshots.patch("app", {"spec": {"images": [left]}})
    until(lambda: found(world) == ["hook-event-2"])
    assert not hook.cancelled()
    hook.decided.add(2)
    hook.states[7] = "done"
    until(lambda: found(world, "phase") == ["Ready"], explain=lambda: json.dumps(world.snapshots.list(), indent=1))


def test_an_object_that_goes_before_its_wish_is_decided_leaves_no_build(world, undecided):
    hook, left = undecided
    world.snapshots.patch("app", {"spec": {"images": [left]}})
    until(lambda: found(world) == ["hook-event-2"])
    world.snapshots.delete("app")
    asked = len(hook.asked)
    until(lambda: "GET /v1/decisions/2" in hook.asked[asked:])
    assert not hook.cancelled() and world.snapshots.list()
    hook.decided.add(2)
    until(lambda: not world.snapshots.list())
    assert hook.cancelled()


@pytest.mark.parametrize("first", [1, 2])
def test_an_object_that_goes_ends_its_build_at_once_and_what_another_wish_leads_to_later(world, first):
    """Whichever of its tags is looked at first."""
    with two_tags(world, {3 - first}) as (hook, _):
        world.snapshots.delete("app")
        until(hook.cancelled)
        assert world.snapshots.list()
        hook.leads[first] = 8
        hook.decided.add(first)
        until(lambda: not world.snapshots.list())
        assert hook.cancelled(8)


def test_an_object_that_goes_ends_its_build_although_its_other_wish_leads_to_none(world, undecided):
    hook, _ = undecided
    world.snapshots.delete("app")
    hook.leads[2] = None
    hook.decided.add(2)
    until(lambda: not world.snapshots.list())
    assert hook.cancelled()


def test_a_build_ends_when_all_tags_that_want_it_have_left_the_spec(world, undecided):
    hook, _ = undecided
    other = world.image("other")
    world.snapshots.patch("app", {"spec": {"images": [other]}})
    until(lambda: found(world, "image") == [other])
    assert hook.cancelled()


def test_a_build_ends_when_its_object_wants_another_executor(world, undecided):
    hook, _ = undecided
    world.snapshots.patch("app", {"spec": {"executor": "Job"}})
    until(lambda: all(build and not build.startswith("hook-") for build in found(world)[:1]))
    assert hook.cancelled()


def test_a_wish_that_is_decided_in_a_moment_is_no_trouble(world):
    with two_tags(world, {1}) as (hook, _):
        world.snapshots.delete("app")
        asked = len(hook.asked)
        until(lambda: "GET /v1/decisions/2" in hook.asked[asked:])
        hook.decided.add(2)
        until(lambda: not world.snapshots.list())
    events = [event["reason"] for event in Objects(world.kube, "events").list()]
    assert "BuildStarted" in events and "CleanupFailed" not in events
