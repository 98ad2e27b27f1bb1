# SPDX-License-Identifier: Apache-2.0
"""What is wrong in a registry does not get into a store: damage, malformed and hostile snapshots, servers that fail."""
import copy
import json
import random
import subprocess
from contextlib import suppress

import pytest

from support import oci, ship
from support.memory_registry import memory_registry
from support.registry import registry
from support.serving import hang_up, serving
from support.zeropull import FAILED, OK, REFUSED, error_lines

MIB = 1 << 20


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    out = oci.Layout(tmp_path_factory.mktemp("images"))
    ship.make_image(out, "one", ship.fill_base, ship.fill_bare, ship.fill_app(1))
    ship.make_image(out, "other", ship.fill_app(9))
    return out


class Published:
    """A registry with an image and its snapshot, which a test changes. The snapshot has no bundle, so that each part is
    fetched by itself."""

    def __init__(self, server, layout, work):
        self.server = server
        self.reference = ship.put_image(server, layout, "one")
        self.builder = ship.fresh(work, "builder")
        built = json.loads(self.builder.ok("build", "--push", self.reference, "--json"))
        self.digest = built["snapshot"]
        elsewhere = ship.put_image(server, layout, "other")
        command = ("build", "--push", elsewhere, "--json")
        self.other_digest = json.loads(ship.fresh(work, "elsewhere").ok(*command))["snapshot"]
        self.repository = server.repository()
        self.artifact = json.loads(self.repository.manifests.pop(self.digest)[1])
        self.bundle = next(blob for blob in self.artifact["layers"] if blob["mediaType"] == ship.BUNDLE)
        self.artifact["layers"].remove(self.bundle)
        self.digest = server.put_manifest(json.dumps(self.artifact, separators=(",", ":")).encode())
        self.good = copy.deepcopy(self.repository)

    def restore(self):
        self.repository.blobs = dict(self.good.blobs)
        self.repository.manifests = dict(self.good.manifests)

    def replace(self, document):
        """Publishes another manifest in the snapshot's place: parsed, or bytes."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        del self.repository.manifests[self.digest]
        digest = self.server.put_manifest(body)
        listed = {"mediaType": oci.MANIFEST, "digest": digest, "size": len(body), "artifactType": ship.SNAPSHOT}
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [listed]}
        self.server.inject("GET .*/referrers/", lambda handler: handler.answer(
            200, json.dumps(index).encode(), [("Content-Type", oci.INDEX), ("OCI-Filters-Applied", "artifactType")]) or True)
        return digest

    def publish_bundle(self, data):
        """Publishes the snapshot with this for a bundle."""
        self.server.faults.clear()
        self.restore()
        document = copy.deepcopy(self.artifact)
        document["layers"].insert(1, {**self.bundle, **self.put_blob(data)})
        self.replace(document)

    def put_blob(self, data):
        self.repository.blobs[oci.sha256(data)] = data
        return {"digest": oci.sha256(data), "size": len(data)}

    def blob(self, name):
        return next(blob for blob_name, blob in ship.layers_of(self.artifact) if blob_name == name)


@pytest.fixture(scope="module")
def module_work(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def published_once(layout, module_work):
    with memory_registry() as server:
        yield Published(server, layout, module_work)


@pytest.fixture
def published(published_once):
    published_once.restore()
    published_once.server.faults.clear()
    yield published_once


def refused(store, reference, *names, codes=(FAILED, REFUSED)):
    """A pull ends in one error that names these, and leaves nothing of the image."""
    result = store.run("pull", "--complete", reference)
    assert result.returncode in codes, (result.returncode, result.stderr)
    lines = error_lines(result.stderr)
    assert len(lines) == 1 and all(name in lines[0] for name in names), result.stderr
    ship.check_empty(store)
    if store.device_directories():
        store.ok("verify")
    return lines[0]


def positions(size, seed, count=8):
    return sorted({0, 4, size // 2, size - 1, *random.Random(seed).sample(range(size), min(count, size))})


class TestDamage:
    """Any byte of any blob."""

    @pytest.mark.parametrize("name", [
        "snapshot metadata", "layer 1, metadata", "layer 2, metadata", "device 1, index", "device 1, data",
        "device 1, block map", "device 2, index", "device 2, data",
    ])  # fmt: skip
    def test_a_changed_byte_of_a_blob(self, published, work, name):
        blob = published.blob(name)
        good = published.repository.blobs[blob["digest"]]
        for number, at in enumerate(positions(len(good), name)):
            bit = 1 << number % 8
            published.repository.blobs[blob["digest"]] = good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :]
            store = ship.fresh(work, f"store{number}")
            refused(store, published.reference, name, blob["digest"])
            if "data" not in name.split():
                assert store.layer_directories() == []
            else:
                device = blob["annotations"]["dev.zeropull.device"].removeprefix("sha256:")
                assert not (store.store / "devices" / device / "device.zst").exists()

    @pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""], ids=["short", "long", "empty"])
    @pytest.mark.parametrize("name", ["snapshot metadata", "device 1, index", "device 1, data", "device 1, block map"])
    def test_a_blob_of_another_size(self, published, work, name, change):
        blob = published.blob(name)
        published.repository.blobs[blob["digest"]] = change(published.repository.blobs[blob["digest"]])
        refused(ship.fresh(work, "store"), published.reference, name, blob["digest"])

    def test_a_blob_that_the_registry_has_lost(self, published, work):
        """It is the snapshot's, so pushing the image again would not bring it back."""
        blob = published.blob("device 1, index")
        del published.repository.blobs[blob["digest"]]
        result = ship.fresh(work, "store").expect(FAILED, "pull", "--complete", published.reference)
        assert blob["digest"] in error_lines(result.stderr)[0] and "or its snapshot, has to be pushed again" in result.stderr

    def test_a_changed_byte_of_the_manifest(self, published, work):
        kind, good = published.repository.manifests[published.digest]
        for number, at in enumerate(positions(len(good), "manifest", 20)):
            published.repository.manifests[published.digest] = (kind, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            listed = {"mediaType": oci.MANIFEST, "digest": published.digest, "size": len(good), "artifactType": ship.SNAPSHOT}
            index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [listed]}).encode()
            published.server.faults.clear()
            published.server.inject("GET .*/referrers/", lambda h, i=index: h.answer(200, i, [("Content-Type", oci.INDEX)]) or True)
            refused(ship.fresh(work, f"store{number}"), published.reference, published.digest, "damaged")

    def test_in_the_storage_of_a_real_registry(self, work, layout):
        with registry(work) as server:
            reference = server.push(f"oci:{layout.directory}:one", "a/b", "one", "--preserve-digests")
            digest = json.loads(ship.fresh(work, "builder").ok("build", "--push", reference, "--json"))["snapshot"]
            artifact = json.loads(ship.get(f"http://{server.host}/v2/a/b/manifests/{digest}")[1])
            blobs = ship.layers_of(artifact)

            def damage(blob, number):
                hexadecimal = blob["digest"].removeprefix("sha256:")
                file = server.storage / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"
                good = file.read_bytes()
                at = random.Random(number).randrange(len(good))
                file.write_bytes(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :])
                return file, good

            bundle, whole = damage(dict(blobs)["bundle"], 0)
            ship.fresh(work, "parts").ok("pull", "--complete", reference)
            for number, (name, blob) in enumerate(blobs):
                if name != "bundle":
                    file, good = damage(blob, number)
                    refused(ship.fresh(work, f"store{number}"), reference, name, blob["digest"])
                    file.write_bytes(good)
            bundle.write_bytes(whole)
            ship.fresh(work, "last").ok("pull", "--complete", reference)

    @pytest.mark.parametrize("name", ["snapshot metadata", "layer 2, metadata", "device 1, index"])
    def test_a_part_that_the_bundle_has(self, published, work, name):
        """It is there twice: one good copy is enough, whichever it is."""
        published.publish_bundle(published.good.blobs[published.bundle["digest"]])
        for broken in (published.blob(name), published.bundle):
            for data in (None, bytes(broken["size"])):
                published.repository.blobs = dict(published.good.blobs)
                del published.repository.blobs[broken["digest"]]
                if data:
                    published.repository.blobs[broken["digest"]] = data
                store = ship.fresh(work, f"store-{broken['size']}-{data is None}")
                result = store.expect(OK, "pull", "--complete", published.reference)
                assert ("its parts are fetched one by one" in result.stderr) == (broken is published.bundle)
                ship.check_same(published.builder, store)

    @pytest.mark.parametrize("status", [403, 410, 500])
    def test_a_bundle_that_is_refused(self, published, work, status):
        published.publish_bundle(published.good.blobs[published.bundle["digest"]])
        published.server.inject(f"GET .*{published.bundle['digest']}", *[lambda h: h.answer(status) or True] * 10)
        store = ship.fresh(work, "store")
        result = store.expect(OK, "pull", "--complete", published.reference)
        assert "bundle: broke off" in result.stderr and "its parts are fetched one by one" in result.stderr
        ship.check_same(published.builder, store)

    def test_what_had_no_bundle_is_published_without(self, published, work):
        store, remote = ship.fresh(work, "store"), work / "remote"
        remote.mkdir()
        store.ok("pull", "--complete", published.reference)
        pushed = json.loads(store.ok("push", published.reference, f"dir:{remote}", "--json"))
        assert pushed["snapshot"] == published.digest
        assert pushed["blobsSent"] == len(published.artifact["layers"])

    def test_a_bundle_of_other_blobs(self, published, work):
        """Its own digest is right, and a part in it is not the artifact's."""
        good = published.good.blobs[published.bundle["digest"]]
        for at in positions(len(good), "bundle"):
            published.publish_bundle(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            refused(ship.fresh(work, f"store{at}"), published.reference, "the bundle has another blob")

    def test_a_bundle_of_another_size(self, published, work):
        good = published.good.blobs[published.bundle["digest"]]
        for number, data in enumerate((good[:-1], good + b"x", b"")):
            published.publish_bundle(data)
            refused(ship.fresh(work, f"store{number}"), published.reference, "a bundle")

    def test_the_bundle_is_its_parts_end_to_end(self, published):
        parts = [blob for name, blob in ship.layers_of(published.artifact) if not name.endswith((", data", "block map"))]
        blobs = published.good.blobs
        assert blobs[published.bundle["digest"]] == b"".join(blobs[part["digest"]] for part in parts)

    def test_the_next_pull_gets_what_was_damaged(self, published, work):
        """Devices that were right stay, the rest is fetched when it is right again."""
        blob = published.blob("device 2, data")
        good = published.repository.blobs[blob["digest"]]
        published.repository.blobs[blob["digest"]] = bytes(len(good))
        store = ship.fresh(work, "store")
        refused(store, published.reference, blob["digest"])
        published.restore()
        store.ok("pull", "--complete", published.reference)
        ship.check_same(published.builder, store)


def set_size(at, size):
    return lambda p, d: d["layers"][at].update(size=size)


def set_note(at, name, value):
    return lambda p, d: d["layers"][at]["annotations"].update({f"dev.zeropull.{name}": value})


def other_subject(p, d):
    d["subject"]["digest"] = oci.sha256(b"another")


def subject_of_another_size(p, d):
    d["subject"]["size"] += 1


def without(*positions):
    def change(p, d):
        d["layers"] = [layer for at, layer in enumerate(d["layers"]) if at not in positions]

    return change


def swapped(p, d):
    d["layers"][4], d["layers"][5] = d["layers"][5], d["layers"][4]


def layer_twice(p, d):
    d["layers"].insert(2, d["layers"][1])


def device_twice(p, d):
    d["layers"] += d["layers"][4:6]


def layer_behind_devices(p, d):
    d["layers"].append(d["layers"].pop(1))


def strange_layer(p, d):
    extra = copy.deepcopy(d["layers"][1])
    extra["annotations"]["dev.zeropull.diff-id"] = oci.sha256(b"strange")
    d["layers"].insert(1, extra)


def strange_device(p, d):
    """One that is right in itself, but that no layer refers to."""
    other = json.loads(p.repository.manifests[p.other_digest][1])
    d["layers"] += [blob for blob in other["layers"] if "dev.zeropull.device" in blob["annotations"]]


def frame(data):
    """One zstd frame that tells its content's size."""
    command = ["zstd", "-q", "-c", f"--stream-size={len(data)}"]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def replace_metadata(p, d, at, data, compressed=None):
    d["layers"][at].update(p.put_blob(compressed if compressed is not None else frame(data)))
    d["layers"][at]["annotations"].update({"dev.zeropull.digest": oci.sha256(data), "dev.zeropull.size": str(len(data))})


def garbage(at):
    return lambda p, d: replace_metadata(p, d, at, random.Random(at).randbytes(8192))


def metadata_of_another_layer(p, d):
    for key in ("digest", "size"):
        d["layers"][1][key] = d["layers"][3][key]
        d["layers"][1]["annotations"][f"dev.zeropull.{key}"] = d["layers"][3]["annotations"][f"dev.zeropull.{key}"]


def snapshot_of_another_image(p, d):
    other = next(directory for directory in p.other.image_directories())
    replace_metadata(p, d, 0, (other / "snapshot.erofs").read_bytes())


def metadata_with_a_tail(p, d):
    blob = p.repository.blobs[d["layers"][1]["digest"]]
    d["layers"][1].update(p.put_blob(blob + b"\0"))


def metadata_that_tells_no_size(p, d):
    file = next(f for f in p.builder.files() if f.endswith("layer.erofs"))
    data = p.builder.files()[file]
    replace_metadata(p, d, 1, data, oci.compress(data, "zstd"))


def metadata_not_compressed(p, d):
    replace_metadata(p, d, 1, b"x" * 5000, b"x" * 5000)


def metadata_of_another_digest(p, d):
    d["layers"][1]["annotations"]["dev.zeropull.digest"] = oci.sha256(b"other")


def replace_index(d, blob):
    """The device gets the name of this index."""
    for at in (4, 5, 6):
        d["layers"][at]["annotations"]["dev.zeropull.device"] = blob["digest"]
    d["layers"][4].update(digest=blob["digest"], size=blob["size"])


def pack_of_other_frames(p, d):
    """The digests of index and pack are right, but they do not belong together."""
    pack = bytearray(p.repository.blobs[d["layers"][5]["digest"]])
    pack[1000] ^= 1
    d["layers"][5].update(p.put_blob(bytes(pack)))


def index_of_other_frames(p, d):
    """As that, but the device's name is another one then."""
    index = bytearray(p.repository.blobs[d["layers"][4]["digest"]])
    index[-1] ^= 1
    replace_index(d, p.put_blob(bytes(index)))


def index_of_another_pack(p, d):
    other = copy.deepcopy(d["layers"][7])
    del d["layers"][7:]
    replace_index(d, other)


def pack_of_another_device(p, d):
    for key in ("digest", "size"):
        d["layers"][5][key] = d["layers"][8][key]


def device_of_another_size(p, d):
    d["layers"][5]["annotations"]["dev.zeropull.device-size"] = "4096"
    del d["layers"][6]  # its size tells as well


def map_of_another_device(p, d):
    """In its first bytes a map says whose it is."""
    other = p.repository.blobs[d["layers"][9]["digest"]]
    own = p.repository.blobs[d["layers"][6]["digest"]]
    device = bytes.fromhex(d["layers"][9]["annotations"]["dev.zeropull.device"].removeprefix("sha256:"))
    at = other.index(device)
    d["layers"][6].update(p.put_blob(own[:at] + device + own[at + len(device) :]))


def garbage_as_map(p, d):
    d["layers"][6].update(p.put_blob(random.Random(6).randbytes(d["layers"][6]["size"])))


# What a message has to say, where another check might refuse the case as well.
SAYS = {
    "subject of another size": "another image",
    "other subject": "another image",
    "a layer is missing": "lacks layer 2",
    "all layers are missing": "lacks layer 1",
    "a layer twice": "a layer twice",
    "a layer that the image has not": "that the image has not",
    "a device twice": "a device twice",
    "a device that no layer has": "none of its layers'",
    "a layer behind devices": "a layer among the devices",
    "metadata size another": "not one zstd frame of the size",
    "metadata size octal": "malformed number",
    "index of 2^40 bytes": "impossible size",
    "metadata of 2^40 bytes": "impossible size",
    "device size another": "not the artifact's",
    "device size not the map's": "block map of an impossible size",
    "map of another size": "block map of an impossible size",
    "map before its pack": "block map of a device is not where it belongs",
    "map twice": "block map of a device is not where it belongs",
    "map of another device": "device 1, block map",
    "garbage as map": "device 1, block map",
    "garbage as layer": "layer.erofs",
    "garbage as snapshot": "snapshot.erofs",
    "metadata of another layer": "device 1 is none of its layers'",
    "snapshot of another image": "its devices are not the artifact's",
    "metadata that tells no size": "not one zstd frame of the size",
    "pack of other frames": "damaged at byte",
    "pack of another device": "sizes are not the artifact's",
}
# The artifact's layers: 0 snapshot; 1, 2, 3 metadata; 4, 7 indexes; 5, 8 packs; 6, 9 block maps. Layer 2 has no
# device.
MALFORMED = {
    "other subject": other_subject,
    "subject of another size": subject_of_another_size,
    "no subject": lambda p, d: d.pop("subject"),
    "subject is null": lambda p, d: d.update(subject=None),
    "another type": lambda p, d: d.update(artifactType="application/vnd.example"),
    "no layers": lambda p, d: d.update(layers=[]),
    "layers is an object": lambda p, d: d.update(layers={}),
    "a layer is null": lambda p, d: d["layers"].append(None),
    "a layer is missing": without(2),
    "all layers are missing": without(*range(1, 10)),
    "the snapshot is missing": without(0),
    "a pack is missing": without(5),
    "an index is missing": without(7),
    "a device is missing": without(4, 5, 6),
    "the last device is missing": without(7, 8, 9),
    "a layer twice": layer_twice,
    "a layer that the image has not": strange_layer,
    "a layer behind devices": layer_behind_devices,
    "a device twice": device_twice,
    "a device that no layer has": strange_device,
    "index after pack": swapped,
    "unknown media type": lambda p, d: d["layers"][5].update(mediaType="application/octet-stream"),
    "no annotations": lambda p, d: d["layers"][1].pop("annotations"),
    "no digest": lambda p, d: d["layers"][1].pop("digest"),
    "sha512": lambda p, d: d["layers"][1].update(digest="sha512:" + "0" * 128),
    "size too small": lambda p, d: d["layers"][5].update(size=d["layers"][5]["size"] - 1),
    "size too large": lambda p, d: d["layers"][5].update(size=d["layers"][5]["size"] + 1),
    "size 0": set_size(1, 0),
    "size -1": set_size(1, -1),
    "size 2^63": set_size(5, 1 << 63),
    "size 2^63-1": set_size(5, (1 << 63) - 1),
    "index of 2^40 bytes": set_size(4, 1 << 40),
    "metadata of 2^40 bytes": set_size(1, 1 << 40),
    "size a fraction": set_size(5, 1.5),
    "size a string": set_size(5, "1"),
    "metadata size 0": set_note(1, "size", "0"),
    "metadata size 2^64": set_note(1, "size", str(1 << 64)),
    "metadata size 5 GiB": set_note(1, "size", str(5 << 30)),
    "metadata size another": set_note(1, "size", "4096"),
    "metadata size octal": set_note(1, "size", "010000"),
    "metadata size a number": set_note(1, "size", 4096),
    "device size another": device_of_another_size,
    "device size not the map's": set_note(5, "device-size", "4096"),
    "device size no block": set_note(5, "device-size", "4097"),
    "device size 0": set_note(5, "device-size", "0"),
    "device size 2^60": set_note(5, "device-size", str(1 << 60)),
    "level 100": set_note(5, "level", "100"),
    "devices differ": set_note(5, "device", oci.sha256(b"x")),
    "index is another device's": set_note(4, "device", oci.sha256(b"x")),
    "an empty recipe": set_note(1, "recipe", ""),
    "a recipe of 3 KiB": set_note(1, "recipe", "x" * 3000),
    "metadata of another digest": metadata_of_another_digest,
    "metadata with a tail": metadata_with_a_tail,
    "metadata not compressed": metadata_not_compressed,
    "metadata that tells no size": metadata_that_tells_no_size,
    "garbage as layer": garbage(1),
    "garbage as snapshot": garbage(0),
    "metadata of another layer": metadata_of_another_layer,
    "snapshot of another image": snapshot_of_another_image,
    "pack of other frames": pack_of_other_frames,
    "index of other frames": index_of_other_frames,
    "index of another pack": index_of_another_pack,
    "pack of another device": pack_of_another_device,
    "map of another size": lambda p, d: d["layers"][6].update(size=d["layers"][6]["size"] + 32),
    "map before its pack": lambda p, d: d["layers"].insert(5, d["layers"].pop(6)),
    "map twice": lambda p, d: d["layers"].insert(6, d["layers"][6]),
    "map of another device": map_of_another_device,
    "garbage as map": garbage_as_map,
}
RAW = {
    "not JSON": b"\x00\x01\x02",
    "empty object": b"{}",
    "an array": b"[]",
    "nested deep": b'{"layers":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "member twice": b'{"artifactType":"a","artifactType":"b"}',
    "9 MiB": b'{"x":"' + b"y" * (9 * MIB) + b'"}',
}


class TestMalformed:
    @pytest.fixture(scope="class")
    def other(self, tmp_path_factory, layout):
        store = ship.fresh(tmp_path_factory.mktemp("other"), "store")
        store.build(f"oci:{layout.directory}:other")
        return store

    @pytest.mark.parametrize("name", MALFORMED)
    def test_a_malformed_snapshot_is_refused(self, published, work, name, other):
        published.other = other
        document = copy.deepcopy(published.artifact)
        MALFORMED[name](published, document)
        published.replace(document)
        refused(ship.fresh(work, "store"), published.reference, SAYS.get(name, ""))

    @pytest.mark.parametrize("name", RAW)
    def test_what_is_no_manifest_is_refused(self, published, work, name):
        digest = published.replace(RAW[name])
        refused(ship.fresh(work, "store"), published.reference, digest)

    def test_the_unchanged_one_is_taken(self, published, work):
        published.replace(published.artifact)
        ship.fresh(work, "store").ok("pull", "--complete", published.reference)

    def test_a_bomb_takes_no_memory(self, published, work):
        """Half a gigabyte of zeros in a few kilobytes, with right digests."""
        document, zeros = copy.deepcopy(published.artifact), bytes(512 * MIB)
        replace_metadata(published, document, 0, zeros)
        published.replace(document)
        store = ship.fresh(work, "store")
        code, peak_kib, errors = store.peak("pull", "--complete", published.reference)
        assert code == REFUSED and "snapshot.erofs" in error_lines(errors)[0], errors
        assert peak_kib < 300 * 1024, f"{peak_kib // 1024} MiB"  # the frame's window is a few MiB
        ship.check_empty(store)

    def test_an_older_snapshot_is_taken_when_the_newest_is_malformed(self, published, work):
        newest = copy.deepcopy(published.artifact)
        newest["layers"] = newest["layers"][:5]
        published.server.put_manifest(json.dumps(newest).encode())
        store = ship.fresh(work, "store")
        pulled = json.loads(store.ok("pull", "--complete", published.reference, "--json"))
        assert pulled["snapshot"] == published.digest
        ship.check_same(published.builder, store)


def answer(status, *headers):
    return lambda h: h.answer(status, b"", headers) or True


def cut_after(size):
    """The answer ends in the middle."""

    def fault(handler):
        body = handler.server.repository().blobs[handler.path.rsplit("/", 1)[1]]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:size])
        handler.hang_up()
        return True

    return fault


def wrong_bytes(handler):
    body = handler.server.repository().blobs[handler.path.rsplit("/", 1)[1]]
    handler.answer(200, bytes(len(body)))
    return True


BUSY = answer(429, ("Retry-After", "0"))
# fault: does one such answer pass unnoticed?
PULL_FAULTS = {
    "500": (answer(500), True),
    "503 with Retry-After": (answer(503, ("Retry-After", "0")), True),
    "429": (BUSY, True),
    "connection closed": (hang_up, True),
    "cut after 1000 bytes": (cut_after(1000), True),
    "cut at once": (cut_after(0), True),
    "404": (answer(404), False),
    "403": (answer(403), False),
    "wrong bytes": (wrong_bytes, False),
    "a redirect into nowhere": (answer(307, ("Location", "http://127.0.0.1:1/x")), None),
    "a redirect without Location": (answer(307), None),
}
PUSH_FAULTS = {
    "500": (answer(500), True),
    "503 with Retry-After": (answer(503, ("Retry-After", "0")), True),
    "429": (BUSY, True),
    "connection closed": (hang_up, True),
    "403": (answer(403), False),
    "507": (answer(507), None),
}


class TestFaults:
    """Every case ends in the right result or in one error."""

    @pytest.mark.parametrize("blob", ["snapshot metadata", "device 1, index", "device 1, data"])
    @pytest.mark.parametrize("name", PULL_FAULTS)
    def test_one_bad_answer_to_a_pull(self, published, work, name, blob):
        fault, passes = PULL_FAULTS[name]
        published.server.inject("GET .*/blobs/" + published.blob(blob)["digest"], fault)
        store = ship.fresh(work, "store")
        self.check(published, store.run("pull", "--complete", published.reference), store, passes)

    def check(self, published, result, store, passes):
        if passes is True or result.returncode == OK:
            assert result.returncode == OK and passes is not False, result.stderr
            ship.check_same(published.builder, store)
        else:
            assert result.returncode in (FAILED, REFUSED), (result.returncode, result.stderr)
            assert len(error_lines(result.stderr)) == 1
            ship.check_empty(store)

    @pytest.mark.parametrize("name", PUSH_FAULTS)
    @pytest.mark.parametrize("pattern", [
        "POST .*/blobs/uploads/", "PUT .*/blobs/uploads/", "HEAD .*/blobs/", "PUT .*/manifests/sha256:",
    ])  # fmt: skip
    def test_one_bad_answer_to_a_push(self, layout, work, name, pattern):
        fault, passes = PUSH_FAULTS[name]
        with memory_registry() as server:
            reference = ship.put_image(server, layout, "one")
            left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
            left.build(reference)
            server.faults.clear()
            server.inject(pattern, fault)
            result = left.run("push", reference)
            if result.returncode != OK:
                assert passes is not True and result.returncode == FAILED, (result.returncode, result.stderr)
                assert len(error_lines(result.stderr)) == 1
                left.ok("push", reference)
            else:
                assert passes is not False
            right.ok("pull", "--complete", reference)
            ship.check_same(left, right)

    def test_a_server_that_takes_nothing_is_given_up(self, layout, work):
        with memory_registry() as server:
            reference = ship.put_image(server, layout, "one")
            left = ship.fresh(work, "left")
            server.inject("POST .*/blobs/uploads/", *[BUSY] * 1000)
            result = left.run("build", "--push", reference, timeout=120)
            assert result.returncode == FAILED and len(error_lines(result.stderr)) == 1
            assert left.layer_directories() == []


class TestARegistryThatIsNotThere:
    @pytest.mark.parametrize("command", ["push", "pull"])
    def test_one_that_is_just_being_started_is_waited_for(self, layout, work, command):
        """For 1.75 s: where that was too short, or somebody else had its port by then, there is another try."""
        said = []
        while (code := self.waits_for_start(layout, work / f"try{len(said)}", command, said)) != OK:
            assert len(said) < 5, said

    def waits_for_start(self, layout, work, command, said):
        work.mkdir()
        with memory_registry() as server:
            reference = ship.put_image(server, layout, "one")
            builder = ship.fresh(work, "builder")
            builder.ok("build", *(["--push"] if command == "pull" else []), reference)
        store = builder if command == "push" else ship.fresh(work, "fresh")
        process = store.start(command, reference, text=True)
        said.append("")
        while "trying again (2 of 4)" not in said[-1]:
            line = process.stderr.readline()
            assert line, said
            said[-1] += line
        with suppress(OSError), serving(server.again()):
            process.wait(60)
        said[-1] += process.communicate(timeout=60)[1]
        return process.returncode

    def test_one_that_nobody_serves_is_soon_given_up(self, layout, work):
        with memory_registry() as server:
            reference = ship.put_image(server, layout, "one")
        result = ship.fresh(work, "fresh").expect(FAILED, "pull", reference)
        assert result.stderr.count("trying again") == 3  # after 0.25, 0.5 and 1 s
        (error,) = error_lines(result.stderr)
        assert reference in error and "connect" in error
