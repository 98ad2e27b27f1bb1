# SPDX-License-Identifier: Apache-2.0
"""zeropull-controller --remove-all: what has to go from a cluster while a controller is there to let it go."""
import json
import subprocess

import pytest

from support.controller import CONTROLLER, until
from support.controller_world import Objects, controller_world


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def remove_all(world, *options, **config):
    configuration = world.directory / "remove.yaml"
    configuration.write_text(json.dumps({"version": 1, "cleanup-timeout": "1s", **config}))
    command = [CONTROLLER, "--kubeconfig", world.kube.kubeconfig(), "--config", configuration, "--remove-all", *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def snapshots(world, namespace="a"):
    return Objects(world.kube, "imagesnapshots", namespace)


def test_all_objects_go_rules_first_and_the_command_waits_until_they_are_gone(world):
    image = world.image("app")
    rules = Objects(world.kube, "clusterimagesnapshots", "")
    rules.create("rule", spec={"namespaces": ["b"]})
    world.snapshot("app", image)
    with world.controller():
        world.wait_for_job(image)
        snapshots(world, "b").create("other", spec={"images": [world.image("other")]})
        until(lambda: snapshots(world, "b").get("other")["metadata"].get("finalizers"))
        done = remove_all(world)
        assert done.returncode == 0, done.stderr
    assert (rules.list(), snapshots(world, "a").list(), snapshots(world, "b").list()) == ([], [], [])
    assert world.jobs.list() == []  # the controller had time for what it does at the end
    deleted = [path for method, path, _, agent in world.kube.requests if method == "DELETE" and "imagesnapshots" in path]
    assert "clusterimagesnapshots" in deleted[0]
    assert len(deleted) == 3


def test_of_one_namespace_only_what_is_there_goes(world):
    Objects(world.kube, "clusterimagesnapshots", "").create("rule", spec={"namespaces": ["*"]})
    for namespace in "ab":
        snapshots(world, namespace).create("app", spec={"images": ["x"]})
    done = remove_all(world, "--namespace", "a")
    assert done.returncode == 0, done.stderr
    assert (len(snapshots(world, "a").list()), len(snapshots(world, "b").list())) == (0, 1)
    assert len(Objects(world.kube, "clusterimagesnapshots", "").list()) == 1


def test_a_cluster_without_its_kinds_has_nothing_to_remove(world):
    world.kube.resources = [one for one in world.kube.resources if not one.plural.endswith("imagesnapshots")]
    assert remove_all(world).returncode == 0


def test_who_may_not_delete_is_told_so_at_once(world):
    world.snapshot("app", "x")
    world.kube.add_fault(method="DELETE", path="/imagesnapshots/app", status=403)
    refused = remove_all(world)
    assert refused.returncode == 1 and "403" in refused.stderr, refused.stderr


@pytest.mark.long
def test_without_a_controller_it_gives_up_and_names_what_is_left(world):
    world.snapshots.create("app", spec={"images": ["x"]})
    world.snapshots.patch("app", {"metadata": {"finalizers": ["zeropull.dev/cleanup"]}})
    stuck = remove_all(world)
    assert stuck.returncode == 1
    assert "1 objects do not go, the first is a/app" in stuck.stderr and "zeropull.dev/cleanup" in stuck.stderr
