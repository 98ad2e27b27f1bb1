# SPDX-License-Identifier: Apache-2.0
"""The store in places that are not quite like any directory."""
import os
import subprocess

import pytest

from support import oci
from support.zeropull import FAILED, REFUSED, Zeropull

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture
def layout(work):
    layout = oci.Layout(work / "layout")
    layers = [layout.add_raw_layer(oci.tar_bytes(lambda tar, i=i: tar.file(f"f{i}", bytes([i]) * 9000))) for i in (1, 2)]
    layout.add_image("v1", layers)
    return layout


@pytest.fixture
def baked(zeropull, work, layout):
    """A store in the lower layer of an overlayfs, as in a container whose image brought it."""
    zeropull.build(f"oci:{work / 'layout'}:v1")
    for name in ("upper", "work", "merged"):
        (work / name).mkdir()
    options = f"lowerdir={zeropull.store},upperdir={work / 'upper'},workdir={work / 'work'},redirect_dir=off"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, work / "merged"], check=True)
    yield Zeropull(work / "merged")
    subprocess.run(["umount", work / "merged"], check=True)


@needs_root
@pytest.mark.parametrize("options", [[], ["--frame-size", "4K"]], ids=["same", "other"])
def test_store_from_a_container_image_can_be_built_into(baked, work, options):
    baked.ok("verify")
    baked.build(f"oci:{work / 'layout'}:v1", "--rebuild", *options)
    baked.ok("verify")
    assert baked.leftovers() == []


@needs_root
def test_store_from_a_container_image_can_be_emptied(baked, work):
    baked.ok("remove", f"oci:{work / 'layout'}:v1")
    assert baked.image_directories() == []
    assert baked.json("prune")["layers"] == 2
    assert baked.layer_directories() == []
    baked.build(f"oci:{work / 'layout'}:v1")
    baked.ok("verify")


@pytest.mark.parametrize("file", ["zeropull.db", "zeropull.db-journal", "zeropull.db-wal"])
@pytest.mark.parametrize("command", ["list", "prune"])
def test_fifo_in_place_of_a_database_file_is_an_error(file, command, zeropull, work, layout):
    zeropull.build(f"oci:{work / 'layout'}:v1")
    (zeropull.store / file).unlink(missing_ok=True)
    os.mkfifo(zeropull.store / file)
    assert "not a regular file" in zeropull.expect(REFUSED, command, timeout=20).stderr


@needs_root
def test_link_in_place_of_an_unpacked_device_is_told_by_verify_and_replaced_by_mount(zeropull, work, layout):
    zeropull.build(f"oci:{work / 'layout'}:v1")
    with zeropull.mounted(f"oci:{work / 'layout'}:v1", work / "mnt"):
        pass
    device = min(zeropull.store.glob("unpacked/*.raw"))
    device.rename(work / "aside")
    device.symlink_to(work / "aside")
    assert f"'unpacked/{device.name}' is not a regular file" in zeropull.expect(FAILED, "verify").stdout.decode()
    with zeropull.mounted(f"oci:{work / 'layout'}:v1", work / "mnt"):
        assert not device.is_symlink()
    zeropull.ok("verify")


@needs_root
@pytest.mark.parametrize("command", [["list"], ["prune"]], ids=" ".join)
@pytest.mark.parametrize("mode", [0o700, 0o755], ids=oct)
def test_store_of_another_user_is_said_to_be(zeropull, work, layout, command, mode):
    zeropull.build(f"oci:{work / 'layout'}:v1")
    zeropull.store.chmod(mode)
    work.chmod(0o711)
    if mode == 0o755 and command == ["list"]:
        zeropull.ok(*command, user=65534, group=65534, extra_groups=[])
    else:
        result = zeropull.expect(FAILED, *command, user=65534, group=65534, extra_groups=[])
        assert "belongs to root" in result.stderr
