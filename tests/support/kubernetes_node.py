# SPDX-License-Identifier: Apache-2.0
"""What a Kubernetes node has below its kubelet: a network of its own, and a containerd that serves CRI, configured with
what deploy/snapshotter says."""
import ctypes
import json
import os
import subprocess
import time
import tomllib
from contextlib import contextmanager

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import grpc

from .containerd import START_SECONDS, Containerd
from .kubernetes_programs import CNI
from .programs import SOURCE

ADDRESS = "10.98.0.1"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def private_network():
    """Everything started meanwhile has a network to itself: this machine's loopback, and ADDRESS on it (a kubelet wants
    one that is not loopback's). So every port is free, and what CNI sets up is gone with the last process in it."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
            yield
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


def _toml(value):
    """A table or value, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _merge(into, other):
    for key, value in other.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value
    return into


class CriContainerd(Containerd):
    """`programs`: a directory with another containerd than Debian's. `daemon`: the snapshotter that is used; overlayfs when
    there is none. `pause`: the image of pod sandboxes. `settings`: more configuration, as a dictionary."""

    def __init__(self, directory, pause, programs=None, daemon=None, settings=None):
        super().__init__(directory, programs, daemon and daemon.socket)
        self.pause, self.daemon = pause, daemon
        self.settings = settings or {}

    def _network(self):
        """CNI's configuration: a pair of interfaces for each pod."""
        directory = self.directory / "cni"
        directory.mkdir(exist_ok=True)
        ipam = {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(self.directory / "cni-state")}  # fmt: skip
        network = {"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}]}
        (directory / "10-test.conflist").write_text(json.dumps(network))
        return directory

    def _plugins(self):
        # without CAP_SYS_RESOURCE runc cannot lower a score
        runtime = {"restrict_oom_score_adj": True, "netns_mounts_under_state_dir": True}
        cni = {"conf_dir": str(self._network())}
        if not self.is_2:
            stream = {"stream_server_port": "0", "sandbox_image": self.pause}
            return {"io.containerd.grpc.v1.cri": {**runtime, **stream, "cni": {**cni, "bin_dir": str(CNI)}}}
        return {
            "io.containerd.grpc.v1.cri": {"stream_server_port": "0"},
            "io.containerd.cri.v1.runtime": {**runtime, "cni": {**cni, "bin_dirs": [str(CNI)]}},
            "io.containerd.cri.v1.images": {"pinned_images": {"sandbox": self.pause}},
            "io.containerd.nri.v1.nri": {"disable": True},
        }

    def _deployed(self):
        """What deploy/snapshotter says, for a snapshotter that is elsewhere."""
        file = SOURCE / "deploy" / "snapshotter" / f"containerd-{2 if self.is_2 else 1}.toml"
        deployed = tomllib.loads(file.read_text())
        deployed["proxy_plugins"]["zeropull"]["address"] = str(self.daemon.socket)
        if self.is_2:
            deployed["proxy_plugins"]["zeropull"]["exports"]["root"] = str(self.daemon.root)
        else:
            link = self.directory / "root" / "io.containerd.snapshotter.v1.zeropull"
            link.parent.mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(self.daemon.root)
        return deployed

    def _config(self):
        configuration = {
            "version": 3 if self.is_2 else 2,
            "root": str(self.directory / "root"),
            "state": str(self.directory / "state"),
            "grpc": {"address": str(self.socket)},
            "ttrpc": {"address": f"{self.socket}.ttrpc"},
            "disabled_plugins": ["io.containerd.internal.v1.opt"],
            "plugins": self._plugins(),
        }
        if self.daemon:
            _merge(configuration, self._deployed())
        _merge(configuration, self.settings)
        return "".join(f"{key} = {_toml(value)}\n" for key, value in configuration.items())

    def command(self, *arguments):
        command = super().command(*arguments)
        command[command.index("--namespace") + 1] = "k8s.io"
        return command

    def start(self):
        """CRI answers later than the rest: before 2.0 it refuses until it has looked at all pods that there are."""
        super().start()
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._call("RuntimeService/Version")
            except grpc.RpcError as error:
                is_early = error.code() == grpc.StatusCode.UNAVAILABLE or "server is not initialized yet" in error.details()
                if not is_early or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _call(self, method, request=b""):
        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            return channel.unary_unary(f"/runtime.v1.{method}")(request, timeout=60)

    def _image_service(self, method, request=b""):
        return self._call(f"ImageService/{method}", request)

    def pull(self, name):
        self._image_service("PullImage", _image_spec(name))

    def remove(self, name):
        """Removes an image as crictl and the kubelet's collection do: with all its names."""
        self._image_service("RemoveImage", _image_spec(name))

    def image_disk(self):
        """(bytes that images take, directory that they are in)"""
        (disk,) = _ImageFsInfoResponse.FromString(self._image_service("ImageFsInfo")).image_filesystems
        return disk.used_bytes.value, disk.fs_id.mountpoint


def _image_spec(name):
    """PullImageRequest and RemoveImageRequest begin alike: {image: ImageSpec{image: name}}."""
    return _delimited(_delimited(name.encode()))


def _delimited(data):
    """The first field of a message."""
    assert len(data) < 16384
    size = len(data)
    return b"\x0a" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + data


def _image_fs_info_response():
    """The message of runtime.v1, as far as it is wanted here."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="image-fs-info.proto", package="test.cri", syntax="proto3")
    for message, fields in {
        "Id": [("mountpoint", 1, types.TYPE_STRING)], "Value": [("value", 1, types.TYPE_UINT64)],
        "Usage": [("fs_id", 2, "Id"), ("used_bytes", 3, "Value")], "Response": [("image_filesystems", 1, "Usage")],
    }.items():  # fmt: skip
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            repeated = types.LABEL_REPEATED if name == "image_filesystems" else types.LABEL_OPTIONAL
            what = {"type_name": f".test.cri.{kind}", "type": types.TYPE_MESSAGE} if isinstance(kind, str) else {"type": kind}
            described.field.add(name=name, number=number, label=repeated, **what)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("test.cri.Response"))


_ImageFsInfoResponse = _image_fs_info_response()
