# SPDX-License-Identifier: Apache-2.0
"""`zeropull status`: what the snapshotter did for each image and container, whether it runs or not."""
import json
import os
import subprocess
from pathlib import Path

import pytest

from support.programs import ZEROPULL
from support.pulls import prepare_layer, pull
from support.ship import fill_app, fill_bare, fill_base
from support.snapshotter import mounted, snapshotter, stopped

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def run(*arguments):
    return subprocess.run([ZEROPULL, "status", *arguments], capture_output=True, text=True, timeout=60)


def status(root):
    result = run("--json", "--root", root)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def ordinary(api, image, key):
    """Unpacks all layers (empty ones), as containerd does when nothing is accelerated; the container `key` on them."""
    parent = ""
    for index in range(len(image.chain)):
        labels = {k: v for k, v in image.labels(index).items() if k != "containerd.io/snapshot.ref"}
        api.prepare(f"extract-{image.chain[index]}", parent)
        api.commit(image.chain[index], f"extract-{image.chain[index]}", labels)
        parent = image.chain[index]
    api.prepare(key, parent)


def test_images_and_containers_say_whether_they_are_accelerated(world, work):
    good = world.image("good", fill_base, fill_app(1))
    bad = world.image("bad", fill_bare, fill_app(2), publish=False)
    with snapshotter(work) as daemon:
        api = daemon.client()
        api.prepare("default/1/good", pull(api, good)[-1])
        assert prepare_layer(api, bad, 0, "") is None
        ordinary(api, bad, "default/2/bad")
        api.prepare("default/3/scratch")
        now = status(daemon.root)
        api.close()
        assert now["daemon"]["running"] and now["daemon"]["pid"] in (daemon.process.pid, daemon.control_plane())
        assert now["daemon"]["dataPlane"]["answers"]
        check_images(now, good, bad)
        containers = {entry["key"]: entry for entry in now["containers"] if "test/" not in entry["key"]}
        assert set(containers) == {"default/1/good", "default/2/bad", "default/3/scratch"}
        check_containers(containers, daemon, good, bad)
        assert now["snapshots"]["accelerated"] == 2
    later = status(daemon.root)  # the daemon is down
    assert not later["daemon"]["running"] and "dataPlane" not in later["daemon"]
    check_images(later, good, bad)
    text = run("--root", daemon.root).stdout
    assert "not running" in text and f"{good.name}:latest" in text and "not accelerated: " in text


def check_images(now, good, bad):
    images = {entry["image"]: entry for entry in now["images"]}
    assert [entry["image"] for entry in now["images"]] == [f"{bad.name}:latest", f"{good.name}:latest"]
    one = images[f"{good.name}:latest"]
    assert one["accelerated"] and one["reason"] is None and one["digest"] == good.digest and one["inStore"]
    assert 0 <= one["presentBytes"] <= one["totalBytes"] and one["totalBytes"] > 0
    other = images[f"{bad.name}:latest"]
    assert not other["accelerated"] and other["reason"] and not other["inStore"]


def check_containers(containers, daemon, good, bad):
    one = containers["default/1/good"]
    assert one["accelerated"] and one["image"] == f"{good.name}:latest" and one["layers"] == one["ofLayers"] == 2
    assert one["mount"].startswith(f"{daemon.root}/mounts/")
    other = containers["default/2/bad"]
    assert not other["accelerated"] and other["image"] == f"{bad.name}:latest" and "no snapshot" in other["reason"].lower()
    assert containers["default/3/scratch"]["reason"] == "it has no parent"


def extend(api, image, names, key):
    """As containerd does with an image of whose layers the last has to be downloaded; the container `key` on it."""
    labels = {k: v for k, v in image.labels(len(names)).items() if k != "containerd.io/snapshot.ref"}
    api.prepare(f"extract-{image.name}", names[-1])
    api.commit(image.chain[len(names)], f"extract-{image.name}", labels)
    api.prepare(key, image.chain[len(names)])


def test_images_that_share_layers_are_told_each_for_itself(world, work):
    first = world.image("first", fill_base, fill_app(1))
    second = world.image("second", fill_base, fill_app(2), publish=False)
    bottom = world.image("bottom", fill_base)
    with snapshotter(work) as daemon:
        api = daemon.client()
        names = pull(api, first)
        assert prepare_layer(api, second, 1, names[0]) is None
        extend(api, second, names[:1], "default/2/second")
        api.prepare("default/1/first", names[-1])
        api.prepare("default/3/bottom", names[0])
        before = {entry["key"]: entry for entry in status(daemon.root)["containers"]}
        text = run("--root", daemon.root).stdout
        pull(api, bottom)  # now the daemon knows it
        now = status(daemon.root)
        api.close()
    containers = {entry["key"]: entry for entry in now["containers"]}
    images = {entry["image"]: entry for entry in now["images"]}
    assert {name.rsplit("/", 1)[1]: entry["accelerated"] for name, entry in images.items()} == {
        "first:latest": True, "second:latest": False, "bottom:latest": True}  # fmt: skip
    one = containers["default/1/first"]
    assert (one["accelerated"], one["image"], one["digest"], one["layers"], one["ofLayers"]) == (True, f"{first.name}:latest", first.digest, 2, 2)
    other = containers["default/2/second"]
    assert not other["accelerated"] and other["image"] == f"{second.name}:latest" and other["layers"] == 1
    assert other["reason"] == images[f"{second.name}:latest"]["reason"]
    unknown, last = before["default/3/bottom"], containers["default/3/bottom"]
    assert unknown["accelerated"] and unknown["image"] is None and unknown["firstLayersOf"] == f"{first.name}:latest"
    assert (unknown["layers"], unknown["ofLayers"]) == (1, 2)
    assert (last["accelerated"], last["image"], last["digest"], last["layers"], last["ofLayers"]) == (True, f"{bottom.name}:latest", bottom.digest, 1, 1)
    assert f"accelerated: an image of the first layers of {first.name}:latest, 1 of 2 layers" in text
    assert "; 1 layer is shared with an image that is" in text


def test_what_is_read_is_present(world, work):
    image = world.image("web", fill_base, fill_app(1))
    with snapshotter(work) as daemon:
        api = daemon.client()
        mounts = api.prepare("c", pull(api, image)[-1])
        with mounted(mounts, work / "m") as root:
            for path in root.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    path.read_bytes()
        (entry,) = status(daemon.root)["images"]
        api.close()
        assert 0.9 * entry["totalBytes"] < entry["presentBytes"] <= entry["totalBytes"]
        assert status(daemon.root)["cache"]["bytes"] > 0


def test_a_data_plane_that_does_not_answer_is_told(work):
    with snapshotter(work) as daemon:
        with stopped(daemon.data_plane()):
            answer = status(daemon.root)["daemon"]["dataPlane"]
        assert answer == {"answers": False, "reason": "the data plane does not answer"}


def test_a_root_directory_nobody_used_is_told(work):
    for root in (work, work / "none"):
        result = run("--root", root)
        assert result.returncode == 3 and "hint: no snapshotter has used" in result.stderr
    assert list(Path(work).iterdir()) == []


def test_what_is_roots_is_told_to_be(work):
    os.chmod(work, 0o711)
    with snapshotter(work) as daemon:
        pass
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", ZEROPULL]
    result = subprocess.run([*command, "status", "--root", daemon.root], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "Permission denied" in result.stderr and "hint: what the snapshotter has is root's" in result.stderr


def test_the_settings_say_where(work):
    with snapshotter(work) as daemon:
        pass
    (work / "c.yaml").write_text(f"version: 1\nroot: {daemon.root}\n")
    assert json.loads(run("--json", "--config", work / "c.yaml").stdout)["root"] == str(daemon.root)
