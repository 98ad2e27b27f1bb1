# SPDX-License-Identifier: Apache-2.0
"""A Debian system of its own on this machine: systemd is its first process, and packages are installed, upgraded and removed
in it as on any other. It has namespaces and cgroups of its own, loopback for a network, and goes with the test."""
import ctypes
import os
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from . import debian

VERSION = 1  # of what is cached
PACKAGES = ["systemd", "containerd", "runc"]
START_SECONDS = 60
END_SECONDS = 120
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = [_PATH, "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root"]

# The kernel is everybody's: its settings are not to be written. The root is a real file system, which overlays can be on.
_BOOT = """
set -eu
ip link set lo up
mount --make-rprivate /
mount --bind {root} {root}
cd {root}
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty fuse; do touch dev/$node; mount --bind /dev/$node dev/$node; done
ln -s /proc/self/fd dev/fd
mkdir -m 1777 dev/shm
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind {lists} var/lib/apt/lists
mount --bind {archives} var/cache/apt/archives
{cgroups}
mkdir -p old
cd .
pivot_root . old
umount -l /old
rmdir /old
exec env -i container=zeropull-test {path} \\
  /lib/systemd/systemd --system --unit=multi-user.target --show-status=false
"""


def _hierarchies():
    """The machine's cgroup hierarchies, one or (version 1) many: (type, option, where it is mounted, our own cgroup in it)."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        where, (kind, _, options) = before.split()[4], after.split()
        option = options.removeprefix("rw,") if kind == "cgroup" else ""
        # one without processors cannot be joined; nobody here wants it
        if kind in ("cgroup", "cgroup2") and option != "cpuset" and where.startswith("/sys/fs/cgroup"):
            yield kind, option, where, Path(where + own[option])


_libc = ctypes.CDLL(None, use_errno=True)


def _join(namespace):
    """This thread leaves its network for another."""
    if _libc.setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class System:
    def __init__(self, work, root, lists, archives):
        self.root = root
        self.name = f"zeropull-test-{os.getpid()}-{Path(work).name}"
        self.cgroups = [(*rest, own / self.name) for *rest, own in _hierarchies()]
        is_one = any(where == "/sys/fs/cgroup" for _, _, where, _ in self.cgroups)
        mounts = [] if is_one else ["mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup"]
        for kind, option, where, _ in self.cgroups:
            mounts.append(f"mkdir -p .{where}; mount -t {kind} -o {option or 'rw'} {kind} .{where}")
        paths = {"root": root, "lists": lists, "archives": archives}
        self.script = _BOOT.format(cgroups="\n".join(mounts), path=_PATH, **{name: quote(str(path)) for name, path in paths.items()})
        self.process = self.pid = None

    def start(self):
        joins = []
        for *_, path in self.cgroups:
            path.mkdir()
            joins.append(f"echo $$ >{quote(str(path / 'cgroup.procs'))}")
        unshare = "exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child"
        command = " && ".join([*joins, f"{unshare} sh -c {quote(self.script)}"])
        log = open(self.root.parent / "boot.log", "ab")
        self.process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self._await(lambda: (self._find() or True) and self.pid and Path(f"/proc/{self.pid}/root/run/systemd/private").exists())
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def _await(self, condition):
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the system did not start: " + (self.root.parent / "boot.log").read_text(errors="replace"))
            time.sleep(0.02)

    def _find(self):
        with suppress(FileNotFoundError):
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            self.pid = int(children[0]) if children else None

    def enter(self, *command):
        """The command that runs `command` in there."""
        return ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "env", "-i", *_ENVIRONMENT, *map(str, command)]

    def run(self, *command, check=True, **options):
        """Runs a command, with its output, both of it, as text."""
        result = subprocess.run(
            self.enter(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        if check and result.returncode:
            raise RuntimeError(f"{command} failed ({result.returncode}):\n{result.stdout[-6000:]}")
        return result

    def out(self, *command):
        return self.run(*command).stdout.strip()

    @contextmanager
    def network(self):
        """Meanwhile this thread, and what it starts, has the system's network."""
        ends = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in ("/proc/thread-self/ns/net", f"/proc/{self.pid}/ns/net")]
        try:
            _join(ends[1])
            try:
                yield
            finally:
                _join(ends[0])
        finally:
            for end in ends:
                os.close(end)

    def apt(self, *arguments, check=True):
        options = ["-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-unsafe-io"]
        return self.run("apt-get", *options, *arguments, check=check)

    def stop(self):
        self.process.kill()
        self.process.wait()
        deadline = time.monotonic() + END_SECONDS
        for *_, path in self.cgroups:
            while path.exists():
                for directory, *_ in os.walk(path, topdown=False):
                    with suppress(OSError):  # the kernel is not done with its processes
                        os.rmdir(directory)
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{path} does not go away")


def _make_root(directory):
    tar, _ = debian.base()
    root = directory / "root"
    root.mkdir()
    debian.run_logged(["tar", "-C", root, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", tar])
    with debian.archives() as (lists, archives):
        debian.chroot_apt(root, lists, archives, ["apt-get", "install", "-q", "-y", *PACKAGES])


def _cached_root():
    directory = debian.CACHE / f"system-v{VERSION}"
    with debian.locked("system"):
        if not directory.exists():
            debian.publish(directory, _make_root)
    return directory / "root"


@contextmanager
def system(prepare):
    """A running system, with containerd. prepare(root, apt) is called before: apt(arguments…) has this machine's network."""
    with debian.work_directory() as work, debian.archives() as (lists, archives):
        root = Path(work) / "root"
        debian.run_logged(["cp", "-a", _cached_root(), root])
        prepare(root, lambda *arguments: debian.chroot_apt(root, lists, archives, ["apt-get", "-q", "-y", *map(str, arguments)]))
        made = System(work, root, lists, archives)
        try:
            made.start()
            yield made
        finally:
            if made.process:
                made.stop()
