# SPDX-License-Identifier: Apache-2.0
"""Background completion under the real daemon, as its settings say. Needs root."""
import os
import random
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support.containerd import unmount_below
from support.pulls import pull
from support.ship import fill_app, fill_base
from support.snapshotter import mounted, settings, snapshotter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


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
        assert daemon.statistics()["evicted_copies"] == 0


def test_what_was_mounted_is_fetched_at_the_limit_and_then_a_plain_file(world, work):
    image = world.image("web", fill_base, fill_app(3))
    with snapshotter(work, *settings(work, "check_rights: false", "complete: started", "background_bandwidth: 1M")) as daemon:
        api = daemon.client()
        names = pull(api, image)
        api.view("v", names[-1])
        began = None
        until = time.monotonic() + 60
        while len(list((daemon.root / "store/unpacked").glob("*.raw"))) < 2:
            fetched = daemon.statistics()["fetched_bytes"]
            began = began or (fetched and (time.monotonic(), fetched))
            assert time.monotonic() < until
            time.sleep(0.05)
        took, fetched = time.monotonic() - began[0], daemon.statistics()["fetched_bytes"] - began[1]
        assert fetched / (took + 0.1) < 1.2 * (1 << 20)
        for name in ("v", *reversed(names)):
            api.remove(name)
        api.cleanup()
        names, before = pull(api, image), daemon.statistics()["reads"]
        with mounted(api.view("v", names[-1]), work / "m") as root:
            assert len((root / "data/noise").read_bytes()) == 3_000_000
        assert daemon.statistics()["reads"] == before
        api.close()


@contextmanager
def peer():
    """A process in a mount namespace to which mounts propagate, and from which they come back."""
    process = subprocess.Popen(["unshare", "--mount", "--propagation", "unchanged", "cat"], stdin=subprocess.PIPE)
    try:
        until = time.monotonic() + 10
        while os.readlink(f"/proc/{process.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
            assert time.monotonic() < until
            time.sleep(0.01)
        yield process.pid
    finally:
        process.communicate()


def await_plain_files(daemon):
    """Until both devices of the image are complete."""
    until = time.monotonic() + 60
    while len(list((daemon.root / "store/unpacked").glob("*.raw"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)


def lines_of_erofs(pid, root):
    return [line for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()
            if line.split()[2] == "erofs" and f" {root}/mounts/" in line]  # fmt: skip


def test_next_container_reads_plain_files_while_others_run(world, work):
    """Whatever the mounts' propagation; and then the data plane may be gone."""
    image = world.image("web", fill_base, fill_app(3))
    root = work / "shared"
    root.mkdir()
    subprocess.run(["mount", "--bind", root, root], check=True)
    subprocess.run(["mount", "--make-shared", root], check=True)
    try:
        with peer() as other, snapshotter(root, *settings(work, "check_rights: false", "complete: started")) as daemon:
            api = daemon.client()
            names = pull(api, image)
            with mounted(api.prepare("old", names[-1]), work / "old") as old, open(old / "data/noise", "rb") as running:
                await_plain_files(daemon)
                before = lines_of_erofs("self", daemon.root)
                assert len(before) == 1 and "noatime" not in before[0]
                with mounted(api.prepare("new", names[-1]), work / "new") as new:
                    for pid in ("self", other):
                        (line,) = lines_of_erofs(pid, daemon.root)
                        assert "noatime" in line
                    reads = daemon.statistics()["reads"]
                    noise = (new / "data/noise").read_bytes()
                    assert len(noise) == 3_000_000 and daemon.statistics()["reads"] == reads
                    (new / "data/noise").write_bytes(b"x")
                    assert running.read() == noise
                # and that one from then on
                api.prepare("third", names[-1])
                assert len(lines_of_erofs("self", daemon.root)) == 1
                assert daemon.log().count("mounted its plain files") == 1
            for name in ("third", "new", "old", *reversed(names)):
                api.remove(name)
            api.cleanup()
            assert lines_of_erofs("self", daemon.root) == lines_of_erofs(other, daemon.root) == []
            api.close()
    finally:
        unmount_below(root)


@contextmanager
def completed(world, work):
    """A daemon that has an image whole since it was mounted from the data plane, and the image's last snapshot."""
    image = world.image("web", fill_base, fill_app(3))
    with snapshotter(work, *settings(work, "check_rights: false", "complete: started")) as daemon:
        with closing(daemon.client()) as api:
            parent = pull(api, image)[-1]
            api.view("v", parent)
            await_plain_files(daemon)
        yield daemon, parent


def test_plain_files_stay_mounted_when_everything_was_killed(world, work):
    with completed(world, work) as (daemon, parent):
        with closing(daemon.client()) as api:
            api.prepare("one", parent)
            (plain,) = lines_of_erofs("self", daemon.root)
        daemon.kill()
        daemon.start()
        with closing(daemon.client()) as api:
            assert lines_of_erofs("self", daemon.root) == [plain]
            with mounted(api.mounts("one"), work / "one") as one:
                assert len((one / "data/noise").read_bytes()) == 3_000_000


def test_one_mount_that_stays_keeps_no_later_one_from_plain_files(world, work):
    with completed(world, work) as (daemon, parent):
        with closing(daemon.client()) as api:
            (metadata,) = (daemon.root / "store/images").glob("*/snapshot.erofs")
            away = metadata.rename(metadata.with_name("away"))
            metadata.symlink_to(away)  # which is not followed
            api.prepare("one", parent)
            away.rename(metadata)
            api.prepare("two", parent)
            (line,) = lines_of_erofs("self", daemon.root)
            assert "noatime" in line
