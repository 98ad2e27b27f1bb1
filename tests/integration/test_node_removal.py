# SPDX-License-Identifier: Apache-2.0
"""What zeropull-node has fetched and nobody wants any more: it goes when no container uses it, and not before, whatever
containerd takes away meanwhile. The API server is a fake one; the snapshotter and its mounts are real."""
import json
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from support.controller import until
from support.controller_world import Objects
from support.fake_kubernetes import fake_kubernetes
from support.programs import BUILD, ZEROPULL, treecmp
from support.pulls import pull
from support.ship import fill_app, fill_base
from support.snapshotter import mounted
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
SETTINGS = ["registry_timeout_s: 40"]
NODE = BUILD / "controller" / "node" / "zeropull-node"


class Warm:
    """The node "here", and what its agent shall have."""

    def __init__(self, work, store, kube, zeropull=ZEROPULL):
        self.directory, self.log = work / "agent", work / "agent.log"
        self.caches = Objects(kube, "nodesnapshotcaches", "")
        self.caches.create("here", spec={"images": []})
        self.command = [NODE, "--node", "here", "--root", self.directory, "--store", store, "--kubeconfig", kube.kubeconfig(),
                        "--zeropull", zeropull, "--no-pod-events"]  # fmt: skip

    def want(self, *images):
        """As the controller writes it."""
        self.caches.patch("here", {"spec": {"images": [{"image": name, "digest": digest} for name, digest in images]}})

    def phases(self):
        return {item["image"]: item["phase"] for item in self.caches.get("here").get("status", {}).get("images", [])}

    def said(self):
        return self.log.read_text(errors="replace")

    def until(self, condition):
        return until(condition, explain=lambda: f"{self.caches.get('here')}\n{self.said()}")

    @contextmanager
    def running(self):
        with open(self.log, "ab") as log:
            process = subprocess.Popen(list(map(str, self.command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, self.said()


@pytest.fixture
def kube(work):
    (work / "kube").mkdir()
    with fake_kubernetes(work / "kube") as kube:
        yield kube


def images(store):
    return {image["digest"] for image in json.loads(store.ok("list", "--json"))}


def use_and_let_go(world, daemon, api, work, warm, image):
    """A container uses what is warm; the object goes meanwhile, then the container, then containerd's image."""
    store = Zeropull(daemon.root / "store")
    warm.want((f"{image.name}:latest", image.digest))
    warm.until(lambda: warm.phases() == {f"{image.name}:latest": "Ready"})
    devices = store.device_directories()
    names = pull(api, image)
    assert None not in names and devices
    with mounted(api.view("container", names[-1]), work / "c") as root:
        warm.want()
        warm.until(lambda: f"{image.name}:latest: RemoveFailed" in warm.said())
        assert "is mounted at '" in warm.said()
        with world.expected(image) as expected:
            assert treecmp(expected, root) == []  # fetched only now
        assert images(store) == {image.digest} and store.device_directories() == devices
    api.remove("container")
    for name in reversed(names):
        api.remove(name)
    api.cleanup()
    return store


def test_what_a_container_uses_is_removed_after_it_by_an_agent_that_was_started_anew(world, daemon, api, work, kube):
    image = world.image("web", fill_base, fill_app(3))
    warm = Warm(work, daemon.root / "store", kube)
    with warm.running():
        store = use_and_let_go(world, daemon, api, work, warm, image)
    assert images(store) == {image.digest}
    with warm.running():
        warm.until(lambda: not images(store) and not store.device_directories())


@pytest.mark.long
def test_what_a_container_uses_is_removed_a_minute_after_it_was_refused(world, daemon, api, work, kube):
    image = world.image("web", fill_base, fill_app(3))
    warm = Warm(work, daemon.root / "store", kube)
    with warm.running():
        store = use_and_let_go(world, daemon, api, work, warm, image)
        warm.until(lambda: not images(store) and not store.device_directories())


def test_containers_that_start_while_their_image_is_removed_see_its_files(world, daemon, api, work):
    """As an agent's removals and containerd's garbage collection meet a kubelet that starts the next pod."""
    image = world.image("web", fill_base, fill_app(3))
    store, ending, removed = Zeropull(daemon.root / "store"), threading.Event(), []
    shown = 0

    def remove():
        while not ending.is_set():
            removed.append(store.run("remove", image.digest).returncode == 0)
            store.run("prune", "--quiet")

    thread = threading.Thread(target=remove)
    with world.expected(image) as expected:
        thread.start()
        try:
            turns, until_s = 0, time.monotonic() + 90
            while turns < 15 or (not (any(removed) and shown) and time.monotonic() < until_s):
                turns += 1
                names = pull(api, image)
                if None in names:  # it went in between: this one is pulled and unpacked
                    names = [*names[:-1], *api.names("kind==active")]
                else:
                    with mounted(api.view("container", names[-1]), work / "c") as root:
                        assert treecmp(expected, root) == []
                    api.remove("container")
                    shown += 1
                for name in reversed(names):
                    api.remove(name)
        finally:
            ending.set()
            thread.join()
    assert any(removed) and shown


def test_what_was_fetched_while_the_agent_was_told_to_end_is_its_own(work, kube):
    """A pull that could not be ended any more."""
    digest = f"sha256:{'a' * 64}"
    played = work / "zeropull"
    answer = json.dumps({"digest": digest, "bytesReceived": 7, "wasPresent": False})
    played.write_text(f"#!/bin/sh\ntrap \"echo '{answer}'; exit 0\" TERM\n: > {work}/begun\nwhile :; do sleep 600 & wait; done\n".replace(
        answer, answer.replace('"', '\\"')))  # fmt: skip
    played.chmod(0o755)
    warm = Warm(work, work / "store", kube, played)
    with warm.running():
        warm.want(("r.example/web:1", digest))
        warm.until((work / "begun").exists)
    assert json.loads((work / "agent" / "node-agent.json").read_text())["images"] == {digest: "r.example/web:1"}
