# SPDX-License-Identifier: Apache-2.0
"""A node that has nothing: containerd 2 with each of the snapshotters that are compared, all its directories new."""
import hashlib
import itertools
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from support import debian
from support.containerd import Containerd, containerd_2, output_into, unmount_below
from support.snapshotter import Snapshotter, mount

from . import network, peers, subjects
from .client import TIMEOUT_S, Client

_CONFIG = """version = 3
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]
[grpc]
  address = "{root}/containerd.sock"
[ttrpc]
  address = "{root}/containerd.sock.ttrpc"
[proxy_plugins.zeropull]
  type = "snapshot"
  address = "{zeropull}"
  [proxy_plugins.zeropull.exports]
    enable_remote_snapshot_annotations = "true"
[plugins."io.containerd.transfer.v1.local"]
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64"
    snapshotter = "overlayfs"
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64"
    snapshotter = "zeropull"
"""
_PEER = """
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64"
    snapshotter = "{name}"
[proxy_plugins.{name}]
  type = "snapshot"
  address = "{socket}"
  [proxy_plugins.{name}.exports]
    enable_remote_snapshot_annotations = "true"
"""
_EROFS = """
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64"
    snapshotter = "erofs"
    differ = "erofs"
[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]
"""


def has_erofs():
    """Whether containerd's EROFS differ works: it wants a mkfs.erofs that takes a tar (erofs-utils 1.7)."""
    program = shutil.which("mkfs.erofs")
    return program and "--tar=" in subprocess.run([program, "--help"], capture_output=True, text=True).stdout


class _Containerd(Containerd):
    """With all the snapshotters, one of which each command names; of the peers, with one or none."""

    peer = ""

    def _config(self):
        return _CONFIG.format(root=self.directory, zeropull=self.proxy) + self.peer + (_EROFS if has_erofs() else "")


class Failed(Exception):
    pass


def chain_id(diff_ids):
    """OCI image-spec, Layer ChainID: of all layers."""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


class Node:
    serial = itertools.count()  # runc keeps the containers of all containerds in one place

    def __init__(self, directory, server, snapshotter):
        self.directory, self.server, self.snapshotter = Path(directory), server, snapshotter
        (self.directory / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: accept\n")
        config = self.directory / "snapshotter.yaml"
        config.write_text(f"version: 1\nlog_level: info\npolicy: {self.directory}/policy.yaml\n")
        self.daemon = Snapshotter(self.directory, "--config", config, "--log-level", "info")
        (self.directory / "containerd").mkdir()
        self.containerd = _Containerd(self.directory / "containerd", containerd_2(), self.daemon.socket)
        self.peer, self.programs = None, "programs"
        if snapshotter in peers.ALL:
            self.peer, self.programs = peers.Daemon(self.directory / "peer", snapshotter), f"{snapshotter}/programs"
            self.containerd.peer = _PEER.format(name=snapshotter, socket=self.peer.socket)

    def start(self):
        self.daemon.start()
        if self.peer:
            self.peer.start()
        self.containerd.start()
        return self

    def stop(self):
        try:
            self.containerd.stop()
        finally:
            if self.peer:
                self.peer.stop()
            self.daemon.stop()
            unmount_below(self.directory)

    def ctr(self, *arguments):
        return self.containerd.ctr(*arguments, timeout=TIMEOUT_S)

    def new_name(self):
        return f"start-{os.getpid()}-{next(self.serial)}"

    def reference(self, repository):
        return self.server.reference(repository).removeprefix("docker://")

    # --- what is measured; all in seconds -----------------------------------------------------------

    def pull(self, repository):
        start = time.monotonic()
        self.ctr("images", "pull", "--plain-http", "--snapshotter", self.snapshotter, self.reference(repository))
        return time.monotonic() - start

    def pull_by_client(self, repository):
        """The pull alone, without the start of a program that asks for it."""
        with Client(self) as client:
            client.connect()
            start = time.monotonic()
            client.pull(self.reference(repository))
            return time.monotonic() - start

    def mount(self, diff_ids):
        """Prepares a snapshot of zeropull's, as for a container, and mounts it. containerd, which does not know of the
        snapshot, collects it in its own time."""
        api, target = self.daemon.client(), self.directory / "mounted"
        target.mkdir()
        (parent,) = api.list(f'labels."containerd.io/snapshot.ref"=={chain_id(diff_ids)}')
        start = time.monotonic()
        mount(api.prepare("measured", parent.name), target)
        seconds = time.monotonic() - start
        subprocess.run(["umount", target], check=True)
        api.close()
        return seconds

    def _begin(self, repository, command, *options):
        name = self.new_name()
        line = self.containerd.command(
            "run", "--rm", "--snapshotter", self.snapshotter, *options, self.reference(repository), name, *command
        )
        with open(self.directory / "said", "wb") as said:
            return name, subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=self.containerd._environment()
            )

    def _failed(self, repository, what):
        text = (self.directory / "said").read_text(errors="replace")
        return Failed(f"{repository}: {what}: {text[-500:]}")

    def run(self, repository, command, until_end=False):
        """Until the first output of a container, or until it has ended."""
        with _fifo(self.directory / "output") as output:
            start = time.monotonic()
            _, process = self._begin(repository, command, *output_into(self.directory / "output"))
            text, first = _read_until_ended(output, process)
            end = time.monotonic()
        if process.returncode != 0 or not first:
            raise self._failed(repository, f"exit {process.returncode}, output {text[-500:]}")
        return (end if until_end else first) - start

    def serve(self, repository, command):
        """Until a server in a container has answered a request."""
        start = time.monotonic()
        name, process = self._begin(repository, command, "--net-host")
        try:
            while not _answers():
                if process.poll() is not None or time.monotonic() > start + TIMEOUT_S:
                    raise self._failed(repository, "no server")
                time.sleep(0.002)
            seconds = time.monotonic() - start
        finally:
            if process.poll() is None:
                self.containerd._ctr(["tasks", "kill", "--signal", "KILL", name])
            process.wait()
        return seconds


@contextmanager
def _fifo(path):
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)  # with a writer of its own it does not end whenever the shim closes it
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink()


def _read_until_ended(output, process):
    """What is written until ctr has ended, which it does after all is written; and when the first of it came."""
    text, first, ended = b"", None, os.pidfd_open(process.pid)
    while output in select.select([output, ended], [], [], TIMEOUT_S)[0]:
        text += os.read(output, 65536)
        first = first or time.monotonic()
    os.close(ended)
    process.kill()  # one that has said nothing for so long
    process.wait()
    return text, first


def _answers():
    try:
        with socket.create_connection(("127.0.0.1", subjects.PORT), 1) as connection:
            connection.settimeout(5)
            connection.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/")
    except OSError:
        return False


def drop_caches():
    """Nothing of any file is in memory any more but what is in use."""
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")


@contextmanager
def node(server, snapshotter):
    """A node that has nothing of any image, and in whose memory are only the programs that run containers."""
    (debian.CACHE / "tmp").mkdir(parents=True, exist_ok=True)
    directory = tempfile.mkdtemp(dir=debian.CACHE / "tmp", prefix="start-")
    made = Node(directory, server, snapshotter)
    try:
        made.start()
        drop_caches()
        made.pull(made.programs)
        made.run(made.programs, ["echo", "ready"])
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def counting(into):
    """Adds to `into` what went over the network meanwhile."""
    before = network.received()
    yield
    into.append(network.received() - before)
