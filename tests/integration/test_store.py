# SPDX-License-Identifier: Apache-2.0
"""The store in places that are not quite like any directory."""
import os
import subprocess

import pytest

from support import oci
from support.zeropull import Zeropull

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
