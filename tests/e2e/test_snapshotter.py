# SPDX-License-Identifier: Apache-2.0
"""Real containerd (Debian's 1.6, and 2.2) with zeropull-snapshotter as its snapshotter: images are pulled, run, written
to, committed and removed as with overlayfs, and nothing is left behind."""
import gzip
import io
import os
import re
import signal
import subprocess
import tarfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support import images, oci
from support.containerd import ContainerdError, ShippedContainerd, containerd_2_or_skip, unmount_below
from support.containerd import containerd as running_containerd
from support.containerd_node import node_with
from support.programs import treecmp
from support.registry import registry
from support.snapshotter import mounted, snapshotter
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

        serve.requests, serve.push = server.requests, server.push
        yield serve


def output_of(name):
    return images.config(name)["Labels"]["test.output"]


def test_an_image_is_pulled_run_and_removed_without_a_trace(node, served):
    image = served("busybox")
    node.server.pull(image)
    assert output_of("busybox") in node.run(image, "c1")
    node.server.remove(image)
    node.await_nothing_left()


@pytest.fixture
def way(request, work):
    """A node with this containerd, and whether images come with a snapshot."""
    version, with_snapshot = request.param
    with node_with(work, containerd_2_or_skip() if version == "2.2" else None) as made:
        yield made, with_snapshot


def run_something(node, image, name, work):
    """As the image says; in one without a program, the one of busybox."""
    config = images.config(name)
    if "Cmd" in config:
        output = config.get("Labels", {}).get("test.output", "hello")
        assert output in node.run(image, "c1")
        return
    program = work / "busybox"
    with tarfile.open(oci.Layout(images.layout("busybox")).layers("busybox")[0].path) as layer:
        program.write_bytes(layer.extractfile("bin/busybox").read())
    program.chmod(0o755)
    bind = ("--mount", f"type=bind,src={program},dst=/busybox-of-the-test,options=bind:ro")
    assert node.run(image, "c1", "/busybox-of-the-test", "echo", "hello", options=bind) == "hello\n"


@contextmanager
def container_root(node, image, work):
    """What a new container sees: one that containerd knows of, for its garbage collection takes away what it does not."""
    node.ctr("containers", "create", image, "looked-into", "/none")
    (key,) = [key for key in node.api.names("kind==active") if key.endswith("/looked-into")]
    with mounted(node.api.mounts(key), work / "container") as root:
        yield root
    node.ctr("containers", "remove", "looked-into")


@pytest.mark.long
@pytest.mark.parametrize("way", [("1.6", False), ("2.2", False), ("2.2", True)], indirect=True, ids=["1.6", "2.2", "2.2-accelerated"])
@pytest.mark.parametrize("name", images.MAKERS)
def test_every_image_runs_and_is_what_overlayfs_shows(way, served, containerd, work, name):
    (node, with_snapshot), epoch = way, int(time.time())
    image = served(name, with_snapshot)
    node.server.pull(image)
    assert ("image accelerated" in node.daemon.log()) == with_snapshot
    run_something(node, image, name, work)
    reference = containerd.import_layout(images.layout(name), name)
    with container_root(node, image, work) as ours, containerd.mounted(reference) as theirs:
        assert treecmp(theirs, ours, "--ignore-dir-mtime-after", epoch) == []
    containerd.remove(reference)
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
        assert node.run(image, f"c{i}", "/bin/sh", "-c", script, f"number-{i}", rm=False) == f"number-{i}\n"
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


def push_built(node, served, key, base, work):
    """An image of `base` and of what a container changed, as `nerdctl commit` makes it; its reference, and what is in its
    own layer."""
    command = node.server.command("snapshots", "--snapshotter", "zeropull", "diff", key)
    blob = subprocess.run(command, check=True, capture_output=True).stdout
    tar = gzip.decompress(blob)
    layout = oci.Layout(work / "built")
    images.copy_into(base, layout.directory)
    layout.add_image("built", [*layout.layers(base), layout.add_raw_layer(blob, tar=tar)], images.config(base))
    with tarfile.open(fileobj=io.BytesIO(tar)) as entries:
        names = {name.strip("/") for name in entries.getnames()}
    return served.push(f"oci:{layout.directory}:built", "built").removeprefix("docker://"), names


CHANGE = ("/bin/sh", "-c", "echo made >/made; rm /etc/passwd; echo more >>/etc/group; mv /usr /moved")
LOOK = ("/bin/sh", "-c", "cat /made; tail -n 1 /etc/group; test ! -e /etc/passwd && test ! -e /usr && echo gone; ls -d /moved/bin")
SEEN = ["made", "more", "gone", "/moved/bin"]
OWN = {"made", "etc/.wh.passwd", "etc/group", ".wh.usr", "moved/bin"}  # of what the container made, in the layer


def test_an_image_built_from_a_container_is_pushed_exported_and_run(node, served, work):
    base = served("busybox")
    node.server.pull(base)
    node.run(base, "c1", *CHANGE, rm=False)
    built, names = push_built(node, served, "c1", "busybox", work)
    assert OWN <= names and "bin/sh" not in names
    node.server.pull(built)
    assert node.run(built, "c2", *LOOK).splitlines() == SEEN
    # the ctr of containerd 2 ends, unless it writes the archive itself, before it has written all that it was sent
    local = ["--local"] if node.server.is_2 else []
    node.ctr("images", "export", *local, "--platform", "linux/amd64", str(work / "built.tar"), built)
    node.ctr("containers", "remove", "c1")
    for image in (built, base):
        node.server.remove(image)
    node.await_nothing_left()
    node.ctr("images", "import", str(work / "built.tar"))
    assert node.run(built, "c3", *LOOK).splitlines() == SEEN
    node.server.remove(built)
    node.await_nothing_left()


def test_an_image_built_from_an_accelerated_container_is_pushed_and_run(node_2, served, work):
    node, base = node_2, served("busybox", with_snapshot=True)
    node.server.pull(base)
    node.run(base, "c1", *CHANGE, rm=False)
    built, names = push_built(node, served, "c1", "busybox", work)
    assert OWN <= names and "bin/sh" not in names
    node.server.pull(built)
    assert node.run(built, "c2", *LOOK).splitlines() == SEEN
    node.ctr("containers", "remove", "c1")
    node.server.remove(base)
    assert node.run(built, "c3", *LOOK).splitlines() == SEEN
    node.server.remove(built)
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
    assert node.run_when_connected(image, "c2", "/bin/echo", "after") == "after\n"
    node.ctr("tasks", "kill", "--signal", "KILL", "c1")
    node.ctr("tasks", "delete", "--force", "c1")
    node.ctr("containers", "remove", "c1")
    node.server.remove(image)
    node.await_nothing_left()


@pytest.fixture
def node_2(work):
    with node_with(work, containerd_2_or_skip()) as made:
        yield made


def test_the_shipped_settings_leave_containerd_2_its_own_snapshotter(served, work):
    """containerd unpacks with none but those that its settings name, once they name one."""
    image = served("busybox")
    with snapshotter(work) as daemon, running_containerd(containerd_2_or_skip(), daemon.socket, ShippedContainerd) as server:
        for name in "overlayfs", "zeropull":
            server.ctr("images", "pull", "--plain-http", "--snapshotter", name, image)
            assert output_of("busybox") in server.output("run", "--rm", "--snapshotter", name, image, f"by-{name}")
        server.remove(image)


def layers_of(name):
    return {layer["digest"] for layer in oci.Layout(images.layout(name)).manifest(name)["layers"]}


def test_a_pull_with_a_snapshot_downloads_no_layer(node_2, served):
    node, name = node_2, "python"
    image = served(name, with_snapshot=True)
    already = len(served.requests())
    node.server.pull(image)
    assert output_of(name) in node.run(image, "c1")
    assert node.run(image, "c2", "/bin/sh", "-c", "echo x >/new && cat /new") == "x\n"
    log = served.requests(already)
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


def kill_everything(node):
    """As the power does: every process of the node's, and every mount. Files stay, those of /run as well."""
    tasks = re.findall(r"^\S+ +(\d+) +RUNNING", node.ctr("tasks", "list"), re.MULTILINE)
    assert tasks
    shims = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if is_shim_of(node, path)]
    os.killpg(node.server.process.pid, signal.SIGKILL)
    node.server.process.wait()
    for pid in [*shims, *tasks]:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    node.daemon.kill()
    unmount_below(node.server.directory)
    unmount_below(node.daemon.root)


def is_shim_of(node, path):
    try:
        words = path.read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"shim" in words[0] and node.server.namespace.encode() in words


def test_after_a_reboot_containers_start_again(node_2, served):
    node, image = node_2, served("busybox", with_snapshot=True)
    node.server.pull(image)
    script = "echo made >>/made; cat /made; test $(wc -l </made) -gt 1 || sleep 100000"
    node.ctr("run", "--detach", image, "c1", "/bin/sh", "-c", script)
    node.ctr("tasks", "exec", "--exec-id", "e1", "c1", "/bin/sh", "-c", "until test -s /made; do sleep 0.05; done")
    kill_everything(node)
    node.daemon.start()
    node.server.start()
    assert node.server.output("tasks start", "c1") == "made\nmade\n"
    assert output_of("busybox") in node.run(image, "c2")
    node.ctr("containers", "remove", "c1")
    node.server.remove(image)
    node.await_nothing_left()
