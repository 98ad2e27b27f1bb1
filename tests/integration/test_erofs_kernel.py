# SPDX-License-Identifier: Apache-2.0
"""The kernel and the erofs tools read what the EROFS writer makes: every kind of inode, in each form a snapshot is
mounted in. Needs root."""
import os
import random
import shutil
import stat
import struct
import subprocess
from contextlib import ExitStack

import pytest

from support import erofs
from support.erofs import BLOCK, Device, directory, regular, symlink

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
FSCK = sorted({path for path in ("/usr/bin/fsck.erofs", shutil.which("fsck.erofs")) if path and os.path.exists(path)})


def acl(*entries):
    """A POSIX ACL as Linux keeps it in an xattr."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACCESS_ACL = acl((1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF))
DEFAULT_ACL = acl((1, 7, 0xFFFFFFFF), (4, 5, 0xFFFFFFFF), (32, 5, 0xFFFFFFFF))


def random_file(rng, size, **attributes):
    return regular(rng.randbytes(size), **attributes)


def add_files(root, rng):
    where = root.children[b"files"] = directory()
    for size in (0, 1, 100, 511, 512):
        where.children[b"inline-%d" % size] = regular(rng.randbytes(size), inline=True)
    for size in (3900, 4000, 4031, 4032, 4033, 4095, 4096):
        where.children[b"large-inline-%d" % size] = regular(rng.randbytes(size), inline=True)
    for size in (1, 4095, 4096, 4097, 8191, 100_000, 1 << 20):
        where.children[b"contiguous-%d" % size] = random_file(rng, size)
    where.children[b"apart"] = random_file(rng, 9 * BLOCK + 17, pieces=[(0, BLOCK), (BLOCK, 3 * BLOCK), (4 * BLOCK, 5 * BLOCK + 17)])
    where.children[b"halves"] = random_file(rng, 64 * BLOCK, pieces=[(0, 32 * BLOCK), (32 * BLOCK, 32 * BLOCK)])
    sparse = bytearray(40 * BLOCK + 5)
    sparse[8 * BLOCK:9 * BLOCK] = rng.randbytes(BLOCK)
    sparse[20 * BLOCK:23 * BLOCK] = rng.randbytes(3 * BLOCK)
    where.children[b"sparse"] = regular(bytes(sparse), pieces=[(8 * BLOCK, BLOCK), (20 * BLOCK, 3 * BLOCK)])
    where.children[b"all-hole"] = regular(bytes(100 * BLOCK + 1), pieces=[])
    ends = bytes(7 * BLOCK) + rng.randbytes(100)
    where.children[b"hole-first"] = regular(ends, pieces=[(7 * BLOCK, 100)])


def add_links(root, rng):
    where = root.children[b"links"] = directory()
    for size in (1, 2, 59, 60, 1000, 3999, 4000, 4031, 4032, 4033, 4094, 4095):
        where.children[b"to-%d" % size] = symlink(bytes(rng.choices(b"abc/.", k=size)))
        where.children[b"with-xattrs-%d" % size] = symlink(
            bytes(rng.choices(b"xyz/.", k=size)), xattrs={f"trusted.own{size}": rng.randbytes(700)})
    shared = random_file(rng, 5000)
    for i in range(5):
        where.children[b"hard-%d" % i] = shared
    root.children[b"hard-elsewhere"] = shared
    where.children[b"hidden-names"] = random_file(rng, 10, nlink=7)
    target = symlink(b"hard-0")
    where.children[b"link-name-1"] = where.children[b"link-name-2"] = target


def add_special(root):
    where = root.children[b"special"] = directory(0o1777)
    for i, (major, minor) in enumerate([(0, 1), (1, 3), (8, 255), (8, 256), (259, 70000), (4095, 1048575), (0, 1048575)]):
        where.children[b"char-%d" % i] = erofs.Node(stat.S_IFCHR | 0o666, rdev=os.makedev(major, minor))
        where.children[b"block-%d" % i] = erofs.Node(stat.S_IFBLK | 0o600, rdev=os.makedev(major, minor))
    where.children[b"fifo"] = erofs.Node(stat.S_IFIFO | 0o640, uid=7)
    where.children[b"socket"] = erofs.Node(stat.S_IFSOCK | 0o755, gid=8)
    where.children[b"setuid"] = regular(b"#!", 0o6755, inline=True, uid=65534, gid=4294967294)
    where.children[b"old"] = regular(b"", mtime_ns=-1_000_000_001)
    where.children[b"future"] = regular(b"", mtime_ns=(1 << 33) * 10**9 + 999_999_999)
    where.children[b"year-1"] = regular(b"", mtime_ns=-62135596800 * 10**9)


def add_directories(root, rng):
    where = root.children[b"directories"] = directory()
    where.children[b"empty"] = directory(0o700)
    one = where.children[b"one"] = directory()
    one.children[b"x"] = regular(b"")
    odd = where.children[b"odd-names"] = directory()
    for name in (b"!", b"-", b"-file", b".-", b"...", b".a", b".\x01", b"..\x01", b"/".replace(b"/", b"0"), b" ", b"\x01",
                 b"\n", b"\xff", b"\x80", b"\xc3\xa4", b"~", b"a" * 255, b"\xff" * 255, b"%s", b"a", b"aa", b"a!", b"A"):
        odd.children[name] = regular(name, inline=True)
    # sizes around whole blocks: an entry takes 12 bytes and its name
    for count in (1, 15, 16, 17, 31, 32, 33):
        sized = where.children[b"long-names-%d" % count] = directory()
        for i in range(count):
            sized.children[b"%03d" % i + b"n" * 241] = regular(b"")
    for last in range(225, 256):
        exact = where.children[b"exact-%d" % last] = directory()
        for i in range(14):
            exact.children[b"%02d" % i + b"e" * 253] = regular(b"")
        exact.children[b"z" * last] = regular(b"")
    deep = where
    for i in range(200):
        deep.children[b"deep"] = directory(mtime_ns=i)
        deep = deep.children[b"deep"]
    mixed = where.children[b"mixed"] = directory()
    for i in range(3000):
        mixed.children[rng.randbytes(rng.randint(1, 60)).hex().encode()] = regular(b"%d" % i, inline=True, mtime_ns=i)


def add_xattrs(root, rng):
    where = root.children[b"xattrs"] = directory(xattrs={"system.posix_acl_default": DEFAULT_ACL, "user.dir": b""})
    for i in range(4):
        where.children[b"shared-%d" % i] = regular(b"", xattrs={"security.capability": CAPABILITY, "user.same": b"same"})
    where.children[b"own"] = regular(b"abc", inline=True, xattrs={"user.own": b"\x00\xff", "user.empty": b"", "trusted.t": b"t"})
    where.children[b"acl"] = regular(b"", 0o644, xattrs={"system.posix_acl_access": ACCESS_ACL})
    where.children[b"many"] = regular(b"", xattrs={f"user.number{i}": b"%d" % i for i in range(255)})
    where.children[b"many-large"] = regular(b"", xattrs={f"user.large{i}": rng.randbytes(9000) for i in range(20)})
    where.children[b"largest"] = regular(b"", xattrs={"user." + "n" * 250: rng.randbytes(65535)})
    for size in (900, 1000, 1008, 1009, 1100, 3000, 4000, 4096, 5000):
        where.children[b"value-%d" % size] = regular(
            b"inline too", inline=True, xattrs={f"user.v{size}": rng.randbytes(size)})
        where.children[b"dir-value-%d" % size] = directory(xattrs={f"user.d{size}": rng.randbytes(size)})


def varied_tree(seed):
    rng = random.Random(seed)
    root = directory(0o751, uid=3, gid=4, mtime_ns=1_700_000_000_123_456_789, xattrs={"user.root": b"r"})
    add_files(root, rng)
    add_links(root, rng)
    add_special(root)
    add_directories(root, rng)
    add_xattrs(root, rng)
    return root


class Made:
    """A tree's metadata and devices on disk."""

    def __init__(self, path, root, device_count=1, options=()):
        self.path, self.root = path, root
        devices = [Device(f"device {i}") for i in range(device_count)]
        numbers = {}
        description = erofs.describe(
            root, devices, lambda node: numbers.setdefault(id(node), len(numbers) % device_count))
        self.metadata = path / "metadata.erofs"
        self.blocks = erofs.make(description, self.metadata, *options)
        self.description = description
        self.devices = []
        for i, device in enumerate(devices):
            (path / f"device-{i}").write_bytes(device.data)
            self.devices.append(path / f"device-{i}")

    def disk(self):
        disk = self.path / "disk"
        disk.write_bytes(b"".join(path.read_bytes() for path in (self.metadata, *self.devices)))
        return disk


def check_mounted(root, mountpoint):
    assert erofs.differences(erofs.expect(root), erofs.observe(mountpoint)) == []


def check_sizes(made):
    assert made.metadata.stat().st_size == made.blocks * BLOCK


@pytest.mark.parametrize("device_count", [1, 3])
def test_device_table_gives_the_tree(tmp_path, device_count):
    made = Made(tmp_path, varied_tree(device_count), device_count)
    check_sizes(made)
    with erofs.mounted_with_devices(made.metadata, made.devices, tmp_path / "mnt") as mountpoint:
        check_mounted(made.root, mountpoint)
        st = os.statvfs(mountpoint)
        assert st.f_bsize == BLOCK and st.f_namemax == 255


@pytest.mark.skipif(erofs.kernel_version() < (6, 4), reason="flat mode of the device table came with Linux 6.4")
@pytest.mark.parametrize("device_count", [1, 3])
def test_device_table_laid_end_to_end_gives_the_tree(tmp_path, device_count):
    made = Made(tmp_path, varied_tree(10), device_count)
    with erofs.loop_device(made.disk()) as loop, erofs.mounted(loop, tmp_path / "mnt") as mountpoint:
        check_mounted(made.root, mountpoint)


@pytest.mark.parametrize("device_count", [1, 3])
def test_flat_disk_gives_the_tree(tmp_path, device_count):
    made = Made(tmp_path, varied_tree(20), device_count, ["--flat"])
    disk = made.disk()
    with erofs.loop_device(disk) as loop, erofs.mounted(loop, tmp_path / "mnt") as mountpoint:
        check_mounted(made.root, mountpoint)
        assert os.statvfs(mountpoint).f_blocks == disk.stat().st_size // BLOCK


def test_tree_without_devices_mounts(tmp_path):
    root = directory()
    root.children[b"a"] = regular(b"text", inline=True)
    erofs.make(erofs.describe(root, []), tmp_path / "m")
    with erofs.mounted_with_devices(tmp_path / "m", [], tmp_path / "mnt") as mountpoint:
        check_mounted(root, mountpoint)


def test_as_many_devices_as_layers_mount(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the options of mount(2) end at a page: short paths
    root = directory()
    for i in range(128):
        root.children[b"%d" % i] = regular(b"%d" % i * 2000)
    made = Made(tmp_path, root, 128)
    with erofs.mounted_with_devices(made.metadata.name, [path.name for path in made.devices], tmp_path / "mnt") as mountpoint:
        check_mounted(root, mountpoint)
    with erofs.loop_device(made.disk()) as loop, erofs.mounted(loop, tmp_path / "mnt") as mountpoint:
        check_mounted(root, mountpoint)


def test_directory_of_100000_entries(tmp_path):
    root = directory()
    big = root.children[b"big"] = directory()
    for i in range(100_000):
        big.children[b"%x" % (i * 2654435761 % (1 << 32))] = regular(b"")
    made = Made(tmp_path, root)
    with erofs.mounted_with_devices(made.metadata, made.devices, tmp_path / "mnt") as mountpoint:
        fd = os.open(mountpoint / "big", os.O_RDONLY)
        names = [name for name, _, _ in erofs.read_directory(fd)]
        os.close(fd)
        assert names == sorted(big.children)
        for name in random.Random(1).sample(names, 2000):
            os.lstat(os.path.join(os.fsencode(mountpoint / "big"), name))
            assert not os.path.lexists(os.path.join(os.fsencode(mountpoint / "big"), name + b"!"))


def test_deepest_nesting(tmp_path):
    root = node = directory()
    for i in range(2048):
        node.children[b"d"] = directory(mtime_ns=i)
        node = node.children[b"d"]
    made = Made(tmp_path, root)
    with erofs.mounted_with_devices(made.metadata, made.devices, tmp_path / "mnt") as mountpoint:
        fd = os.open(mountpoint, os.O_RDONLY)
        for i in range(2048):
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
            assert os.fstat(fd).st_mtime_ns == i
        assert os.listdir(fd) == []
        os.close(fd)


def has_hole(node):
    return node.pieces is not None and sum(size for _, size in node.pieces) != len(node.data)


def run_fsck(fsck, *arguments):
    result = subprocess.run([fsck, "-d3", *arguments], capture_output=True, text=True)
    output = result.stdout + result.stderr
    assert result.returncode == 0 and ("No errors found" in output or "successfully" in output), output


@pytest.mark.parametrize("fsck", FSCK)
def test_fsck_accepts_the_device_table(tmp_path, fsck):
    """--extract without a directory reads all contents."""
    made = Made(tmp_path, varied_tree(30), 2)
    run_fsck(fsck, "--extract", *(f"--device={device}" for device in made.devices), made.metadata)


@pytest.mark.parametrize("fsck", FSCK)
def test_fsck_extracts_the_flat_disk(tmp_path, fsck):
    """Not compared: files with holes, of which fsck.erofs makes other ones."""
    made = Made(tmp_path, varied_tree(40), 2, ["--flat"])
    out = tmp_path / "out"
    run_fsck(fsck, f"--extract={out}", made.disk())
    for name, node in made.root.children[b"files"].children.items():
        if not has_hole(node):
            assert (out / "files" / name.decode()).read_bytes() == node.data, name
    for name, node in made.root.children[b"links"].children.items():
        if node.kind == stat.S_IFLNK:
            assert os.fsencode(os.readlink(out / "links" / name.decode())) == node.data


@pytest.mark.parametrize("fsck", FSCK)
def test_fsck_accepts_layer_metadata(tmp_path, fsck):
    made = Made(tmp_path, layer_tree(2), options=["--layer"])
    run_fsck(fsck, "--extract", f"--device={made.devices[0]}", made.metadata)


def layer_tree(seed):
    rng = random.Random(seed)
    root = directory(implied=True)
    for name in (b"merged", b"opaque"):
        where = root.children[name] = directory(0o711, mtime_ns=5)
        where.children[b"from-above"] = random_file(rng, 6000)
    root.children[b"merged"].children[b"removed"] = erofs.whiteout()
    root.children[b"opaque"].opaque = True
    return root


def test_layer_metadata_is_an_overlayfs_lower_layer(tmp_path):
    above = Made(tmp_path, layer_tree(1), options=["--layer"])
    below = tmp_path / "below"
    for name in ("merged/removed", "merged/kept", "opaque/hidden", "other/file"):
        (below / name).parent.mkdir(parents=True, exist_ok=True)
        (below / name).write_text(name)
    with ExitStack() as stack:
        layer = stack.enter_context(erofs.mounted_with_devices(above.metadata, above.devices, tmp_path / "layer"))
        view = stack.enter_context(
            erofs.mounted("overlay", tmp_path / "view", "overlay", f"lowerdir={layer}:{below}"))
        assert sorted(os.listdir(view / "merged")) == ["from-above", "kept"]
        assert os.listdir(view / "opaque") == ["from-above"]
        assert (view / "other/file").read_text() == "other/file"
        assert (view / "merged").stat().st_mode == stat.S_IFDIR | 0o711
        content = above.root.children[b"merged"].children[b"from-above"].data
        assert (view / "merged/from-above").read_bytes() == content
        assert os.getxattr(layer / "opaque", "trusted.overlay.opaque") == b"y"
        assert os.listxattr(layer) == ["trusted.zeropull.implied"]


def test_same_tree_gives_the_same_bytes(tmp_path):
    made = Made(tmp_path, varied_tree(50), 2)
    first = made.metadata.read_bytes()
    shuffled = varied_tree(50)

    def shuffle(node):
        items = list(node.children.items())
        random.Random(3).shuffle(items)
        node.children = dict(items)
        for child in node.children.values():
            shuffle(child)

    shuffle(shuffled)
    # inode numbers differ, the devices' content too, so the content is taken away in both
    for root in (made.root, shuffled):
        for node in all_nodes(root):
            if node.kind == stat.S_IFREG and node.pieces:
                node.pieces = []
    left, right = tmp_path / "left", tmp_path / "right"
    erofs.make(erofs.describe(made.root, [Device()]), left)
    erofs.make(erofs.describe(shuffled, [Device()]), right)
    assert left.read_bytes() == right.read_bytes()
    again = tmp_path / "again"
    erofs.make(made.description, again)
    assert again.read_bytes() == first


def all_nodes(node):
    yield node
    for child in node.children.values():
        yield from all_nodes(child)


@pytest.mark.parametrize("node, message", [
    (regular(b"", xattrs={"system.nfs4_acl": b"x"}), "xattr 'system.nfs4_acl': EROFS has no such namespace"),
    (erofs.Node(stat.S_IFCHR, rdev=1 << 44), "Linux has no such numbers"),
    (regular(b"x" * 4097, inline=True), "4097 bytes are too many to be inline"),
    (symlink(b"x" * 4096), "a link target of 4096 bytes"),
    (regular(b"", xattrs={f"user.{i}": b"" for i in range(256)}), "more than 255 xattrs"),
])
def test_what_cannot_be_described_is_refused_with_its_path(tmp_path, node, message):
    root = directory()
    root.children[b"dir"] = directory()
    root.children[b"dir"].children[b"bad"] = node
    with pytest.raises(RuntimeError) as error:
        erofs.make(erofs.describe(root, []), tmp_path / "m")
    assert f"'/dir/bad': {message}" in str(error.value) or ("/dir/bad" in str(error.value) and message in str(error.value))
