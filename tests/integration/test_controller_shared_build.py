# SPDX-License-Identifier: Apache-2.0
"""Objects of two namespaces that wait for one build of a hook, each knowing it by another name. The hook is a played one, which
says of a wish what the test wants."""
import json
import re
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
    """Each wish is an event; those that are decided lead to build 7."""

    daemon_threads = True

    def __init__(self, digest):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.digest, self.asked, self.events, self.decided = digest, [], 0, set()
        self.state = "queued"

    def answer(self, method, path, body):
        if (method, path) == ("POST", "/v1/builds"):
            self.events += 1
            return {"event": self.events}
        if event := re.fullmatch(r"/v1/decisions/(\d+)", path):
            return {"decided": int(event[1]) in self.decided, "marked": 1, "builds": [{"id": 7}]}
        if path == "/v1/builds/7/cancel":
            self.state = "cancelled"
        return {"id": 7, "digest": self.digest, "state": self.state,
                "result": {"snapshot": snapshot_of(self.digest), "snapshotSize": 42}}  # fmt: skip

    def cancelled(self):
        return "POST /v1/builds/7/cancel" in self.asked


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


@pytest.fixture
def undecided(world):
    """An object with two tags of one image: the first one's wish has led to the build, the second one's is not decided."""
    image = world.image("app")
    first = image.replace(":latest", ":v1")
    push_tiny(world.server, "app", "v1", salt="app")
    with serving(PlayedHook(world.digests[image])) as hook:
        hook.decided.add(1)
        with world.controller(hook={"url": f"http://127.0.0.1:{hook.server_port}"}):
            world.snapshots.create("app", spec={"images": [first, image], "executor": "Hook"})
            until(lambda: found(world) == ["hook-7", "hook-event-2"], explain=lambda: json.dumps(world.snapshots.list(), indent=1))
            yield hook, image


def test_a_wish_that_is_decided_after_its_build_has_ended_makes_its_tag_ready_too(world, undecided):
    hook, _ = undecided
    hook.state = "done"
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
    hook.state = "done"
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
