# SPDX-License-Identifier: Apache-2.0
"""A layer's data that was damaged in the store is converted again by the next build that wants to publish it; no build
fails for what it would compare with, and nothing that can be fetched is given up."""
import json
import subprocess

import pytest

from support import oci, ship
from support.hook import hook
from support.zeropull import FAILED, OK, REFUSED, Zeropull


@pytest.fixture
def layout(work):
    """Two images that share a layer, large enough for several frames."""
    layout = oci.Layout(work / "layout")
    ship.make_image(layout, "one", ship.fill_base, ship.fill_app(1))
    ship.make_image(layout, "two", ship.fill_base, ship.fill_app(2))
    return layout


@pytest.fixture
def one(place, layout):
    return ship.put_image(place, layout, "one")


@pytest.fixture
def store(work, one):
    store = ship.fresh(work, "store")
    store.build(one)
    return store


def pack(store):
    """Of the shared layer."""
    return max(store.store.glob("devices/*/device.zst"), key=lambda file: file.stat().st_size)


def flip(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


DAMAGE = {
    "header": lambda file: flip(file, 0),
    "frame": lambda file: flip(file, file.stat().st_size // 2),
    "seek table": lambda file: flip(file, file.stat().st_size - 1),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100_000]),
    "emptied": lambda file: file.write_bytes(b""),
    "removed": lambda file: file.unlink(),
    "index": lambda file: flip(file.with_name("device.idx"), 40),
}


@pytest.fixture(params=DAMAGE)
def damage(request):
    return DAMAGE[request.param]


SOME = pytest.mark.parametrize("damage", ["frame", "removed", "index"], indirect=True)


def check_pulled(work, reference):
    """Another store has what was published."""
    fetched = ship.fresh(work, "fetched-" + reference[-3:])
    fetched.ok("pull", "--complete", reference)
    fetched.ok("verify")
    return fetched


def check_published(work, store, reference):
    """What was published is what another machine would have made, and the store is whole."""
    other = ship.fresh(work, "other")
    other.build(reference)
    assert other.files() == check_pulled(work, reference).files()
    store.ok("verify")
    assert store.leftovers() == []


def test_build_and_push_converts_what_is_damaged_again(work, store, one, damage):
    good = store.files()
    damage(pack(store))
    result = store.expect(OK, "build", "--push", one, "--json")
    said = [line for line in result.stderr.splitlines() if "converted again" in line]
    assert len(said) == 1 and "device." in said[0], result.stderr
    summary = json.loads(result.stdout)
    assert (summary["layersConverted"], summary["layersReused"], summary["wasPresent"]) == (1, 1, False)
    assert store.files() == good
    check_published(work, store, one)
    assert json.loads(store.ok("build", "--push", one, "--json"))["wasPresent"]


def test_push_says_what_to_do_and_the_next_build_heals(work, store, one, damage):
    good = store.files()
    damage(pack(store))
    for _ in range(2):
        failed = store.expect(REFUSED, "push", one)
        assert f"build {one}" in failed.stderr and "--rebuild" not in failed.stderr and "device." in failed.stderr
        assert store.expect(FAILED, "verify").stdout.count(b"\n") == 1
    assert json.loads(store.ok("build", one, "--json"))["layersConverted"] == 1
    assert store.files() == good
    store.ok("push", one)
    check_published(work, store, one)


def test_commands_say_how_to_get_back_what_is_lost(work, store, one):
    flip(pack(store), 100)
    store.expect(REFUSED, "push", one)
    for command in ("cat", one, "data/noise"), ("export", one, work / "out"):
        failed = store.run(*command)
        assert failed.returncode != OK and "damaged" in failed.stderr, failed.stderr
        assert "build' of the image" in failed.stderr and "pull --complete" not in failed.stderr, failed.stderr
    here = [line for line in store.ok("inspect", one).splitlines() if line.startswith("here")]
    assert len(here) == 1 and "'zeropull build'" in here[0] and "pull --complete" not in here[0]


def test_all_that_is_damaged_is_converted_again_at_once(work, store, one):
    for file in store.store.glob("devices/*/device.zst"):
        flip(file, 100)
    assert json.loads(store.ok("build", "--push", one, "--json"))["layersConverted"] == 2
    check_published(work, store, one)


@SOME
def test_the_next_build_with_the_layer_heals_as_well(work, place, layout, store, one, damage):
    """Of an image that was built on it, and of one that compares with it."""
    two = ship.put_image(place, layout, "two")
    damage(pack(store))
    store.expect(REFUSED, "push", one)
    built = json.loads(store.ok("build", "--push", two, "--base", one, "--json"))
    assert (built["layersConverted"], built["layersReused"]) == (2, 0)
    check_pulled(work, two)
    store.ok("build", "--push", one)
    check_pulled(work, one)
    store.ok("verify")


def test_a_layer_that_refers_to_what_is_damaged_is_converted_again(work, place, layout, store, one):
    """The image's own layer is whole, but most of its content is the damaged one's."""
    ship.make_image(layout, "next", lambda tar: (ship.fill_base(tar), tar.file("etc/more", b"more")))
    following = ship.put_image(place, layout, "next")
    store.ok("build", following, "--base", one)
    flip(pack(store), 100)
    result = store.expect(OK, "build", "--push", following, "--json", "--base", "none")
    assert json.loads(result.stdout)["layersConverted"] == 1
    check_pulled(work, following)
    store.ok("build", one)
    store.ok("verify")


@SOME
def test_images_that_share_what_is_damaged_are_built_at_the_same_time(work, place, layout, store, one, damage):
    two = ship.put_image(place, layout, "two")
    damage(pack(store))
    processes = [store.start("build", "--push", image) for image in (one, two, one)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [OK] * 3, outputs
    store.ok("verify")
    for image in one, two:
        check_pulled(work, image)


@pytest.fixture(params=["layer.erofs", "snapshot.erofs"])
def metadata(store, request):
    return max(store.store.glob(f"*/*/{request.param}"), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("damage", ["frame", "emptied", "removed"], indirect=True)
def test_the_next_build_makes_damaged_metadata_anew(work, store, one, metadata, damage):
    good = store.files()
    damage(metadata)
    failed = store.run("push", one)
    assert failed.returncode != OK and metadata.name in failed.stderr and "--rebuild" not in failed.stderr
    store.expect(FAILED, "verify")
    assert json.loads(store.ok("build", one, "--json"))["layersConverted"] == (metadata.name == "layer.erofs")
    assert store.files() == good
    store.ok("push", one)
    check_published(work, store, one)


@pytest.mark.parametrize("base", ["--base=none", "--base=previous"])
def test_a_layer_with_damaged_metadata_is_not_taken_for_another_image(work, place, layout, store, one, base):
    shared = store.json("inspect", one)["layers"][0]["metadataDigest"]
    file = store.store / "layers" / shared.removeprefix("sha256:") / "layer.erofs"
    flip(file, file.stat().st_size // 2)
    two = ship.put_image(place, layout, "two")
    built = json.loads(store.ok("build", "--push", two, "--json", base.replace("previous", one)))
    assert (built["layersConverted"], built["layersReused"]) == (2, 0)
    check_pulled(work, two)
    store.ok("build", one)
    store.ok("verify")


@SOME
def test_what_was_fetched_is_fetched_again(work, store, one, damage):
    store.ok("push", one)
    fetched = ship.fresh(work, "fetched")
    fetched.ok("pull", "--complete", one)
    damage(pack(fetched))
    (work / "elsewhere").mkdir()
    failed = fetched.expect(REFUSED, "push", one, f"dir:{work}/elsewhere")
    assert f"pull --complete {one}" in failed.stderr, failed.stderr
    fetched.ok("pull", "--complete", one)
    ship.check_same(store, fetched)


def test_what_was_published_before_can_be_fetched_instead(work, store, one):
    store.ok("push", one)
    (work / "elsewhere").mkdir()
    flip(pack(store), 100)
    store.expect(REFUSED, "push", one, f"dir:{work}/elsewhere")
    store.ok("pull", "--complete", one)
    store.ok("verify")
    store.ok("push", one, f"dir:{work}/elsewhere")


@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive"])
def test_an_image_of_any_source(work, layout, form):
    if form != "oci":
        subprocess.run(["skopeo", "copy", "-q", f"oci:{layout.directory}:one", f"{form}:{work}/archive:a:one"], check=True)
    source = {"oci": f"oci:{layout.directory}:one"}.get(form, f"{form}:{work}/archive")
    store = ship.fresh(work, "store")
    store.build(source)
    flip(pack(store), 100)
    (work / "remote").mkdir()
    push = f"--push=dir:{work}/remote"
    assert json.loads(store.ok("build", push, source, "--json"))["layersConverted"] == 1
    store.ok("verify")


def test_a_set_aside_that_was_cut_short_is_no_harm(work, store, one):
    """Between the rename and the commit: the record promises what has another name by now."""
    file = pack(store)
    file.rename(file.with_name("device.part"))
    assert json.loads(store.ok("build", "--push", one, "--json"))["layersConverted"] == 1
    check_published(work, store, one)


def test_who_may_not_write_is_told(work, store, one):
    flip(pack(store), 100)
    store.prefix = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
    subprocess.run(["chmod", "-R", "go+rX", store.store], check=True)
    subprocess.run(["chmod", "755", work], check=True)
    failed = store.run("push", one)
    assert failed.returncode == REFUSED and "device.zst" in failed.stderr and "set aside" in failed.stderr, failed.stderr


def forget_snapshots(place, repository="a/b"):
    """Leaves the image alone."""
    there = place.repository(repository)
    there.manifests = {digest: it for digest, it in there.manifests.items() if not json.loads(it[1]).get("subject")}
    of_images = [json.loads(body) for _, body in there.manifests.values()]
    wanted = {blob["digest"] for image in of_images for blob in [image["config"], *image["layers"]]}
    there.blobs = {digest: body for digest, body in there.blobs.items() if digest in wanted}


@SOME
def test_the_hook_heals_its_store(work, place, layout, damage):
    ship.put_image(place, layout, "one")
    with hook(work / "state") as service:
        built = service.command("trigger", f"{place.host}/a/b:one")
        assert built.returncode == OK, built.stderr
        store = Zeropull(service.state / "store")
        forget_snapshots(place)
        damage(pack(store))
        again = service.command("trigger", "--force", f"{place.host}/a/b:one")
        assert again.returncode == OK, again.stderr
        check_published(work, store, f"docker://{place.host}/a/b:one")
        damage(pack(store))
        ship.put_image(place, layout, "two", "c/d")
        other = service.command("trigger", f"{place.host}/c/d:two")
        assert other.returncode == OK, other.stderr
        store.ok("verify")


@pytest.fixture
def following(place, layout):
    """An image whose layer can be compared with that of `one`."""

    def fill(tree):
        ship.fill_base(tree)
        tree.file("etc/more", b"more")

    ship.make_image(layout, "next", fill, ship.fill_app(1))
    return ship.put_image(place, layout, "next")


def move_tag(place, layout, name):
    manifest = ship.manifest_bytes(layout, name)
    place.put_manifest(manifest, "latest", json.loads(manifest)["mediaType"], "a/b")


def test_a_damaged_base_is_not_compared_with(store, one, following):
    flip(pack(store), 100)
    store.ok("build", "--push", "--base", one, following)


def test_a_damaged_earlier_version_does_not_fail_the_next(place, layout, store, one, following):
    tag = one.removesuffix("one") + "latest"
    move_tag(place, layout, "one")
    store.ok("build", tag)
    flip(pack(store), 100)
    move_tag(place, layout, "next")
    store.ok("build", "--push", tag)


def test_what_another_place_does_not_have_is_not_given_up(work, place, store, one, following):
    key, second = work / "key", ship.fresh(work, "second")
    store.ok("key", "generate", key)
    store.ok("build", "--push", "--sign-key", key, one)
    second.ok("build", "--push", "--sign-key", key, "--base", one, following)
    second.ok("remove", one)
    (work / "elsewhere").mkdir()
    assert second.run("push", following, f"dir:{work}/elsewhere").returncode != OK
    there = place.repository("a/b")
    there.manifests = {name: item for name, item in there.manifests.items() if not json.loads(item[1]).get("subject")}
    second.ok("push", following)
    second.ok("verify")
