# SPDX-License-Identifier: Apache-2.0
"""Snapshots travel: built here, published, fetched there, the same to the byte."""
import json
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from support import images, oci, ship
from support.memory_registry import memory_registry
from support.programs import treecmp
from support.registry import distribution_3, registry
from support.versitygw import versitygw
from support.zeropull import FAILED, NOT_FOUND, OK, REFUSED, USAGE, Zeropull, error_lines

ROUNDS = int(os.environ.get("ZP_KILL_ROUNDS", "6"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Images: `one` (base, bare, app 1), `two` (its top layer changed), `big` (takes long enough to be killed)."""
    out = oci.Layout(tmp_path_factory.mktemp("images"))
    ship.make_image(out, "one", ship.fill_base, ship.fill_bare, ship.fill_app(1))
    ship.make_image(out, "two", ship.fill_base, ship.fill_bare, ship.fill_app(2))
    big = [ship.fill_app(seed, 9_000_000) for seed in (3, 4, 5)]
    ship.make_image(out, "big", *big, compression="none")
    return out


@dataclass
class Place:
    """An image's registry, and where its snapshots go (None: beside the image)."""

    host: str
    remote: str | None = None
    environment: dict = field(default_factory=dict)
    storage: object = None

    def reference(self, tag, repository="a/b"):
        return f"docker://{self.host}/{repository}:{tag}"

    @property
    def push_option(self):
        return f"--push={self.remote}" if self.remote else "--push"

    @property
    def to(self):
        return [self.remote] if self.remote else []

    @property
    def source(self):
        return ["--from", self.remote] if self.remote else []

    def store(self, work, name):
        return Zeropull(work / name, self.environment)

    def snapshots(self, digest):
        old = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            return ship.snapshots(self.remote or f"docker://{self.host}/a/b", digest)
        finally:
            for name, value in old.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def fill_registry(server, layout):
    """Both images, in two repositories each a different tag of one of them."""
    for tag in ("one", "two", "big"):
        server.push(f"oci:{layout.directory}:{tag}", "a/b", tag, "--preserve-digests")


KINDS = ["docker-registry", "distribution 3", "referrers API", "dir", "s3"]


@pytest.fixture(params=KINDS)
def place(request, work, layout):
    with ExitStack() as stack:
        if request.param == "referrers API":
            server = stack.enter_context(memory_registry())
            for tag in ("one", "two", "big"):
                ship.put_image(server, layout, tag)
            yield Place(server.host)
            return
        program = distribution_3() if request.param == "distribution 3" else "docker-registry"
        server = stack.enter_context(registry(work, program=program))
        fill_registry(server, layout)
        made = Place(server.host, storage=server.storage)
        if request.param == "dir":
            (work / "remote").mkdir()
            made.remote = f"dir:{work}/remote"
        elif request.param == "s3":
            s3 = stack.enter_context(versitygw(work))
            s3.bucket("snapshots")
            made.remote, made.environment = "s3://snapshots/some/prefix", s3.environment
        yield made


@pytest.fixture
def beside(work, layout):
    """Debian's registry; snapshots go beside the images."""
    with registry(work) as server:
        fill_registry(server, layout)
        yield Place(server.host, storage=server.storage)


def digest_of(layout, tag):
    return oci.sha256(ship.manifest_bytes(layout, tag))


class TestRoundTrip:
    def test_what_is_pulled_is_what_was_built(self, place, work):
        left, right = place.store(work, "left"), place.store(work, "right")
        left.build(place.reference("one"))
        left.ok("push", place.reference("one"), *place.to)
        pulled = json.loads(right.ok("pull", "--complete", place.reference("one"), *place.source, "--json"))
        assert pulled["layersFetched"] == 3 and pulled["layersReused"] == 0 and not pulled["wasPresent"]
        ship.check_same(left, right)
        assert right.json("inspect", place.reference("one"))["layers"] == left.json("inspect", place.reference("one"))["layers"]

    def test_build_and_push_in_one(self, place, work):
        left, right = place.store(work, "left"), place.store(work, "right")
        built = json.loads(left.ok("build", place.push_option, place.reference("one"), "--json"))
        assert built["blobsSent"] == 11 and built["snapshot"] in place.snapshots(built["digest"])
        right.ok("pull", "--complete", place.reference("one"), *place.source)
        ship.check_same(left, right)

    def test_pushing_twice_sends_nothing(self, place, work):
        left = place.store(work, "left")
        first = json.loads(left.ok("build", place.push_option, place.reference("one"), "--json"))
        again = json.loads(left.ok("push", place.reference("one"), *place.to, "--json"))
        assert again == {**again, "blobsSent": 0, "blobsPresent": 11, "bytesSent": 0, "snapshot": first["snapshot"]}
        assert place.snapshots(first["digest"]) == [first["snapshot"]]

    def test_only_the_changed_layer_travels(self, place, work):
        left, right = place.store(work, "left"), place.store(work, "right")
        left.ok("build", place.push_option, place.reference("one"))
        right.ok("pull", "--complete", place.reference("one"), *place.source)
        second = json.loads(left.ok("build", place.push_option, place.reference("two"), "--json"))
        # the new layer's four blobs, the snapshot's metadata, and the bundle
        assert (second["blobsSent"], second["blobsPresent"]) == (6, 5)
        assert 400_000 < second["bytesSent"] < 450_000
        pulled = json.loads(right.ok("pull", "--complete", place.reference("two"), *place.source, "--json"))
        assert (pulled["layersFetched"], pulled["layersReused"]) == (1, 2)
        assert 400_000 < pulled["bytesReceived"] < 450_000
        ship.check_same(left, right)

    def test_what_is_there_is_not_fetched_again(self, place, work):
        left, right = place.store(work, "left"), place.store(work, "right")
        left.ok("build", place.push_option, place.reference("one"))
        right.ok("pull", "--complete", place.reference("one"), *place.source)
        again = json.loads(right.ok("pull", "--complete", place.reference("one"), *place.source, "--json"))
        assert again["wasPresent"] and again["bytesReceived"] == 0

    def test_the_last_of_concurrent_pushes_loses_nothing(self, place, work):
        """Two builders that pack in different ways publish two snapshots of one image at the same time."""
        stores = [place.store(work, "left"), place.store(work, "right")]
        for store, size in zip(stores, ["256K", "1M"], strict=True):
            store.build(place.reference("one"), "--frame-size", size)
        processes = [store.start("push", place.reference("one"), *place.to, "--json") for store in stores]
        outputs = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [OK, OK], outputs
        published = {json.loads(output)["snapshot"] for output, _ in outputs}
        found = place.snapshots(stores[0].json("list")[0]["digest"])
        assert len(published) == 2 and set(found) == published and len(found) == 2
        third = place.store(work, "third")
        third.ok("pull", "--complete", place.reference("one"), *place.source)
        third.ok("verify")


class TestNeighbours:
    """What else is in the registry stays as it was."""

    def test_image_tags_and_digests_are_untouched(self, beside, work, layout):
        def look():
            tags = json.loads(ship.get(f"http://{beside.host}/v2/a/b/tags/list")[1])["tags"]
            names = [*tags, digest_of(layout, "one"), digest_of(layout, "two")]
            return {name: ship.get(f"http://{beside.host}/v2/a/b/manifests/{name}") for name in names}

        before = look()
        beside.store(work, "left").ok("build", "--push", beside.reference("one"))
        after = look()
        fallback = digest_of(layout, "one").replace(":", "-")
        assert set(after) - set(before) == {fallback}
        assert {name: after[name] for name in before} == before

    def test_a_pulled_image_can_still_be_pulled_with_other_tools(self, beside, work):
        beside.store(work, "left").ok("build", "--push", beside.reference("one"))
        subprocess.run(
            ["skopeo", "copy", "-q", "--src-tls-verify=false", beside.reference("one"), f"oci:{work}/copy:one"], check=True
        )
        direct = Zeropull(work / "direct")
        direct.build(f"oci:{work}/copy:one")
        assert direct.json("list")[0]["digest"] == Zeropull(work / "left").json("list")[0]["digest"]

    @pytest.mark.parametrize("kind", ["docker-registry", "distribution 3"])
    def test_skopeo_copies_and_inspects_the_artifact(self, kind, work, layout):
        with registry(work, program=distribution_3() if kind == "distribution 3" else "docker-registry") as server:
            fill_registry(server, layout)
            reference = f"docker://{server.host}/a/b:one"
            digest = json.loads(Zeropull(work / "left").ok("build", "--push", reference, "--json"))["snapshot"]
            artifact = f"docker://{server.host}/a/b@{digest}"
            raw = subprocess.check_output(["skopeo", "inspect", "--raw", "--tls-verify=false", artifact])
            assert oci.sha256(raw) == digest
            out = oci.Layout(work / "copied")
            subprocess.run(
                ["skopeo", "copy", "-q", "--src-tls-verify=false", artifact, f"oci:{out.directory}:snapshot"], check=True
            )
            copied = json.loads(raw)
            assert out.manifest("snapshot") == copied
            for blob in copied["layers"]:
                assert oci.sha256_file(out.blobs / blob["digest"].removeprefix("sha256:")) == blob["digest"]
            # and to another registry, where it is found again
            subprocess.run(
                ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{out.directory}:snapshot",
                 f"docker://{server.host}/other:x"], check=True,
            )  # fmt: skip
            assert oci.sha256(ship.get(f"http://{server.host}/v2/other/manifests/x")[1]) == digest

    def test_skopeo_copies_the_image_with_its_snapshot_left_alone(self, beside, work):
        digest = json.loads(beside.store(work, "left").ok("build", "--push", beside.reference("one"), "--json"))["snapshot"]
        subprocess.run(
            ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", beside.reference("one"),
             beside.reference("three")], check=True,
        )  # fmt: skip
        assert ship.get(f"http://{beside.host}/v2/a/b/manifests/{digest}")[0] == 200

    def test_another_repository_of_the_registry_gives_its_blobs(self, beside, work):
        left = beside.store(work, "left")
        left.ok("build", "--push", beside.reference("one"))
        elsewhere = f"docker://{beside.host}/elsewhere/c"
        pushed = json.loads(left.ok("push", beside.reference("one"), elsewhere, "--mount-from", "a/b", "--json"))
        assert pushed["bytesSent"] == 0
        right = beside.store(work, "right")
        right.ok("pull", "--complete", beside.reference("one"), "--from", elsewhere)
        ship.check_same(left, right)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("name", ["busybox", "stack40"])
def test_a_pulled_image_mounts_as_the_built_one(name, work):
    with registry(work) as server:
        reference = server.push(images.source(name), "some/" + name)
        left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
        left.ok("build", "--push", reference)
        right.ok("pull", "--complete", reference)
        ship.check_same(left, right)
        with left.mounted(reference, work / "built") as built, right.mounted(reference, work / "pulled") as pulled:
            assert treecmp(built, pulled) == []


class TestPlatforms:
    def test_each_platform_has_its_own_snapshot(self, work, layout):
        manifests = []
        for architecture, seed in (("amd64", 1), ("arm64", 2)):
            tars = [oci.tar_bytes(ship.fill_base), oci.tar_bytes(ship.fill_app(seed))]
            layers = [layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar) for tar in tars]
            digest = layout.add_image(
                f"for-{architecture}", layers, change_config=lambda c, a=architecture: c.update(architecture=a)
            )
            manifests.append((digest, architecture))
        index = json.dumps({
            "schemaVersion": 2, "mediaType": oci.INDEX,
            "manifests": [
                {"mediaType": oci.MANIFEST, "digest": digest,
                 "size": (layout.blobs / digest.removeprefix("sha256:")).stat().st_size,
                 "platform": {"os": "linux", "architecture": architecture}} for digest, architecture in manifests
            ],
        }).encode()  # fmt: skip
        layout.tag_manifest("multi", index, oci.INDEX)
        with registry(work) as server:
            reference = server.push(f"oci:{layout.directory}:multi", "a/multi", "multi", "--preserve-digests")
            left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
            left.ok("build", "--push", "--platform", "linux/arm64", reference)
            assert right.expect(NOT_FOUND, "pull", "--complete", "--platform", "linux/amd64", reference).stderr
            right.ok("pull", "--complete", "--platform", "linux/arm64", reference)
            ship.check_same(left, right)
            second = json.loads(left.ok("build", "--push", "--platform", "linux/amd64", reference, "--json"))
            assert second["blobsPresent"] == 4  # the base's
            right.ok("pull", "--complete", "--platform", "linux/amd64", reference)
            ship.check_same(left, right)
            assert {image["platform"] for image in right.json("list")} == {"linux/amd64", "linux/arm64"}


class TestStore:
    """What the pulling store has already."""

    def test_a_layer_packed_in_another_way_lies_beside_the_published_one(self, beside, work):
        left, right = beside.store(work, "left"), beside.store(work, "right")
        left.ok("build", "--push", beside.reference("one"))
        right.build(beside.reference("two"), "--frame-size", "64K", "--level", "1")
        pulled = json.loads(right.ok("pull", "--complete", beside.reference("one"), "--json"))
        assert (pulled["layersFetched"], pulled["layersReused"]) == (2, 1)  # the one without data is the same
        assert len(right.json("list")) == 2
        right.ok("verify")
        right.ok("remove", beside.reference("two"))
        right.ok("prune")
        ship.check_same(left, right)

    def test_what_is_damaged_in_the_store_is_fetched_again(self, beside, work):
        left, right = beside.store(work, "left"), beside.store(work, "right")
        left.ok("build", "--push", beside.reference("one"))
        left.ok("build", "--push", beside.reference("two"))
        right.ok("pull", "--complete", beside.reference("two"))
        for file in [*right.store.glob("layers/*/layer.erofs"), *right.store.glob("devices/*/device.idx")]:
            file.write_bytes(file.read_bytes()[:-1] + b"?")
        os.truncate(max(right.store.glob("devices/*/device.zst"), key=lambda file: file.stat().st_size), 1000)
        right.ok("remove", beside.reference("two"))
        right.ok("pull", "--complete", beside.reference("two"))
        right.ok("pull", "--complete", beside.reference("one"))
        ship.check_same(left, right)

    @pytest.mark.parametrize("pattern", ["devices/*/device.zst", "devices/*/device.idx", "layers/*/layer.erofs",
                                         "images/*/snapshot.erofs", "images/*/config.json"])  # fmt: skip
    def test_what_is_damaged_of_an_image_that_is_there_is_fetched_again(self, beside, work, pattern):
        left, right = beside.store(work, "left"), beside.store(work, "right")
        left.ok("build", "--push", beside.reference("one"))
        right.ok("pull", "--complete", beside.reference("one"))
        file = max(right.store.glob(pattern), key=lambda file: file.stat().st_size)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        found = right.expect(FAILED, "verify")
        assert "hint: fetch again what is damaged: zeropull " in found.stderr
        assert f"pull --complete {beside.reference('one')}\n" in found.stderr
        pulled = json.loads(right.ok("pull", "--complete", "--json", beside.reference("one")))
        assert pulled["complete"] and pulled["devicesFetched"] == (1 if "device.zst" in pattern else 0)
        ship.check_same(left, right)
        assert json.loads(right.ok("pull", "--complete", "--json", beside.reference("one")))["bytesReceived"] == 0

    def test_a_pulled_image_can_be_built_again_and_compared(self, beside, work):
        left, right = beside.store(work, "left"), beside.store(work, "right")
        left.ok("build", "--push", beside.reference("one"), "--level", "7", "--frame-size", "128K")
        right.ok("pull", "--complete", beside.reference("one"))
        right.ok("verify", "--rebuild")

    def test_concurrent_pulls_do_the_work_once(self, beside, work):
        beside.store(work, "left").ok("build", "--push", beside.reference("one"))
        right = beside.store(work, "right")
        processes = [right.start("pull", "--complete", beside.reference("one"), "--json") for _ in range(3)]
        outputs = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [OK] * 3, outputs
        assert sum(json.loads(output)["layersFetched"] for output, _ in outputs) == 3
        ship.check_same(Zeropull(work / "left"), right)

    def test_what_is_damaged_in_the_store_does_not_travel(self, beside, work):
        left = beside.store(work, "left")
        left.build(beside.reference("one"))
        device, layer = left.device_directories()[0], left.layer_directories()[0]
        for file in (device / "device.zst", device / "device.idx", layer / "layer.erofs"):
            good = file.read_bytes()
            half = len(good) // 2
            file.write_bytes(good[:half] + bytes([good[half] ^ 1]) + good[half + 1 :])
            failed = left.run("push", beside.reference("one"))
            assert failed.returncode == REFUSED and len(error_lines(failed.stderr)) == 1
            assert file.name in failed.stderr and "damaged" in failed.stderr
            left.build(beside.reference("one"))
            assert file.read_bytes() == good
        assert beside.snapshots(left.json("list")[0]["digest"]) == []
        left.ok("push", beside.reference("one"))


class TestErrors:
    def test_no_snapshot(self, beside, work):
        failed = beside.store(work, "right").expect(NOT_FOUND, "pull", "--complete", beside.reference("one"))
        assert "no snapshot" in failed.stderr and "build --push" in failed.stderr
        ship.check_empty(Zeropull(work / "right"))

    def test_no_image(self, beside, work):
        beside.store(work, "right").expect(NOT_FOUND, "pull", "--complete", beside.reference("none"))

    def test_an_image_from_elsewhere_needs_a_remote(self, work, layout):
        store = ship.fresh(work, "left")
        store.build(f"oci:{layout.directory}:one")
        assert "say where" in store.expect(USAGE, "push", f"oci:{layout.directory}:one").stderr
        assert "say where" in store.expect(USAGE, "pull", "--complete", f"oci:{layout.directory}:one").stderr
        assert "--push=REMOTE" in store.expect(USAGE, "build", "--push", f"oci:{layout.directory}:one").stderr

    def test_what_cannot_be_published_is_not_built(self, work, layout):
        with registry(work, users={"me": "secret"}) as server:
            store = ship.fresh(work, "left")
            failed = store.run("build", f"--push=docker://{server.host}/x", f"oci:{layout.directory}:one")
            assert failed.returncode == FAILED and "log in" in failed.stderr
            assert len(error_lines(failed.stderr)) == 1
            assert store.layer_directories() == [] and store.leftovers() == []

    @pytest.mark.parametrize("how", ["auth file", "helper"])
    def test_credentials_are_found_before_the_build_confines_itself(self, how, work, layout):
        with registry(work, users={"me": "secret"}) as server:
            config = {"auths": {server.host: {"auth": "bWU6c2VjcmV0"}}}
            environment = {}
            if how == "helper":
                helper = work / "docker-credential-test"
                helper.write_text('#!/bin/sh\necho \'{"Username":"me","Secret":"secret"}\'\n')
                helper.chmod(0o755)
                config = {"credHelpers": {server.host: "test"}}
                environment["PATH"] = f"{work}:{os.environ['PATH']}"
            (work / "config.json").write_text(json.dumps(config))
            login = ["--auth-file", str(work / "config.json")]
            left, right = Zeropull(work / "left", environment), Zeropull(work / "right", environment)
            source, remote = f"oci:{layout.directory}:one", f"docker://{server.host}/x"
            for _ in range(2):  # the second time everything is there already
                left.ok("build", f"--push={remote}", source, *login)
            right.ok("pull", "--complete", source, "--from", remote, *login)
            ship.check_same(left, right)

    def test_authority_of_a_registry_is_read_when_confined(self, work, layout):
        certificate = make_certificate(work)
        with registry(work, tls=certificate) as server:
            left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
            source, remote = f"oci:{layout.directory}:one", f"docker://{server.host}/x"
            left.ok("build", f"--push={remote}", source, "--ca-file", certificate[0])
            right.ok("pull", "--complete", source, "--from", remote, "--ca-file", certificate[0])
            ship.check_same(left, right)


def make_certificate(work):
    certificate, key = work / "cert.pem", work / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return certificate, key


class TestInterrupts:
    """Ctrl-C while a blob is under way: nothing is left behind, and the next try succeeds."""

    @pytest.fixture
    def server(self, layout):
        with memory_registry() as server:
            ship.put_image(server, layout, "one")
            yield server

    def interrupt_at(self, server, pattern, zeropull, *arguments, number=signal.SIGINT):
        running, is_running = [], threading.Event()

        def action(handler):
            is_running.wait(60)
            running[0].send_signal(number)
            handler.close_connection = True
            running[0].wait(30)
            return True

        server.inject(pattern, action)
        running.append(zeropull.start(*arguments))
        is_running.set()
        _, stderr = running[0].communicate(timeout=60)
        assert running[0].returncode == 128 + number, stderr
        assert len(error_lines(stderr.decode())) == 1 and "interrupted" in stderr.decode()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_pull(self, server, work, number):
        left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
        reference = f"docker://{server.host}/a/b:one"
        left.ok("build", "--push", reference)
        self.interrupt_at(server, "GET .*/blobs/", right, "pull", "--complete", reference, number=number)
        ship.check_empty(right)
        right.ok("pull", "--complete", reference)
        ship.check_same(left, right)

    @pytest.mark.parametrize("pattern", ["PUT .*/blobs/uploads/", "HEAD .*/blobs/", "PUT .*/manifests/"])
    def test_push(self, server, work, pattern):
        left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
        reference = f"docker://{server.host}/a/b:one"
        left.build(reference)
        self.interrupt_at(server, pattern, left, "push", reference)
        assert right.run("pull", "--complete", reference).returncode == NOT_FOUND
        left.ok("push", reference)
        right.ok("pull", "--complete", reference)
        ship.check_same(left, right)

    def test_build_and_push(self, server, work):
        left = ship.fresh(work, "left")
        reference = f"docker://{server.host}/a/b:one"
        self.interrupt_at(server, "HEAD .*/blobs/", left, "build", "--push", reference)
        assert left.leftovers() == []
        left.ok("build", "--push", reference)


HELD_BACK = 300_000


def fill_large(tar):
    """Two chunks and a half; what is the same as before is written and taken back."""
    first, second = (random.Random(seed).randbytes(20_000_000) for seed in (21, 22))
    tar.file("first", first)
    tar.file("again", first)
    tar.file("second", second)
    tar.file("once/more", first)


def hold_back(server, digest, event):
    """The last bytes of a layer are not given before the event."""

    def serve(handler):
        blob = server.repository().blobs[digest]
        first, _, last = handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(blob) - 1) + 1, len(blob))
        if end < len(blob):
            return False
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(blob)}")
        handler.send_header("Content-Length", str(end - start))
        handler.end_headers()
        middle = max(start, end - HELD_BACK)
        handler.wfile.write(blob[start:middle])
        handler.wfile.flush()
        if event.wait(60):
            handler.wfile.write(blob[middle:end])
        else:
            handler.hang_up()
        return True

    server.inject(f"GET .*/blobs/{digest}", *[serve] * 20)


def refuse(status):
    """Refuses a chunk when all of it has come: one refused in its middle may look like a cut connection."""

    def answer(handler):
        handler.read_body()
        handler.answer(status)
        return True

    return answer


class TestWhileConverting:
    """A layer's pack travels while the layer is still being read: the source waits for the target in all of these."""

    @pytest.fixture(scope="class")
    def image(self, tmp_path_factory):
        out = oci.Layout(tmp_path_factory.mktemp("large"))
        ship.make_image(out, "large", fill_large, ship.fill_app(8), compression="none")
        return out

    @pytest.fixture(scope="class")
    def expected(self, tmp_path_factory, image):
        """Built first, then pushed: the store, and the snapshot's digest."""
        work = tmp_path_factory.mktemp("expected")
        (work / "remote").mkdir()
        store = Zeropull(work / "store")
        store.build(f"oci:{image.directory}:large")
        pushed = store.ok("push", store.json("list")[0]["digest"], f"dir:{work}/remote", "--json")
        return store, json.loads(pushed)["snapshot"]

    @pytest.fixture
    def source(self, image):
        with memory_registry() as server:
            server.reference = ship.put_image(server, image, "large")
            server.event = threading.Event()
            server.layer = json.loads(ship.manifest_bytes(image, "large"))["layers"][0]["digest"]
            hold_back(server, server.layer, server.event)
            yield server

    def build(self, source, target, work, *faults):
        """Builds from one registry into the other, which meets its first chunk by the faults."""

        def arrived(_):
            source.event.set()
            return False

        def first(handler):
            source.event.set()
            return faults[0](handler)

        target.inject("PATCH", first if faults else arrived, *faults[1:])
        store = ship.fresh(work, "left")
        return store, store.run("build", f"--push={target.remote()}", source.reference, "--json")

    def check(self, built, target, expected):
        store, result = built
        assert result.returncode == OK, result.stderr
        report = json.loads(result.stdout)
        assert report["snapshot"] == expected[1]
        assert store.files() == expected[0].files() and store.leftovers() == []
        # the artifact's config is not counted
        assert len(target.repository().blobs) == report["blobsSent"] + report["blobsPresent"] + 1
        artifact = json.loads(target.repository().manifests[report["snapshot"]][1])
        assert all(blob["digest"] in target.repository().blobs for blob in artifact["layers"])
        return report

    def test_first_bytes_arrive_before_the_last_are_read(self, source, work, expected):
        with memory_registry() as target:
            built = self.build(source, target, work)
            report = self.check(built, target, expected)
            assert source.event.is_set()
            assert not target.uploads
            sizes = sum(len(blob) for blob in target.repository().blobs.values())
            assert report["bytesSent"] == sizes - len("{}")  # nothing twice
            right = ship.fresh(work, "right")
            right.ok("pull", "--complete", source.reference, "--from", target.remote())
            ship.check_same(built[0], right)

    def test_another_store_sends_nothing_of_a_published_snapshot(self, source, work, expected):
        with memory_registry() as target:
            self.check(self.build(source, target, work), target, expected)
            before = len(target.seen("PATCH"))
            right = ship.fresh(work, "right")
            again = json.loads(right.ok("build", f"--push={target.remote()}", source.reference, "--json"))
            assert again["bytesSent"] == 0 and len(target.seen("PATCH")) == before

    def test_broken_connections_cost_a_chunk(self, source, work, expected):
        with memory_registry() as target:

            def keep_part(handler):
                session = handler.path.rpartition("/")[2].partition("?")[0]
                target.uploads[session] += handler.rfile.read(1_000_000)
                handler.hang_up()
                return True

            def drop(handler):
                handler.rfile.read(1_000_000)
                handler.hang_up()
                return True

            built = self.build(source, target, work, keep_part, drop)
            self.check(built, target, expected)
            assert len(target.seen("POST .*/uploads/")) == len(target.repository().blobs)

    def test_lost_session_is_begun_anew(self, source, work, expected):
        with memory_registry() as target:
            built = self.build(source, target, work, lambda _: False, refuse(404))
            self.check(built, target, expected)

    def test_registry_that_refuses_chunks_gets_it_at_the_end(self, source, work, expected):
        with memory_registry(chunks=False) as target:
            self.check(self.build(source, target, work), target, expected)

    def test_what_fails_meanwhile_is_sent_when_it_is_complete(self, source, work, expected):
        with memory_registry() as target:
            built = self.build(source, target, work, refuse(403))
            store, result = built
            assert result.returncode == OK and "will be sent when it is complete" in result.stderr
            assert json.loads(result.stdout)["snapshot"] == expected[1] and store.files() == expected[0].files()

    def test_real_registry_gets_the_same(self, source, work, expected):
        with registry(work) as target:
            source.event.set()
            store = ship.fresh(work, "left")
            report = json.loads(store.ok("build", f"--push=docker://{target.host}/x", source.reference, "--json"))
            assert report["snapshot"] == expected[1]
            right = ship.fresh(work, "right")
            right.ok("pull", "--complete", source.reference, "--from", f"docker://{target.host}/x")
            ship.check_same(store, right)

    def test_damaged_layer_leaves_nothing_at_the_registry(self, source, work):
        blob = source.repository().blobs[source.layer]
        source.repository().blobs[source.layer] = blob[:-1] + b"?"
        with memory_registry() as target:
            store, result = self.build(source, target, work)
            assert result.returncode == REFUSED and len(error_lines(result.stderr)) == 1, result.stderr
            assert source.layer in result.stderr
            assert store.leftovers() == [] and not target.uploads
            assert max(map(len, target.repository().blobs.values())) < 1_000_000 and not target.repository().manifests
            assert target.seen("PATCH") and len(target.seen("DELETE")) == 1

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_interrupted_build_can_be_repeated(self, source, work, expected, number):
        with memory_registry() as target:
            running, sessions, is_running = [], [], threading.Event()

            def end(handler):
                is_running.wait(60)
                sessions.append(handler.path.rpartition("/")[2].partition("?")[0])
                running[0].send_signal(number)
                handler.close_connection = True
                running[0].wait(30)
                source.event.set()
                return True

            target.inject("PATCH", end)
            store = ship.fresh(work, "left")
            running.append(store.start("build", f"--push={target.remote()}", source.reference))
            is_running.set()
            _, stderr = running[0].communicate(timeout=60)
            assert running[0].returncode == (-number if number == signal.SIGKILL else 128 + number), stderr
            assert not target.repository().manifests
            if number == signal.SIGINT:
                # another that is being begun at that moment has no name yet, and is the registry's to forget
                assert sessions[0] not in target.uploads and store.leftovers() == []
            target.uploads.clear()
            again = store.run("build", f"--push={target.remote()}", source.reference, "--json")
            self.check((store, again), target, expected)


@pytest.fixture(scope="module")
def seconds(tmp_path_factory, layout):
    """How long an undisturbed push and pull take, so that the kills spread over all of it."""
    work = tmp_path_factory.mktemp("undisturbed")
    with registry(work) as server:
        reference = server.push(f"oci:{layout.directory}:big", "a/b", "big", "--preserve-digests")
        left, right, measured = ship.fresh(work, "left"), ship.fresh(work, "right"), {}
        left.build(reference)
        for store, *command in ((left, "push"), (right, "pull", "--complete")):
            begin = time.monotonic()
            store.ok(*command, reference)
            measured[command[0]] = time.monotonic() - begin
    return measured


def killed(zeropull, after, *arguments):
    process = zeropull.start(*arguments)
    try:
        process.communicate(timeout=after)
        assert process.returncode == OK
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()


class TestKills:
    @pytest.fixture(scope="class")
    def host(self, tmp_path_factory, layout):
        with registry(tmp_path_factory.mktemp("registry")) as server:
            server.push(f"oci:{layout.directory}:big", "a/b", "big", "--preserve-digests")
            yield server.host

    @pytest.fixture(scope="class")
    def built(self, tmp_path_factory, layout):
        """A store with the image, built once."""
        store = Zeropull(tmp_path_factory.mktemp("built") / "store")
        store.build(f"oci:{layout.directory}:big")
        return store

    @pytest.mark.parametrize("kind", ["registry", "dir"])
    @pytest.mark.parametrize("seed", range(ROUNDS))
    def test_the_next_push_or_pull_after_a_kill_succeeds(self, seed, kind, host, work, seconds, built):
        moments = random.Random(seed)
        digest = built.json("list")[0]["digest"]
        (work / "remote").mkdir()
        remote = f"dir:{work}/remote" if kind == "dir" else f"docker://{host}/round{seed}"
        pull = ["pull", "--complete", f"docker://{host}/a/b:big", "--from", remote]
        right = ship.fresh(work, "right")
        for _ in range(moments.randrange(1, 4)):
            killed(built, moments.uniform(0, seconds["push"]), "push", digest, remote)
        early = right.run(*pull)
        assert early.returncode in (OK, NOT_FOUND), early.stderr  # all of it or nothing
        built.ok("push", digest, remote)
        if early.returncode == OK:
            right = ship.fresh(work, "another")
        for _ in range(moments.randrange(1, 4)):
            killed(right, moments.uniform(0, seconds["pull"]), *pull)
        right.ok(*pull)
        ship.check_same(built, right)


@pytest.mark.parametrize("profile", [None, "/data/noise\t1000000\t900000\n/bin/tool01\n"], ids=["plain", "profile"])
def test_block_maps_made_while_building_are_those_made_when_pushing(profile, beside, work):
    options = []
    if profile:
        (work / "profile").write_text(profile)
        options = ["--profile", str(work / "profile")]
    early, late = beside.store(work, "early"), beside.store(work, "late")
    early.ok("build", "--push", *options, beside.reference("one"))
    late.ok("build", *options, beside.reference("one"))
    assert not list(late.store.glob("devices/*/device.map"))
    late.ok("push", beside.reference("one"))
    maps = [{path.parent.name: path.read_bytes() for path in store.glob("devices/*/device.map")}
            for store in (early.store, late.store)]
    assert maps[0] == maps[1] and len(maps[0]) == 2
    ship.check_same(early, late)


def test_refused_is_told_from_failed(work, layout):
    """A snapshot that lacks a blob is broken, not absent."""
    with memory_registry() as server:
        reference = ship.put_image(server, layout, "one")
        digest = json.loads(ship.fresh(work, "left").ok("build", "--push", reference, "--json"))["snapshot"]
        artifact = json.loads(server.repository().manifests[digest][1])
        data = next(blob["digest"] for blob in artifact["layers"] if blob["mediaType"] == ship.DATA)
        del server.repository().blobs[data]
        failed = ship.fresh(work, "right").run("pull", "--complete", reference)
        assert failed.returncode == FAILED and data in failed.stderr
        del server.repository().manifests[digest]
        assert ship.fresh(work, "third").run("pull", "--complete", reference).returncode in (NOT_FOUND, REFUSED)


def test_a_build_does_not_rest_on_what_was_fetched(beside, work):
    """Whoever publishes can say anything about a layer; what is built must come from the layer itself."""
    left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
    left.ok("build", "--push", beside.reference("one"))
    right.ok("pull", "--complete", beside.reference("one"))
    first = json.loads(right.ok("build", beside.reference("two"), "--json"))
    assert (first["layersConverted"], first["layersReused"]) == (3, 0)  # two of them were there, fetched
    same = json.loads(right.ok("build", beside.reference("one"), "--json"))
    assert (same["layersConverted"], same["layersReused"], same["wasPresent"]) == (1, 2, False)
    again = json.loads(right.ok("build", beside.reference("one"), "--json"))
    assert again["wasPresent"]
    left.build(beside.reference("two"))
    ship.check_same(left, right)
    right.ok("verify")
