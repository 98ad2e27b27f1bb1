# SPDX-License-Identifier: Apache-2.0
"""treecmp notices every kind of difference: for each, two equal trees, one change on the right, one line out."""
import os
import socket
import subprocess

import pytest

from support.programs import TREECMP, treecmp

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def make_tree(root):
    root.mkdir()
    (root / "dir").mkdir()
    (root / "dir" / "inner").write_text("inner")
    (root / "file").write_bytes(b"x" * 300000)
    (root / "empty").touch()
    (root / "link").symlink_to("target")
    os.link(root / "file", root / "second-name")
    os.link(root / "empty", root / "empty-name")
    os.mkfifo(root / "fifo")
    os.mknod(root / "char", 0o020600, os.makedev(10, 200))
    os.mknod(root / "block", 0o060600, os.makedev(259, 70000))
    os.setxattr(root / "file", "user.name", b"value")
    os.setxattr(root / "link", "trusted.name", b"value", follow_symlinks=False)
    (root / "bad-\udcff-name").touch()
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1600000000_123456789), follow_symlinks=False)
    os.utime(root, ns=(0, 1600000000_123456789))


def keep_mtime(path, change):
    """Applies a change and puts back the times of the file and its directory, so that only the change shows."""
    times = {p: p.lstat().st_mtime_ns for p in (path, path.parent) if p.exists() or p.is_symlink()}
    change(path)
    for p, mtime in times.items():
        if p.exists() or p.is_symlink():
            os.utime(p, ns=(0, mtime), follow_symlinks=False)


def replace_by(make):
    def change(path):
        path.unlink()
        make(path)
        os.utime(path, ns=(0, 1600000000_123456789), follow_symlinks=False)

    return change


def flip_last_byte(path):
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"y")


def split_link(path):
    data, attributes = path.read_bytes(), {n: os.getxattr(path, n) for n in os.listxattr(path)}
    path.unlink()
    path.write_bytes(data)
    for name, value in attributes.items():
        os.setxattr(path, name, value)


CHANGES = {
    "mode": ("file", lambda p: p.chmod(0o4644), "mode 0644 and 4644"),
    "uid": ("file", lambda p: os.chown(p, 7, -1), "uid 0 and 7"),
    "gid": ("dir", lambda p: os.chown(p, -1, 8), "gid 0 and 8"),
    "uid of a symlink": ("link", lambda p: os.lchown(p, 7, -1), "uid 0 and 7"),
    "size": ("empty", lambda p: p.write_text("z"), "size 0 and 1"),
    "last byte": ("file", flip_last_byte, "contents differ from byte 299999"),
    "link count": ("file", lambda p: os.link(p, p.parent / "dir" / "third"), "link count 2 and 3"),
    "broken hard link": ("second-name", split_link, "hard-link group"),
    "symlink target": ("link", replace_by(lambda p: p.symlink_to("tarjet")), "symlink targets differ"),
    "char device": ("char", replace_by(lambda p: os.mknod(p, 0o020600, os.makedev(10, 201))), "device 10:200 and 10:201"),
    "block device": ("block", replace_by(lambda p: os.mknod(p, 0o060600, os.makedev(259, 4464))), "259:70000 and 259:4464"),
    "type": ("fifo", replace_by(lambda p: p.touch(0o644)), "type 010000 and 100000"),
    "socket": ("fifo", replace_by(lambda p: socket.socket(socket.AF_UNIX).bind(str(p))), "type 010000 and 140000"),
    "readdir type": ("fifo", replace_by(lambda p: p.touch(0o644)), "readdir type 1 and 8"),
    "missing": ("empty-name", lambda p: p.unlink(), "only on the left"),
    "added": ("dir", lambda p: (p / "more").touch(), "only on the right"),
    "xattr value": ("file", lambda p: os.setxattr(p, "user.name", b"valuf"), "xattr user.name: values differ"),
    "xattr longer": ("file", lambda p: os.setxattr(p, "user.name", b"value\0"), "xattr user.name: values differ"),
    "xattr added": ("file", lambda p: os.setxattr(p, "user.other", b""), "xattr user.other: only on the right"),
    "xattr removed": ("file", lambda p: os.removexattr(p, "user.name"), "xattr user.name: only on the left"),
    "xattr on dir": ("dir", lambda p: os.setxattr(p, "user.d", b"1"), "xattr user.d: only on the right"),
    "capability": (
        "file",
        lambda p: os.setxattr(p, "security.capability", CAPABILITY),
        "xattr security.capability: only on the right",
    ),
    "xattr on symlink": (
        "link",
        lambda p: os.removexattr(p, "trusted.name", follow_symlinks=False),
        "xattr trusted.name: only on the left",
    ),
    "bytes of a name": (
        "bad-\udcff-name",
        lambda p: p.rename(p.parent / "bad-\udcfe-name"),
        "bad-\\xfe-name: only on the right",
    ),
}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes devices and owners")


@needs_root
def test_equal_trees_are_equal(work):
    make_tree(work / "left")
    make_tree(work / "right")
    assert treecmp(work / "left", work / "right") == []


@needs_root
@pytest.mark.parametrize("kind", CHANGES)
def test_every_kind_of_difference_is_noticed(kind, work):
    make_tree(work / "left")
    make_tree(work / "right")
    name, change, expected = CHANGES[kind]
    keep_mtime(work / "right" / name, change)
    lines = treecmp(work / "left", work / "right")
    assert any(expected in line for line in lines), lines


@needs_root
def test_a_nanosecond_of_mtime_is_noticed(work):
    make_tree(work / "left")
    make_tree(work / "right")
    for name in ("file", "dir", "link"):
        os.utime(work / "right" / name, ns=(0, 1600000000_123456788), follow_symlinks=False)
    lines = treecmp(work / "left", work / "right")
    assert len([line for line in lines if "mtime 1600000000.123456789 and 1600000000.123456788" in line]) == 4, lines


@needs_root
def test_late_directory_times_are_ignored_when_asked(work):
    make_tree(work / "left")
    make_tree(work / "right")
    os.utime(work / "left" / "dir", ns=(0, 1700000000_000000000))
    os.utime(work / "right" / "file", ns=(0, 1700000000_000000000))
    lines = treecmp(work / "left", work / "right", "--ignore-dir-mtime-after", 1700000000)
    assert [line.split(":")[0] for line in lines[:-1]] == ["file", "second-name"]
    assert treecmp(work / "left", work / "right", "--ignore-dir-mtime-after", 1700000001)[0].startswith("dir: mtime")


def test_overlay_xattrs_are_not_compared(work):
    (work / "left").mkdir()
    (work / "right").mkdir()
    if os.geteuid() != 0:
        pytest.skip("trusted xattrs need root")
    os.utime(work / "left", ns=(0, 0))
    os.utime(work / "right", ns=(0, 0))
    os.setxattr(work / "left", "trusted.overlay.opaque", b"y")
    assert treecmp(work / "left", work / "right") == []


def test_output_is_limited_and_counted(work):
    (work / "left").mkdir()
    (work / "right").mkdir()
    for number in range(100):
        (work / "left" / str(number)).touch()
    os.utime(work / "left", ns=(0, 0))
    os.utime(work / "right", ns=(0, 0))
    lines = treecmp(work / "left", work / "right", "--max", 3)
    assert len(lines) == 5 and lines[3] == "… and 97 more" and lines[4].startswith("100 differences")


def test_wrong_usage_and_missing_trees_are_status_2(work):
    assert subprocess.run([TREECMP], capture_output=True).returncode == 2
    assert subprocess.run([TREECMP, work, work / "missing"], capture_output=True).returncode == 2


def test_trees_deeper_than_a_path_can_name_are_compared(work):
    for side in ("left", "right"):
        (work / side).mkdir()
        at = os.open(work / side, os.O_RDONLY)
        for _ in range(40):
            os.mkdir("d" * 200, dir_fd=at)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        file = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=at)
        os.write(file, side.encode())
        os.close(file)
        os.close(at)
    lines = treecmp(work / "left", work / "right", "--ignore-dir-mtime-after", 0)
    assert any("/leaf: contents differ from byte 0" in line or "/leaf: size 4 and 5" in line for line in lines)
    subprocess.run(["rm", "-rf", work / "left", work / "right"], check=True)
