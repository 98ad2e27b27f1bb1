# SPDX-License-Identifier: Apache-2.0
"""`zeropull rpull` with a real containerd, whose plain ctr tells a snapshotter nothing: images run without their layers,
what lies in containerd is what its own pull would have left, and it goes as that goes."""
import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from contextlib import closing, contextmanager

import pytest

from support import images
from support.containerd import containerd
from support.registry import registry
from support.snapshotter import settings, snapshotter
from support.zeropull import FAILED, NOT_FOUND, REFUSED, USAGE, Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
WAIT_SECONDS = 180
CONTAINER = f"rpull-{os.getpid()}"  # runc keeps those of all containerds in one place


def labels_of(text):
    """key=value,key=value, where a value may have commas, too."""
    labels, key = {}, None
    for part in text.strip().split(","):
        if "=" in part:
            key, _, labels[key] = part.partition("=")
        elif key:
            labels[key] += "," + part
    return labels


class Node:
    """A registry, and a containerd with the snapshotter."""

    def __init__(self, work, registry, daemon, server):
        self.registry = registry
        self.daemon = daemon
        self.server = server
        self.zeropull = Zeropull(work / "builder")
        self.api = daemon.client()

    def publish(self, name, repository=None, snapshot=True):
        """A test image in the registry; returns its name in containerd."""
        reference = self.registry.push(images.source(name), repository or name)
        if snapshot:
            # not from there: the registry's log shall tell of containerd's reads alone
            self.zeropull.ok("build", f"--push={reference.rsplit(':', 1)[0]}", images.source(name))
        return reference.removeprefix("docker://")

    def options(self):
        return ("--address", self.server.socket, "--namespace", self.server.namespace)

    def rpull(self, image):
        return self.zeropull.ok("rpull", *self.options(), image).strip()

    def ctr(self, *arguments):
        return self.server.ctr(*arguments)

    def rows(self, *command):
        """What a list of ctr's shows, without its head."""
        return [line.split() for line in self.ctr(*command, "list").splitlines()[1:]]

    def content(self, namespace=None):
        """{digest: labels} of the content store."""
        lines = self.ctr("--namespace", namespace or self.server.namespace, "content", "list").splitlines()[1:]
        rows = [line.split("\t") for line in lines]
        return {row[0]: labels_of(row[-1]) for row in rows}

    def documents(self, image):
        """Digests of manifest, configuration and layers, as the registry has them."""
        command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{image}"]
        raw = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        manifest = json.loads(raw)
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        return digest, manifest["config"]["digest"], [layer["digest"] for layer in manifest["layers"]]

    def assert_nothing_left(self):
        assert self.rows("images") == [] and self.rows("leases") == [] and self.rows("snapshots") == []
        assert self.content() == {}
        assert self.api.names() == []
        self.daemon.await_no_mounts()


@pytest.fixture
def node(work):
    options = settings(work, "registry_timeout_s: 120")
    with registry(work) as server, snapshotter(work, *options) as daemon, containerd(None, daemon.socket) as ctrd:
        made = Node(work, server, daemon, ctrd)
        yield made
        made.api.close()


def test_an_image_runs_without_its_layers(node):
    image = node.publish("python")
    manifest, config, layers = node.documents(image)
    assert node.rpull(image) == image
    assert images.config("python")["Labels"]["test.output"] in node.server.output("run", "--rm", image, CONTAINER)
    read = node.registry.blobs_read()
    assert config in read and read & set(layers) == set()
    assert set(node.content()) == {manifest, config}
    assert node.rows("leases") == []


def test_removing_it_leaves_nothing(node):
    image = node.publish("busybox")
    node.rpull(image)
    node.server.remove(image)
    node.assert_nothing_left()


def test_again_it_changes_nothing(node):
    image = node.publish("python")
    node.rpull(image)
    before = node.content(), [row[:3] for row in node.rows("images")], node.rows("snapshots")
    assert node.rpull(image) == image
    assert (node.content(), [row[:3] for row in node.rows("images")], node.rows("snapshots")) == before
    node.server.remove(image)
    node.assert_nothing_left()


def test_labels_are_those_of_containerds_own_pull(node):
    """Whose content, in another namespace, is not written again either."""
    image = node.publish("python")
    manifest, config, _ = node.documents(image)
    node.ctr("--namespace", "other", "images", "pull", "--plain-http", "--snapshotter", "overlayfs", image)
    node.rpull(image)
    own, theirs = node.content(), node.content("other")
    top = theirs[config].pop("containerd.io/gc.ref.snapshot.overlayfs")
    assert own[config].pop("containerd.io/gc.ref.snapshot.zeropull") == top
    assert own == {digest: theirs[digest] for digest in (manifest, config)}
    assert own[manifest]["containerd.io/distribution.source.127.0.0.1"] == "python"
    target = [row[1:3] for row in node.rows("--namespace", "other", "images")]
    assert [row[1:3] for row in node.rows("images")] == target


def test_an_image_with_two_names_is_kept_by_either(node):
    first, second = node.publish("busybox", "web/one"), node.publish("busybox", "web/a")
    for image in (first, second):
        node.rpull(image)
    sources = {labels["containerd.io/distribution.source.127.0.0.1"] for labels in node.content().values()}
    assert sources == {"web/a,web/one"}
    node.server.remove(first)
    assert images.config("busybox")["Labels"]["test.output"] in node.server.output("run", "--rm", second, CONTAINER)
    node.server.remove(second)
    node.assert_nothing_left()


def test_the_name_follows_its_tag(node):
    image = node.publish("busybox", "web")
    node.rpull(image)
    assert node.publish("python", "web") == image
    node.rpull(image)
    assert [row[2] for row in node.rows("images")] == [node.documents(image)[0]]
    assert images.config("python")["Labels"]["test.output"] in node.server.output("run", "--rm", image, CONTAINER)


def test_an_image_pulled_in_the_ordinary_way_is_kept(node):
    image = node.publish("busybox", snapshot=False)
    node.server.pull(image)
    assert node.rpull(image) == image
    assert images.config("busybox")["Labels"]["test.output"] in node.server.output("run", "--rm", image, CONTAINER)


def test_an_image_without_a_snapshot_leaves_nothing_but_the_reason(node):
    image = node.publish("busybox", snapshot=False)
    result = node.zeropull.expect(NOT_FOUND, "rpull", "-q", *node.options(), image)
    assert result.stderr.splitlines() == [
        f"zeropull: {image}: docker://{image.rsplit(':', 1)[0]} has no snapshot of it",
        f"  hint: `ctr --address {node.server.socket} --namespace {node.server.namespace} images pull --snapshotter zeropull {image}` downloads it",
    ]
    node.assert_nothing_left()
    command = result.stderr.splitlines()[1].split("`")[1]
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_SECONDS)  # as a user types it
    assert [row[0] for row in node.rows("images")] == [image]
    node.server.remove(image)


def test_a_snapshot_that_the_snapshotter_refuses_is_told(node, work):
    image = node.publish("busybox")
    (work / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: reject\n")
    result = node.zeropull.expect(REFUSED, "rpull", "-q", *node.options(), image)
    first = result.stderr.splitlines()[0]
    assert first.startswith(f"zeropull: {image}: layer 1 of 1 would have to be downloaded: denied: not trusted: ")
    node.assert_nothing_left()


@pytest.mark.parametrize("text", [None, "version: 1\nrules: 7\n"])
def test_a_policy_that_cannot_be_read_is_told_as_what_it_is(node, work, text):
    image = node.publish("busybox")
    (work / "policy.yaml").unlink()
    if text:
        (work / "policy.yaml").write_text(text)
    result = node.zeropull.expect(REFUSED, "rpull", "-q", *node.options(), image)
    first = result.stderr.splitlines()[0]
    assert f"layer 1 of 1 would have to be downloaded: denied: " in first and f"{work}/policy.yaml" in first
    assert "no_snapshot" not in result.stderr and "malformed:" not in result.stderr
    node.assert_nothing_left()


def test_without_the_snapshotter_it_says_how_to_start_it(node):
    image = node.publish("busybox")
    node.daemon.stop()
    result = node.zeropull.expect(FAILED, "rpull", "-q", *node.options(), image)
    assert "hint: if it does not run: `systemctl start zeropull-snapshotter`" in result.stderr, result.stderr
    assert node.rows("images") == [] and node.rows("leases") == []


def test_a_snapshotter_that_containerd_does_not_know_is_told(node):
    image = node.publish("busybox")
    result = node.zeropull.expect(FAILED, "rpull", "-q", *node.options(), "--snapshotter", "other", image)
    assert "snapshotter not loaded: other" in result.stderr and "tells whether containerd's settings name it" in result.stderr


@contextmanager
def held(daemon):
    """It answers nobody."""
    os.killpg(daemon.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(daemon.process.pid, signal.SIGCONT)


def await_lease(node):
    deadline = time.monotonic() + WAIT_SECONDS
    while not node.rows("leases"):
        assert time.monotonic() < deadline, "no lease"
        time.sleep(0.02)


def await_nothing_left(node, image):
    """containerd collects what a snapshotter made for a caller that was gone when it next removes a snapshot there."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        node.rpull(image)
        node.server.remove(image)
        if not node.api.names() or time.monotonic() > deadline:
            break
    node.assert_nothing_left()


def test_a_killed_run_leaves_a_lease_that_expires(node):
    image = node.publish("busybox")
    with held(node.daemon):
        run = node.zeropull.start("rpull", *node.options(), image)
        await_lease(node)
        run.kill()
        run.communicate()
    ((lease, _, *labels),) = node.rows("leases")
    assert "containerd.io/gc.expire=" in " ".join(labels)
    assert node.rows("images") == []
    node.ctr("leases", "delete", "--sync", lease)
    await_nothing_left(node, image)


def test_an_interrupted_run_leaves_nothing(node):
    image = node.publish("busybox")
    with held(node.daemon):
        run = node.zeropull.start("rpull", *node.options(), image)
        await_lease(node)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=WAIT_SECONDS)
    assert run.returncode == 128 + signal.SIGINT
    assert node.rows("leases") == [] and node.rows("images") == []
    await_nothing_left(node, image)


def test_a_run_interrupted_at_any_time_leaves_no_lease(node):
    image = node.publish("busybox")
    with held(node.daemon):
        for delay_ms in range(0, 240, 12):
            run = node.zeropull.start("rpull", *node.options(), image)
            time.sleep(delay_ms / 1000)  # what is tried is the time
            run.send_signal(signal.SIGINT)
            run.communicate(timeout=WAIT_SECONDS)
            assert run.returncode in (128 + signal.SIGINT, -signal.SIGINT)
    assert node.rows("leases") == []


def test_a_run_interrupted_while_it_asks_for_the_lease_leaves_none(node):
    """containerd answers what it was asked meanwhile in any order."""
    image = node.publish("busybox")
    for _ in range(8):
        with held(node.server):
            run = node.zeropull.start("rpull", *node.options(), image)
            assert any(b" layer" in line for line in run.stderr)  # the image is known: the lease comes next
            time.sleep(0.1)
            run.send_signal(signal.SIGINT)
            time.sleep(0.1)
        run.communicate(timeout=WAIT_SECONDS)
        assert run.returncode == 128 + signal.SIGINT
        assert node.rows("leases") == []


def test_without_containerd_it_says_so(zeropull, work):
    with registry(work) as server:
        image = server.push(images.source("busybox"), "busybox")
        result = zeropull.expect(FAILED, "rpull", "--address", work / "none.sock", image)
    name = image.removeprefix("docker://")
    assert f"zeropull: {name}: containerd at '{work}/none.sock' cannot be reached: No such file or directory" in result.stderr
    assert "hint: `systemctl start containerd`, or --address SOCKET" in result.stderr


def test_whoever_may_not_use_containerd_is_told_to_be_root(zeropull, work):
    os.chmod(work, 0o711)
    with registry(work) as server, closing(socket.socket(socket.AF_UNIX)) as listener:
        image = server.push(images.source("busybox"), "busybox")
        listener.bind(str(work / "roots.sock"))
        os.chmod(work / "roots.sock", 0o600)
        zeropull.prefix = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        result = zeropull.expect(FAILED, "rpull", "--address", work / "roots.sock", image)
    assert "cannot be reached: Permission denied" in result.stderr and "hint: its socket is root's: run this as root" in result.stderr


def test_what_makes_no_sense_is_wrong_usage(zeropull):
    for arguments in (["--namespace", "a b", "web"], ["--snapshotter", "x\ny", "web"], [f"oci:{images.layout('busybox')}"]):
        zeropull.expect(USAGE, "rpull", *arguments)
