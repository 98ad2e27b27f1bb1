# SPDX-License-Identifier: Apache-2.0
"""The zeropull-snapshotter daemon with a root and socket of its own, and the mounts it tells containerd to make."""
import ctypes
import glob
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from .containerd import unmount_below
from .node import with_descriptor
from .programs import BUILD
from .snapshots_api import Snapshots

SNAPSHOTTER = BUILD / "snapshotter" / "zeropull-snapshotter"
START_SECONDS = 120
WAIT_SECONDS = 120

_MS = {"ro": 1, "nosuid": 2, "nodev": 4, "remount": 32, "bind": 4096, "rbind": 4096 | 16384, "rw": 0}
_libc = ctypes.CDLL(None, use_errno=True)


def mount_one(source, target, kind, flags, data):
    result = _libc.mount(*(os.fsencode(str(t)) for t in (source, target, kind)), ctypes.c_ulong(flags), os.fsencode(data))
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"mount {kind} on {target}: {data}")


def _compact(options):
    """Lower directories relative to what they have in common, as containerd writes them when they would not fit."""
    lower = next(o for o in options if o.startswith("lowerdir=")).removeprefix("lowerdir=").split(":")
    common = os.path.commonpath(lower)
    relative = "lowerdir=" + ":".join(os.path.relpath(path, common) for path in lower)
    return common, [o for o in options if not o.startswith("lowerdir=")] + [relative]


def mount(mounts, target):
    """Mounts as containerd does (package mount): flags by name, the rest as data, in one page."""
    (one,) = mounts
    flags, data, directory = 0, [], None
    options = list(one.options)
    if one.type == "overlay" and sum(len(o) + 1 for o in options) >= 4096 - 512:
        directory, options = _compact(options)
    for option in options:
        if option in _MS:
            flags |= _MS[option]
        else:
            data.append(option)
    target = Path(target).absolute()
    before = os.getcwd()
    if directory:
        os.chdir(directory)
    try:
        mount_one(one.source, target, one.type, flags, ",".join(data))
        if flags & 4096 and flags & 1:
            mount_one("", target, "", flags | 32, "")
    finally:
        os.chdir(before)


@contextmanager
def mounted(mounts, target):
    Path(target).mkdir(exist_ok=True)
    mount(mounts, target)
    try:
        yield Path(target)
    finally:
        subprocess.run(["umount", target], check=True)


@contextmanager
def stopped(pid):
    """While a process does nothing, none of its threads: the signal is on its way to them when kill(2) has ended."""
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while any(stat.read_text().rpartition(")")[2].split()[0] not in "TtZX" for stat in Path(f"/proc/{pid}/task").glob("*/stat")):
            assert time.monotonic() < deadline, f"{pid} does not stop"
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def settings(work, *lines):
    """The options for a daemon with these settings that takes every image, and that is patient where they say nothing."""
    (work / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: accept\n")
    patience = [] if any(line.startswith("registry_timeout_s:") for line in lines) else ["registry_timeout_s: 40"]
    (work / "config.yaml").write_text("\n".join(["version: 1", f"policy: {work}/policy.yaml", *patience, *lines]) + "\n")
    return "--config", work / "config.yaml"


class Snapshotter:
    """`manager`: the service manager that starts it, a node.Manager."""

    def __init__(self, directory, *options, manager=None):
        self.directory = Path(directory)
        self.root = self.directory / "snapshotter"
        self.socket = self.directory / "snapshotter.sock"
        self.log_path = self.directory / "snapshotter.log"
        self.options = options
        self.manager = manager
        self.process = None
        self.logged = 0  # what the log had when this process was started

    def start(self):
        self.logged = len(self.log())
        command = [SNAPSHOTTER, "--root", self.root, "--address", self.socket, "--log-level", "debug", *self.options]
        service = {}
        if self.manager:
            self.manager.messages.clear()
            service = self.manager.options()
        if (fd := service.pop("fd", None)) is not None:
            command, service["pass_fds"] = with_descriptor(command, fd), (fd,)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **service
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._serves():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the snapshotter did not start:\n" + self.log()[-4000:])
            time.sleep(0.01)
        if self.manager:
            self.manager.hear("READY=1")
        return self

    def workers(self):
        """The pids of its children."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def control_plane(self):
        """Its pid, as the log of this start says; None before."""
        pids = re.findall(r"msg=serving pid=(\d+)", self.log()[self.logged :])
        return int(pids[-1]) if pids else None

    def data_plane(self):
        """Its pid."""
        (pid,) = set(self.workers()) - {self.control_plane()}
        return pid

    def await_other_control_plane(self, pid):
        """Until another than `pid` serves."""
        self._await(lambda: self.control_plane() != pid)

    def await_log(self, text):
        self._await(lambda: text in self.log())

    def await_no_mounts(self):
        """An unmount may outlast the answer to whoever removed what was mounted."""
        self._await(lambda: f"{self.root}/mounts/" not in Path("/proc/self/mounts").read_text())

    def _await(self, condition):
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.log()[-4000:]
            time.sleep(0.01)

    def _serves(self):
        return self.control_plane() is not None

    def client(self, *options):
        return Snapshots(self.socket, *options)

    def statistics(self):
        """The data plane's."""
        lines = (self.root / "devices" / "statistics").read_text().strip("\0").splitlines()
        return {name: int(number) for name, number in (line.split() for line in lines if line.strip())}

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        """All processes at once, as when the machine's memory is short."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._await(lambda: not self._runs())  # its workers, whose parent is gone, take a moment longer
        self.process = None

    def _runs(self):
        """Whether anything of its process group does; what is dead may be left when nobody waits for it."""
        for stat in glob.glob("/proc/[0-9]*/task/*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                state, _, group = Path(stat).read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state not in "ZX":
                    return True
        return False

    def stop(self):
        """SIGTERM; returns the exit code."""
        if not self.process:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process = None
        return code

    def resident_kib(self):
        """Of all its processes together."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in [self.process.pid, *self.workers()]]
        return [int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) for status in statuses]

    def directories(self):
        """Numbers of the snapshots that have a directory."""
        return sorted(int(path.name) for path in (self.root / "snapshots").iterdir())

    def trash(self):
        return list((self.root / "trash").iterdir())


@contextmanager
def snapshotter(directory, *options, manager=None):
    daemon = Snapshotter(directory, *options, manager=manager)
    try:
        yield daemon.start()
    finally:
        try:
            code = daemon.stop()
        finally:
            unmount_below(directory)
        assert code == 0, daemon.log()[-4000:]
