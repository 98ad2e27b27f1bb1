# SPDX-License-Identifier: Apache-2.0
"""What an image's start needs is fetched once the image is pulled. Needs root."""
import os
import random
from contextlib import closing

import pytest

from support.hook import until
from support.pulls import pull
from support.snapshotter import mounted, settings, snapshotter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
SIZE = 3_000_000
LARGE = 12_000_000  # more than is fetched at once


def test_start_is_fetched_though_nothing_is_mounted(world, work):
    image = world.image_of_noise("web", 0, SIZE)
    with snapshotter(work, *settings(work, "check_rights: false", "complete: never")) as daemon:
        with closing(daemon.client()) as api:
            names = pull(api, image)
            until(lambda: daemon.statistics()["fetched_bytes"] >= SIZE, 30, daemon.log)
            fetched = daemon.statistics()["fetched_bytes"]
            with mounted(api.view("v", names[-1]), work / "m") as root:
                assert (root / "noise").read_bytes() == random.Random(0).randbytes(SIZE)
            assert daemon.statistics()["fetched_bytes"] == fetched


def test_large_start_is_fetched_whole_where_there_is_just_room(world, work):
    image = world.image_of_noise("web", 0, LARGE)
    with snapshotter(work, *settings(work, "check_rights: false", "complete: never", "cache_limit: 14M")) as daemon:
        with closing(daemon.client()) as api:
            pull(api, image)
            until(lambda: daemon.statistics()["fetched_bytes"] >= LARGE, 30, daemon.log)


def test_start_that_is_only_expected_takes_no_other_copys_place(world, work):
    images = [world.image_of_noise(f"web{n}", n, SIZE) for n in range(3)]
    with snapshotter(work, *settings(work, "check_rights: false", "complete: never", "cache_limit: 5M")) as daemon:
        with closing(daemon.client()) as api:
            pull(api, images[0])
            until(lambda: daemon.statistics()["fetched_bytes"] >= SIZE, 30, daemon.log)
            names = [pull(api, image)[-1] for image in images[1:]]
            with mounted(api.view("v", names[-1]), work / "m") as root:
                assert len((root / "noise").read_bytes()) == SIZE
            assert SIZE * 2 <= daemon.statistics()["fetched_bytes"] < SIZE * 3
