# SPDX-License-Identifier: Apache-2.0
"""The node's data path as tests run it: the supervisor and the data plane of node-data, on a store that holds devices by
their indexes, with the packs in a registry."""
import hashlib
import os
import select
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from . import erofs, oci, ship
from .programs import BUILD
from .zeropull import Zeropull

NODE_DATA = BUILD / "tests" / "tools" / "node-data"


class Device:
    """A layer device that `zeropull build` made, and its snapshot."""

    def __init__(self, work, fill):
        layout = oci.Layout(work / "layout")
        ship.make_image(layout, "x", fill)
        zeropull = Zeropull(work / "built")
        zeropull.build(f"oci:{work / 'layout'}:x", "--frame-size", "64k")
        (self.index,) = (work / "built").rglob("device.idx")
        (self.pack,) = (work / "built").rglob("device.zst")
        (self.snapshot,) = (work / "built").rglob("snapshot.erofs")
        self.hex = hashlib.sha256(self.index.read_bytes()).hexdigest()
        self.raw = work / "device.raw"
        subprocess.run(["zstd", "-q", "-d", self.pack, "-o", self.raw], check=True)

    def hold(self, store, remote=None):
        """Puts its index into a store, and where its pack is (None: nowhere)."""
        directory = store / "devices" / self.hex
        directory.mkdir(parents=True)
        (directory / "device.idx").write_bytes(self.index.read_bytes())
        if remote:
            pack = self.pack.read_bytes()
            (directory / "remote").write_text(f"{remote} sha256:{hashlib.sha256(pack).hexdigest()} {len(pack)}\n")


def push_blob(url, repository, data):
    """Uploads one blob to a registry."""
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v2/{repository}/blobs/uploads/", method="POST")) as answer:
        where = answer.headers["Location"]
    where += ("&" if "?" in where else "?") + f"digest=sha256:{hashlib.sha256(data).hexdigest()}"
    request = urllib.request.Request(where, data, {"Content-Type": "application/octet-stream"}, method="PUT")
    urllib.request.urlopen(request).close()


def with_descriptor(command, fd):
    """The command, with `fd` as the descriptor 3 that systemd hands over. Only the child knows its LISTEN_PID: a shell says
    it, and becomes the program. To be started with pass_fds=(fd,)."""
    return ["bash", "-c", f'exec 3<&{fd} {fd}<&-; LISTEN_PID=$$ exec "$0" "$@"', *command]


class Node:
    """A running supervisor with its data plane. `mount` has the device files."""

    def __init__(self, work, *settings, program=NODE_DATA, log=None):
        self.work, self.program, self.settings = work, program, settings
        self.mount, self.store, self.cache = work / "devices", work / "store", work / "cache"
        for directory in (self.store / "devices", self.cache):
            directory.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.process = None

    def start(self, fd=None, **options):
        """`fd`: becomes the service's descriptor 3, as systemd hands it over."""
        command = [self.program, self.mount, self.store, self.cache, *self.settings]
        if fd is not None:
            command = with_descriptor(command, fd)
            options["pass_fds"] = (fd,)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, **options)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.workers, self.killed, self._text = [], None, b""
        self.worker(1)
        return self

    def worker(self, number=None, timeout_s=120):
        """The pid of the worker that runs now; of the `number`th, for which it waits."""
        deadline = time.monotonic() + timeout_s
        while True:
            if select.select([self.process.stdout], [], [], 0 if number is None else 0.05)[0]:
                self._text += self.process.stdout.read() or b""
            *lines, self._text = self._text.split(b"\n")
            self.workers += [int(line.split()[1]) for line in lines]
            if number is None or len(self.workers) >= number:
                return self.workers[-1 if number is None else number - 1]
            assert time.monotonic() < deadline and self.process.poll() is None, "no worker"

    def kill_worker(self):
        """Whether there was one to kill: after the last that was killed, the next may not have spoken yet."""
        before, self.killed = self.killed, self.worker()
        with suppress(ProcessLookupError):
            os.kill(self.killed, signal.SIGKILL)
        return self.killed != before

    def statistics(self):
        return {name: int(value) for name, value in
                (line.split() for line in (self.mount / "statistics").read_text().splitlines())}

    def stop(self, timeout_s=90):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout_s)
        self.process.stdout.close()
        return code


@contextmanager
def node(work, *settings, **options):
    running = Node(work, *settings, **options)
    try:
        yield running.start()
    finally:
        if running.process.poll() is None:
            running.stop()
        erofs.unmount(running.mount)


def is_mounted(path):
    with open("/proc/self/mounts") as mounts:
        return any(line.split()[1] == str(path) for line in mounts)


class Manager:
    """Plays systemd for one service: hears its notices, keeps its descriptor, and hands it to the next start."""

    def __init__(self, directory):
        self.path = Path(directory) / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(120)
        self.messages, self.fd = [], None

    def hear(self, message):
        """Waits for a message."""
        while message not in self.messages:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            if fds:
                self.fd = fds[0]
            self.messages += data.decode().split("\n")

    def options(self):
        """For Popen: how a service is started."""
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.path)}
        if self.fd is None:
            return {"env": environment}
        return {"env": {**environment, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "fuse"}, "fd": self.fd}

    def close(self):
        self.socket.close()
        if self.fd is not None:
            os.close(self.fd)
