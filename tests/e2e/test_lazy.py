# SPDX-License-Identifier: Apache-2.0
"""Images fetched without their data: what a start needs first, and the rest later."""
import json
import os
import random
import subprocess
import threading
from pathlib import Path

import pytest

from support import oci, ship
from support.memory_registry import memory_registry
from support.programs import ZEROPULL
from support.zeropull import FAILED, OK, REFUSED, error_lines

LAYERS = 40


def fill(number):
    def layer(tar):
        tar.file(f"small{number}", b"%d" % number)
        tar.file(f"file{number}", random.Random(number).randbytes(30_000))

    return layer


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    out = oci.Layout(tmp_path_factory.mktemp("images"))
    ship.make_image(out, "one", ship.fill_base, ship.fill_bare, ship.fill_app(1))
    ship.make_image(out, "two", ship.fill_base, ship.fill_bare, ship.fill_app(2))
    ship.make_image(out, "many", *[fill(number) for number in range(LAYERS)])
    return out


class World:
    def __init__(self, server, layout, work):
        self.server, self.layout, self.work = server, layout, work
        self.left, self.right = ship.fresh(work, "left"), ship.fresh(work, "right")

    def publish(self, tag):
        reference = ship.put_image(self.server, self.layout, tag)
        self.left.ok("build", "--push", reference)
        return reference

    def requests(self, pattern):
        return [request for request in self.server.requests if pattern in f"{request.method} {request.path}"]


@pytest.fixture
def world(layout, work):
    with memory_registry() as server:
        yield World(server, layout, work)


def packs(store):
    return sorted(store.store.glob("devices/*/device.zst"))


def pull(store, *arguments):
    return json.loads(store.ok("pull", *arguments, "--json"))


class TestPull:
    def test_without_data_first_and_with_it_later(self, world):
        one = world.publish("one")
        lazy = pull(world.right, one)
        assert (lazy["complete"], lazy["layersFetched"], lazy["devicesFetched"]) == (False, 3, 0)
        assert packs(world.right) == [] and lazy["bytesReceived"] < 50_000
        inspected = world.right.json("inspect", one)
        assert inspected["complete"] is False and inspected["origin"] == one.removesuffix(":one")
        assert [image["complete"] for image in world.right.json("list")] == [False]
        complete = pull(world.right, "--complete", one)
        assert (complete["complete"], complete["devicesFetched"], complete["wasPresent"]) == (True, 2, True)
        assert [image["complete"] for image in world.right.json("list")] == [True]
        ship.check_same(world.left, world.right)

    def test_what_is_here_is_not_fetched_again(self, world):
        one, two = world.publish("one"), world.publish("two")
        pull(world.right, "--complete", one)
        again = pull(world.right, one)
        assert (again["complete"], again["bytesReceived"]) == (True, 0)
        world.server.requests.clear()
        other = pull(world.right, two)
        (artifact,) = ship.snapshots(world.server.remote(), oci.sha256(ship.manifest_bytes(world.layout, "two")))
        blobs = dict(ship.layers_of(json.loads(world.server.repository().manifests[artifact][1])))
        assert not world.server.seen(f"GET .*{blobs['bundle']['digest']}")
        assert (other["layersFetched"], other["layersReused"], other["complete"]) == (1, 2, False)
        assert pull(world.right, "--complete", two)["devicesFetched"] == 1
        ship.check_same(world.left, world.right)

    def test_an_interrupted_pack_goes_on_where_it_was_cut(self, world):
        one = world.publish("one")
        pull(world.right, one)
        pack = max(packs(world.left), key=lambda file: file.stat().st_size)
        content, part = pack.read_bytes(), world.right.store / "devices" / pack.parent.name / "device.part"
        part.write_bytes(content[:2_000_000])
        world.server.requests.clear()
        result = pull(world.right, "--complete", one)
        assert len(content) - 2_000_000 < result["bytesReceived"] < len(content) + 450_000 - 1_400_000
        assert any("Range" in request.headers for request in world.requests("GET"))
        ship.check_same(world.left, world.right)

    @pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b[:100] + b"?" + b[101:], lambda b: b + b"tail", lambda b: b""],
                             ids=["short", "changed", "long", "empty"])
    def test_what_an_interrupted_pull_left_is_checked(self, world, damage):
        one = world.publish("one")
        pull(world.right, one)
        for pack in packs(world.left):
            part = world.right.store / "devices" / pack.parent.name / "device.part"
            part.write_bytes(damage(pack.read_bytes()))
        pull(world.right, "--complete", one)
        ship.check_same(world.left, world.right)

    def test_data_that_is_damaged_there_leaves_the_image_as_it_was(self, world):
        one = world.publish("one")
        pull(world.right, one)
        before = world.right.files()
        blob = world.server.repository().blobs
        name = oci.sha256(packs(world.left)[0].read_bytes())
        good = blob[name]
        blob[name] = good[: len(good) // 2] + b"?" + good[len(good) // 2 + 1 :]
        failed = world.right.expect(REFUSED, "pull", "--complete", one)
        assert name in error_lines(failed.stderr)[0] and "damaged" in failed.stderr
        now = {path: data for path, data in world.right.files().items() if path in before}
        assert now == before and world.right.json("list")[0]["complete"] is False
        world.right.ok("verify")
        blob[name] = good
        pull(world.right, "--complete", one)
        ship.check_same(world.left, world.right)


class TestFalseWordsAboutPacks:
    """An artifact about another image may say of a shared device that its data is what it is not."""

    @pytest.fixture
    def images(self, world):
        one, two = world.publish("one"), world.publish("two")
        repository = world.server.repository()
        subject = oci.sha256(ship.manifest_bytes(world.layout, "two"))
        (listed,) = world.server.referrers_of(repository, subject)
        artifact = json.loads(repository.manifests[listed["digest"]][1])
        (pack,) = (blob for name, blob in ship.layers_of(artifact) if name == "device 1, data")
        pack["digest"] = oci.sha256(b"something else")
        del repository.manifests[listed["digest"]]
        world.server.put_manifest(json.dumps(artifact).encode())
        return one, two

    def test_pulled_earlier_they_spoil_no_complete_pull(self, world, images):
        one, two = images
        pull(world.right, two)
        assert pull(world.right, "--complete", one)["complete"]
        world.right.ok("verify")

    def test_pulled_earlier_they_are_not_what_a_lazy_image_is_completed_by(self, world, images):
        one, two = images
        pull(world.right, two)
        pull(world.right, one)
        assert pull(world.right, "--complete", one)["complete"]

    def test_pulled_later_they_do_not_spoil_what_is_here(self, world, images):
        one, two = images
        pull(world.right, one)
        pull(world.right, two)
        assert pull(world.right, "--complete", one)["complete"]
        world.right.ok("verify")

    def test_the_image_whose_artifact_lies_is_completed_by_what_another_said(self, world, images):
        one, two = images
        pull(world.right, two)
        pull(world.right, one)
        assert pull(world.right, "--complete", two)["complete"]


class TestCommands:
    @pytest.fixture
    def lazy(self, world):
        one = world.publish("one")
        pull(world.right, one)
        return world.right, one

    def test_what_needs_data_says_how_to_get_it(self, lazy, work):
        store, one = lazy
        commands = [("cat", one, "/data/noise"), ("export", one, str(work / "disk"))]
        if os.geteuid() == 0:
            (work / "mnt").mkdir()
            commands.append(("mount", one, str(work / "mnt")))
        for command in commands:
            failed = store.expect(FAILED, *command)
            assert f"zeropull --store {store.store} pull --complete {one}" in failed.stderr, failed.stderr
        assert not (work / "disk").exists()

    def test_a_hint_that_is_a_command_works_as_it_is_printed(self, world):
        """Also with a store that is not the default one."""
        one = world.publish("one")
        store = ship.fresh(world.work, "a store's")
        pull(store, one)
        failed = store.expect(FAILED, "cat", one, "/data/noise")
        (hint,) = [line for line in failed.stderr.splitlines() if line.startswith("  hint: fetch it: ")]
        command = hint.removeprefix("  hint: fetch it: ")
        path = f"{os.path.dirname(ZEROPULL)}:{os.environ['PATH']}"
        subprocess.run(["sh", "-c", command], check=True, env={**store.environment, "PATH": path}, capture_output=True)
        store.ok("cat", one, "/data/noise")

    def test_what_needs_none_works(self, lazy):
        store, one = lazy
        assert "noise" in store.ok("ls", one, "/data")
        assert store.expect(OK, "cat", one, "/bin/tool02").stdout.startswith(b"00002")
        assert " of " in store.ok("list") and "not here" in store.ok("inspect", one)

    def test_verify_checks_what_is_here_and_says_what_is_not(self, lazy):
        store, one = lazy
        assert "the data of some is not here" in store.ok("verify")
        assert store.json("verify")["incompleteDevices"] == 2
        index = next(store.store.glob("devices/*/device.idx"))
        index.write_bytes(index.read_bytes()[:-1] + b"?")
        assert index.parent.name in store.expect(FAILED, "verify").stdout.decode()
        store.ok("remove", one)
        store.ok("pull", one)
        store.ok("verify")

    def test_it_is_pushed_where_the_data_is_and_nowhere_else(self, lazy, world, work):
        store, one = lazy
        (original,) = ship.snapshots(world.server.remote(), oci.sha256(ship.manifest_bytes(world.layout, "one")))
        again = json.loads(store.ok("push", one, "--json"))
        assert (again["blobsSent"], again["blobsPresent"], again["snapshot"]) == (0, 8, original)
        assert ship.snapshots(world.server.remote(), oci.sha256(ship.manifest_bytes(world.layout, "one"))) == [original]
        (work / "remote").mkdir()
        failed = store.expect(FAILED, "push", one, f"dir:{work / 'remote'}")
        assert f"zeropull --store {store.store} pull --complete {one}" in failed.stderr

    def test_it_is_not_published_as_something_else(self, lazy, world):
        """Where the blobs are, and the snapshot that names them is not."""
        store, one = lazy
        subject = oci.sha256(ship.manifest_bytes(world.layout, "one"))
        (original,) = ship.snapshots(world.server.remote(), subject)
        manifests = world.server.repository().manifests
        published = manifests.pop(original)
        failed = store.expect(FAILED, "push", one)
        assert original in error_lines(failed.stderr)[0] and "pull --complete" in failed.stderr
        assert ship.snapshots(world.server.remote(), subject) == []
        manifests[original] = published
        pull(store, "--complete", one)
        del manifests[original]
        assert json.loads(store.ok("push", one, "--json"))["snapshot"] == original
        assert manifests[original] == published

    def test_a_build_makes_it_complete(self, lazy):
        store, one = lazy
        store.ok("build", one)
        assert store.json("list")[0]["complete"] is True
        store.ok("verify")


class TestPush:
    def test_pushing_again_reads_no_data(self, world):
        one = world.publish("one")
        for file in [*packs(world.left), *world.left.store.glob("*/*/*.erofs"), *world.left.store.glob("devices/*/device.idx")]:
            file.unlink()  # nobody looks
        again = json.loads(world.left.ok("push", one, "--json"))
        assert (again["blobsSent"], again["blobsPresent"]) == (0, 11)

    def test_what_was_pulled_is_pushed_without_reading_it(self, world):
        one = world.publish("one")
        pull(world.right, "--complete", one)
        for file in [*packs(world.right), *world.right.store.glob("*/*/*.erofs")]:
            file.unlink()
        again = json.loads(world.right.ok("push", one, "--json"))
        assert (again["blobsSent"], again["blobsPresent"]) == (0, 11)


def test_an_image_in_no_registry_is_completed_from_where_it_came(layout, work):
    remote, source = f"dir:{work}", f"oci:{layout.directory}:one"
    left, right = ship.fresh(work, "left"), ship.fresh(work, "right")
    left.ok("build", f"--push={remote}", source)
    right.ok("pull", "--from", remote, source)
    assert pull(right, "--complete", source)["complete"] is True
    right.ok("verify")


class Waves:
    """Holds all requests until the client has nothing to do but wait, then lets them pass together: each wave is a round
    trip that nothing could have spared."""

    def __init__(self, server):
        self.condition = threading.Condition()
        self.held, self.wave, self.sizes = 0, 0, []
        server.inject("", *[self.hold] * 10_000)

    def hold(self, handler):
        with self.condition:
            self.held += 1
            wave = self.wave
            self.condition.wait_for(lambda: self.wave > wave)
        return False

    @staticmethod
    def is_asleep(pid):
        """No thread of the process is running or about to. (One wakes each second for every transfer, to see that it has not
        stalled; that is no work.)"""
        return all("State:\tS" in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir())

    def run(self, process, expected):
        """Until the process ends; returns the sizes of the waves. One of another size than expected is given time to grow."""
        before, times_seen = None, 0
        while process.poll() is None:
            try:
                is_asleep = self.is_asleep(process.pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            with self.condition:
                times_seen = times_seen + 1 if is_asleep and self.held == before else 0
                before = self.held
                # some looks, so that this server's own threads have come to what was sent
                is_expected = self.held in expected[len(self.sizes) :][:1]
                if self.held and times_seen >= (10 if is_expected else 250):
                    self.sizes.append(self.held)
                    self.held, self.wave = 0, self.wave + 1
                    self.condition.notify_all()
                else:
                    self.condition.wait(0.02)
        return self.sizes


class TestRoundTrips:
    @pytest.mark.parametrize("tag", ["one", "many"])
    @pytest.mark.parametrize("by_index", [True, False], ids=["index", "manifest"])
    def test_metadata_is_ready_after_four_whatever_the_number_of_layers(self, world, tag, by_index):
        reference = world.publish(tag)
        if by_index:
            manifest = ship.manifest_bytes(world.layout, tag)
            entry = {"mediaType": oci.MANIFEST, "digest": oci.sha256(manifest), "size": len(manifest),
                     "platform": {"os": "linux", "architecture": "amd64"}}  # fmt: skip
            index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [entry]}).encode()
            world.server.put_manifest(index, "multi", oci.INDEX)
            reference = reference.replace(f":{tag}", ":multi")
        waves = Waves(world.server)
        process = world.right.start("pull", "--plain-http", "--platform", "linux/amd64", reference, "--json")
        # tag; (manifest and) referrers (and config); (config and) snapshot; its bundle
        expected = [1, 2, 2 if by_index else 1, 1]
        sizes = waves.run(process, expected)
        output, errors = process.communicate()
        assert process.returncode == OK, errors
        assert json.loads(output)["complete"] is False
        assert sizes == expected

    def test_a_tag_for_referrers_has_the_manifest_in_itself(self, layout, work):
        with memory_registry(referrers=False) as server:
            reference = ship.put_image(server, layout, "many")
            ship.fresh(work, "left").ok("build", "--push", reference)
            waves = Waves(server)
            process = ship.fresh(work, "right").start("pull", "--plain-http", reference, "--json")
            # tag; referrers, which it has not, and config; the tag instead; the snapshot's bundle
            expected = [1, 2, 1, 1]
            sizes = waves.run(process, expected)
            _, errors = process.communicate()
            assert process.returncode == OK, errors
            assert sizes == expected

    def test_wanted_signatures_cost_no_round_trip(self, world, work):
        key = work / "key"
        world.left.ok("key", "generate", str(key))
        reference = ship.put_image(world.server, world.layout, "one")
        world.left.ok("build", "--push", "--sign-key", str(key), reference)
        waves = Waves(world.server)
        process = world.right.start("pull", "--plain-http", "--key", f"{key}.pub", reference, "--json")
        # tag; referrers and config; snapshot and what lies beside it; its bundle
        expected = [1, 2, 2, 1]
        sizes = waves.run(process, expected)
        output, errors = process.communicate()
        assert process.returncode == OK, errors
        assert sizes == expected
