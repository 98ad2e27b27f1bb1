# SPDX-License-Identifier: Apache-2.0
"""Mounting an image that somebody builds anew; and that nothing mounted is removed, wherever the mount went."""
import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from support import oci
from support.zeropull import FAILED, Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


def lock_digest(store, digest):
    """What whoever works on a digest holds, as docs/store.md has it; given back with the file."""
    file = open(store / "lock", "r+b")
    for kind, offset in ((fcntl.F_RDLCK, 1 << 62), (fcntl.F_WRLCK, int(digest.removeprefix("sha256:")[:16], 16) >> 2)):
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, offset, 1, 0))
    return file


def test_mount_waits_for_a_build_of_the_image(zeropull, work):
    layout = oci.Layout(work / "layout")
    layout.add_image("v1", [layout.add_raw_layer(oci.tar_bytes(lambda tar: tar.file("file", b"x" * 100_000)))])
    source = f"oci:{work / 'layout'}:v1"
    digest = zeropull.build(source).strip()
    (work / "mnt").mkdir()
    with lock_digest(zeropull.store, digest):
        process = zeropull.start("mount", source, str(work / "mnt"))
        assert b"waiting" in process.stderr.readline()
        assert not os.path.ismount(work / "mnt")
    process.communicate()
    assert process.returncode == 0
    assert (work / "mnt" / "file").stat().st_size == 100_000
    zeropull.ok("umount", str(work / "mnt"))


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


@pytest.fixture(params=["the work directory", "tmpfs"])
def mounting(request, zeropull, work):
    """(zeropull, source, directory): the image is mounted there; private to the test. From tmpfs a kernel mounts
    through loop devices. Everything below the work directory is unmounted in the end."""
    place = work / "place"
    place.mkdir()
    mount("-t", "tmpfs", "tmpfs", place) if request.param == "tmpfs" else mount("--bind", place, place)
    mount("--make-private", place)
    zeropull = Zeropull(place / "store")
    layout = oci.Layout(work / "layout")
    layout.add_image("v1", [layout.add_raw_layer(oci.tar_bytes(lambda tar: tar.file("file", b"x" * 100_000)))])
    source = f"oci:{work / 'layout'}:v1"
    zeropull.build(source)
    directory = place / "parent" / "mnt"
    directory.mkdir(parents=True)
    (place / "other").mkdir()
    zeropull.ok("mount", source, str(directory))
    try:
        yield zeropull, source, directory
    finally:
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for point in reversed([point for point in points if point == str(place) or point.startswith(f"{place}/")]):
            unmount(point)


def unmount(point):
    """Whoever looks what is mounted on this machine, another test's command, has files of it open for a moment."""
    until = time.monotonic() + 30
    while subprocess.run(["umount", point]).returncode != 0:
        assert time.monotonic() < until, point


def mount_twice(zeropull, source, directory):
    zeropull.ok("mount", source, str(directory))
    zeropull.ok("umount", str(directory))
    return directory


def rename_parent(zeropull, source, directory):
    return directory.parent.rename(directory.parent.with_name("renamed")) / directory.name


def bind_and_unmount(zeropull, source, directory):
    other = directory.parent.parent / "other"
    mount("--bind", directory, other)
    zeropull.ok("umount", str(directory))
    return other


def move(zeropull, source, directory):
    other = directory.parent.parent / "other"
    mount("--move", directory, other)
    return other


def move_the_store(zeropull, source, directory):
    zeropull.store = zeropull.store.rename(zeropull.store.with_name("moved"))
    return directory


@pytest.mark.parametrize("change", [mount_twice, rename_parent, bind_and_unmount, move, move_the_store])
def test_mounted_image_is_not_removed_wherever_the_mount_went(change, mounting):
    zeropull, source, _ = mounting
    directory = change(*mounting)
    assert (directory / "file").stat().st_size == 100_000
    result = zeropull.expect(FAILED, "remove", source)
    assert f"is mounted at '{directory}'" in result.stderr
    assert zeropull.json("prune")["unpacked"] == 0
    zeropull.ok("umount", str(directory))
    assert not os.path.ismount(directory)
    zeropull.ok("remove", source)
    assert zeropull.json("prune")["unpacked"] == 1


def test_umount_follows_a_symbolic_link(mounting):
    zeropull, _, directory = mounting
    (directory.parent / "link").symlink_to(directory)
    zeropull.ok("umount", str(directory.parent / "link"))
    assert not os.path.ismount(directory)


def test_umount_works_on_a_store_that_cannot_be_written(mounting):
    zeropull, _, directory = mounting
    mount("--bind", zeropull.store, zeropull.store)
    mount("-o", "remount,bind,ro", zeropull.store)
    zeropull.ok("umount", str(directory))
    assert not os.path.ismount(directory)


def test_store_with_a_long_path_mounts_and_keeps_what_is_mounted(zeropull, work):
    layout = oci.Layout(work / "layout")
    layout.add_image("v1", [layout.add_raw_layer(oci.tar_bytes(lambda tar: tar.file("file", b"x" * 100_000)))])
    source = f"oci:{work / 'layout'}:v1"
    zeropull = Zeropull(work / ("a" * 200) / ("b" * 100) / "store")
    zeropull.build(source)
    with zeropull.mounted(source, work / "mnt") as directory:
        assert (directory / "file").stat().st_size == 100_000
        zeropull.expect(FAILED, "remove", source)
        assert zeropull.json("prune")["unpacked"] == 0
    zeropull.ok("remove", source)
