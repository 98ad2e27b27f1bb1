# SPDX-License-Identifier: Apache-2.0
"""Stores that are only read: images in them start with the registry away, and nothing in them is believed that can be
checked. Needs root."""
import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from support import oci
from support.programs import BUILD, treecmp
from support.pulls import Image, chains, prepare_layer, pull, reason
from support.ship import fill_app, fill_bare, fill_base, make_image
from support.snapshotter import SNAPSHOTTER, mount_one, mounted, settings, snapshotter
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


MS_BIND = 4096


@contextmanager
def hung(point):
    """A file system whose server never answers there: who touches it waits, until it is gone."""
    point.mkdir(exist_ok=True)
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        mount_one("hung", point, "fuse", 0, f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other")
        yield
    finally:
        os.close(fd)  # which aborts it
        subprocess.run(["umount", "--lazy", point], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def slow(work, paths, seconds):
    """Whoever reads one of these files waits so long."""
    files, point = work / "files", work / "served"
    files.mkdir()
    point.mkdir()
    for number, path in enumerate(paths, 16):
        shutil.copyfile(path, files / f"{number:x}")
    command = [BUILD / "tests/tools/blockfs-serve", point, files, str(int(seconds * 1e6)), "0"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline().startswith("ready")
        for number, path in enumerate(paths, 16):
            mount_one(point / f"{number:x}", path, "", MS_BIND, "")
        yield
    finally:
        for path in paths:
            subprocess.run(["umount", "--lazy", path], check=False, stderr=subprocess.DEVNULL)
        server.stdin.close()
        server.wait(timeout=60)


def disk_path(work):
    return work / "disk.img"


class World:
    """A registry with an image and its snapshot, a store with all of it, and that store mounted for reading only."""

    def __init__(self, work, kind):
        self.work, self.store = work, Zeropull(work / "baked")
        self.layout = oci.Layout(work / "layout")
        digest = make_image(self.layout, "x", fill_base, fill_bare, fill_app(3))
        self.store.ok("build", f"oci:{self.layout.directory}:x")
        self.name, self.digest = "127.0.0.1:1/some/web", digest  # nobody listens there
        manifest = self.layout.blob_json(digest)
        config = self.layout.blob_json(manifest["config"]["digest"])
        self.image = object.__new__(Image)
        self.image.name, self.image.digest = self.name, digest
        self.image.layers = [layer["digest"] for layer in manifest["layers"]]
        self.image.chain = chains(config["rootfs"]["diff_ids"])
        self.kind = kind

    def mount(self):
        self.point = self.work / "preload"
        self.point.mkdir()
        source = self.work / "baked"
        if self.kind == "ext4":
            subprocess.run(["mkfs.ext4", "-q", "-d", source, disk_path(self.work), "64M"], check=True)
            subprocess.run(["mount", "-o", "loop,ro,noload", disk_path(self.work), self.point], check=True)
        elif self.kind in ("erofs", "squashfs"):
            make = {"erofs": ["mkfs.erofs", disk_path(self.work), source], "squashfs": ["mksquashfs", source, disk_path(self.work)]}
            subprocess.run(make[self.kind], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            subprocess.run(["mount", "-o", "loop,ro", "-t", self.kind, disk_path(self.work), self.point], check=True)
        else:
            subprocess.run(["mount", "--bind", source, self.point], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", self.point], check=True)

    def settings(self):
        return settings(self.work, "check_rights: false", f"preloads: [{self.point}]")


@pytest.mark.parametrize("kind", [
    "ext4", "bind", "erofs",
    pytest.param("squashfs", marks=pytest.mark.skipif(not shutil.which("mksquashfs"), reason="no mksquashfs (squashfs-tools)")),
])  # fmt: skip
def test_an_image_in_a_read_only_store_starts_without_the_registry(work, kind):
    world = World(work, kind)
    world.mount()
    with snapshotter(work, *world.settings()) as daemon:
        api = daemon.client()
        names = pull(api, world.image)
        assert None not in names and len(names) == 3, reason(daemon)
        with world.store.mounted(world.digest, work / "expected") as expected:
            with mounted(api.view("v", names[-1]), work / "m") as root:
                assert treecmp(expected, root) == []
        statistics = dict(line.split() for line in (daemon.root / "devices/statistics").read_text().splitlines())
        assert int(statistics["requests"]) == 0
        assert not list((daemon.root / "store").glob("unpacked/*")) and not list((daemon.root / "store").glob("devices/*/device.zst"))
        api.close()


@pytest.mark.parametrize("file", ["images/*/snapshot.erofs", "layers/*/layer.erofs", "devices/*/device.idx", "images/*/config.json",
                                  "images/*/manifest.json"])  # fmt: skip
def test_what_is_damaged_in_a_preload_is_not_taken(work, file):
    world = World(work, "bind")
    paths = list((work / "baked").glob(file))
    for path in paths:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
    world.mount()
    with snapshotter(work, *world.settings()) as daemon:
        api = daemon.client()
        assert pull(api, world.image) == [None]
        (said,) = [line for line in daemon.log().splitlines() if "preload cannot be used" in line]
        assert f"preload={world.point}" in said and any(str(path.relative_to(work / "baked")) in said for path in paths)
        assert reason(daemon)
        assert not list((daemon.root / "store" / "images").iterdir())
        api.close()


def test_damaged_data_is_an_error_where_nobody_else_has_it(work):
    world = World(work, "bind")
    (pack,) = sorted((work / "baked").glob("devices/*/device.zst"), key=lambda path: -path.stat().st_size)[:1]
    data = bytearray(pack.read_bytes())
    data[1_000_000] ^= 1
    pack.write_bytes(data)
    world.mount()
    with snapshotter(work, *world.settings()) as daemon:
        api = daemon.client()
        names = pull(api, world.image)
        with mounted(api.prepare("c", names[-1]), work / "m") as root:
            with pytest.raises(OSError):
                (root / "data/noise").read_bytes()
            assert len((root / "app/main").read_bytes()) == 400_000
        file = world.point / pack.relative_to(work / "baked")
        (said,) = [line for line in daemon.log().splitlines() if " a read of " in line]
        assert f"twice: '{file}': frame at byte" in said
        api.close()


def test_where_signatures_are_wanted_a_preload_is_not_asked(work):
    world = World(work, "bind")
    world.mount()
    settings = world.settings()
    key = work / "key"
    world.store.ok("key", "generate", str(key))
    (work / "policy.yaml").write_text(
        f"version: 1\nkeys:\n  k: {key}.pub\nrules:\n- repository: '*'\n  require: [k]\n")
    with snapshotter(work, *settings) as daemon:
        api = daemon.client()
        assert prepare_layer(api, world.image, 0, "") is None
        assert "policy.yaml:" not in reason(daemon)
        assert not list((daemon.root / "store" / "images").iterdir())
        api.close()


@pytest.mark.parametrize("where", ["", "layers/*"], ids=["at-once", "half-way"])
def test_a_preload_that_hangs_is_passed_over(work, where):
    """The next one has the image, and nobody waits for the first one again."""
    world = World(work, "bind")
    world.mount()
    first = work / "first"
    shutil.copytree(work / "baked", first)
    (point,) = list(first.glob(where))[:1] if where else [first]
    options = settings(work, "check_rights: false", f"preloads: [{first}, {world.point}]")
    with hung(point), snapshotter(work, *options) as daemon:
        api = daemon.client()
        names = pull(api, world.image)
        assert None not in names and len(names) == 3, reason(daemon)
        told = f"part=control msg=\"preload '{first}': it does not answer"
        assert daemon.log().count(told) == 1
        other = object.__new__(Image)
        other.__dict__.update(world.image.__dict__, name="127.0.0.1:1/some/other", digest="sha256:" + "1" * 64)
        assert prepare_layer(api, other, 0, "") is None
        assert daemon.log().count(told) == 1
        api.close()


@pytest.mark.parametrize("registry", ["answers", "is-away"])
def test_a_preload_that_is_slow_leaves_time_to_the_registry(world, work, registry):
    """And has the rest of it when there is no registry."""
    image = world.image("web", *(fill_app(number) for number in range(10)))
    baked = work / "baked"
    shutil.copytree(work / "builder", baked)
    if registry == "is-away":
        image.name = "127.0.0.1:1/some/web"
    paths = [path for kind in ("images", "layers") for path in sorted(baked.glob(f"{kind}/*/*"))]
    timeout = 12 if registry == "answers" else 20  # the preload takes 13 s
    options = settings(work, f"registry_timeout_s: {timeout}", "check_rights: false", f"preloads: [{baked}]")
    with slow(work, paths, 1), snapshotter(work, *options) as daemon:
        api = daemon.client()
        api.timeout = 3 * timeout
        assert None not in pull(api, image), reason(daemon)
        api.close()


def test_the_check_tells_of_a_preload_that_hangs_and_ends(work):
    options = settings(work, f"preloads: [{work}/hung]")
    command = [SNAPSHOTTER, *options, "--root", work / "root", "--address", work / "s.sock", "--check"]
    with hung(work / "hung"):
        told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert f"'{work}/hung': its file system does not answer" in told.stdout, told
