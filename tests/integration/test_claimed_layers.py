# SPDX-License-Identifier: Apache-2.0
"""A layer that the store has serves an image only once the image's own blob was read: who knows a diffID, or all of a
manifest and its config, need not have the layer."""
import io
import json
import sqlite3
import tarfile

import pytest

from support import oci, ship
from support.zeropull import REFUSED

SECRET = b"the victim's own" * 4096  # more than lies in a layer's metadata


@pytest.fixture
def layout(work):
    return oci.Layout(work / "layout")


@pytest.fixture
def tar():
    return oci.tar_bytes(lambda tar: tar.file("secret", SECRET))


@pytest.fixture
def known(place, work, layout, tar):
    """A store that has the victim's image, and what it is a layer of."""
    victim = layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar)
    layout.add_image("private", [victim])
    store = ship.fresh(work, "known")
    store.build(ship.put_image(place, layout, "private", "victim/app"))
    return store, victim


def claimed(layout, blob, diff_id, tag="claim"):
    layout.add_image(tag, [layout.add_raw_layer(blob, diff_id=diff_id)])
    return tag


def refused(store, *arguments):
    """The message of a build that has to fail and leave nothing."""
    before = store.json("list")
    failed = store.run("build", *arguments)
    assert failed.returncode == REFUSED, failed.stderr
    assert store.json("list") == before and not list((store.store / "tmp").iterdir())
    store.ok("verify")
    return failed.stderr


def built(store, *arguments):
    result = json.loads(store.ok("build", *arguments, "--json"))
    return result["layersConverted"], result["layersReused"]


def read(place, repository, layer):
    return len(place.seen(f"GET /v2/{repository}/blobs/{layer.digest}"))


def test_what_is_no_layer_does_not_become_one_by_its_claim(place, work, layout, known):
    store, victim = known
    tag = claimed(layout, b"no layer at all", victim.diff_id)
    reference = ship.put_image(place, layout, tag, "mallory/app")
    for options in [], ["--push"]:
        assert victim.diff_id in refused(store, reference, *options)
    assert not any(json.loads(body).get("subject") for _, body in place.repository("mallory/app").manifests.values())


def test_another_layer_does_not_pass_for_the_claimed_one(place, layout, known):
    store, victim = known
    own = oci.compress(oci.tar_bytes(lambda tar: tar.file("own", b"mine")), "gzip")
    reference = ship.put_image(place, layout, claimed(layout, own, victim.diff_id), "mallory/app")
    assert f"diffID differs: the config says {victim.diff_id}" in refused(store, reference)


def test_a_truncated_blob_fails_where_its_layer_is_known(place, layout, known):
    store, victim = known
    cut = victim.path.read_bytes()[:-9]
    reference = ship.put_image(place, layout, claimed(layout, cut, victim.diff_id), "victim/app")
    refused(store, reference)


def test_a_wrong_size_fails_where_the_blob_is_known(place, layout, known):
    store, victim = known
    layout.add_image("size", [victim], change_manifest=lambda m: m["layers"][0].update(size=victim.size + 1))
    refused(store, ship.put_image(place, layout, "size", "victim/app"))


@pytest.mark.parametrize("is_same_image", [True, False])
def test_a_blob_that_the_repository_does_not_have_fails(place, layout, known, is_same_image):
    """The manifest is the victim's to the byte, or a new one with the victim's blob."""
    store, victim = known
    layout.add_image("new", [victim], config={"Cmd": ["/secret"]})
    reference = ship.put_image(place, layout, "private" if is_same_image else "new", "mallory/app")
    body = place.repository("mallory/app").blobs.pop(victim.digest)
    assert victim.digest in refused(store, reference)
    place.repository("mallory/app").blobs[victim.digest] = body
    store.build(reference)


def test_a_blob_is_read_once_from_each_repository(place, layout, known):
    store, victim = known
    layout.add_image("next", [victim], config={"Cmd": ["/next"]})
    layout.add_image("third", [victim], config={"Cmd": ["/third"]})
    for tag, repository, reads in [("next", "victim/app", 1), ("next", "other/app", 1), ("third", "other/app", 1),
                                   ("private", "other/app", 1), ("private", "victim/app", 1)]:  # fmt: skip
        assert built(store, ship.put_image(place, layout, tag, repository)) == (0, 1)
        assert read(place, repository, victim) == reads
    store.ok("prune")
    assert built(store, ship.put_image(place, layout, "third", "victim/app")) == (0, 1)
    assert read(place, "victim/app", victim) == 1


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_layer_is_known_however_its_blob_is_compressed(place, work, layout, tar, known, compression):
    store, victim = known
    blob = oci.compress(tar, compression) if compression != "none" else tar
    other = layout.add_raw_layer(blob, tar=tar, media_type=oci.LAYER[compression])
    layout.add_image("other", [other])
    reference = ship.put_image(place, layout, "other", "victim/app")
    assert built(store, reference) == (0, 1) and read(place, "victim/app", other) == 1
    store.ok("verify", "--rebuild", reference)


def test_a_second_blob_of_a_layer_is_read_as_well(place, work, layout, tar):
    """The image names the layer twice, and once there is something else behind it."""
    good = layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar)
    bad = layout.add_raw_layer(b"no layer at all", diff_id=good.diff_id)
    twice = layout.add_raw_layer(oci.compress(tar, "zstd"), tar=tar, media_type=oci.LAYER["zstd"])
    layout.add_image("bad", [good, bad])
    layout.add_image("twice", [good, twice, good])
    store = ship.fresh(work, "store")
    refused_by = store.run("build", ship.put_image(place, layout, "bad"))
    assert refused_by.returncode == REFUSED and "layer 2" in refused_by.stderr
    store.build(ship.put_image(place, layout, "twice"))
    store.ok("verify", "--rebuild", f"docker://{place.host}/a/b:twice")


def test_a_layout_does_not_have_a_blob_by_its_name(work, layout, known):
    """A file that bears the blob's name, and a docker archive, whose layers bear the names that its config claims."""
    store, victim = known
    layout.add_image("local", [victim], config={"Cmd": ["/secret"]})
    good = victim.path.read_bytes()
    victim.path.unlink()
    victim.path.write_bytes(b"\0" * len(good))
    refused(store, f"oci:{layout.directory}:local")
    refused(store, f"oci:{layout.directory}:private")
    victim.path.write_bytes(good)
    assert built(store, f"oci:{layout.directory}:local") == (0, 1)
    refused(store, f"docker-archive:{docker_archive(work / 'bad.tar', bytes(1024), victim.diff_id)}")


def test_a_docker_archive_that_has_the_layer_is_believed(work, tar, known):
    store, victim = known
    assert built(store, f"docker-archive:{docker_archive(work / 'good.tar', tar, victim.diff_id)}") == (0, 1)


def docker_archive(path, layer, diff_id):
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for name, data in [("config.json", json.dumps(config).encode()), ("layer.tar", layer),
                           ("manifest.json", json.dumps(manifest).encode())]:  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_claim_on_the_base_is_none(place, work, layout, known):
    """The base's layers count by their blobs, too; and what its manifest names need not be fetched again."""
    store, victim = known
    base = f"docker://{place.host}/victim/app:private"
    reference = ship.put_image(place, layout, claimed(layout, b"no layer at all", victim.diff_id), "mallory/app")
    refused(store, reference, "--base", base)
    store.ok("push", base)
    elsewhere = ship.fresh(work, "elsewhere")
    failed = elsewhere.run("build", reference, "--base", base)
    assert failed.returncode == REFUSED and "layer 1" in failed.stderr
    own = oci.tar_bytes(lambda tar: tar.file("own", b"mine"))
    layout.add_image("upon", [victim, layout.add_raw_layer(oci.compress(own, "gzip"), tar=own)])
    reads = read(place, "victim/app", victim)
    assert built(elsewhere, ship.put_image(place, layout, "upon", "victim/app"), "--base", base) == (1, 1)
    assert read(place, "victim/app", victim) == reads


@pytest.fixture
def tempting(place, layout, known):
    """mallory/app:1.0 is the victim's image and snapshot, without what they hold; 1.1 shares a file with it, and with it
    for a base would refer to the victim's device, and push it. The digest of that device's data, and 1.1."""
    store, victim = known
    store.ok("push", f"docker://{place.host}/victim/app:private")
    pack = oci.sha256((next((store.store / "devices").iterdir()) / "device.zst").read_bytes())
    shared = oci.tar_bytes(lambda tar: (tar.file("own", bytes(8192)), tar.file("secret", SECRET)))
    layout.add_image("upon", [layout.add_raw_layer(oci.compress(shared, "gzip"), tar=shared)])
    for tag in "private", "upon":
        ship.put_image(place, layout, tag, "mallory/app")
    theirs, mallory = place.repository("victim/app"), place.repository("mallory/app")
    mallory.tags = {"1.0": mallory.tags["private"], "1.1": mallory.tags["upon"]}
    for kind, body in list(theirs.manifests.values()):
        if "subject" in json.loads(body):
            place.put_manifest(body, None, kind, "mallory/app")
    for digest in theirs.blobs.keys() - {pack, victim.digest}:
        mallory.blobs[digest] = theirs.blobs[digest]
    mallory.blobs.pop(victim.digest)
    return pack, f"docker://{place.host}/mallory/app:1.1"


@pytest.mark.parametrize("is_published", [True, False])
def test_no_base_is_found_that_its_repository_does_not_have(place, known, tempting, is_published):
    """There is a snapshot that names the victim's layer and device, or nothing but the manifest and the config."""
    store, _ = known
    pack, image = tempting
    mallory = place.repository("mallory/app")
    if not is_published:
        mallory.manifests = {digest: mallory.manifests[digest] for digest in mallory.tags.values()}
    said = store.run("build", "--push", image)
    assert said.returncode == 0 and "comparing" not in said.stderr
    assert pack not in mallory.blobs


def test_no_base_is_taken_by_its_name_that_lacks_its_data(place, work, known, tempting):
    pack, image = tempting
    failed = ship.fresh(work, "other").run("build", "--push", image, "--base", image.replace("1.1", "1.0"))
    assert failed.returncode != 0 and "does not have its data" in failed.stderr
    assert pack not in place.repository("mallory/app").blobs


@pytest.mark.parametrize("how", [["build"], ["pull", "--complete"]])
def test_data_that_comes_later_is_not_sent_either(place, work, tempting, how):
    pack, image = tempting
    store = ship.fresh(work, "other")
    store.run("build", "--push", image)
    store.ok(*how, f"docker://{place.host}/victim/app:private")
    store.run("build", "--push", image)
    assert pack not in place.repository("mallory/app").blobs


def test_what_a_store_has_of_others_does_not_keep_a_base_from_serving(place, work, layout):
    """The first layer was built for another repository before, whose data no push has sent."""
    fills = [lambda tar: tar.file("os", bytes(range(256)) * 999), lambda tar: tar.file("app", bytes(range(255)) * 999)]
    ship.make_image(layout, "1.0", *fills)
    ship.make_image(layout, "1.1", fills[0], lambda tar: (fills[1](tar), tar.file("new", bytes(range(254)) * 99)))
    ship.make_image(layout, "x", fills[0])
    ship.fresh(work, "first").ok("build", "--push", ship.put_image(place, layout, "1.0", "team/app"))
    stores = [ship.fresh(work, "alone"), ship.fresh(work, "shared")]
    stores[1].build(ship.put_image(place, layout, "x", "other/app"))
    image = ship.put_image(place, layout, "1.1", "team/app")
    first, second = (store.json("build", "--push", image)["snapshot"] for store in stores)
    assert first == second


def test_a_base_that_was_fetched_vouches_for_its_own_layers_only(place, work, layout, known):
    """Its snapshot says that another blob is the victim's layer; a profile asks for another conversion than its own."""
    store, victim = known
    claim = claimed(layout, b"no layer at all", victim.diff_id)
    base = ship.put_image(place, layout, claim, "mallory/app")
    # the base's snapshot, as somebody might make it who has another layer: that of an image with the claimed diffID
    forged = ship.fresh(work, "forged")
    own = oci.tar_bytes(lambda tar: tar.file("bait", bytes(range(256)) * 64))
    layout.add_image("own", [layout.add_raw_layer(oci.compress(own, "gzip"), tar=own)])
    forged.build(ship.put_image(place, layout, "own", "mallory/own"))
    with sqlite3.connect(forged.store / "zeropull.db") as database:
        database.create_function("digest", 1, lambda text: bytes.fromhex(text.removeprefix("sha256:")))
        manifest = next(m for m in json.loads(layout.index_path.read_text())["manifests"]
                        if m["annotations"]["org.opencontainers.image.ref.name"] == claim)["digest"]
        old = next((forged.store / "images").iterdir())
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("UPDATE conversions SET diff_id = digest(?)", [victim.diff_id])
        database.execute("UPDATE image_layers SET diff_id = digest(?), image = digest(?)", [victim.diff_id, manifest])
        database.execute("UPDATE names SET name = ?, manifest_digest = digest(?)", [base, manifest])
        body = (layout.blobs / manifest.removeprefix("sha256:")).read_bytes()
        config = json.loads(body)["config"]["digest"]
        database.execute("UPDATE images SET manifest_digest = digest(?), config_digest = digest(?)", [manifest, config])
    database.close()
    new = old.rename(old.with_name(manifest.removeprefix("sha256:")))
    (new / "manifest.json").write_bytes(body)
    (new / "config.json").write_bytes((layout.blobs / config.removeprefix("sha256:")).read_bytes())
    forged.ok("push", base)
    (work / "profile").write_text("/bait\n")
    failed = store.run("build", base, "--base", base, "--profile", work / "profile")
    assert failed.returncode == REFUSED, failed.stderr


def test_a_store_that_did_not_note_what_it_read_reads_once_more(place, layout, known):
    store, victim = known
    with sqlite3.connect(store.store / "zeropull.db") as database:
        database.executescript("DROP TABLE blobs; PRAGMA user_version = 1")
    database.close()
    store.ok("list")  # reading needs no new table
    for reads in 2, 2:
        assert store.json("build", f"docker://{place.host}/victim/app:private")["wasPresent"]
        assert read(place, "victim/app", victim) == reads
    store.ok("verify")
