# SPDX-License-Identifier: Apache-2.0
"""What zeropull-controller knows of objects: those that changed while nobody told it, those that it cannot list, and those that
are another leader's to look at."""
import pytest

from support.controller import controller, until
from support.controller_world import CONFIG, Objects, controller_world


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def rule(world, **spec):
    Objects(world.kube, "clusterimagesnapshots", "").create("all", spec={"namespaces": ["*"], "repositories": ["**"], **spec})


def made(world):
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in world.snapshots.list()}


def test_an_image_snapshot_that_went_unseen_is_made_anew(world):
    """Its deletion is in no watch any more: the list lacks it."""
    image = world.image("app")
    world.pods.create("app", spec={"containers": [{"name": "app", "image": image}]})
    rule(world)
    with world.controller():
        ((name, uid),) = until(lambda: made(world)).items()
        world.wait_for_job(image)
        until(lambda: world.snapshots.get(name)["metadata"].get("finalizers"))
        world.kube.stop()
        world.snapshots.patch(name, {"metadata": {"finalizers": None}})
        world.snapshots.delete(name)
        world.kube.objects.compact()
        world.kube.start()
        until(lambda: made(world).get(name, uid) != uid)


def test_while_pods_cannot_be_listed_nothing_counts_as_unused(world):
    """A right was taken away, and the controller begins anew."""
    image = world.image("app")
    world.pods.create("app", spec={"containers": [{"name": "app", "image": image}]})
    rule(world, unusedTTL="1s")
    with world.controller():
        known = until(lambda: made(world))
        world.wait_for_job(image)
    fault = world.kube.add_fault(path="^/api/v1/pods", status=403, times=4)
    with world.controller():
        until(lambda: fault.happened == 4)  # with a pause after each: more than a second
        assert made(world) == known
        world.pods.delete("app")
        until(lambda: not made(world))


def test_a_rule_says_that_it_waits_for_pods_that_cannot_be_listed(world):
    world.pods.create("app", spec={"containers": [{"name": "app", "image": world.image("app")}]})
    fault = world.kube.add_fault(path="^/api/v1/pods", status=403, times=2)
    rule(world)

    def ready():
        status = Objects(world.kube, "clusterimagesnapshots", "").get("all").get("status", {})
        return [(c["reason"], c["observedGeneration"]) for c in status.get("conditions", []) if c["type"] == "Ready"]

    with world.controller():
        until(lambda: ready() == [("PodsNotListed", 1)])
        until(lambda: made(world))
        until(lambda: ready() == [("NotReady", 1)])
    assert fault.happened == 2


def test_a_pod_whose_image_is_changed_where_it_is_gets_a_snapshot_of_the_new_one(world):
    images = [world.image("app"), world.image("other")]
    world.pods.create("app", spec={"containers": [{"name": "app", "image": images[0]}]})
    rule(world)
    with world.controller() as running:
        world.end(images[0])
        world.wait(*made(world), "Ready", "")
        until(lambda: (running.metric("queue_ready"), running.metric("queue_waiting")) == (0, 0))  # nobody looks at the rule any more
        world.pods.patch("app", {"spec": {"containers": [{"name": "app", "image": images[1]}]}})
        until(lambda: sorted(item["spec"]["images"][0] for item in world.snapshots.list()) == sorted(images))


def test_who_does_not_lead_keeps_no_account_of_what_is_gone_and_looks_at_all_that_is_there_when_he_does(world):
    leases = Objects(world.kube, "leases", "default")
    leases.create("zeropull-controller", spec={"holderIdentity": "another", "leaseDurationSeconds": 3600})
    image, pods = world.image("app"), world.image("pods")
    with controller(world.directory / "controller", world.kube.kubeconfig(), {**CONFIG, "job": {"image": "x"}}, "--leader-elect") as running:
        for name in ("a", "b", "c"):
            world.snapshot(name, image)
        until(lambda: running.metric("imagesnapshots") == 3)
        for name in ("a", "b", "c"):
            world.snapshots.delete(name)
        world.snapshot("app", image)
        world.pods.create("app", spec={"containers": [{"name": "app", "image": pods}]})
        rule(world)
        until(lambda: (running.metric("imagesnapshots"), running.metric("clusterimagesnapshots")) == (1, 1))
        assert (running.metric("queue_ready"), running.metric("queue_waiting"), running.metric("leader")) == (0, 0, 0)
        leases.delete("zeropull-controller")
        world.wait_for_job(image)
        world.wait_for_job(pods)
