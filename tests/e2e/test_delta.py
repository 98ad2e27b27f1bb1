# SPDX-License-Identifier: Apache-2.0
"""A new version refers to what the last one's devices hold, and is the same image for all that."""
import collections
import functools
import hashlib
import json
import os
import random
import subprocess
import threading

import pytest

from support import oci, ship
from support.memory_registry import memory_registry
from support.programs import treecmp
from support.zeropull import FAILED, NOT_FOUND, OK, REFUSED, Zeropull

FILES, FILE_SIZE, LARGE_SIZE = 1000, 24_000, 24_000_000


class Tree:
    """The content of one layer, which can be changed; every version is a new tar."""

    def __init__(self, seed=1, files=FILES, large=LARGE_SIZE):
        self.random = random.Random(seed)
        self.files = {f"data/{number // 100}/{number:05d}": self.random.randbytes(FILE_SIZE) for number in range(files)}
        self.files["data/large"] = self.random.randbytes(large)

    def change(self, count):
        """Rewrites `count` files and a few bytes in the middle of the large one."""
        for name in self.random.sample(sorted(self.files), count):
            if name != "data/large":
                self.files[name] = self.random.randbytes(FILE_SIZE)
        large = bytearray(self.files["data/large"])
        at = len(large) // 2 + self.random.randrange(1000)
        large[at : at + 100] = self.random.randbytes(100)
        self.files["data/large"] = bytes(large)

    def fill(self, tar):
        for name, data in self.files.items():
            tar.file(name, data)

    def size(self):
        return sum(map(len, self.files.values()))


def fill_top(version):
    return lambda tar: tar.file("etc/version", b"%d" % version * 300)


def publish(layout, tag, tree, version=1):
    ship.make_image(layout, tag, ship.fill_base, tree.fill, fill_top(version), compression="none")
    return f"oci:{layout.directory}:{tag}"


def stored(zeropull):
    """Bytes of packs in the store."""
    return sum(path.stat().st_size for path in (zeropull.store / "devices").glob("*/device.zst"))


def device_count(zeropull, image):
    return zeropull.json("inspect", image)["devices"]


def check_same_tree(one, two, image, work):
    """Both stores' snapshots of the image, mounted, are the same tree; and other readers accept the first."""
    (work / "disk").unlink(missing_ok=True)
    one.ok("export", image, str(work / "disk"), "--compat")
    subprocess.run(["fsck.erofs", work / "disk"], check=True, stdout=subprocess.DEVNULL)
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    with one.mounted(image, work / "left") as left, two.mounted(image, work / "right") as right:
        assert treecmp(left, right) == []


@pytest.fixture
def layout(work):
    return oci.Layout(work / "layout")


def test_a_rebuilt_layer_costs_what_changed(layout, work):
    tree = Tree()
    zeropull = Zeropull(work / "store")
    zeropull.build(publish(layout, "app", tree))
    before = stored(zeropull)
    assert before > 0.9 * tree.size()
    tree.change(FILES // 100)
    source = publish(layout, "app", tree)
    zeropull.build(source)
    assert stored(zeropull) - before < 0.015 * tree.size()

    plain = Zeropull(work / "plain")
    plain.build(source)
    assert stored(plain) > 0.9 * tree.size()
    check_same_tree(zeropull, plain, source, work)
    zeropull.ok("verify")
    zeropull.ok("verify", "--rebuild", source)


def test_same_image_and_same_base_give_the_same_bytes(layout, work):
    tree = Tree(files=300, large=3_000_000)
    shown = []
    first = publish(layout, "one", tree)
    tree.change(30)
    second = publish(layout, "two", tree)
    for name, options in (("a", ["--threads", "1"]), ("b", ["--threads", "5"]), ("c", [])):
        zeropull = Zeropull(work / name)
        zeropull.build(first, *options)
        zeropull.build(second, "--base", first, *options)
        shown.append(zeropull.files())
    assert shown[0] == shown[1] == shown[2]
    assert device_count(zeropull, second) > device_count(zeropull, first) > 0


def test_none_is_no_base(layout, work):
    tree = Tree(files=100, large=1_000_000)
    one, other = Zeropull(work / "one"), Zeropull(work / "other")
    one.build(publish(layout, "app", tree))
    tree.change(5)
    source = publish(layout, "app", tree)
    one.build(source, "--base", "none")
    other.build(source)
    assert other.files().items() <= one.files().items()


def test_a_chain_of_versions_stays_short(layout, work):
    """Each version changes a third: devices of which little is left are no longer referred to."""
    tree = Tree(files=200, large=2_000_000)
    zeropull = Zeropull(work / "store")
    counts, costs = [], []
    for version in range(20):
        before = stored(zeropull)
        source = publish(layout, "app", tree, version)
        zeropull.build(source)
        costs.append(stored(zeropull) - before)
        counts.append(device_count(zeropull, source))
        tree.change(70)
    assert max(counts) <= 8, counts
    assert sum(costs[1:]) < 19 * 0.6 * costs[0], costs
    plain = Zeropull(work / "plain")
    plain.build(source)
    check_same_tree(zeropull, plain, source, work)
    for reference in json.loads(zeropull.ok("list", "--json"))[1:]:
        zeropull.ok("remove", reference["digest"])
    zeropull.ok("prune")
    zeropull.ok("verify")
    check_same_tree(zeropull, plain, source, work)


def put(server, layout, tag, repository="a/b"):
    return ship.put_image(server, layout, tag, repository)


def sent(zeropull, *arguments):
    return zeropull.json(*arguments)["bytesSent"]


def test_about_what_changed_is_pushed_and_the_snapshot_is_pulled_whole(layout, work):
    tree = Tree()
    with memory_registry() as server:
        publish(layout, "one", tree)
        one = put(server, layout, "one")
        tree.change(FILES // 100)
        publish(layout, "two", tree)
        two = put(server, layout, "two")
        Zeropull(work / "first").ok("build", "--push", one)
        builder = Zeropull(work / "second")  # knows nothing of the first version but what is in the registry
        assert sent(builder, "build", "--push", "--base", one, two) < 0.03 * tree.size()
        assert stored(builder) < 0.03 * tree.size()
        node, plain = Zeropull(work / "node"), Zeropull(work / "plain")
        node.ok("pull", "--complete", two)
        plain.ok("build", two)
        check_same_tree(node, plain, two, work)
        node.ok("verify")
        # what was not needed to build it can be had later
        assert b"index" in builder.expect(FAILED, "mount", two, str(work)).stderr.encode()
        builder.ok("pull", "--complete", two)
        check_same_tree(builder, plain, two, work)


def test_what_pushes_find_is_the_same_as_what_a_build_with_all_data_makes(layout, work):
    tree = Tree(files=100, large=2_000_000)
    with memory_registry() as server:
        publish(layout, "one", tree)
        one = put(server, layout, "one")
        tree.change(5)
        publish(layout, "two", tree)
        two = put(server, layout, "two")
        full, lazy = Zeropull(work / "full"), Zeropull(work / "lazy")
        full.ok("build", "--push", one)
        full.ok("build", "--base", one, two)
        lazy.ok("build", "--base", one, two)
        ours = {path: data for path, data in lazy.files().items() if "/" in path and not path.startswith("devices")}
        assert ours.items() <= full.files().items()


def test_data_that_is_not_here_is_mounted_from_where_it_is(layout, work):
    tree = Tree(files=100, large=2_000_000)
    with memory_registry() as server:
        publish(layout, "one", tree)
        one = put(server, layout, "one")
        tree.change(5)
        publish(layout, "two", tree)
        two = put(server, layout, "two")
        elsewhere = f"docker://{server.host}/c/d"
        builder, node, plain = Zeropull(work / "builder"), Zeropull(work / "node"), Zeropull(work / "plain")
        Zeropull(work / "first").ok("build", "--push", one)
        builder.ok("build", "--base", one, two)
        result = builder.expect(FAILED, "push", two, elsewhere)
        assert "pull --complete" in result.stderr
        builder.ok("push", two, elsewhere, "--mount-from", "a/b")
        node.ok("pull", "--complete", "--from", elsewhere, two)
        plain.build(two)
        check_same_tree(node, plain, two, work)


def lie_about_blocks(server, subject):
    """Publishes the snapshot once more, with block maps that say of each device that its blocks lie the other way round."""
    name = ship.snapshots(server.remote(), subject)[0]
    repository = server.repository()
    media_type, body = repository.manifests[name]
    artifact = json.loads(body)
    for blob in artifact["layers"]:
        if blob["mediaType"] == "application/vnd.zeropull.device.map.v1":
            true = repository.blobs[blob["digest"]]
            blocks = [true[at : at + 16] for at in range(48, len(true) - 32, 16)]
            false = true[:48] + b"".join(reversed(blocks))
            false += hashlib.sha256(false).digest()
            blob["digest"] = oci.sha256(false)
            repository.blobs[blob["digest"]] = false
    server.put_manifest(json.dumps(artifact).encode(), None, media_type)


def test_a_device_that_is_known_has_its_known_sizes(layout, work):
    tree = Tree(files=10, large=300_000)
    with memory_registry() as server:
        publish(layout, "one", tree)
        one = put(server, layout, "one")
        digest = Zeropull(work / "maker").build(one, "--push").strip()
        node = Zeropull(work / "node")
        node.ok("pull", one)
        node.ok("remove", one)  # its devices stay
        (name,) = ship.snapshots(server.remote(), digest)
        media_type, body = server.repository().manifests.pop(name)
        artifact = json.loads(body)
        pack = next(blob for blob in artifact["layers"] if blob["mediaType"].endswith("device.pack.v1+zstd"))
        pack["size"] += 1
        server.put_manifest(json.dumps(artifact).encode(), None, media_type)
        assert "its sizes are not the artifact's" in node.expect(REFUSED, "pull", one).stderr


@pytest.fixture
def lying(layout, work):
    """(reference of a base whose newest snapshot has false maps, of the next version, key that signed the true one)."""
    tree = Tree(files=100, large=1_000_000)
    with memory_registry() as server:
        publish(layout, "one", tree)
        one = put(server, layout, "one")
        tree.change(5)
        publish(layout, "two", tree)
        two = put(server, layout, "two")
        key = work / "key"
        Zeropull(work / "keys").ok("key", "generate", str(key))
        maker = Zeropull(work / "maker")
        digest = maker.build(one, "--push", "--sign-key", str(key)).strip()
        lie_about_blocks(server, digest)
        yield one, two, str(key)


def test_who_cannot_sign_cannot_mislead_a_signed_build(lying, work):
    one, two, key = lying
    builder, plain = Zeropull(work / "builder"), Zeropull(work / "plain")
    builder.ok("build", "--push", "--sign-key", key, "--base", one, two)
    assert device_count(builder, two) > 2
    builder.ok("pull", "--complete", two)
    plain.build(two)
    check_same_tree(builder, plain, two, work)


def test_what_rests_on_an_unsigned_base_is_not_signed(lying, work):
    one, two, key = lying
    builder = Zeropull(work / "builder")
    builder.ok("build", "--push", "--base", one, two)
    for command in (["push", "--sign-key", key, two], ["build", "--push", "--sign-key", key, "--base", "none", two]):
        assert "rests on data that was fetched" in builder.expect(REFUSED, *command).stderr
    builder.ok("build", "--rebuild", "--push", "--sign-key", key, "--base", "none", two)
    builder.ok("push", "--sign-key", key, two)


def test_what_rests_on_a_base_of_the_same_key_is_signed_again(lying, work):
    one, two, key = lying
    builder = Zeropull(work / "builder")
    builder.ok("build", "--push", "--sign-key", key, "--base", one, two)
    builder.ok("push", "--sign-key", key, two)


def test_a_base_that_nobody_trusted_signed_is_refused(lying, work):
    one, two, _ = lying
    other = work / "other"
    Zeropull(work / "keys").ok("key", "generate", str(other))
    builder = Zeropull(work / "builder")
    builder.expect(REFUSED, "build", "--push", "--sign-key", str(other), "--base", one, two)
    assert builder.image_directories() == []


def test_a_second_map_of_a_device_is_refused(lying, layout, work):
    """What a device holds is known from the first base; the lie about it comes later."""
    one, two, key = lying
    builder = Zeropull(work / "builder")
    builder.ok("build", "--push", "--sign-key", key, "--base", one, two)
    builder.ok("remove", one)
    result = builder.expect(REFUSED, "build", "--rebuild", "--base", one, two)
    assert "block map is not the one" in result.stderr


@pytest.mark.parametrize("options", [[], ["--complete"]], ids=["lazy", "complete"])
def test_what_an_earlier_pull_has_left_does_not_mislead_a_signed_build(options, lying, work):
    """Nobody asked for signatures then: whatever snapshot and maps came are those that anybody may publish."""
    one, two, key = lying
    builder, plain = Zeropull(work / "builder"), Zeropull(work / "plain")
    builder.ok("pull", *options, one)
    builder.ok("build", "--push", "--sign-key", key, "--base", one, two)
    assert device_count(builder, two) > 2  # the base is one, though its maps were not here, or were others
    builder.ok("pull", "--complete", two)
    plain.build(two)
    check_same_tree(builder, plain, two, work)


def test_a_base_that_is_not_there_is_an_error(layout, work):
    tree = Tree(files=10, large=300_000)
    with memory_registry() as server:
        publish(layout, "one", tree)
        one = put(server, layout, "one")
        zeropull = Zeropull(work / "store")
        result = zeropull.expect(NOT_FOUND, "build", "--base", one.replace(":one", ":none"), one)
        assert "base" in result.stderr
        result = zeropull.expect(NOT_FOUND, "build", "--base", one, one)  # the image is there, its snapshot is not
        assert "has no snapshot" in result.stderr
        assert zeropull.image_directories() == []


def test_a_layer_that_its_base_holds_wholly_is_not_converted_again(layout, work):
    tree = Tree(files=100, large=1_000_000)
    with memory_registry() as server:
        publish(layout, "one", tree)
        one = put(server, layout, "one")
        tree.files = dict(reversed(tree.files.items()))  # another tar, no other content
        publish(layout, "two", tree, version=2)
        publish(layout, "three", tree, version=3)
        Zeropull(work / "first").ok("build", "--push", one)
        builder = Zeropull(work / "second")
        assert builder.json("build", "--base", one, put(server, layout, "two"))["layersConverted"] == 2
        assert builder.json("build", "--base", one, put(server, layout, "three"))["layersConverted"] == 1


# --- the base that is found by itself ---


class Late(Exception):
    """The search for a base was over before it had found one."""


def in_time(test):
    """The search has 15 s. Where that was too short, the test is begun again, from nothing, up to twice."""

    @functools.wraps(test)
    def tried(layout, work, **parameters):
        for number in range(3):
            try:
                return test(layout=layout, work=work, **parameters)
            except Late:
                assert number < 2, "the search for a base takes too long"
            work = work / "again"
            work.mkdir()
            layout = oci.Layout(work / "layout")

    return tried


def expect_in_time(builder, *arguments):
    result = builder.expect(OK, "build", "--push", *arguments)
    if "it takes too long" in result.stderr:
        raise Late
    return result


def tags_asked(server):
    return sum(request.path.startswith("/v2/a/b/tags/list") for request in server.requests)


def versions(server, layout, tree, *tags):
    """References of images under these tags, each a little changed."""
    references = []
    for number, tag in enumerate(tags):
        publish(layout, tag, tree, version=number)
        references.append(put(server, layout, tag))
        tree.change(1)
    return references


@in_time
def test_the_nearest_earlier_version_in_the_repository_is_the_base(layout, work):
    tree = Tree(files=200, large=1_000_000)
    with memory_registry() as server:
        references = versions(server, layout, tree, "1.9.0", "1.10.0", "1.10.1", "1.11.0", "1.10.0-slim")
        first = Zeropull(work / "first")
        first.ok("build", "--push", references[0])
        for image, base in ((1, 0), (3, 1)):  # nobody has built 1.10.1
            builder = Zeropull(work / f"builder{image}")
            result = expect_in_time(builder, "--json", references[image])
            assert f"base: {references[base]}\n" in result.stderr
            assert json.loads(result.stdout)["bytesSent"] < 0.1 * tree.size()
        node, plain = Zeropull(work / "node"), Zeropull(work / "plain")
        node.ok("pull", "--complete", references[3])
        plain.ok("build", references[3])
        check_same_tree(node, plain, references[3], work)


def test_what_is_not_published_or_wants_no_base_asks_for_no_tags(layout, work):
    tree = Tree(files=20, large=300_000)
    with memory_registry() as server:
        one, two, latest = versions(server, layout, tree, "1", "2", "latest")
        Zeropull(work / "first").ok("build", "--push", one)
        asked = tags_asked(server)
        Zeropull(work / "a").ok("build", two)
        Zeropull(work / "b").ok("build", "--push", "--base", "none", two)
        Zeropull(work / "c").ok("build", "--push", "--rebuild", two)
        Zeropull(work / "d").ok("build", "--push", latest)
        assert tags_asked(server) == asked
        images = [store.image_directories() for store in map(Zeropull, (work / name for name in "abcd"))]
        assert [len(found) for found in images] == [1, 1, 1, 1]


def test_a_repository_without_earlier_versions_costs_one_request(layout, work):
    """And, of a registry on loopback, which protocol it speaks is found out by the process that asks."""
    asked = []
    for options in (["--base", "none"], []):
        with memory_registry() as server:
            (one,) = versions(server, layout, Tree(files=20, large=300_000), "1")
            Zeropull(work / f"store{len(asked)}").ok("build", "--push", *options, one)
            asked.append(collections.Counter(request.path.split("?")[0] for request in server.requests))
    assert asked[1]["/v2/a/b/tags/list"] == 1
    assert sum((asked[1] - asked[0]).values()) <= 2 + sum((asked[0] - asked[1]).values())


@in_time
def test_three_versions_are_tried_and_the_build_goes_on(layout, work):
    tree = Tree(files=20, large=300_000)
    with memory_registry() as server:
        references = versions(server, layout, tree, *map(str, range(1, 7)))
        Zeropull(work / "first").ok("build", "--push", references[0])
        result = expect_in_time(Zeropull(work / "builder"), references[5])
        tried = [line.split(": ")[1] for line in result.stderr.splitlines() if line.startswith("base: not ")]
        assert tried == [f"not {reference}" for reference in references[4:1:-1]]


@in_time
def test_a_version_built_here_is_taken_from_here(layout, work):
    with memory_registry() as server:
        one, two = versions(server, layout, Tree(files=100, large=1_000_000), "v1", "v2")
        builder = Zeropull(work / "builder")
        builder.build(one)  # not published: only its data can be pushed with what refers to it
        result = expect_in_time(builder, two)
        assert f"base: {one}\n" in result.stderr and "fetching what is known" not in result.stderr
        node, plain = Zeropull(work / "node"), Zeropull(work / "plain")
        node.ok("pull", "--complete", two)
        plain.ok("build", "--base", "none", two)
        check_same_tree(node, plain, two, work)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_registry_that_lists_no_tags_is_built_for_without_a_base(status, layout, work):
    with memory_registry() as server:
        one, two = versions(server, layout, Tree(files=20, large=300_000), "1", "2")
        Zeropull(work / "first").ok("build", "--push", one)
        server.inject("GET /v2/a/b/tags/list", *[lambda handler: handler.answer(status) or True] * 5)
        builder = Zeropull(work / "builder")
        result = builder.expect(OK, "build", "--push", two)
        assert "base: none: " in result.stderr
        assert len(builder.image_directories()) == 1


def test_a_registry_that_does_not_answer_holds_a_build_up_for_seconds_only(layout, work):
    release = threading.Event()
    with memory_registry() as server:
        one, two = versions(server, layout, Tree(files=20, large=300_000), "1", "2")
        server.inject("GET /v2/a/b/tags/list", lambda handler: release.wait(300) or True)
        result = Zeropull(work / "builder").expect(OK, "build", "--push", two, timeout=100)
        release.set()
        assert "base: none: it takes too long" in result.stderr


@pytest.mark.parametrize("is_signer", [True, False], ids=["its key", "another key"])
@in_time
def test_a_signed_build_finds_only_what_its_key_has_signed(is_signer, layout, work):
    with memory_registry() as server:
        one, two = versions(server, layout, Tree(files=100, large=1_000_000), "1", "2")
        keys = [str(work / "key"), str(work / "other")]
        for key in keys:
            Zeropull(work / "keys").ok("key", "generate", key)
        lie_about_blocks(server, Zeropull(work / "maker").build(one, "--push", "--sign-key", keys[0]).strip())
        builder, plain = Zeropull(work / "builder"), Zeropull(work / "plain")
        result = expect_in_time(builder, "--sign-key", keys[not is_signer], two)
        assert (f"base: not {one}: " in result.stderr) != is_signer
        assert (device_count(builder, two) > 2) == is_signer
        builder.ok("pull", "--complete", two)
        plain.build(two)
        check_same_tree(builder, plain, two, work)
