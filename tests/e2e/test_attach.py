# SPDX-License-Identifier: Apache-2.0
"""Disks of images that the node's daemon serves: `zeropull attach`. Needs root."""
import glob
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from support import images, oci, vm
from support.programs import ZEROPULL
from support.registry import registry
from support.ship import fill_app, fill_bare, fill_base, make_image
from support.snapshotter import snapshotter
from support.zeropull import FAILED, Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


class Node:
    """A builder, a registry, and a node that has nothing."""

    def __init__(self, work, server, daemon):
        self.work, self.server, self.daemon = work, server, daemon
        self.builder, self.store = Zeropull(work / "builder"), Zeropull(daemon.root / "store")

    def publish(self, source, name):
        reference = self.server.push(source, name, "latest", "--preserve-digests")
        self.builder.ok("build", "--push", reference)
        return reference

    def exported(self, reference, *options):
        self.builder.ok("export", reference, str(self.work / "exported"), *options)
        return self.work / "exported"

    def attach(self, reference, *options):
        return json.loads(self.store.ok("attach", "--root", str(self.daemon.root), "--json", reference, *options))

    def statistics(self):
        return self.daemon.statistics()


@pytest.fixture
def node(work):
    with registry(work) as server, snapshotter(work) as daemon:
        yield Node(work, server, daemon)


@pytest.fixture
def image(node):
    layout = oci.Layout(node.work / "layout")
    make_image(layout, "x", fill_base, fill_bare, fill_app(1))
    return node.publish(f"oci:{layout.directory}:x", "some/image")


@pytest.mark.parametrize("options", [(), ("--compat",)], ids=["table", "compat"])
def test_an_attached_disk_is_the_exported_one(node, image, options):
    attached = node.attach(image, *options)
    expected = node.exported(image, *options).read_bytes()
    assert attached["size"] == len(expected) and not list((node.daemon.root / "store").glob("devices/*/device.zst"))
    path = attached["path"]
    with open(path, "rb") as disk:
        rng = random.Random(1)
        for _ in range(200):  # across the borders of metadata and devices, too
            offset, size = rng.randrange(len(expected)), rng.choice((1, 512, 4096, 131072, 2_000_000))
            disk.seek(offset)
            assert disk.read(size) == expected[offset : offset + size]
        disk.seek(0)
        assert disk.read() == expected
        assert disk.read(1) == b""
    assert node.store.ok("attach", "--root", str(node.daemon.root), image, *options).strip() == path


def data_plane(daemon):
    children = open(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read().split()
    for pid in children:
        for fd in glob.glob(f"/proc/{pid}/fd/*"):
            with suppress(FileNotFoundError):  # closed meanwhile
                if os.path.basename(os.readlink(fd)) == "fuse":
                    return int(pid)
    return None


def test_an_open_disk_survives_the_death_of_the_data_plane(node, image):
    path, expected = node.attach(image)["path"], node.exported(image).read_bytes()
    problems, over, count = [], threading.Event(), [0]

    def read():
        rng = random.Random(2)
        with open(path, "rb", buffering=0) as disk:
            while not over.is_set():
                offset = rng.randrange(len(expected))
                try:
                    if os.pread(disk.fileno(), 100_000, offset) != expected[offset : offset + 100_000]:
                        problems.append("other bytes")
                except OSError as error:
                    problems.append(str(error))
                count[0] += 1

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        pid, before = data_plane(node.daemon), count[0]
        if pid:
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 30
        while count[0] < before + 20:
            assert time.monotonic() < until
            time.sleep(0.01)
    over.set()
    reader.join(30)
    assert problems == [] and count[0] > 100


def test_the_store_is_the_daemons(node, image, work):
    command = [ZEROPULL, "attach", "--root", node.daemon.root, image]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HOME": "/nonexistent"}, timeout=60)
    assert run.returncode == 0 and os.path.getsize(run.stdout.strip()) > 0, run.stderr
    other = Zeropull(work / "other").expect(FAILED, "attach", "--root", str(node.daemon.root), image)
    assert f"the daemon uses the store '{node.daemon.root}/store', not '{work}/other'" in other.stderr
    assert not (work / "other").exists()


def test_without_a_daemon_it_says_so(node, image, work):
    failed = node.store.expect(FAILED, "attach", "--root", str(work / "elsewhere"), image)
    assert "zeropull-snapshotter" in failed.stderr
    assert not (node.daemon.root / "devices" / ("disk-" + "ab" * 32)).exists()


@pytest.mark.parametrize("private", [False, True], ids=["its root directory", "what is above"])
def test_whoever_is_not_root_is_told_that_it_is_roots(node, image, work, private):
    os.chmod(work, 0o700 if private else 0o755)
    command = [ZEROPULL, "attach", "--root", node.daemon.root, image]
    run = subprocess.run(command, capture_output=True, text=True, user=65534, group=65534, extra_groups=[], cwd="/", timeout=60)
    assert run.returncode == 1 and "Permission denied" in run.stderr and "run this as root" in run.stderr, run.stderr


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="no qemu-system-x86_64")
def test_a_machine_boots_from_what_is_fetched_meanwhile(node, work):
    """Debian 12's kernel (6.1) wants the compatible layout."""
    reference = node.publish(images.source("python"), "python")
    config = images.config("python")
    path = node.attach(reference, "--compat")["path"]
    (work / "vm").mkdir()
    status, console = vm.boot(path, config, work / "vm")
    assert status == 0, console
    assert "kernel 6.1." in console and config["Labels"]["test.output"] in console
    packed = sum(file.stat().st_size for file in (work / "builder").glob("devices/*/device.zst"))
    received = node.statistics()["received_bytes"]
    print(f"{received} of {packed} bytes fetched")
    assert 0 < received < packed * 0.6
