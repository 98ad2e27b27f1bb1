# SPDX-License-Identifier: Apache-2.0
"""What the API server refuses to zeropull-controller: soon asked again the first time, since an API server that has just started
refuses everybody until it has read its roles, and then more seldom; and the objects say what is missing. And what a registry
has that is of no use: it stays so, unless a tag moves on from it."""
import time
from datetime import datetime

import pytest

from support.controller import push_tiny, until
from support.controller_world import Objects, controller_world


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def pause_of(world, name):
    """Seconds from the last look at its image until the next attempt; 0: none is planned."""
    (image,) = world.snapshots.get(name)["status"]["images"]
    times = [datetime.fromisoformat(image[key]) for key in ("lastCheckTime", "nextAttemptTime") if key in image]
    return (times[1] - times[0]).total_seconds() if len(times) == 2 else 0


@pytest.mark.long
def test_a_build_that_is_refused_is_soon_tried_again_and_later_more_seldom(world):
    image = world.image("app")
    refused = world.kube.add_fault(method="POST", path="/jobs", status=403, times=2)
    with world.controller():
        world.snapshot("app", image)
        world.wait("app", "BuildNotStarted", "Failed", "BuildNotStarted")
        assert 20 <= pause_of(world, "app") <= 60
        until(lambda: refused.happened == 2 and pause_of(world, "app") >= 280, explain=lambda: str(world.snapshots.get("app")))
        world.snapshots.patch("app", {"metadata": {"annotations": {"zeropull.dev/retry": "now"}}})
        world.wait_for_job(image)


def of_no_image(world, **spec):
    """An object of a tag that names something else: when it is looked at again, in seconds; None: never."""
    push_tiny(world.server, "app", is_image=False)
    world.snapshot("app", f"{world.server.host}/app:latest", **spec)
    world.wait("app", "NotAnImage", "Failed", "NotAnImage")
    again = world.snapshots.get("app")["status"]["images"][0].get("nextAttemptTime")
    return again and datetime.fromisoformat(again).timestamp() - time.time()


def test_a_tag_that_is_followed_is_looked_at_again_though_it_names_no_image(world):
    with world.controller():
        assert 300 < of_no_image(world, mode="Track", interval="10m") <= 601


def test_a_tag_that_is_not_followed_and_names_no_image_is_not(world):
    with world.controller():
        assert of_no_image(world) is None


@pytest.mark.long
def test_a_tag_that_comes_to_name_an_image_is_built(world):
    with world.controller():
        of_no_image(world, mode="Track", interval="30s")
        digest = push_tiny(world.server, "app")
        until(lambda: [job["metadata"]["annotations"]["zeropull.dev/digest"] for job in world.jobs.list()] == [digest])
