# SPDX-License-Identifier: Apache-2.0
"""A private containerd: its own root, state and socket, the overlayfs snapshotter, no CRI. What it unpacks is
the reference that snapshots are compared with."""
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from . import debian
from .go_tools import TOOLS, installed, installed_or_skip

_CONFIG = """version = {version}
root = "{root}/root"
state = "{root}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{root}/containerd.sock"
[ttrpc]
  address = "{root}/containerd.sock.ttrpc"
[timeouts]
  "io.containerd.timeout.shim.cleanup" = "60s"
  "io.containerd.timeout.shim.load" = "60s"
  "io.containerd.timeout.shim.shutdown" = "30s"
  "io.containerd.timeout.task.state" = "60s"
"""
_PROXY_PLUGIN = """[proxy_plugins.zeropull]
  type = "snapshot"
  address = "{address}"
"""
_EXPORTS = """  [proxy_plugins.zeropull.exports]
    enable_remote_snapshot_annotations = "true"
"""
_TRANSFER = """  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    platform = "linux/amd64"
    snapshotter = "{snapshotter}"
"""

START_SECONDS = 180
_numbers = itertools.count(1)
VERSION_2, VERSION_1_7 = "v2.2.1", "v1.7.32"
_PROGRAMS = ("containerd", "ctr", "containerd-shim-runc-v2")
_CONTAINERD_2 = [f"github.com/containerd/containerd/v2/cmd/{name}@{VERSION_2}" for name in _PROGRAMS]


def containerd_2():
    """The directory with containerd 2, ctr and the shim; made when Go is there, None otherwise."""
    return installed(f"containerd-{VERSION_2}", *_CONTAINERD_2)[0]


def containerd_2_or_skip():
    """The same, for a test that cannot do without."""
    return installed_or_skip(f"containerd-{VERSION_2}", *_CONTAINERD_2)


def containerd_1_7_or_skip():
    """Likewise for containerd 1.7, which is between Debian's and that."""
    directory = TOOLS / f"containerd-{VERSION_1_7}"
    with debian.locked("containerd-1.7"):
        if not directory.exists() and shutil.which("go"):
            _build_containerd_1_7(directory)
    return directory if directory.exists() else pytest.skip("no containerd 1.7 in the cache of test tools, and no Go to build it")


def _build_containerd_1_7(directory):
    """Its go.mod leaves versions out, which only a main module may: so another one is."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    aside = TOOLS / f".containerd-1.7-{os.getpid()}"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOSUMDB": "off"}
    module = "github.com/containerd/containerd"
    flags = f"-s -w -X {module}/version.Version={VERSION_1_7.removeprefix('v')}"
    commands = [f"{module}/cmd/{name}" for name in _PROGRAMS]
    with tempfile.TemporaryDirectory() as main:
        (Path(main) / "go.mod").write_text(f"module test/containerd\ngo 1.23\nrequire {module} {VERSION_1_7}\n")
        aside.mkdir()
        result = subprocess.run(["go", "build", "-trimpath", "-ldflags", flags, "-o", f"{aside}/", *commands],
                                env=environment, cwd=main, capture_output=True, text=True)  # fmt: skip
    try:
        if result.returncode == 0:
            os.replace(aside, directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


class ContainerdError(Exception):
    """ctr failed; the text is what it printed, and what a container wrote."""


def output_into(path):
    """ctr's options for a process in a container that writes into a file or a FIFO, to stdout and stderr alike. It is the shim
    that fills it, before the process is deleted. ctr itself closes its FIFOs when it hears that the process has ended, and
    what it has not read is lost (task.Delete and process.Delete of containerd's client, cio.Cancel): all that one writes
    that ends before ctr's thread has opened them."""
    return ["--log-uri", f"file://{path}"]


def unmount_below(directory):
    """Unmounts everything mounted at or below a directory, deepest first."""
    with open("/proc/self/mounts", "rb") as file:
        points = [line.split()[1].decode("unicode_escape") for line in file.read().splitlines()]
    below = [p for p in points if p == str(directory) or p.startswith(str(directory) + "/")]
    for point in sorted(below, key=len, reverse=True):
        subprocess.run(["umount", "-l", point], check=False)


def _file_system(mount_point):
    """The type of the file system mounted there."""
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--mountpoint", mount_point]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Containerd:
    """`programs`: a directory with another containerd than Debian's. `proxy`: the socket of a snapshotter, which
    is called zeropull and then used for everything."""

    def __init__(self, directory, programs=None, proxy=None):
        self.directory = Path(directory)
        self.programs = programs
        self.proxy = proxy
        self.socket = self.directory / "containerd.sock"
        self.log_path = self.directory / "containerd.log"
        # runc keeps the containers of all namespaces in one place, whichever containerd they are of.
        self.namespace = f"test-{os.getpid()}-{next(_numbers)}"
        self.process = None

    def _config(self):
        text = _CONFIG.format(root=self.directory, version=3 if self.is_2 else 2)
        if self.proxy:
            text += _PROXY_PLUGIN.format(address=self.proxy) + (_EXPORTS if self.is_2 else "")
        if self.is_2:
            text += '[plugins."io.containerd.transfer.v1.local"]\n' + _TRANSFER.format(snapshotter=self.snapshotter)
        return text

    @property
    def is_2(self):
        return self.programs is not None and "-v1." not in Path(self.programs).name

    @property
    def snapshotter(self):
        return "zeropull" if self.proxy else "overlayfs"

    def _environment(self):
        """ctr's --snapshotter, for every command that has it; our own programs before the system's; and nothing of ctr's own
        in what a container says."""
        path = f"{self.programs}:{os.environ['PATH']}" if self.programs else os.environ["PATH"]
        return {**os.environ, "PATH": path, "CONTAINERD_SNAPSHOTTER": self.snapshotter,
                "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS": "1"}  # fmt: skip

    def start(self):
        (self.directory / "config.toml").write_text(self._config())
        with open(self.log_path, "wb") as log:
            # A session of its own: Ctrl-C is for the test, which then stops containerd in order.
            self.process = subprocess.Popen(
                ["containerd", "--config", self.directory / "config.toml"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ContainerdError("containerd did not start:\n" + self.log_path.read_text()[-4000:])
            with suppress(subprocess.TimeoutExpired):
                if self.socket.exists() and self._ctr(["version"], timeout=10).returncode == 0:
                    return

    def stop(self):
        if self.process:
            with suppress(subprocess.TimeoutExpired):
                for task in self._ctr(["tasks", "list", "--quiet"], timeout=60).stdout.decode().split():
                    self._ctr(["tasks", "delete", "--force", task], timeout=60)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        unmount_below(self.directory)

    def command(self, *arguments):
        """The command line of a ctr call, for those who want to run it themselves."""
        ctr = str(self.programs / "ctr") if self.programs else "ctr"
        return [ctr, "--address", str(self.socket), "--namespace", self.namespace, *arguments]

    def _ctr(self, arguments, **options):
        return subprocess.run(
            self.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=self._environment(), **options,
        )  # fmt: skip

    def ctr(self, *arguments, timeout=300):
        """Runs ctr; returns what it printed or raises ContainerdError."""
        result = self._ctr(arguments, timeout=timeout)
        output = result.stdout.decode(errors="replace")
        if result.returncode != 0:
            raise ContainerdError(output)
        return output

    def output(self, how, *arguments):
        """Runs ctr and with it, as `how` says ("run", "tasks start", "tasks exec"), a process in a container; returns all that the
        process wrote, and nothing of ctr's, or raises ContainerdError."""
        with tempfile.NamedTemporaryFile(dir=self.directory, prefix="output-") as file:
            try:
                self.ctr(*how.split(), *output_into(file.name), *arguments)
            except ContainerdError as error:
                raise ContainerdError(f"{error}{file.read().decode(errors='replace')}") from None
            return file.read().decode(errors="replace")

    def import_layout(self, layout, tag, name=None):
        """Imports and unpacks one image of an OCI layout; returns the name containerd gave it."""
        base = name or f"test.invalid/{tag}"
        with tempfile.NamedTemporaryFile(dir=self.directory, suffix=".tar") as archive:
            subprocess.run(["tar", "-C", layout, "-cf", archive.name, "."], check=True)
            self.ctr("images", "import", "--base-name", base, archive.name)
        return f"{base}:{tag}"

    def pull(self, reference):
        """Pulls and unpacks an image from a registry on plain HTTP."""
        self.ctr("images", "pull", "--plain-http", reference)
        return reference

    def remove(self, name):
        self.ctr("images", "remove", "--sync", name)

    @contextmanager
    def mounted(self, name):
        """The root file system of an image as a container sees it, mounted read-only; yields the directory.

        containerd shows an image of one layer as a bind mount of it; a container always has an overlay.
        """
        target = Path(tempfile.mkdtemp(dir=self.directory, prefix="view-"))
        for part in ("view", "overlay", "empty"):
            (target / part).mkdir()
        self.ctr("images", "mount", name, str(target / "view"))
        try:
            if _file_system(target / "view") == "overlay":
                yield target / "view"
            else:
                options = f"lowerdir={target / 'empty'}:{target / 'view'}"
                subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, target / "overlay"], check=True)
                yield target / "overlay"
        finally:
            unmount_below(target / "overlay")
            self.ctr("images", "unmount", "--rm", str(target / "view"))
            shutil.rmtree(target)


@contextmanager
def containerd(programs=None, proxy=None, kind=Containerd):
    """A running Containerd in a temporary directory, which goes away with everything in it."""
    (debian.CACHE / "tmp").mkdir(parents=True, exist_ok=True)
    directory = tempfile.mkdtemp(dir=debian.CACHE / "tmp", prefix="ctrd-")
    daemon = kind(directory, programs, proxy)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(directory, ignore_errors=True)


class ShippedContainerd(Containerd):
    """With deploy/snapshotter/containerd-2.toml as it is shipped, but for where the snapshotter is."""

    def _config(self):
        shipped = (Path(__file__).parents[2] / "deploy" / "snapshotter" / "containerd-2.toml").read_text()
        shipped = re.sub('address = ".*"', f'address = "{self.proxy}"', shipped)
        return _CONFIG.format(root=self.directory, version=3) + re.sub(' root = ".*"', f' root = "{self.proxy.parent}"', shipped)
