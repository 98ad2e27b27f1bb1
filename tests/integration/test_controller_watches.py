# SPDX-License-Identifier: Apache-2.0
"""What zeropull-controller finds out of objects that changed while nobody told it."""
import pytest

from support.controller import until
from support.controller_world import Objects, controller_world


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def test_an_image_snapshot_that_went_unseen_is_made_anew(world):
    """Its deletion is in no watch any more: the list lacks it."""
    image = world.image("app")
    world.pods.create("app", spec={"containers": [{"name": "app", "image": image}]})
    Objects(world.kube, "clusterimagesnapshots", "").create("all", spec={"namespaces": ["*"], "repositories": ["**"]})

    def made():
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in world.snapshots.list()}

    with world.controller():
        ((name, uid),) = until(made).items()
        world.wait_for_job(image)
        until(lambda: world.snapshots.get(name)["metadata"].get("finalizers"))
        world.kube.stop()
        world.snapshots.patch(name, {"metadata": {"finalizers": None}})
        world.snapshots.delete(name)
        world.kube.objects.compact()
        world.kube.start()
        until(lambda: made().get(name, uid) != uid)
