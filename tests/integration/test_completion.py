# SPDX-License-Identifier: Apache-2.0
"""Background completion under the real daemon, as its settings say. Needs root."""
import os
import random
import time
from contextlib import closing

import pytest

from support.pulls import pull
from support.ship import fill_app, fill_base
from support.snapshotter import mounted, settings, snapshotter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def statistics(daemon):
    return {name: int(value) for name, value in
            (line.split() for line in (daemon.root / "devices/statistics").read_text().splitlines())}


def test_what_nobody_mounted_takes_no_other_copys_place(world, work):
    images = [world.image(f"web{n}", lambda layer, n=n: layer.file("noise", random.Random(n).randbytes(3_000_000))) for n in range(2)]
    with snapshotter(work, *settings(work, "check_rights: false", "complete: always", "cache_limit: 5M")) as daemon:
        with closing(daemon.client()) as api:
            for image in images:
                pull(api, image)
        until = time.monotonic() + 60
        while "there is no room for them" not in daemon.log():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert len(list((daemon.root / "store/unpacked").glob("*.raw"))) == 1
        assert statistics(daemon)["evicted_copies"] == 0


def test_what_was_mounted_is_fetched_at_the_limit_and_then_a_plain_file(world, work):
    image = world.image("web", fill_base, fill_app(3))
    with snapshotter(work, *settings(work, "check_rights: false", "complete: started", "background_bandwidth: 1M")) as daemon:
        api = daemon.client()
        names = pull(api, image)
        api.view("v", names[-1])
        began = None
        until = time.monotonic() + 60
        while len(list((daemon.root / "store/unpacked").glob("*.raw"))) < 2:
            fetched = statistics(daemon)["fetched_bytes"]
            began = began or (fetched and (time.monotonic(), fetched))
            assert time.monotonic() < until
            time.sleep(0.05)
        took, fetched = time.monotonic() - began[0], statistics(daemon)["fetched_bytes"] - began[1]
        assert fetched / (took + 0.1) < 1.2 * (1 << 20)
        for name in ("v", *reversed(names)):
            api.remove(name)
        api.cleanup()
        names, before = pull(api, image), statistics(daemon)["reads"]
        with mounted(api.view("v", names[-1]), work / "m") as root:
            assert len((root / "data/noise").read_bytes()) == 3_000_000
        assert statistics(daemon)["reads"] == before
        api.close()
