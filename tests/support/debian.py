# SPDX-License-Identifier: Apache-2.0
"""Debian root file systems for test images, from the apt sources this machine is configured with.

The base system is made once by mmdebstrap; what installing packages adds is the upper directory of an
overlayfs mount on it, so that the second layer is exactly what `RUN apt-get install` gives.
"""
import fcntl
import os
import shlex
import stat
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

SUITE = "bookworm"
CACHE = Path(os.environ.get("ZP_TEST_CACHE", "/var/tmp/zeropull-test-images"))
BASE_VERSION = 1


@contextmanager
def locked(name):
    """Holds a lock between processes, so that each cached thing is made once."""
    (CACHE / "locks").mkdir(parents=True, exist_ok=True)
    with open(CACHE / "locks" / name, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def work_directory():
    """A temporary directory beside the cache (one file system, which can carry overlayfs)."""
    (CACHE / "tmp").mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=CACHE / "tmp", ignore_cleanup_errors=True)


def run_logged(command, **options):
    """Runs a command; its output appears only when it fails."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if result.returncode != 0:
        tail = result.stdout.decode(errors="replace")[-4000:]
        raise RuntimeError(f"{shlex.join(map(str, command))} failed ({result.returncode}):\n{tail}")


def _deb822_stanzas(text):
    for block in text.split("\n\n"):
        fields, last = {}, None
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                last, value = line.split(":", 1)
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields:
            yield fields


def _from_deb822(text):
    for fields in _deb822_stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        options = []
        if fields.get("trusted") == "yes":
            options.append("trusted=yes")
        signed = fields.get("signed-by", "")
        if signed.startswith("/") and "debian-archive-keyring" not in signed:
            options.append("signed-by=" + signed)
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield options, uri, suite, fields.get("components", "").split()


def _from_one_line(text):
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        if not line.startswith("deb "):
            continue
        line, options = line[4:].strip(), []
        if line.startswith("["):
            inside, line = line[1:].split("]", 1)
            options = [o for o in inside.split() if "debian-archive-keyring" not in o and not o.startswith("arch=")]
        words = line.split()
        if len(words) >= 3:
            yield options, words[0], words[1], words[2:]


def sources():
    """One-line apt sources for the suite, as found in /etc/apt in either format; [] when there are none."""
    etc = Path("/etc/apt")
    found = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        parse = _from_deb822 if path.suffix == ".sources" else _from_one_line
        for options, uri, suite, components in parse(path.read_text()):
            if suite in (SUITE, SUITE + "-updates", SUITE + "-security") and "main" in components:
                bracket = f"[{' '.join(options)}] " if options else ""
                found.append(f"deb {bracket}{uri} {suite} main")
    return list(dict.fromkeys(found))


def apt_options():
    """(name, value) pairs: the machine's settings that decide whether a download works, and quiet defaults."""
    options = [("APT::Install-Recommends", "false"), ("Acquire::Languages", "none"), ("Acquire::Retries", "3")]
    for key in ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date"):
        shell = subprocess.run(["apt-config", "shell", "V", key], stdout=subprocess.PIPE, text=True, check=True).stdout
        if shell:
            options.append((key, shlex.split(shell)[0].removeprefix("V=")))
    return options


def base():
    """(tar, root): the minbase system as a tar and unpacked. Both are cached and must not be changed."""
    directory = CACHE / f"base-v{BASE_VERSION}"
    with locked("base"):
        if not directory.exists():
            publish(directory, _make_base)
    return directory / "base.tar", directory / "root"


def publish(directory, make):
    """Lets make(temporary directory) fill a directory, then moves it to its place: it is whole or not there."""
    with work_directory() as work:
        ready = Path(work) / "ready"
        ready.mkdir()
        make(ready)
        directory.parent.mkdir(parents=True, exist_ok=True)
        os.rename(ready, directory)


def _make_base(work):
    command = ["mmdebstrap", "--mode=root", "--variant=minbase"]
    command += [f'--aptopt={key} "{value}"' for key, value in apt_options()]
    command += [
        '--customize-hook=cd "$1" && rm -rf var/log/* var/cache/apt/* etc/apt/apt.conf.d/99mmdebstrap',
        '--customize-hook=: >"$1"/etc/resolv.conf',
        SUITE,
        str(work / "base.tar"),
    ]
    lines = sources()
    run_logged(command + (["-"] if lines else []), input="\n".join(lines).encode())
    (work / "root").mkdir()
    run_logged(["tar", "-C", work / "root", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", work / "base.tar"])
    for sub in ("lists", "archives"):
        (work / sub).mkdir()
    chroot_apt(work / "root", work / "lists", work / "archives", ["apt-get", "update", "-q"])


# Runs inside its own mount and PID namespaces: nothing is left mounted or running, whatever happens.
_CHROOT = r"""
set -eu
root=$1 lists=$2 archives=$3; shift 3
mkdir -p "$root/proc" "$root/dev" "$root/var/lib/apt/lists" "$root/var/cache/apt/archives"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null zero full random urandom tty; do touch "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"; done
mkdir -m 1777 "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$lists" "$root/var/lib/apt/lists"
mount --bind "$archives" "$root/var/cache/apt/archives"
mkdir -p "$archives/partial" "$lists/partial"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
mount -t tmpfs tmpfs "$root/tmp"
printf '#!/bin/sh\nexit 101\n' >"$root/tmp/policy-rc.d"
chmod 755 "$root/tmp/policy-rc.d"
touch "$root/usr/sbin/policy-rc.d"
mount --bind "$root/tmp/policy-rc.d" "$root/usr/sbin/policy-rc.d"
exec chroot "$root" env -i DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""


def chroot_apt(root, lists, fetched, command, overlay=None):
    """Runs an apt command in `root`, or in an overlay (upper, work, merged) over it."""
    options = []
    for key, value in apt_options():
        options += ["-o", f"{key}={value}"]
    script = _CHROOT
    if overlay:
        upper, work, merged = overlay
        script = (
            f"mount -t overlay overlay -o {shlex.quote(f'lowerdir={root},upperdir={upper},workdir={work}')} "
            f"{shlex.quote(str(merged))}\n" + script
        )
        root = merged
    run_logged(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]
        + [str(root), str(lists), str(fetched), *command[:1], *options, *command[1:]],
        stdin=subprocess.DEVNULL,
    )


# What only the way of installing puts there, and no image should carry.
_NOT_IN_LAYER = (
    "usr/sbin/policy-rc.d",
    "etc/resolv.conf",
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/cache/debconf",
    "var/log",
    "proc",
    "dev",
    "tmp",
)


@contextmanager
def archives():
    """Two directories for apt in a chroot: its lists, and packages that were fetched before. What is fetched more is kept."""
    directory = base()[1].parent
    with work_directory() as work:
        here = Path(work)
        for deb in (directory / "archives").glob("*.deb"):
            os.link(deb, here / deb.name)
        yield directory / "lists", here
        for deb in here.glob("*.deb"):
            with suppress(FileExistsError):
                os.link(deb, directory / "archives" / deb.name)


def install_packages(packages, tar):
    """Installs `packages` over the base and adds what changed to `tar` (an oci.Tar), as one layer."""
    _, root = base()
    with work_directory() as work, archives() as (lists, fetched):
        work = Path(work)
        for sub in ("upper", "work", "merged"):
            (work / sub).mkdir()
        os.chmod(work / "upper", 0o755)
        chroot_apt(
            root,
            lists,
            fetched,
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-unsafe-io", *packages],
            overlay=(work / "upper", work / "work", work / "merged"),
        )
        add_upper(work / "upper", tar)


def download(package):
    """The .deb of a package, fetched by the machine's apt-get into the cache."""
    target = CACHE / "download"
    with locked("download-" + package):
        target.mkdir(parents=True, exist_ok=True)
        found = sorted(target.glob(package + "_*.deb"))
        if not found:
            run_logged(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package], cwd=target)
            found = sorted(target.glob(package + "_*.deb"))
        return found[-1]


def _attributes(path, status):
    xattrs = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if not name.startswith("trusted.") and name != "security.selinux":
            xattrs[name] = os.getxattr(path, name, follow_symlinks=False)
    return {
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": f"{status.st_mtime_ns // 10**9}.{status.st_mtime_ns % 10**9:09d}",
        "xattrs": xattrs,
    }


def _is_opaque(path):
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def add_upper(upper, tar, prefix="", links=None, skip=_NOT_IN_LAYER):
    """Adds a directory (an overlayfs upper one: whiteouts, opaque marks) to a tar, in sorted order."""
    links = {} if links is None else links
    for entry in sorted(os.scandir(upper), key=lambda e: os.fsencode(e.name)):
        name = f"{prefix}{entry.name}"
        if name in skip:
            continue
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            tar.whiteout(name)
            continue
        attributes = _attributes(entry.path, status)
        if stat.S_ISDIR(status.st_mode):
            tar.directory(name, **attributes)
            if _is_opaque(entry.path):
                tar.opaque(name)
            add_upper(entry.path, tar, name + "/", links, skip)
        elif (status.st_dev, status.st_ino) in links:
            tar.hardlink(name, links[status.st_dev, status.st_ino], **attributes)
        else:
            links[status.st_dev, status.st_ino] = name
            _add_leaf(tar, name, entry.path, status, attributes)


def _add_leaf(tar, name, path, status, attributes):
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            tar.add(name, data=file, size=status.st_size, **attributes)
    elif stat.S_ISLNK(status.st_mode):
        attributes.pop("mode")
        tar.symlink(name, os.readlink(path), **attributes)
    elif stat.S_ISFIFO(status.st_mode):
        tar.fifo(name, **attributes)
    elif not stat.S_ISSOCK(status.st_mode):
        kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
        tar.device(name, kind, os.major(status.st_rdev), os.minor(status.st_rdev), **attributes)
