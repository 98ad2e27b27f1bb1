# SPDX-License-Identifier: Apache-2.0
"""Who may say what a snapshot is: signatures beside snapshots, and what pull and verify make of them."""
import base64
import json
import os
import signal
import threading
from dataclasses import dataclass

import pytest

from support import oci, ship
from support.memory_registry import memory_registry
from support.registry import registry
from support.remote_tool import remote_tool
from support.zeropull import FAILED, REFUSED, USAGE, Zeropull, error_lines

SIGNATURE = "application/vnd.zeropull.signature.v1"


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Images: `one` and `two` share a layer; `three` is on its own."""
    out = oci.Layout(tmp_path_factory.mktemp("images"))
    ship.make_image(out, "one", ship.fill_app(1, 300_000), ship.fill_bare)
    ship.make_image(out, "two", ship.fill_app(1, 300_000), ship.fill_app(2, 20_000))
    ship.make_image(out, "three", ship.fill_app(3, 20_000))
    return out


@dataclass
class Keys:
    """Private keys by name; the public one of `x` is x.pub."""

    directory: object

    def __getitem__(self, name):
        path = self.directory / name
        if not path.exists():
            Zeropull(self.directory / "unused").ok("key", "generate", path)
        return str(path)

    def public(self, name):
        return self[name] + ".pub"

    def id(self, name):
        return Zeropull(self.directory / "unused").json("key", "show", self.public(name))["id"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@dataclass
class World:
    """A registry with the images, a store `left` that publishes, and a store `right` that pulls."""

    host: str
    work: object
    keys: Keys
    left: Zeropull
    right: Zeropull
    remote: str

    def image(self, tag="one"):
        return f"docker://{self.host}/a/b:{tag}"

    def publish(self, *options, tag="one"):
        """Returns what push tells."""
        self.left.build(self.image(tag))
        return self.left.json("push", self.image(tag), self.remote, *options)

    def signed(self, name, tag="one"):
        return self.publish("--sign-key", self.keys[name], tag=tag)

    def policy(self, rules, name="policy.yaml"):
        """A policy file with the keys `release` and `ci`; `rules` is YAML, in which REPOSITORY stands for the image's."""
        path = self.work / name
        names = "".join(f"  {key}: {self.keys.public(key)}\n" for key in ("release", "ci"))
        path.write_text(f"version: 1\nkeys:\n{names}rules:\n{rules.replace('REPOSITORY', f'{self.host}/a/b')}")
        return str(path)

    def required(self, *names, threshold=1):
        return self.policy(f"  - repository: REPOSITORY\n    require: [{', '.join(names)}]\n    threshold: {threshold}\n")

    def pull(self, *options, tag="one", store=None):
        return (store or self.right).json("pull", "--complete", self.image(tag), "--from", self.remote, *options)

    def refused(self, *options, tag="one", store=None):
        """The message; nothing may have come into the store."""
        store = store or self.right
        result = store.expect(REFUSED, "pull", "--complete", self.image(tag), "--from", self.remote, *options)
        ship.check_empty(store)
        assert store.layer_directories() == [] and result.stdout == b""
        (line,) = error_lines(result.stderr)
        assert self.image(tag) in line and "hint:" in result.stderr
        return line

    def signatures(self, artifact):
        """[(digest, manifest)] of the signatures of an artifact."""
        found = remote_tool(self.remote, "find", artifact, SIGNATURE)
        texts = [remote_tool(self.remote, "manifest", s["digest"], s["size"]) for s in found]
        return [(s["digest"], json.loads(text)) for s, text in zip(found, texts)]

    def add_signature(self, manifest, document, artifact):
        """Publishes a signature artifact about `artifact` with another document."""
        size = self.size_of(artifact)
        manifest["layers"][0].update(
            digest=oci.sha256(document), size=len(document), data=base64.b64encode(document).decode()
        )
        manifest["subject"].update(digest=artifact, size=size)
        (self.work / "document").write_bytes(document)
        (self.work / "manifest").write_text(json.dumps(manifest, separators=(",", ":")))
        remote_tool(self.remote, "put", self.work / "document")
        remote_tool(self.remote, "publish", self.work / "manifest")

    def size_of(self, artifact):
        for tag in ("one", "two", "three"):
            subject = oci.sha256(ship.manifest_bytes(self.layout, tag))
            for found in remote_tool(self.remote, "find", subject, ship.SNAPSHOT):
                if found["digest"] == artifact:
                    return found["size"]
        raise KeyError(artifact)


def make_world(host, work, keys, layout, remote):
    world = World(host, work, keys, Zeropull(work / "left"), Zeropull(work / "right"), remote)
    world.layout = layout
    return world


def fill(server, layout):
    for tag in ("one", "two", "three"):
        server.push(f"oci:{layout.directory}:{tag}", "a/b", tag, "--preserve-digests")


@pytest.fixture(params=["docker-registry", "dir", "referrers API"])
def world(request, work, keys, layout):
    """In every kind of place."""
    if request.param == "referrers API":
        with memory_registry() as server:
            for tag in ("one", "two", "three"):
                ship.put_image(server, layout, tag)
            yield make_world(server.host, work, keys, layout, server.remote())
        return
    with registry(work) as server:
        fill(server, layout)
        (work / "remote").mkdir()
        remote = f"dir:{work}/remote" if request.param == "dir" else f"docker://{server.host}/a/b"
        yield make_world(server.host, work, keys, layout, remote)


@pytest.fixture
def beside(work, keys, layout):
    """A real registry; the snapshots are beside their images."""
    with registry(work) as server:
        fill(server, layout)
        yield make_world(server.host, work, keys, layout, f"docker://{server.host}/a/b")


def document_of(manifest):
    return base64.b64decode(manifest["layers"][0]["data"])


class TestPolicy:
    def test_signed_as_required_is_accepted(self, world):
        pushed = world.signed("release")
        assert pushed["signedBy"] == world.keys.id("release")
        pulled = world.pull("--policy", world.required("release"))
        assert pulled["snapshot"] == pushed["snapshot"] and pulled["layersFetched"] == 2
        ship.check_same(world.left, world.right)

    def test_unsigned_is_refused_before_anything_is_fetched(self, world):
        pushed = world.publish()
        assert pushed["signedBy"] is None
        policy = world.required("release")
        line = world.refused("--policy", policy)
        assert pushed["snapshot"] in line and f"{policy}:6" in line and "not signed" in line
        # and without a policy it is as good as ever
        world.pull()
        ship.check_same(world.left, world.right)

    def test_another_keys_signature_does_not_count(self, world):
        world.signed("stranger")
        assert "1 signature, of which 0 good" in world.refused("--policy", world.required("release", "ci"))
        world.signed("ci")
        world.pull("--policy", world.required("release", "ci"))

    def test_signing_twice_is_signing_once(self, world):
        first = world.signed("release")
        again = world.signed("release")
        assert again["snapshot"] == first["snapshot"]
        ((_, manifest),) = world.signatures(first["snapshot"])
        assert json.loads(document_of(manifest))["artifact"] == first["snapshot"]

    def test_build_push_signs(self, beside):
        built = beside.left.json("build", "--push", "--sign-key", beside.keys["release"], beside.image())
        assert built["signedBy"] == beside.keys.id("release")
        assert beside.pull("--policy", beside.required("release"))["snapshot"] == built["snapshot"]

    def test_encrypted_key(self, beside):
        (beside.work / "passphrase").write_text("open sesame\n")
        key = str(beside.work / "locked")
        option = ["--passphrase-file", beside.work / "passphrase"]
        beside.left.ok("key", "generate", key, *option)
        beside.publish("--sign-key", key, *option)
        beside.pull("--key", key + ".pub")

    def test_threshold(self, beside):
        beside.signed("release")
        both = beside.required("release", "ci", threshold=2)
        beside.signed("stranger")
        assert "of which 1 good" in beside.refused("--policy", both)
        beside.signed("ci")
        beside.pull("--policy", both)

    def test_the_narrowest_rule_decides(self, beside):
        beside.publish()
        rules = "  - repository: '*'\n    action: reject\n  - repository: REPOSITORY\n    action: accept\n"
        beside.refused("--policy", beside.policy(rules.replace("REPOSITORY", f"{beside.host}/a/bc")))
        beside.pull("--policy", beside.policy(rules))
        beside.pull("--policy", beside.policy(rules.replace("REPOSITORY", f"{beside.host}/a/*")), tag="one")

    def test_rejected_repositories_are_refused_even_when_signed(self, beside):
        beside.signed("release")
        line = beside.refused("--policy", beside.policy("  - repository: REPOSITORY\n    action: reject\n"))
        assert "are rejected" in line and "policy.yaml:6" in line

    def test_the_rule_is_that_of_the_images_repository(self, beside):
        beside.remote = f"docker://{beside.host}/elsewhere"
        beside.publish()
        rules = f"  - repository: {beside.host}/elsewhere\n    action: accept\n"
        beside.refused("--policy", beside.policy(rules + "  - repository: REPOSITORY\n    require: [release]\n"))
        rules = f"  - repository: {beside.host}/elsewhere\n    action: reject\n"
        beside.pull("--policy", beside.policy(rules + "  - repository: REPOSITORY\n    action: accept\n"))

    def test_an_image_outside_registries_is_only_everybodys(self, beside, layout):
        (beside.work / "remote").mkdir()
        remote, source = f"dir:{beside.work}/remote", f"oci:{layout.directory}:one"
        beside.left.build(source)
        beside.left.ok("push", source, remote)
        everybody = beside.policy("  - repository: '*'\n    require: [release]\n")
        beside.right.expect(REFUSED, "pull", "--complete", source, "--from", remote, "--policy", everybody)
        ship.check_empty(beside.right)
        beside.right.ok("pull", "--complete", source, "--from", remote, "--policy", beside.required("release"))

    def test_a_broken_policy_accepts_nothing(self, beside):
        beside.signed("release")
        policy = beside.policy("  - repository: REPOSITORY\n    requires: [release]\n")
        for path in (policy, str(beside.work / "missing.yaml")):
            result = beside.right.expect(REFUSED, "pull", "--complete", beside.image(), "--policy", path)
            assert path in error_lines(result.stderr)[0] and "no snapshot is accepted" in result.stderr
            ship.check_empty(beside.right)

    @pytest.mark.skipif(os.geteuid() != 0, reason="puts a file system over /etc")
    def test_the_machines_policy_holds_unless_another_is_named(self, beside):
        beside.publish()
        (beside.work / "etc" / "zeropull").mkdir(parents=True)
        own = beside.work / "etc" / "zeropull" / "policy.yaml"
        over = f"mount -t overlay -o lowerdir={beside.work}/etc:/etc overlay /etc && exec \"$@\""
        beside.right.prefix = ["unshare", "-m", "sh", "-c", over, "sh"]
        os.replace(beside.required("release"), own)
        assert "/etc/zeropull/policy.yaml:6" in beside.refused()
        own.write_text("version: 2\n")
        beside.right.expect(REFUSED, "pull", "--complete", beside.image())
        own.unlink()
        own.symlink_to("missing")
        beside.right.expect(REFUSED, "pull", "--complete", beside.image())
        ship.check_empty(beside.right)
        beside.pull("--policy", beside.policy("  - repository: '*'\n    action: accept\n"))


class TestForgery:
    def test_a_signature_of_another_artifact(self, world):
        other = world.signed("release", tag="three")
        target = world.publish()
        ((_, manifest),) = world.signatures(other["snapshot"])
        world.add_signature(manifest, document_of(manifest), target["snapshot"])
        world.refused("--policy", world.required("release"))

    def test_a_document_that_was_changed_to_fit(self, world):
        other = world.signed("release", tag="three")
        target = world.publish()
        ((_, manifest),) = world.signatures(other["snapshot"])
        document = document_of(manifest)
        subject = oci.sha256(ship.manifest_bytes(world.layout, "three")).encode()
        real = oci.sha256(ship.manifest_bytes(world.layout, "one")).encode()
        forged = document.replace(other["snapshot"].encode(), target["snapshot"].encode()).replace(subject, real)
        world.add_signature(manifest, forged, target["snapshot"])
        assert len(world.signatures(target["snapshot"])) == 1
        assert "1 signature, of which 0 good" in world.refused("--policy", world.required("release"))

    def test_false_signatures_do_not_spoil_a_good_one(self, world):
        pushed = world.publish()
        other = world.signed("release", tag="three")
        ((_, manifest),) = world.signatures(other["snapshot"])
        world.add_signature(manifest, document_of(manifest), pushed["snapshot"])
        world.add_signature(manifest, b"{}", pushed["snapshot"])
        world.signed("release")
        world.pull("--policy", world.required("release"))

    def test_a_newer_snapshot_by_somebody_else_is_passed_over(self, beside):
        good = beside.signed("release")
        mallory = Zeropull(beside.work / "mallory")
        mallory.ok("build", "--level", "19", "--push", beside.image())
        assert beside.pull("--policy", beside.required("release"))["snapshot"] == good["snapshot"]
        ship.check_same(beside.left, beside.right)


class TestKeys:
    def test_the_key_asked_for_must_have_signed(self, world):
        world.signed("release")
        line = world.refused("--key", world.keys.public("ci"))
        assert world.keys.id("ci") in line
        world.refused("--key", world.keys.public("release"), "--key", world.keys.public("ci"))
        world.refused("--key", world.keys.public("ci"), "--key", world.keys.public("release"))
        world.pull("--key", world.keys.public("release"))
        ship.check_same(world.left, world.right)

    def test_key_and_policy_must_both_be_content(self, beside):
        beside.signed("release")
        beside.refused("--key", beside.keys.public("release"), "--policy", beside.required("ci"))
        beside.refused("--key", beside.keys.public("ci"), "--policy", beside.required("release"))

    def test_wrong_keys(self, beside):
        beside.left.build(beside.image())
        for arguments in (
            ["pull", "--complete", beside.image(), "--key", beside.keys["release"]],
            ["pull", "--complete", beside.image(), "--key", "missing.pub"],
            ["push", beside.image(), "--sign-key", beside.keys.public("release")],
            ["push", beside.image(), "--sign-key", "missing"],
        ):
            beside.left.expect(FAILED, *arguments)
        for arguments in (
            ["build", beside.image(), "--sign-key", beside.keys["release"]],
            ["push", beside.image(), "--passphrase-file", "x"],
            ["verify", "--from", "dir:x"],
        ):
            beside.left.expect(USAGE, *arguments)
        assert ship.snapshots(beside.remote, oci.sha256(ship.manifest_bytes(beside.layout, "one"))) == []


class TestWhatTheStoreHas:
    def test_an_image_that_is_there_must_be_signed_too(self, world):
        world.publish()
        world.pull()
        key = ["--key", world.keys.public("release")]
        result = world.right.expect(REFUSED, "pull", "--complete", world.image(), "--from", world.remote, *key)
        assert "not trusted" in error_lines(result.stderr)[0]
        world.signed("release")
        assert world.pull(*key)["wasPresent"]

    def test_an_image_that_is_there_in_another_form_is_not_taken_for_the_signed_one(self, beside):
        beside.right.ok("build", "--level", "19", beside.image())
        beside.signed("release")
        result = beside.right.expect(REFUSED, "pull", "--complete", beside.image(), "--key", beside.keys.public("release"))
        assert "not what the store holds" in error_lines(result.stderr)[0] and f"{beside.right.store} remove'" in result.stderr
        beside.right.ok("remove", beside.image())
        pulled = beside.pull("--key", beside.keys.public("release"))
        assert (pulled["layersFetched"], pulled["layersReused"]) == (1, 1)  # the one without data is the same however it is packed
        beside.right.ok("verify", beside.image(), "--key", beside.keys.public("release"))
        beside.right.ok("prune")
        ship.check_same(beside.left, beside.right)

    def test_layers_from_an_untrusted_pull_are_not_reused_for_a_trusted_one(self, beside):
        Zeropull(beside.work / "mallory").ok("build", "--level", "19", "--push", beside.image("one"))
        beside.right.ok("pull", "--complete", beside.image("one"))
        beside.signed("release", tag="two")
        pulled = beside.pull("--key", beside.keys.public("release"), tag="two")
        assert (pulled["layersFetched"], pulled["layersReused"]) == (2, 0)
        beside.right.ok("verify", beside.image("two"), "--key", beside.keys.public("release"))

    def test_layers_that_are_just_the_signed_ones_are_reused(self, beside):
        beside.signed("release", tag="one")
        beside.signed("release", tag="two")
        beside.pull("--key", beside.keys.public("release"), tag="one")
        assert beside.pull("--key", beside.keys.public("release"), tag="two")["layersReused"] == 1


class TestVerify:
    def test_what_was_pulled_is_what_was_signed(self, world):
        world.signed("release")
        world.pull()
        where = ["--from", world.remote] if world.remote.startswith("dir:") else []
        world.right.ok("verify", world.image(), "--key", world.keys.public("release"), *where)
        report = world.right.run("verify", world.image(), "--json", "--key", world.keys.public("ci"), *where)
        (problem,) = json.loads(report.stdout)["problems"]
        assert report.returncode == REFUSED and world.keys.id("ci") in problem["problem"]
        assert "push --sign-key FILE IMAGE" in report.stderr and "--rebuild" not in report.stderr

    def test_another_build_is_not_what_was_signed(self, beside):
        beside.signed("release")
        beside.right.ok("build", "--level", "19", beside.image())
        result = beside.right.expect(REFUSED, "verify", beside.image(), "--key", beside.keys.public("release"))
        assert b"not what the store holds" in result.stdout
        assert f"{beside.right.store} remove'" in result.stderr and "--rebuild" not in result.stderr

    def test_nothing_published(self, beside):
        beside.left.build(beside.image())
        result = beside.left.expect(FAILED, "verify", "--key", beside.keys.public("release"))
        assert b"has no snapshot of it" in result.stdout and "--rebuild" not in result.stderr


class TestKill:
    @pytest.mark.parametrize("after", range(7))
    def test_killed_between_snapshot_and_signature(self, after, work, keys, layout):
        """At each request after the one that publishes the snapshot; until there are no more."""
        with memory_registry() as server:
            world = make_world(server.host, work, keys, layout, server.remote())
            ship.put_image(server, layout, "one")
            world.left.build(world.image())
            killed, is_running = [], threading.Event()

            def kill(handler):
                is_running.wait(60)
                killed.append(handler.path)
                process.send_signal(signal.SIGKILL)
                process.wait()
                handler.hang_up()
                return True

            def published(_handler):
                server.inject(".", *[lambda _: False] * after, kill)
                return False

            server.inject("PUT /v2/a/b/manifests/", published)
            process = world.left.start("push", world.image(), "--sign-key", keys["release"])
            is_running.set()
            process.communicate(timeout=60)
            policy = world.required("release")
            if killed:
                world.refused("--policy", policy)
            else:
                assert process.returncode == 0 and after >= 3
            server.faults.clear()
            world.signed("release")
            world.pull("--policy", policy)
            ship.check_same(world.left, world.right)


def test_what_was_fetched_is_not_signed(beside):
    """A signature says that its owner made the snapshot from the image."""
    beside.publish()
    beside.right.ok("pull", "--complete", beside.image())
    refused = beside.right.expect(REFUSED, "push", "--sign-key", beside.keys["mine"], beside.image())
    assert "was fetched, not built here" in refused.stderr
    beside.right.build(beside.image())
    beside.right.ok("push", "--sign-key", beside.keys["mine"], beside.image())
