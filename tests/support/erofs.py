# SPDX-License-Identifier: Apache-2.0
"""EROFS trees for tests: a model of a tree, its description for erofs-make, mounting what that writes, and what a
process then sees. The model is also the expectation, so nothing here knows the on-disk format."""
import ctypes
import ctypes.util
import hashlib
import os
import stat
import struct
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from .programs import BUILD

EROFS_MAKE = BUILD / "tests" / "tools" / "erofs-make"
EROFS_MERGE = BUILD / "tests" / "tools" / "erofs-merge"
BLOCK = 4096
MS_RDONLY = 1
MNT_DETACH = 2

_libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)

D_TYPES = {stat.S_IFREG: 8, stat.S_IFDIR: 4, stat.S_IFLNK: 10, stat.S_IFCHR: 2, stat.S_IFBLK: 6, stat.S_IFIFO: 1,
           stat.S_IFSOCK: 12}


@dataclass(eq=False)
class Node:
    """An inode; `mode` has the type bits. A regular file's `pieces` are lists of (first byte, bytes) that lie
    apart on the device; what no piece covers is a hole; None: inline."""

    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    rdev: int = 0
    data: bytes = b""
    pieces: list | None = None
    xattrs: dict = field(default_factory=dict)
    children: dict = field(default_factory=dict)
    opaque: bool = False
    implied: bool = False
    inherits: bool = False
    nlink: int | None = None

    @property
    def kind(self):
        return stat.S_IFMT(self.mode)


def directory(mode=0o755, **attributes):
    return Node(stat.S_IFDIR | mode, **attributes)


def regular(data=b"", mode=0o644, pieces=None, inline=False, **attributes):
    """A file of one piece unless told otherwise."""
    if pieces is None and not inline and data:
        pieces = [(0, len(data))]
    return Node(stat.S_IFREG | mode, data=data, pieces=pieces, **attributes)


def symlink(target, **attributes):
    return Node(stat.S_IFLNK | 0o777, data=target, **attributes)


def whiteout():
    return Node(stat.S_IFCHR)


class Device:
    """A layer device under construction. Every piece starts on a block of its own, with a gap before it, so that
    nothing is contiguous by accident."""

    def __init__(self, name="device"):
        self.name = hashlib.sha256(name.encode()).hexdigest()
        self.data = bytearray(b"\xee" * BLOCK)

    def add(self, data):
        block = len(self.data) // BLOCK
        self.data += data + bytes(-len(data) % BLOCK) + b"\xee" * BLOCK
        return block

    @property
    def blocks(self):
        return len(self.data) // BLOCK


def _extents(node, device, number):
    """The file's extents as words for erofs-make."""
    words, done = [], 0
    total = -(-len(node.data) // BLOCK)
    for start, size in node.pieces:
        first, blocks = start // BLOCK, -(-size // BLOCK)
        if first > done:
            words.append(f"-:{first - done}:0")
        words.append(f"{device.add(node.data[start:start + size])}:{blocks}:{number}")
        done = first + blocks
    if done < total:
        words.append(f"-:{total - done}:0")
    return " ".join(words)


def describe(root, devices, device_of=lambda node: 0):
    """Text for erofs-make; fills the devices."""
    lines, numbers = [], {root: 0}

    def attributes(node):
        seconds, nanoseconds = divmod(node.mtime_ns, 10**9)
        return f"{node.mode:o} {node.uid} {node.gid} {seconds} {nanoseconds}"

    def details(node):
        number = numbers[node]
        if node.kind == stat.S_IFREG and node.pieces is not None:
            index = device_of(node)
            lines.append(f"extents {number} {len(node.data)} {_extents(node, devices[index], index)}".rstrip())
        elif node.data:
            lines.append(f"data {number} {node.data.hex()}")
        for name, value in node.xattrs.items():
            lines.append(f"xattr {number} {name.encode().hex()} {value.hex()}".rstrip())
        if node.opaque:
            lines.append(f"opaque {number}")
        if node.implied:
            lines.append(f"implied {number}")
        if node.inherits:
            lines.append(f"inherits {number}")

    if not root.implied:
        lines.append(f"root {attributes(root)}")
    details(root)
    pending = [root]
    while pending:
        parent = pending.pop()
        for name, node in parent.children.items():
            if node not in numbers:
                numbers[node] = len(numbers)
                device_number = f" {os.major(node.rdev)} {os.minor(node.rdev)}"
                is_device = node.kind in (stat.S_IFCHR, stat.S_IFBLK)
                lines.append(f"inode {attributes(node)}{device_number if is_device else ''}")
                details(node)
            lines.append(f"link {numbers[parent]} {name.hex()} {numbers[node]}")
            if node.kind == stat.S_IFDIR:
                pending.append(node)
    lines += [f"nlink {numbers[node]} {node.nlink}" for node in numbers if node.nlink is not None]
    lines = [f"device {d.name} {d.blocks}" for d in devices] + lines
    return "\n".join(lines) + "\n"


def make(description, out, *options):
    """Runs erofs-make; returns the number of blocks."""
    result = subprocess.run([EROFS_MAKE, *options, out], input=description.encode(), capture_output=True)
    if result.returncode:
        raise RuntimeError(result.stderr.decode())
    return int(result.stdout)


def merge(out, layers, *options):
    result = subprocess.run([EROFS_MERGE, *options, out, *layers], capture_output=True)
    if result.returncode:
        raise RuntimeError(result.stderr.decode())
    return int(result.stdout)


# ---- mounting ----


def mount(source, target, kind, options=""):
    arguments = [os.fsencode(str(x)) for x in (source, target, kind)]
    if _libc.mount(*arguments, ctypes.c_ulong(MS_RDONLY), os.fsencode(options)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {kind} {source} ({options:.500}): {os.strerror(error)}")


def unmount(target):
    _libc.umount2(os.fsencode(str(target)), MNT_DETACH)


@contextmanager
def mounted(source, target, kind="erofs", options=""):
    target.mkdir(exist_ok=True)
    mount(source, target, kind, options)
    try:
        yield target
    finally:
        unmount(target)


@contextmanager
def loop_device(path):
    name = subprocess.run(["losetup", "--find", "--show", "--read-only", path], check=True, capture_output=True, text=True)
    try:
        yield name.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", name.stdout.strip()], check=True)


def kernel_version():
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


@contextmanager
def mounted_with_devices(metadata, devices, target):
    """Mounts metadata with its devices: directly on the files where the kernel can (6.12), else through loops."""
    with ExitStack() as stack:
        if kernel_version() < (6, 12):
            metadata, *devices = [stack.enter_context(loop_device(path)) for path in (metadata, *devices)]
        options = ",".join(f"device={device}" for device in devices)
        yield stack.enter_context(mounted(metadata, target, options=options))


# ---- what a process sees ----


def read_directory(fd):
    """[(name, d_type, d_ino)] in the kernel's order, without "." and ".."."""
    entries = []
    buffer = ctypes.create_string_buffer(1 << 16)
    os.lseek(fd, 0, os.SEEK_SET)
    while True:
        size = _libc.getdents64(fd, buffer, len(buffer))
        if size < 0:
            raise OSError(ctypes.get_errno(), "getdents64")
        if size == 0:
            break
        offset = 0
        while offset < size:
            ino, _, length, d_type = struct.unpack_from("=QqHB", buffer, offset)
            raw = buffer.raw[offset + 19:offset + length]
            entries.append((raw[:raw.index(0)], d_type, ino))
            offset += length
    return [entry for entry in entries if entry[0] not in (b".", b"..")]


def _seen(path, groups):
    st = os.lstat(path)
    kind = stat.S_IFMT(st.st_mode)
    seen = {"mode": st.st_mode, "uid": st.st_uid, "gid": st.st_gid, "mtime": st.st_mtime_ns}
    seen["xattrs"] = {name: os.getxattr(path, name, follow_symlinks=False)
                      for name in os.listxattr(path, follow_symlinks=False)}
    if kind in (stat.S_IFREG, stat.S_IFLNK):
        seen["size"] = st.st_size
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        seen["rdev"] = st.st_rdev
    if kind == stat.S_IFREG:
        with open(path, "rb") as file:
            seen["data"] = hashlib.sha256(file.read()).hexdigest()
    if kind == stat.S_IFLNK:
        seen["data"] = os.readlink(path)
    if kind != stat.S_IFDIR:
        seen["nlink"] = st.st_nlink
        seen["group"] = groups.setdefault(st.st_ino, path)
    return seen, st


def observe(root, d_types=True, order=True):
    """{relative path: what stat, xattrs and content say} of a mounted tree; checks readdir on the way."""
    root = os.fsencode(str(root))
    result, groups = {}, {}
    pending = [b""]
    result[b""] = _seen(root, groups)[0]
    while pending:
        relative = pending.pop(0)
        fd = os.open(os.path.join(root, relative), os.O_RDONLY | os.O_DIRECTORY)
        try:
            entries = read_directory(fd)
        finally:
            os.close(fd)
        names = [name for name, _, _ in entries]
        if order:
            assert names == sorted(names)
        assert len(set(names)) == len(names)
        for name, d_type, d_ino in sorted(entries):
            path = os.path.join(relative, name)
            try:
                seen, st = _seen(os.path.join(root, path), groups)
            except FileNotFoundError:
                # overlayfs lists, but does not find, a whiteout in a directory that only one layer has
                assert not order, path
                continue
            if d_types:
                assert d_type == D_TYPES[stat.S_IFMT(st.st_mode)] and d_ino == st.st_ino != 0
            result[path] = seen
            if stat.S_ISDIR(st.st_mode):
                pending.append(path)
    strip = len(root) + 1
    for seen in result.values():
        if "group" in seen:
            seen["group"] = seen["group"][strip:]
    return result


def expect(root):
    """What observe() must give for a model."""
    counts, first, result = {}, {}, {}

    def visit(path, node):
        counts[node] = counts.get(node, 0) + 1
        seen = {"mode": node.mode, "uid": node.uid, "gid": node.gid, "mtime": node.mtime_ns, "xattrs": node.xattrs}
        if node.kind in (stat.S_IFREG, stat.S_IFLNK):
            seen["size"] = len(node.data)
        if node.kind in (stat.S_IFCHR, stat.S_IFBLK):
            seen["rdev"] = node.rdev
        if node.kind == stat.S_IFREG:
            seen["data"] = hashlib.sha256(node.data).hexdigest()
        if node.kind == stat.S_IFLNK:
            seen["data"] = node.data
        if node.kind != stat.S_IFDIR:
            seen["group"] = first.setdefault(node, path)
        result[path] = (seen, node)

    pending = [b""]
    visit(b"", root)
    nodes = {b"": root}
    while pending:
        parent = pending.pop(0)
        for name in sorted(nodes[parent].children):
            node = nodes[parent].children[name]
            path = os.path.join(parent, name)
            visit(path, node)
            if node.kind == stat.S_IFDIR:
                nodes[path] = node
                pending.append(path)
    for seen, node in result.values():
        if node.kind != stat.S_IFDIR:
            seen["nlink"] = node.nlink if node.nlink is not None else counts[node]
    return {path: seen for path, (seen, _) in result.items()}


def differences(left, right, limit=20):
    lines = []
    for path in sorted(left.keys() | right.keys()):
        a, b = left.get(path), right.get(path)
        if a != b and (a is None or b is None):
            lines.append(f"{path}: only {'right' if a is None else 'left'}")
        elif a != b:
            lines += [f"{path}: {key}: {a.get(key)!r:.200} != {b.get(key)!r:.200}" for key in a.keys() | b.keys()
                      if a.get(key) != b.get(key)]
    return lines[:limit]
