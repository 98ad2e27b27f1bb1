# SPDX-License-Identifier: Apache-2.0
"""What zeropull-controller tells the nodes of an ImageSnapshot that is to be there before its pods are."""
import threading

import pytest

from support.controller import until
from support.controller_world import Objects, add_node, controller_world


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


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
