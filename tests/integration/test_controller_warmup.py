# SPDX-License-Identifier: Apache-2.0
"""What zeropull-controller tells the nodes of an ImageSnapshot that is to be there before its pods are."""
import signal
import threading
import time

import pytest

from support.controller import Controller, until
from support.controller_world import CONFIG, Objects, controller_world

RENEW_DEADLINE_SECONDS = 10  # after which a leader is none any more that has not renewed its lease


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def add_node(world):
    nodes = Objects(world.kube, "nodes", "")
    nodes.create("n", labels={"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"})
    nodes.patch("n", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "status")


def warmed_up(world, name):
    found = world.snapshots.get(name).get("status", {}).get("conditions", [])
    return {c["type"]: c for c in found}.get("WarmedUp", {"status": None, "reason": None})


def test_nodes_are_told_of_the_pull_secrets_of_the_objects_service_account(world):
    image = world.image("app")
    accounts, caches = Objects(world.kube, "serviceaccounts"), Objects(world.kube, "nodesnapshotcaches", "")
    add_node(world)
    accounts.create("builder", imagePullSecrets=[{"name": "account"}, {"name": "own"}])
    unread = world.kube.add_fault(path="/serviceaccounts/builder", status=500, times=1)
    with world.controller():
        world.snapshot("app", image, pullSecrets=[{"name": "own"}], serviceAccountName="builder", warmUp={})
        world.end(image)
        world.wait("app", "Ready", "")

        def secrets():
            images = [wanted for cache in caches.list() for wanted in cache["spec"].get("images", [])]
            return [[secret["name"] for secret in wanted["pullSecrets"] if secret["namespace"] == "a"] for wanted in images]

        until(lambda: secrets() == [["own", "account"]], explain=lambda: str(caches.list()))
        (role,) = Objects(world.kube, "roles").list()
        assert [rule["resourceNames"] for rule in role["rules"]] == [["own", "account"]]
        assert unread.happened == 1


@pytest.mark.long
def test_a_right_that_comes_late_is_enough_and_until_then_the_object_says_what_is_missing(world):
    image, roles = world.image("app"), Objects(world.kube, "roles")
    add_node(world)
    unlisted = world.kube.add_fault(path="/roles", status=403, times=1)
    refused = world.kube.add_fault(method="PATCH", path="/roles/", status=403, times=1)
    with world.controller():
        world.snapshot("app", image, pullSecrets=[{"name": "own"}], warmUp={})
        world.end(image)
        until(lambda: warmed_up(world, "app")["reason"] == "PullSecretsForbidden", explain=lambda: str(world.snapshots.get("app")))
        assert warmed_up(world, "app")["status"] == "False"
        assert "let the nodes read its pull secrets" in warmed_up(world, "app")["message"] and "403" in warmed_up(world, "app")["message"]
        assert (roles.list(), refused.happened, unlisted.happened) == ([], 1, 1)
        until(roles.list, explain=lambda: str(world.snapshots.get("app")))  # nobody changed anything meanwhile
        until(lambda: warmed_up(world, "app")["reason"] == "Warming")
        until(lambda: world.kube.count("GET", "/roles") == 2)


def test_an_object_says_whether_its_nodes_are_warm(world):
    image, caches = world.image("app"), Objects(world.kube, "nodesnapshotcaches", "")
    add_node(world)
    with world.controller():
        world.snapshot("app", image, warmUp={})
        world.end(image)
        (wanted,) = until(lambda: [wanted for cache in caches.list() for wanted in cache["spec"].get("images", [])])
        until(lambda: warmed_up(world, "app")["reason"] == "Warming")
        caches.patch("n", {"status": {"images": [{**{k: wanted[k] for k in ("image", "digest")}, "phase": "Ready"}]}}, "status")
        until(lambda: warmed_up(world, "app")["status"] == "True", explain=lambda: str((caches.list(), world.snapshots.get("app"))))
        world.snapshots.patch("app", {"spec": {"warmUp": None}})
        until(lambda: warmed_up(world, "app")["status"] is None)


def test_a_planner_that_is_stopped_writes_no_more_and_waits_for_no_answer(world):
    answered = threading.Event()
    held = world.kube.add_fault(method="PATCH", path="/roles/", first=answered.wait)
    add_node(world)
    for name in ("a", "b", "c"):
        world.snapshot(name, world.image(name), pullSecrets=[{"name": "own"}], warmUp={})
    try:
        with world.controller() as running:
            until(lambda: held.happened, explain=running.said)
            running.process.terminate()
            assert running.process.wait(10) == 0
            assert world.kube.count("PATCH", "/roles/") == 1
            assert world.kube.count("PATCH", "/(rolebindings|nodesnapshotcaches)/") == 0
    finally:
        answered.set()


@pytest.mark.parametrize("path", ["/nodesnapshotcaches/", pytest.param("/roles/", marks=pytest.mark.long)])
def test_a_leader_that_sleeps_over_its_lease_writes_nothing_that_it_had_planned(world, path):
    """It falls asleep when the API server has just told it to come back in a moment."""
    image, leases = world.image("app"), Objects(world.kube, "leases")
    busy = world.kube.add_fault(method="PATCH", path=path, status=429, headers={"Retry-After": "2"})
    add_node(world)
    config = {**CONFIG, "lease": {"namespace": "a", "name": "lease"}}
    running = Controller(world.directory / "controller", world.kube.kubeconfig(), config, "--leader-elect").start()
    try:
        world.snapshot("app", image, pullSecrets=[{"name": "own"}], warmUp={})
        world.end(image)
        until(lambda: busy.happened, explain=running.said)
        running.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        until(lambda: time.monotonic() > start + RENEW_DEADLINE_SECONDS + 0.5)
        leases.patch("lease", {"spec": {"holderIdentity": "another"}})
        written = world.kube.count("PATCH", path)
        running.process.send_signal(signal.SIGCONT)
        assert running.process.wait(30) == 1
        assert "is not the leader any more" in running.said()
        assert world.kube.count("PATCH", path) == written
        assert not Objects(world.kube, "nodesnapshotcaches", "").list()
    finally:
        if running.is_running():
            running.kill()
