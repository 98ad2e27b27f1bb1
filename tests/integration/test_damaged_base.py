# SPDX-License-Identifier: Apache-2.0
"""Devices of a base that are damaged in the store, or were never there: no build fails for them, and nothing that can be
fetched is given up."""
import json

import pytest

from support import oci, ship
from support.memory_registry import memory_registry
from support.zeropull import Zeropull


@pytest.fixture
def place():
    with memory_registry() as place:
        yield place


@pytest.fixture
def layout(tmp_path):
    return oci.Layout(tmp_path / "layout")


def fill_more(tree):
    ship.fill_base(tree)
    tree.file("etc/more", b"more")


def damage_pack(zeropull):
    pack = max(zeropull.store.glob("devices/*/device.zst"), key=lambda file: file.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(data)


def remove_snapshots(place, repository="a/b"):
    there = place.repository(repository)
    there.manifests = {name: item for name, item in there.manifests.items() if not json.loads(item[1]).get("subject")}


def test_a_damaged_base_is_not_compared_with(place, layout, tmp_path):
    zeropull = Zeropull(tmp_path / "store")
    ship.make_image(layout, "one", ship.fill_base, ship.fill_app(1))
    ship.make_image(layout, "next", fill_more, ship.fill_app(1))
    one, following = (ship.put_image(place, layout, name) for name in ("one", "next"))
    zeropull.build(one)
    damage_pack(zeropull)
    zeropull.ok("build", "--push", "--base", one, following)


def test_a_damaged_earlier_version_does_not_fail_the_next(place, layout, tmp_path):
    zeropull = Zeropull(tmp_path / "store")
    ship.make_image(layout, "old", ship.fill_base, ship.fill_app(1))
    ship.make_image(layout, "new", fill_more, ship.fill_app(1))
    old = ship.manifest_bytes(layout, "old"), ship.manifest_bytes(layout, "new")
    for name in ("old", "new"):
        ship.put_image(place, layout, name)
    tag = ship.put_image(place, layout, "old").replace("old", "latest")
    for number, manifest in enumerate(old):
        place.put_manifest(manifest, "latest", json.loads(manifest)["mediaType"], "a/b")
        zeropull.ok("build", *["--push"] * number, tag)
        if number == 0:
            damage_pack(zeropull)


def test_what_another_place_does_not_have_is_not_given_up(place, layout, tmp_path):
    key = tmp_path / "key"
    first, second = Zeropull(tmp_path / "first"), Zeropull(tmp_path / "second")
    ship.make_image(layout, "one", ship.fill_base, ship.fill_app(1))
    ship.make_image(layout, "next", fill_more, ship.fill_app(1))
    one, following = (ship.put_image(place, layout, name) for name in ("one", "next"))
    first.ok("key", "generate", key)
    first.ok("build", "--push", "--sign-key", key, one)
    second.ok("build", "--push", "--sign-key", key, "--base", one, following)
    second.ok("remove", one)
    (tmp_path / "elsewhere").mkdir()
    assert second.run("push", following, f"dir:{tmp_path}/elsewhere").returncode != 0
    remove_snapshots(place)
    second.ok("push", following)
    second.ok("verify")
