# SPDX-License-Identifier: Apache-2.0
"""A preload whose file system hangs as its files are read, once they are open. Needs root."""
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import oci
from support.programs import BUILD
from support.pulls import Image, chains, pull, reason
from support.ship import fill_app, fill_bare, fill_base, make_image
from support.snapshotter import mount_one, mounted, settings, snapshotter, stopped
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

SERVE = BUILD / "tests" / "tools" / "blockfs-serve"
NUMBER = "deadbeef00112233"
MS_BIND = 4096
PATIENCE_SECONDS = 20


@contextmanager
def served(work, path):
    """In the place of a file, one whose server's pid this yields."""
    files, point = work / "files", work / "served"
    files.mkdir()
    point.mkdir()
    (files / NUMBER).write_bytes(path.read_bytes())
    server = subprocess.Popen([SERVE, point, files, "0", str(10**6)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline().startswith("ready")
        mount_one(point / NUMBER, path, "", MS_BIND, "")
        (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        yield int(child)
    finally:
        subprocess.run(["umount", "--lazy", path], check=False)
        server.stdin.close()
        server.wait(timeout=60)


class World:
    """A store with an image, that no registry has."""

    def __init__(self, work):
        self.work, self.store, layout = work, Zeropull(work / "baked"), oci.Layout(work / "layout")
        digest = make_image(layout, "x", fill_base, fill_bare, fill_app(3))
        self.store.ok("build", f"oci:{layout.directory}:x")
        manifest = layout.blob_json(digest)
        config = layout.blob_json(manifest["config"]["digest"])
        self.image = object.__new__(Image)
        self.image.name, self.image.digest = "127.0.0.1:1/some/web", digest  # nobody listens there
        self.image.layers = [layer["digest"] for layer in manifest["layers"]]
        self.image.chain = chains(config["rootfs"]["diff_ids"])

    def pack(self):
        """The largest: it has data/noise."""
        return max((self.work / "baked").glob("devices/*/device.zst"), key=lambda path: path.stat().st_size)

    def move_others(self, to):
        """The data of the other layers, to another preload."""
        for path in (self.work / "baked").glob("devices/*/device.zst"):
            if path != self.pack():
                (to / "devices" / path.parent.name).mkdir(parents=True)
                path.rename(to / "devices" / path.parent.name / path.name)

    def unpacked(self):
        """The same device, beside it."""
        path = self.work / "baked" / "unpacked" / f"{self.pack().parent.name}.raw"
        path.parent.mkdir(exist_ok=True)
        with open(path, "wb") as file:
            subprocess.run(["zstd", "-dc", self.pack()], stdout=file, check=True)
        return path


def begin_reads(path, count):
    """As many readers, each of a part of its own."""
    block = path.stat().st_size // count // 4096
    command = ["dd", f"if={path}", "of=/dev/null", "bs=4096", "count=1", "status=none"]
    return [subprocess.Popen([*command, f"skip={i * block}"]) for i in range(count)]


def read_soon(path):
    return subprocess.run(["cat", path], stdout=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=True).stdout


@pytest.mark.parametrize("kind", [World.pack, World.unpacked], ids=["pack", "unpacked"])
def test_a_preload_that_hangs_as_it_is_read_keeps_its_own_readers_alone(work, kind):
    world = World(work)
    world.move_others(work / "other")
    options = settings(work, "check_rights: false", f"preloads: [{work}/baked, {work}/other]")
    with served(work, kind(world)) as server, snapshotter(work, *options) as daemon:
        api = daemon.client()
        names = pull(api, world.image)
        assert None not in names, reason(daemon)
        with mounted(api.view("v", names[-1]), work / "m") as root:
            with stopped(server):
                readers = begin_reads(root / "data/noise", 8)
                for _ in range(20):
                    assert b"reads" in read_soon(daemon.root / "devices/statistics")
                assert len(read_soon(root / "app/main")) == 400_000
                assert all(reader.poll() is None for reader in readers)
            assert [reader.wait(timeout=60) for reader in readers] == [0] * 8
        api.close()
