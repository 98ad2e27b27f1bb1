# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes on a real one-node cluster: images built by deploy/images, a registry that nodes and pods reach, and
what a node has to be configured with."""
import base64
import json
import shutil
import subprocess
import tempfile
import tomllib
import types
from contextlib import ExitStack, contextmanager
from pathlib import Path

from . import debian, images, oci
from .containerd import unmount_below
from .forward import forwarded
from .kubernetes import KubernetesError, cluster
from .kubernetes_node import ADDRESS, CriContainerd, private_network
from .programs import BUILD, SOURCE
from .registry import registry
from .zeropull import Zeropull

DEPLOY = SOURCE / "deploy" / "kubernetes"
API_ADDRESS = "10.96.0.1"  # of the service "kubernetes"
NAMESPACE = "zeropull-system"
SLEEP = ["sleep", "1000000"]
USER, PASSWORD = "puller", "xyzzy"


def build_images(directory):
    """An OCI layout with the images of zeropull's programs; returns their names."""
    command = [SOURCE / "deploy" / "images" / "build-images", "--build", BUILD, "--output", directory, "--tag", "test"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [line.rsplit(":", 1)[1] for line in result.stdout.split()]


class Deployment:
    """The cluster and what a test does with it."""

    def __init__(self, directory, server, locked):
        self.directory, self.server, self.locked = directory, server, locked
        # where pods reach the registries
        self.host, self.locked_host = (f"{ADDRESS}:{one.host.rsplit(':', 1)[1]}" for one in (server, locked))
        self.builder = Zeropull(directory / "builder")

    def push(self, source, repository):
        self.server.push(source, repository)
        return f"{self.host}/{repository}:latest"

    def push_private(self, source, repository):
        """An image with a snapshot where only USER may read."""
        self.locked.push(source, repository)
        self.builder.ok("build", "--push", "--creds", f"{USER}:{PASSWORD}", self.locked.reference(repository))
        return f"{self.locked_host}/{repository}:latest"

    def pull_secret(self, namespace):
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": namespace},
                "type": "kubernetes.io/dockerconfigjson",
                "stringData": {".dockerconfigjson": json.dumps({"auths": {self.locked_host: {"auth": login}}})}}  # fmt: skip

    def pause(self):
        out = oci.Layout(self.directory / "pause")
        out.add_image("pause", oci.Layout(images.layout("busybox")).layers("busybox"), {"Cmd": SLEEP})
        return self.push(f"oci:{self.directory / 'pause'}:pause", "pause")

    def push_programs(self):
        for name in build_images(self.directory / "images"):
            repository = name.removesuffix("-test")
            self.server.push(f"oci:{self.directory / 'images'}:{name}", f"zeropull/{repository}", "0.1.0")

    def overlay(self):
        """The kustomization with this machine's directories and registries instead of a node's."""
        copy = self.directory / "kustomization"
        shutil.rmtree(copy, ignore_errors=True)
        for part in ("base", "components/private-images"):
            shutil.copytree(DEPLOY / part, copy / part)
        (copy / "kustomization.yaml").write_text("resources: [base]\ncomponents: [components/private-images]\n")
        keys = self.directory / "cluster" / "keys"
        for file in copy.rglob("*.yaml"):
            text = file.read_text()
            text = text.replace("/etc/kubernetes/kubelet.conf", str(keys / "kubelet.kubeconfig"))
            text = text.replace("/var/lib/kubelet/pki", str(keys))
            text = text.replace("path: /var/run/nri,", f"path: {self.directory / 'nri'},")
            text = text.replace("registry.example/", f"{self.host}/")
            text = text.replace("/var/lib/zeropull-snapshotter", str(self.directory / "snapshotter"))
            text = text.replace("path: /run/zeropull,", f"path: {self.directory / 'run'},")
            text = text.replace("path: /etc/containerd/certs.d,", f"path: {self.directory / 'certs.d'},")
            hosts = "".join(f"- {{host: '{host}', plain-http: 'true'}}\n" for host in (self.host, self.locked_host))
            if file == copy / "base" / "config" / "controller.yaml":
                text += f"registries:\n{hosts}"
            file.write_text(text)
        return copy

    # --- the cluster

    def file(self, found):
        path = self.directory / "object.json"
        path.write_text(json.dumps(found))
        return path

    def apply(self, *objects):
        self.cluster.apply(*objects)

    def requests(self):
        return self.server.requests()

    def describe(self):
        """For a failed wait: what the cluster says of everything."""
        out = [self.cluster.kubectl("get", "pods,jobs,events,imagesnapshots,nodesnapshotcaches", "-A", "-o", "wide")]
        for kind in ("deployment/zeropull-controller", "daemonset/zeropull-snapshotter", "daemonset/zeropull-keeper"):
            try:
                out.append(self.cluster.kubectl("logs", "-n", NAMESPACE, kind, "--all-containers", "--tail=30"))
            except KubernetesError as error:
                out.append(str(error))
        return "\n".join(out)

    def wait(self, *arguments, seconds=180):
        try:
            return self.cluster.kubectl(*arguments, f"--timeout={seconds}s", timeout=seconds + 30)
        except KubernetesError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from error

    def roll_out(self):
        self.wait("wait", "-n", NAMESPACE, "--for=jsonpath={.status.numberReady}=1", "daemonset/zeropull-keeper")
        for workload in ("daemonset/zeropull-snapshotter", "deployment/zeropull-controller"):
            self.wait("rollout", "status", "-n", NAMESPACE, workload)


def _node_settings(directory, programs):
    """deploy/kubernetes/node for this machine, which has no systemd."""
    is_2 = "-v1." not in programs.name
    text = (DEPLOY / "node" / f"containerd-{2 if is_2 else 1}.toml").read_text()
    settings = tomllib.loads(text.replace("SystemdCgroup = true", "SystemdCgroup = false"))
    images_plugin = "io.containerd.cri.v1.images" if is_2 else "io.containerd.grpc.v1.cri"
    settings["plugins"].setdefault(images_plugin, {})["registry"] = {"config_path": str(directory / "certs.d")}
    settings["plugins"]["io.containerd.nri.v1.nri"] = {
        "disable": False, "socket_path": str(directory / "nri" / "nri.sock"), "plugin_path": str(directory / "nri" / "plugins"),
        "plugin_config_path": str(directory / "nri" / "config")}  # fmt: skip
    return settings


@contextmanager
def deployment(programs, kubernetes):
    """A cluster whose node is ready for deploy/kubernetes; nothing of it is applied yet."""
    with ExitStack() as stack:
        stack.enter_context(private_network())
        subprocess.run(["ip", "address", "add", f"{API_ADDRESS}/32", "dev", "lo"], check=True)
        directory = Path(tempfile.mkdtemp(dir=debian.CACHE / "tmp", prefix="kube-"))
        stack.callback(subprocess.run, ["rm", "-rf", "--one-file-system", directory], check=True)
        stack.callback(unmount_below, directory)
        # as systemd has the root directory: what pods mount for others gets to them
        subprocess.run(["mount", "--bind", directory, directory], check=True)
        subprocess.run(["mount", "--make-shared", directory], check=True)
        server = stack.enter_context(registry(directory / "registry"))
        locked = stack.enter_context(registry(directory / "locked", users={USER: PASSWORD}))
        here = Deployment(directory, server, locked)
        for host in (here.host, here.locked_host):
            port = int(host.rsplit(":", 1)[1])
            stack.enter_context(forwarded((ADDRESS, port), ("127.0.0.1", port)))
            hosts = directory / "certs.d" / host
            hosts.mkdir(parents=True)
            (hosts / "hosts.toml").write_text(f'server = "http://{host}"\n')
        stack.enter_context(forwarded((API_ADDRESS, 443), ("127.0.0.1", 6443)))
        (directory / "containerd").mkdir()
        daemon = types.SimpleNamespace(socket=directory / "run" / "snapshotter.sock", root=directory / "snapshotter")
        here.node = CriContainerd(directory / "containerd", here.pause(), programs, daemon, _node_settings(directory, programs))
        stack.callback(here.node.stop)
        here.node.start()
        here.cluster = stack.enter_context(cluster(directory / "cluster", kubernetes, here.node))
        yield here
