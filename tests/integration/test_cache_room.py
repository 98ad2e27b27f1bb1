# SPDX-License-Identifier: Apache-2.0
"""Local copies of devices are guests on their disk: they leave room to those who cannot do without, make it when others
have filled the disk, and keep to their limit. Needs root."""
import errno
import os
import random
import subprocess
import time
from contextlib import closing

import pytest

from support import snapshotter as support
from support.pulls import pull
from support.snapshotter import mounted, snapshotter, stopped

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

DISK = 24 << 20


@pytest.fixture
def disk(work):
    """A small disk of its own."""
    directory = work / "disk"
    directory.mkdir()
    with open(work / "disk.img", "wb") as image_file:
        image_file.truncate(DISK)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", work / "disk.img"], check=True)
    subprocess.run(["mount", "-o", "loop", work / "disk.img", directory], check=True)
    return directory


def settings(work, *lines):
    return support.settings(work, "check_rights: false", *lines)


def fill(disk, name="others"):
    """Others take what there is, to the last block."""
    with open(disk / name, "ab", buffering=0) as file:
        for size in (1 << 16, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
        os.fsync(file.fileno())


def copies(daemon):
    return sorted((daemon.root / "store" / "unpacked").iterdir())


def await_whole_copies(daemon, count):
    """Until so many are complete: each is then its device's size, and has its last name. Returns them."""
    deadline = time.monotonic() + 60
    while [copy.suffix for copy in copies(daemon)] != [".raw"] * count:
        assert time.monotonic() < deadline, copies(daemon)
        time.sleep(0.05)
    return copies(daemon)


def test_reading_more_than_the_disk_has_leaves_room_to_prepare_write_and_remove(world, work, disk):
    content = random.Random(1).randbytes(DISK)
    image = world.image("web", lambda layer: layer.file("noise", content))
    with snapshotter(disk, *settings(work)) as daemon:
        with closing(daemon.client()) as api:
            names = pull(api, image)
            with mounted(api.prepare("first", names[-1]), work / "m") as root:
                assert (root / "noise").read_bytes() == content
                (root / "written").write_bytes(b"x" * 500_000)
                assert "served without being kept: the disk is nearly full" in daemon.log()
                room = os.statvfs(disk)
                assert 0 < room.f_bavail * room.f_frsize < DISK / 4
                api.prepare("second", names[-1])
            for key in ("second", "first", *reversed(names)):
                api.remove(key)
            api.cleanup()


@pytest.mark.parametrize("is_asked", [pytest.param(True, id="for-a-call"), pytest.param(False, id="for-others", marks=pytest.mark.long)])
def test_local_copies_make_room_on_a_disk_that_others_have_filled(world, work, disk, is_asked):
    contents = {name: random.Random(name).randbytes(6 << 20) for name in ("web", "db")}
    with snapshotter(disk, *settings(work)) as daemon, closing(daemon.client()) as api:
        names = {}
        for name, content in contents.items():
            names[name] = pull(api, world.image(name, lambda layer, content=content: layer.file("noise", content)))
            with mounted(api.prepare(name, names[name][-1]), work / name) as root:
                assert (root / "noise").read_bytes() == content
        with mounted(api.mounts("web"), work / "web") as root:
            api.remove("db")
            for name in reversed(names["db"]):
                api.remove(name)
            api.cleanup()
            kept = await_whole_copies(daemon, 2)
            if is_asked:
                with stopped(daemon.data_plane()):  # else it makes room first, when this takes long
                    fill(disk)
                    api.prepare("new", names["web"][-1])  # with a directory and records
                api.remove("new")
                assert "the disk is full: local copies of devices have made room" in daemon.log()
            else:
                fill(disk)
                deadline = time.monotonic() + 60  # the data plane has it open for a while after it was read
                while len(copies(daemon)) > 1:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            (copy,) = copies(daemon)
            assert copy in kept
            with open(root / "noise", "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                assert file.read() == contents["web"]
        os.unlink(disk / "others")
        for key in ("web", *reversed(names["web"])):
            api.remove(key)


def test_on_a_full_disk_everything_can_be_removed_and_the_daemon_started(work, disk):
    with snapshotter(disk, *settings(work)) as daemon:
        with closing(daemon.client()) as api:
            for number in range(60):
                api.prepare(f"key-{number}", labels={"containerd.io/snapshot/long": "x" * 3000})
            assert (daemon.root / "reserve").stat().st_blocks * 512 >= 1 << 20
            fill(disk)
        assert daemon.stop() == 0
        fill(disk, "more")
        daemon.start()
        assert 'msg="the disk is full' in daemon.log() and "hint=" in daemon.log()
        with closing(daemon.client()) as api:
            fill(disk, "again")
            for number in range(60):
                api.remove(f"key-{number}")
            api.cleanup()
            assert api.names() == []
            for name in ("others", "more", "again"):
                os.unlink(disk / name)
            api.prepare("new")
            api.remove("new")
        assert (daemon.root / "reserve").stat().st_blocks * 512 >= 1 << 20  # for the next time


def test_the_limit_of_the_cache_holds_while_the_daemon_runs(world, work, disk):
    """Of images that were read one after the other, those used longest ago have gone; what is mounted stays."""
    contents = {name: random.Random(name).randbytes(3 << 20) for name in "abcd"}
    with snapshotter(work, *settings(work, "cache_limit: 7M")) as daemon, closing(daemon.client()) as api:
        for name, content in contents.items():
            names = pull(api, world.image(name, lambda layer, content=content: layer.file("noise", content)))
            with mounted(api.prepare(name, names[-1]), work / name) as root:
                assert (root / "noise").read_bytes() == content
            api.remove(name)
            for layer in reversed(names):
                api.remove(layer)
        deadline = time.monotonic() + 60
        while (used := sum(copy.stat().st_blocks * 512 for copy in copies(daemon))) > 7 << 20:
            assert time.monotonic() < deadline, used
            time.sleep(0.05)
        assert 0 < used
