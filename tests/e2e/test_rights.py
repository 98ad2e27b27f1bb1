# SPDX-License-Identifier: Apache-2.0
"""Private images through CRI with a real containerd, whose image service kubelet reaches by way of the snapshotter: with
pull secrets that the node itself does not have, no layer is downloaded, and without them nothing is had."""
import json
import os
import shutil
import tempfile
from contextlib import contextmanager

import grpc
import pytest

from support import oci
from support.containerd import Containerd, containerd_2_or_skip, debian
from support.cri_api import ImageService, field, fields, pull_request
from support.rights_registry import rights_registry
from support.ship import fill_app, fill_base, make_image, manifest_bytes, put_image
from support.snapshotter import mounted, snapshotter
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")

_CONFIG = """version = {version}
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{root}/containerd.sock"
[ttrpc]
  address = "{root}/containerd.sock.ttrpc"
[proxy_plugins.zeropull]
  type = "snapshot"
  address = "{proxy}"
"""
_CRI_1 = """[plugins."io.containerd.grpc.v1.cri"]
  stream_server_port = "0"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "zeropull"
    disable_snapshot_annotations = false
"""
_CRI_2 = """  [proxy_plugins.zeropull.exports]
    enable_remote_snapshot_annotations = "true"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_port = "0"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "zeropull"
  disable_snapshot_annotations = false
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{root}/hosts"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "zeropull"
"""


class CriContainerd(Containerd):
    def _config(self):
        text = _CONFIG.format(root=self.directory, proxy=self.proxy, version=3 if self.programs else 2)
        return text + (_CRI_2.replace("{root}", str(self.directory)) if self.programs else _CRI_1)


@contextmanager
def cri_containerd(directory, programs, proxy, host):
    """Where its snapshotter's configuration says that it is: directory/containerd.sock. `host`: a registry without TLS."""
    daemon = CriContainerd(directory, programs, proxy)
    hosts = daemon.directory / "hosts" / host
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'server = "http://{host}"\n')
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def short():
    """Sockets' paths are short."""
    directory = tempfile.mkdtemp(dir=debian.CACHE / "tmp", prefix="cri-")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["1", "2"])
def node(request, work, short):
    programs = containerd_2_or_skip() if request.param == "2" else None
    (work / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: accept\n")
    (work / "auth.json").write_text("{}")
    (work / "config.yaml").write_text(
        f"version: 1\npolicy: {work}/policy.yaml\nauth_file: {work}/auth.json\n"
        f"registry_timeout_s: 120\nimage_service: {short}/image.sock\ncontainerd: {short}/containerd.sock\n"
    )
    users = {"alice:a": {"team/private"}, "bob:b": set()}
    with rights_registry(users=users, refresh_tokens={"refresh": {"team/private"}}) as server, snapshotter(
        work, "--config", work / "config.yaml"
    ) as daemon, cri_containerd(short, programs, daemon.socket, server.host) as containerd:
        layout = oci.Layout(work / "layout")
        make_image(layout, "v1", fill_base, fill_app(3))
        put_image(server, layout, "v1", "team/private")
        with server.open_to_all():
            Zeropull(work / "builder").ok("build", f"--push={server.remote('team/private')}", f"oci:{layout.directory}:v1")
        kubelet = ImageService(f"{short}/image.sock")
        kubelet.server, kubelet.daemon, kubelet.containerd = server, daemon, containerd
        kubelet.image = f"{server.host}/team/private:v1"
        kubelet.layers = [layer["digest"] for layer in json.loads(manifest_bytes(layout, "v1"))["layers"]]
        yield kubelet
        kubelet.close()


def downloaded(node):
    """Layers that anybody asked the registry for."""
    return [digest for digest in node.layers if node.server.seen(f"GET /v2/team/private/blobs/{digest}")]


def images(node):
    return [value for number, value in fields(node.call("ListImages")) if number == 1]


def remove(node):
    node.call("RemoveImage", field(1, field(1, node.image)))
    assert images(node) == []


def test_a_pull_secret_suffices_and_nobody_else_gets_the_image(node):
    with pytest.raises(grpc.RpcError) as refused:
        node.pull(node.image, username="bob", password="b")
    assert node.image.rsplit(":", 1)[0] in refused.value.details()
    assert images(node) == []
    node.pull(node.image, username="alice", password="a")
    assert len(images(node)) == 1 and downloaded(node) == []
    assert "image accelerated" in node.daemon.log()
    remove(node)
    node.pull(node.image, identity_token="refresh")
    assert downloaded(node) == []
    remove(node)
    with pytest.raises(grpc.RpcError):
        node.pull(node.image, username="bob", password="b")
    assert images(node) == []


def test_what_is_read_later_is_fetched_with_the_pulls_credentials(node, work):
    node.pull(node.image, username="alice", password="a")
    api = node.daemon.client()
    top = next(info.name for info in api.list() if info.name not in {other.parent for other in api.list()})
    with mounted(api.view("view", top), work / "m") as root:
        assert len((root / "app/main").read_bytes()) == 400_000
        assert len((root / "data/noise").read_bytes()) == 3_000_000
    assert downloaded(node) == []
    api.remove("view")
    api.close()


def test_errors_are_containerds_own(node):
    direct = ImageService(node.containerd.socket)
    for message in (pull_request(node.image, username="bob", password="b"), pull_request("UPPER"), b"\xff"):
        errors = []
        for service in (direct, node):
            with pytest.raises(grpc.RpcError) as error:
                service.call("PullImage", message)
            errors.append((error.value.code(), error.value.details()))
        assert errors[0] == errors[1]
    direct.close()
