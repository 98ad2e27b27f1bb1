# SPDX-License-Identifier: Apache-2.0
"""A real one-node Kubernetes whose containers' file systems come from zeropull-snapshotter, with containerd 2.2, or with
those that ZP_KUBERNETES names (1.6 is Debian's): no layer of an image that has a snapshot is downloaded, everything else
is as ever, and what is deleted leaves nothing."""
import base64
import json
import os
import re
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import debian, images, kubernetes_programs, oci
from support.containerd import containerd_1_7_or_skip, containerd_2_or_skip, unmount_below
from support.kubernetes import cluster
from support.kubernetes_node import CriContainerd, private_network
from support.node import Manager
from support.registry import registry
from support.snapshotter import snapshotter
from support.zeropull import Zeropull

reason = kubernetes_programs.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

SECONDS = 120
SLEEP = ["sleep", "1000000"]
USER, PASSWORD = "kubelet", "secret"


class Site:
    """The cluster and its node, and the registries its images come from."""

    def __init__(self, directory, server, locked):
        self.directory, self.server, self.locked = directory, server, locked
        self.builder = Zeropull(directory / "builder")
        self.pushed = []

    def push(self, source, repository, snapshot, server=None):
        """Puts an image into a registry, with its snapshot beside it or without; returns the name for pods."""
        server = server or self.server
        server.push(source, repository)
        if snapshot:
            credentials = ["--creds", f"{USER}:{PASSWORD}"] if server is self.locked else []
            self.builder.ok("build", "--push", *credentials, server.reference(repository))
        self.pushed.append(f"{server.host}/{repository}:latest")
        return self.pushed[-1]

    def image(self, name, snapshot=True, server=None):
        return self.push(images.source(name), f"{name}-{len(self.pushed)}", snapshot, server)

    def pause(self):
        """The image of pod sandboxes: what it runs has to last."""
        out = oci.Layout(self.directory / "pause")
        out.add_image("pause", oci.Layout(images.layout("busybox")).layers("busybox"), {"Cmd": SLEEP})
        return self.push(f"oci:{self.directory / 'pause'}:pause", "pause", True)

    # --- what is there

    def requests(self, start=0):
        """The registry's log from a position on, with everything that was asked for until now."""
        return self.server.requests(start)

    def state(self):
        """What the node has of images and containers."""
        mounts = Path("/proc/self/mountinfo").read_text()
        return {
            "snapshots": self.api.names(),
            "directories": self.daemon.directories(),
            "trash": self.daemon.trash(),
            "mounts": sorted(re.findall(rf" ({re.escape(str(self.directory))}/(?:snapshotter|containerd)/\S+) ", mounts)),
            "containers": self.node.ctr("containers", "list", "--quiet").split(),
            "content": sorted(self.node.ctr("content", "list", "--quiet").split()),
            "images": sorted(self.node.ctr("images", "list", "--quiet").split()),
        }

    def rest(self):
        """Remembers what an unused node has: the image of sandboxes, which was used."""
        self.node.pull(self.node.pause)
        (top,) = self.api.names("kind==committed")
        self.api.view("used", top)
        self.api.remove("used")
        self.api.cleanup()
        self.at_rest = self.state()

    def await_rest(self):
        """Waits for that state; the kubelet collects dead containers once a minute."""
        deadline = time.monotonic() + 3 * SECONDS
        while (now := self.state()) != self.at_rest and time.monotonic() < deadline:
            time.sleep(0.2)
        assert now == self.at_rest

    # --- pods

    def pod(self, name, *containers, **spec):
        """Each container is (image, command)."""
        return {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                "containers": [{"name": f"c{number}", "image": image, "command": command}
                               for number, (image, command) in enumerate(containers)],
                **spec,
            },
        }  # fmt: skip

    def start(self, name, *containers, **spec):
        self.cluster.apply(self.pod(name, *containers, **spec))

    def wait(self, name, condition):
        self.cluster.kubectl("wait", f"--for={condition}", f"pod/{name}", f"--timeout={SECONDS}s")

    def running(self, name, *containers, **spec):
        self.start(name, *containers, **spec)
        self.wait(name, "condition=Ready")

    def output(self, name, image, command, **spec):
        """What a pod that ends by itself printed."""
        self.start(name, (image, command), **spec)
        self.wait(name, "jsonpath={.status.phase}=Succeeded")
        return self.cluster.kubectl("logs", name)

    def exec(self, name, script, container="c0"):
        return self.cluster.kubectl("exec", name, "-c", container, "--", "sh", "-c", script)

    def delete_all(self):
        self.cluster.kubectl("delete", "pods,secrets", "--all", "--wait", f"--timeout={SECONDS}s")

    def clear(self):
        """Deletes all pods and the images that tests pushed."""
        self.delete_all()
        for image in self.pushed:
            if "/pause:" not in image:
                self.node.remove(image)


@contextmanager
def site_with(programs, kubernetes):
    """In a directory and a network that go away with everything in them."""
    with ExitStack() as stack:
        stack.enter_context(private_network())
        directory = Path(tempfile.mkdtemp(dir=debian.CACHE / "tmp", prefix="kube-"))
        stack.callback(subprocess.run, ["rm", "-rf", "--one-file-system", directory], check=True)
        stack.callback(unmount_below, directory)
        server = stack.enter_context(registry(directory / "open"))
        locked = stack.enter_context(registry(directory / "locked", users={USER: PASSWORD}))
        site = Site(directory, server, locked)
        site.manager = Manager(directory)
        stack.callback(site.manager.close)
        (directory / "config.yaml").write_text("version: 1\nregistry_timeout_s: 120\n")
        site.daemon = stack.enter_context(snapshotter(directory, "--config", directory / "config.yaml", manager=site.manager))
        (directory / "containerd").mkdir()
        site.node = CriContainerd(directory / "containerd", site.pause(), programs, site.daemon)
        stack.callback(site.node.stop)
        site.node.start()
        site.api = site.daemon.client()
        stack.callback(site.api.close)
        site.rest()
        site.cluster = stack.enter_context(cluster(directory / "cluster", kubernetes, site.node))
        yield site


@pytest.fixture(scope="module", params=os.environ.get("ZP_KUBERNETES", "2.2").split(","))
def whole_site(request):
    for name in ("busybox", "python", "nginx"):
        images.layout(name)  # in the private network there is nowhere to get anything from
    kubernetes = kubernetes_programs.programs(may_build="ZP_KUBERNETES" in os.environ)
    if not kubernetes:
        pytest.skip("no Kubernetes in the cache of test tools. `./run-tests --long e2e` builds it, given Go")
    programs = {"1.6": lambda: None, "1.7": containerd_1_7_or_skip, "2.2": containerd_2_or_skip}[request.param]()
    with site_with(programs, kubernetes) as site:
        yield site


@pytest.fixture
def site(whole_site):
    yield whole_site
    whole_site.delete_all()


def layers_of(name):
    return {layer["digest"] for layer in oci.Layout(images.layout(name)).manifest(name)["layers"]}


def test_a_pod_starts_without_its_layers(site):
    image, already = site.image("python"), len(site.requests())
    assert images.config("python")["Labels"]["test.output"] in site.output("p", image, images.config("python")["Cmd"])
    log = site.requests(already)
    assert f"/v2/{image.split('/')[1].split(':')[0]}/manifests/" in log
    assert [digest for digest in layers_of("python") if digest in log] == []


def test_what_a_container_does_is_as_ever(site):
    """kubectl exec, logs and cp; writes, and changes of what the image has."""
    site.running("p", (site.image("python"), ["sh", "-c", "echo begun; exec sleep 1000000"]))
    assert site.cluster.kubectl("logs", "p") == "begun\n"
    assert site.exec("p", "echo written >/new && cat /new") == "written\n"
    assert site.exec("p", "echo more >>/etc/passwd && tail -n 1 /etc/passwd") == "more\n"
    assert site.exec("p", "rm /etc/group && test ! -e /etc/group && echo gone") == "gone\n"
    local = site.directory / "copied"
    local.write_text("from outside\n")
    site.cluster.kubectl("cp", str(local), "p:/root/copied")
    assert site.exec("p", "cat /root/copied") == "from outside\n"
    site.cluster.kubectl("cp", "p:/new", str(local))
    assert local.read_text() == "written\n"


def test_images_with_and_without_a_snapshot_are_in_one_pod(site):
    """The layer that they share is not downloaded for the other, either."""
    with_snapshot, without = site.image("python"), site.image("nginx", snapshot=False)
    already = len(site.requests())
    site.running("p", (with_snapshot, SLEEP), (without, SLEEP))
    log = site.requests(already)
    downloaded = {digest for digest in layers_of("python") | layers_of("nginx") if digest in log}
    assert downloaded == layers_of("nginx") - layers_of("python")
    assert "Python 3" in site.exec("p", "python3 --version", "c0")
    assert "nginx" in site.exec("p", "nginx -v 2>&1", "c1")
    assert site.exec("p", "test ! -e /usr/bin/python3 && echo apart", "c1") == "apart\n"


def test_the_kubelet_is_told_what_images_take_and_where(site):
    """Or it would collect none. containerd asks the snapshotter every ten seconds."""
    out, size = oci.Layout(site.directory / "large"), 20_000_000
    tar = oci.tar_bytes(lambda tar: tar.file("noise", os.urandom(size)))
    noise = out.add_raw_layer(oci.compress(tar, "gzip"), media_type=oci.LAYER["gzip"], tar=tar)
    out.add_image("large", [*oci.Layout(images.layout("busybox")).layers("busybox"), noise])
    before, _ = site.node.image_disk()
    site.output("p", site.push(f"oci:{site.directory / 'large'}:large", "large", False), ["true"])
    site.cluster.wait_for("images' size", lambda: site.node.image_disk()[0] > before + size // 2, SECONDS)
    assert os.path.realpath(site.node.image_disk()[1]) == str(site.daemon.root)


def test_many_pods_created_at_once_start_without_their_layers(site):
    image, already, count = site.image("python"), len(site.requests()), 10
    site.cluster.apply(*[site.pod(f"p{number}", (image, SLEEP)) for number in range(count)])
    site.cluster.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--timeout={SECONDS}s")
    assert [digest for digest in layers_of("python") if digest in site.requests(already)] == []
    for number in range(count):
        assert "Python 3" in site.exec(f"p{number}", "echo own >/own && python3 --version")


def restarts(site, name):
    return [status["restartCount"] for status in site.cluster.get("pod", name)["status"]["containerStatuses"]]


def assert_unharmed(site, name):
    """A pod's container reads what was not read before, and others can be started."""
    assert site.exec(name, "find /usr/lib/python3 -type f | xargs cat | wc -c").strip() != "0"
    assert site.exec(name, "cat /mine") == "mine\n"
    assert restarts(site, name) == [0]


def restart_snapshotter(site):
    assert site.daemon.stop() == 0
    site.daemon.start()


def upgrade_snapshotter(site):
    serving = site.daemon.control_plane()
    site.daemon.process.send_signal(1)
    deadline = time.monotonic() + SECONDS
    while site.daemon.control_plane() == serving:
        assert time.monotonic() < deadline


def kill_snapshotter(site):
    site.daemon.kill()
    site.daemon.start()


def restart_containerd(site):
    site.node.process.terminate()
    site.node.process.wait(30)
    site.node.start()


@pytest.mark.parametrize("disturb", [restart_snapshotter, upgrade_snapshotter, kill_snapshotter, restart_containerd])
def test_pods_outlive_a_restart_below_them(site, disturb):
    image = site.image("python")
    site.running("p", (image, ["sh", "-c", "echo mine >/mine; exec sleep 1000000"]))
    disturb(site)
    assert_unharmed(site, "p")
    assert site.output("q", image, ["echo", "after"]) == "after\n"
    assert_unharmed(site, "p")


def test_a_private_image_needs_the_pods_secret(site):
    image = site.image("python", server=site.locked)
    site.start("without", (image, ["true"]))
    site.wait("without", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull")
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    auths = json.dumps({"auths": {site.locked.host: {"auth": login}}})
    site.cluster.apply({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths},
    })  # fmt: skip
    assert site.output("with", image, ["echo", "allowed"], imagePullSecrets=[{"name": "pull"}]) == "allowed\n"


def test_deleted_pods_leave_their_images_and_removed_images_nothing(site):
    """Whatever the tests before this one did."""
    image, already = site.image("python"), len(site.requests())
    site.running("p", (image, SLEEP), (image, SLEEP))
    assert len(site.api.names("kind==active")) >= 3
    site.delete_all()
    assert site.output("again", image, ["echo", "again"]) == "again\n"
    assert [digest for digest in layers_of("python") if digest in site.requests(already)] == []
    site.clear()
    site.await_rest()
