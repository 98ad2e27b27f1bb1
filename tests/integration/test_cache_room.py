# SPDX-License-Identifier: Apache-2.0
"""What is fetched leaves the last room on a disk to those who cannot do without. Needs root."""
import os
import random
import subprocess
from contextlib import closing

import pytest

from support.snapshotter import mounted, snapshotter
from test_snapshotter_remote import pull, world  # noqa: F401 (a fixture)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

DISK = 24 << 20


def test_reading_more_than_the_disk_has_leaves_room_to_prepare_write_and_remove(world, work):  # noqa: F811
    disk = work / "disk"
    disk.mkdir()
    with open(work / "disk.img", "wb") as image_file:
        image_file.truncate(DISK)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", work / "disk.img"], check=True)
    subprocess.run(["mount", "-o", "loop", work / "disk.img", disk], check=True)
    (work / "config.yaml").write_text(f"version: 1\npolicy: {work}/policy.yaml\ncheck_rights: false\n")
    (work / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: accept\n")
    content = random.Random(1).randbytes(DISK)
    image = world.image("web", lambda layer: layer.file("noise", content))
    with snapshotter(disk, "--config", work / "config.yaml") as daemon:
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
