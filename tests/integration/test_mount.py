# SPDX-License-Identifier: Apache-2.0
"""Mounting an image that somebody builds anew."""
import fcntl
import os
import struct

import pytest

from support import oci

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
