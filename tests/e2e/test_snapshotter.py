# SPDX-License-Identifier: Apache-2.0
"""Real containerd (Debian's 1.6, and 2.2) with zeropull-snapshotter as its snapshotter: images are pulled, run, written
to, committed and removed as with overlayfs, and nothing is left behind."""
import os
import time

import pytest

from support import images, oci
from support.containerd import ContainerdError, containerd_2_or_skip
from support.containerd_node import node_with
from support.programs import treecmp
from support.registry import registry
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")


@pytest.fixture(params=["1.6", "2.2"])
def node(request, work):
    programs = containerd_2_or_skip() if request.param == "2.2" else None
    with node_with(work, programs) as made:
        yield made


@pytest.fixture
def served(work):
    """A function that puts a test image into a registry and returns its reference."""
    with registry(work) as server:

        def serve(name, with_snapshot=False):
            server.push(images.source(name), name)
            if with_snapshot:
                Zeropull(work / "builder").ok("build", "--push", server.reference(name))
            return server.reference(name).removeprefix("docker://")

        serve.log = server.log
        yield serve


def output_of(name):
    return images.config(name)["Labels"]["test.output"]


@pytest.mark.parametrize("name", ["busybox", "python"])
def test_an_image_is_pulled_run_and_removed_without_a_trace(node, served, name):
    image = served(name)
    node.server.pull(image)
    assert output_of(name) in node.run(image, "c1")
    node.server.remove(image)
    node.await_nothing_left()


def test_the_image_is_what_overlayfs_shows(node, served, containerd, work):
    epoch = int(time.time())
    image = served("odd-changed")
    node.server.pull(image)
    reference = containerd.import_layout(images.layout("odd-changed"), "odd-changed")
    with node.shown(work) as ours, containerd.mounted(reference) as theirs:
        assert treecmp(theirs, ours, "--ignore-dir-mtime-after", epoch) == []
    containerd.remove(reference)


def test_forty_layers_are_mounted(node, served, work):
    image = served("stack40")
    node.server.pull(image)
    assert len(node.api.names("kind==committed")) == 40
    with node.shown(work) as root:
        assert os.listdir(root)


def test_containers_write_each_for_itself(node, served):
    image = served("busybox")
    node.server.pull(image)
    script = "test ! -e /mine && echo $0 >/mine && rm /etc/passwd && cat /mine"
    for i in range(20):
        assert node.run(image, f"c{i}", "/bin/sh", "-c", script, f"number-{i}", rm=False).splitlines()[-1] == f"number-{i}"
    assert len(node.api.names("kind==active")) == 20
    assert node.api.usage(node.api.names("kind==active")[0])[1] >= 3
    for i in range(20):
        node.ctr("containers", "remove", f"c{i}")
    node.server.remove(image)
    node.await_nothing_left()


def test_a_container_is_committed_and_run_from(node, served, work):
    image = served("busybox")
    node.server.pull(image)
    node.run(image, "c1", "/bin/sh", "-c", "echo made >/made; rm /etc/passwd", rm=False)
    node.ctr("snapshots", "commit", "committed", "c1")
    node.ctr("snapshots", "prepare", "again", "committed")
    (mount,) = node.api.mounts(node.api.names("kind==active")[0])
    assert mount.type == "overlay"
    node.ctr("containers", "remove", "c1")
    with node.looking_into("committed", work) as root:
        assert (root / "made").read_text() == "made\n" and not (root / "etc/passwd").exists() and (root / "bin/sh").exists()
    usage = node.ctr("snapshots", "usage", "committed")
    assert "committed" in usage
    node.ctr("snapshots", "remove", "again")
    node.ctr("snapshots", "remove", "committed")
    node.server.remove(image)
    node.await_nothing_left()


def test_a_parent_in_use_stays(node, served):
    image = served("busybox")
    node.server.pull(image)
    node.run(image, "c1", "/bin/true", rm=False)
    node.server.remove(image)
    committed = node.api.names("kind==committed")
    assert committed and all(node.api.stat(name).kind == 3 for name in committed)
    with pytest.raises(ContainerdError, match="cannot remove snapshot"):
        node.ctr("snapshots", "remove", node.info("c1")["Parent"])
    node.ctr("containers", "remove", "c1")
    # removing the last name of something is what makes containerd collect
    node.server.pull(image)
    node.server.remove(image)
    node.await_nothing_left()


def test_a_killed_snapshotter_is_not_noticed_by_containers(node, served):
    image = served("busybox")
    node.server.pull(image)
    node.ctr("run", "--detach", image, "c1", "/bin/sh", "-c", "while :; do date >/now; sleep 0.05; done")
    node.daemon.kill()
    node.ctr("tasks", "exec", "--exec-id", "e1", "c1", "/bin/sh", "-c", "echo still >/there && cat /there /now")
    node.daemon.start()
    assert node.run_when_connected(image, "c2", "/bin/echo", "after").splitlines()[-1] == "after"
    node.ctr("tasks", "kill", "--signal", "KILL", "c1")
    node.ctr("tasks", "delete", "--force", "c1")
    node.ctr("containers", "remove", "c1")
    node.server.remove(image)
    node.await_nothing_left()


@pytest.fixture
def node_2(work):
    with node_with(work, containerd_2_or_skip()) as made:
        yield made


def layers_of(name):
    return {layer["digest"] for layer in oci.Layout(images.layout(name)).manifest(name)["layers"]}


def test_a_pull_with_a_snapshot_downloads_no_layer(node_2, served):
    node, name = node_2, "python"
    image = served(name, with_snapshot=True)
    already = len(served.log.read_text(errors="replace"))
    node.server.pull(image)
    assert output_of(name) in node.run(image, "c1")
    assert node.run(image, "c2", "/bin/sh", "-c", "echo x >/new && cat /new").splitlines()[-1] == "x"
    log = served.log.read_text(errors="replace")[already:]
    assert "/manifests/" in log and not [digest for digest in layers_of(name) if digest in log]
    assert "image accelerated" in node.daemon.log()
    assert node.api.names("kind==committed") and all(usage == 0 for usage in [node.api.usage(n)[0] for n in node.api.names("kind==committed")])
    node.server.remove(image)
    node.await_nothing_left()


def test_an_accelerated_container_is_committed_and_run_from(node_2, served, work):
    node, image = node_2, served("busybox", with_snapshot=True)
    node.server.pull(image)
    node.run(image, "c1", "/bin/sh", "-c", "echo made >/made; rm /etc/passwd", rm=False)
    node.ctr("snapshots", "commit", "committed", "c1")
    with node.looking_into("committed", work) as root:
        assert (root / "made").read_text() == "made\n" and not (root / "etc/passwd").exists() and (root / "bin/sh").exists()
    node.ctr("snapshots", "remove", "committed")
    node.ctr("containers", "remove", "c1")
    node.server.remove(image)
    node.await_nothing_left()
