# SPDX-License-Identifier: Apache-2.0
"""What `zeropull verify` finds, beyond a flipped bit in a file with a recorded digest."""
import json
import os
import random
import sqlite3

import pytest

from support import oci, ship
from support.memory_registry import memory_registry
from support.zeropull import FAILED, UNCHECKED

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def source(work):
    layout = oci.Layout(work / "layout")
    contents = [random.Random(seed).randbytes(1_500_000) for seed in (1, 2)]
    tars = [oci.tar_bytes(lambda tar, c=content, i=i: tar.file(f"file{i}", c)) for i, content in enumerate(contents)]
    layout.add_image("v1", [layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar) for tar in tars])
    return f"oci:{work / 'layout'}:v1"


def change_byte(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@needs_root
def test_damaged_unpacked_device_is_found_and_made_again(zeropull, work, source):
    zeropull.build(source)
    with zeropull.mounted(source, work / "mnt") as mounted:
        good = (mounted / "file0").read_bytes()
    zeropull.ok("verify")
    devices = sorted(zeropull.store.glob("unpacked/*.raw"))
    assert len(devices) == 2
    change_byte(devices[0], 1_000_000)
    result = zeropull.expect(FAILED, "verify")
    assert f"device sha256:{devices[0].stem}: unpacked it is not" in result.stdout.decode()
    assert devices[1].stem not in result.stdout.decode()
    assert "zeropull prune" in result.stdout.decode()
    zeropull.ok("prune")
    with zeropull.mounted(source, work / "mnt") as mounted:
        assert (mounted / "file0").read_bytes() == good
        zeropull.ok("verify")


@needs_root
def test_truncated_unpacked_device_is_found_and_made_again_by_mount(zeropull, work, source):
    zeropull.build(source)
    with zeropull.mounted(source, work / "mnt"):
        pass
    device = min(zeropull.store.glob("unpacked/*.raw"))
    os.truncate(device, 4096)
    assert device.stem in zeropull.expect(FAILED, "verify").stdout.decode()
    with zeropull.mounted(source, work / "mnt"):
        zeropull.ok("verify")


def test_rebuild_packs_each_layer_as_it_was_packed(zeropull, source):
    zeropull.build(source, "--frame-size", "64K", "--level", "1")
    zeropull.ok("verify", "--rebuild")
    zeropull.build(source, "--rebuild", "--level", "3")
    zeropull.ok("verify", "--rebuild")
    zeropull.build(source, "--rebuild")
    zeropull.ok("verify", "--rebuild")


def test_killed_rebuild_leaves_nothing_for_long(zeropull, work):
    layout = oci.Layout(work / "layout")
    tar = oci.tar_bytes(lambda tar: tar.file("big", random.Random(3).randbytes(50_000_000)))
    layout.add_image("v1", [layout.add_raw_layer(tar)])
    zeropull.build(f"oci:{work / 'layout'}:v1")
    before = set(os.listdir(work))
    process = zeropull.start("verify", "--rebuild")
    while not zeropull.leftovers():
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert set(os.listdir(work)) == before
    assert zeropull.leftovers()
    while zeropull.leftovers():  # the process it started to build in ends a moment later
        zeropull.ok("prune")


def test_rebuild_finds_a_layer_that_is_another(zeropull, source):
    """One whose records are right, but for how it was packed."""
    zeropull.build(source, "--frame-size", "64K")
    database = sqlite3.connect(zeropull.store / "zeropull.db")
    database.execute("UPDATE devices SET frame_size = 524288")
    database.commit()
    zeropull.ok("verify")
    output = zeropull.expect(FAILED, "verify", "--rebuild").stdout.decode()
    for device in zeropull.device_directories():
        assert f"device sha256:{device.name}: 'device.idx'" in output
    for layer in zeropull.layer_directories():
        assert f"layer sha256:{layer.name}: 'layer.erofs' differs from what is built again" in output


@pytest.fixture
def paused_change(zeropull, source):
    """Another process in the middle of a change: the image's files are away, its record still there. Called with True
    it commits, with False it takes the change back."""
    digest = zeropull.build(source).strip().removeprefix("sha256:")
    database = sqlite3.connect(zeropull.store / "zeropull.db", isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("BEGIN IMMEDIATE")
    image, aside = zeropull.store / "images" / digest, zeropull.store.parent / "aside"
    image.rename(aside)

    def end(commits):
        if commits:
            database.execute("DELETE FROM images WHERE manifest_digest = ?", (bytes.fromhex(digest),))
        else:
            image.mkdir()
        database.execute("COMMIT" if commits else "ROLLBACK")
        database.close()

    return end


def is_waiting(process):
    """Whether the process has come to where it sleeps until others are done."""
    with open(f"/proc/{process.pid}/syscall") as file:
        return file.read().split()[0] in ("35", "230", "115")  # nanosleep, clock_nanosleep (x86_64, arm64)


@pytest.mark.parametrize("commits", [True, False], ids=["removed", "damaged"])
def test_verify_tells_an_image_removed_beside_it_from_a_damaged_one(zeropull, paused_change, commits):
    process = zeropull.start("verify")
    while not is_waiting(process):
        assert process.poll() is None
    paused_change(commits)
    out, err = process.communicate()
    assert process.returncode == (0 if commits else FAILED), err
    assert (b"No such file" in out) != commits
    if commits:
        assert out == b"verified: 0 images, 2 layers, 2 devices\n"


def test_verify_beside_remove_and_build_finds_no_damage(zeropull, source):
    zeropull.build(source)
    for _ in range(5):
        process = zeropull.start("verify")
        zeropull.ok("remove", source)
        zeropull.ok("prune")
        zeropull.build(source)
        out, err = process.communicate()
        assert process.returncode == 0, out + err


def test_a_source_that_cannot_be_read_is_no_damage(zeropull, work):
    layout = oci.Layout(work / "layout")
    ship.make_image(layout, "app", ship.fill_app(1))
    with memory_registry() as server:
        image = ship.put_image(server, layout, "app")
        zeropull.build(image)
        zeropull.ok("verify", "--rebuild")
    result = zeropull.expect(UNCHECKED, "verify", "--rebuild")
    (line,) = result.stdout.decode().splitlines()
    assert line.startswith("image sha256:") and "not compared: it cannot be built again from its source: docker://" in line
    assert "1 image not compared with a fresh build; nothing else was found" in result.stderr
    result = zeropull.expect(UNCHECKED, "verify", "--rebuild", "--json")
    assert json.loads(result.stdout)["notCompared"] == len(json.loads(result.stdout)["problems"]) == 1
    zeropull.ok("verify")
    (pack,) = zeropull.store.glob("devices/*/device.zst")
    change_byte(pack, 100)
    assert "verify: 2 problems" in zeropull.expect(FAILED, "verify", "--rebuild").stderr


def test_the_help_of_verify_says_what_its_threads_do(zeropull):
    (line,) = [line for line in zeropull.ok("verify", "--help").splitlines() if "--threads" in line]
    assert "check" in line and "compress" not in line
