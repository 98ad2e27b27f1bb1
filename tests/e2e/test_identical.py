# SPDX-License-Identifier: Apache-2.0
"""The snapshot of an image is what containerd's overlayfs shows, entry by entry; and everything at rest can be
read with stock tools."""
import hashlib
import os
import re
import shutil
import struct
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import debian, images
from support.programs import treecmp
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")

FLAT_DISKS = ("busybox", "odd", "stack40", "python")
LONG = {"hundredk", "sparse"}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in images.MAKERS])
def built(request):
    """(name, source, zeropull with the snapshot built)."""
    name, source = request.param, images.source(request.param)
    with debian.work_directory() as directory:
        zeropull = Zeropull(Path(directory) / "store")
        zeropull.build(source)
        yield name, source, zeropull


@contextmanager
def containerd_view(containerd, name):
    """containerd's unpacked root file system of a test image, and the time before it was unpacked."""
    epoch = int(time.time())
    image = containerd.import_layout(images.layout(name), name)
    try:
        with containerd.mounted(image) as directory:
            yield directory, epoch
    finally:
        containerd.remove(image)


@contextmanager
def loop_mounted(disk, directory):
    directory.mkdir()
    subprocess.run(["mount", "-t", "erofs", "-o", "ro,loop", disk, directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        directory.rmdir()


def test_snapshot_is_what_containerd_shows(built, containerd, work):
    name, source, zeropull = built
    with containerd_view(containerd, name) as (left, epoch):
        with zeropull.mounted(source, work / "mnt") as right:
            assert treecmp(left, right, "--ignore-dir-mtime-after", epoch) == []
        if name in FLAT_DISKS:
            for options in ([], ["--compat"]):
                disk = work / f"disk{len(options)}"
                zeropull.ok("export", source, str(disk), *options)
                with loop_mounted(disk, work / "loop") as right:
                    assert treecmp(left, right, "--ignore-dir-mtime-after", epoch) == []


def unpack_devices(zeropull, directory):
    """Unpacks every device by zstd; returns {its name: file}."""
    devices = {}
    for device in zeropull.device_directories():
        devices[device.name] = directory / (device.name + ".raw")
        subprocess.run(["zstd", "-dq", "--sparse", device / "device.zst", "-o", devices[device.name]], check=True)
    return devices


def device_options(metadata, devices):
    """fsck.erofs's options for the devices in a file system's table, whose tags are their names (erofs_fs.h)."""
    data = metadata.read_bytes()
    count, first_slot = struct.unpack_from("<HH", data, 1024 + 86)
    tags = [data[slot * 128 : slot * 128 + 64].decode() for slot in range(first_slot, first_slot + count)]
    return [f"--device={devices[tag]}" for tag in tags]


def fsck_version():
    text = subprocess.run(["fsck.erofs", "-V"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return tuple(map(int, re.search(r"fsck\.erofs\D*(\d+)\.(\d+)", text).groups()))


def fsck(path, *options):
    result = subprocess.run(["fsck.erofs", *options, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
    assert "corrupt" not in result.stdout.lower() and "<E>" not in result.stdout, result.stdout


@pytest.mark.skipif(not shutil.which("fsck.erofs"), reason="no fsck.erofs (package erofs-utils)")
def test_fsck_accepts_metadata_and_disk(built, work):
    _, source, zeropull = built
    devices = unpack_devices(zeropull, work)
    (image,) = zeropull.image_directories()
    for metadata in [image / "snapshot.erofs"] + [layer / "layer.erofs" for layer in zeropull.layer_directories()]:
        fsck(metadata, *device_options(metadata, devices))
    for compat in ([], ["--compat"]):
        if not compat and fsck_version() < (1, 8):
            continue  # knows no device table on a flat disk; the kernel mounts it in the test above
        disk = work / f"disk{len(compat)}"
        zeropull.ok("export", source, str(disk), *compat)
        fsck(disk)
        disk.unlink()


def test_pack_unpacked_by_zstd_is_the_device_the_kernel_mounts(built, work):
    _, source, zeropull = built
    with zeropull.mounted(source, work / "mnt"):
        devices = sorted((zeropull.store / "unpacked").glob("*.raw"))
        assert devices or not zeropull.device_directories()  # those that the image shows nothing of are not unpacked
        for raw in devices:
            pack = zeropull.store / "devices" / raw.stem / "device.zst"
            with subprocess.Popen(["zstd", "-dcq", pack], stdout=subprocess.PIPE) as process:
                ours = hashlib.file_digest(process.stdout, "sha256").hexdigest()
            with open(raw, "rb") as file:
                assert hashlib.file_digest(file, "sha256").hexdigest() == ours
            assert process.returncode == 0


def test_ls_and_cat_agree_with_the_mount(built, work):
    name, source, zeropull = built
    with zeropull.mounted(source, work / "mnt") as mounted:
        checked = []
        for directory, _, files in os.walk(mounted):
            for file in files:
                path = os.path.join(directory, file)
                if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > 1 << 20:
                    continue
                inside = os.fsencode(os.path.relpath(path, mounted))
                with open(path, "rb") as content:
                    assert zeropull.expect(0, "cat", source, inside).stdout == content.read()
                checked.append(inside)
                if len(checked) == 30:
                    return
    assert checked or name in ("sparse", "nothing")


def test_the_built_snapshot_verifies(built):
    _, source, zeropull = built
    zeropull.ok("verify", source)
