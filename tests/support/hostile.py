# SPDX-License-Identifier: Apache-2.0
"""Odd, ambiguous, malformed and hostile images: a table of cases, each a function that returns layers.

A case says what is special in its name. Layers are lists of tar bytes or oci.Layer objects.
"""
import bz2
import gzip
import hashlib
import lzma
import os
import random
import subprocess
import zlib
from dataclasses import dataclass

from . import oci

CASES = {}


@dataclass
class Case:
    name: str
    make: object
    # zeropull may accept what containerd refuses, for this reason.
    lenient: str = ""
    # zeropull may refuse what containerd accepts, for this reason.
    strict: str = ""
    # containerd is not asked: it would fill the disk or take minutes. zeropull must refuse.
    refuse_only: bool = False
    # what the error has to name, should there be one
    names: str = ""
    change_manifest: object = None
    change_config: object = None


def case(name, **options):
    def register(function):
        assert name not in CASES, name
        CASES[name] = Case(name, function, **options)
        return function

    return register


def layers_case(name, *fills, **options):
    """A case whose layers are made by functions of an oci.Tar."""
    case(name, **options)(lambda: [oci.tar_bytes(fill) for fill in fills])


def raw_case(name, data, **options):
    """A case of one layer, given as tar bytes or a function that makes them."""
    case(name, **options)(lambda: [data() if callable(data) else data])


def number(value, width):
    return b"%0*o\0" % (width - 1, value) if isinstance(value, int) else value.ljust(width, b"\0")


def header(name, size=0, kind=b"0", **fields):
    """One 512-byte header with a right checksum; each field an int or its raw bytes."""
    block = bytearray(512)

    def put(offset, width, value):
        block[offset : offset + width] = value[:width].ljust(width, b"\0")

    put(0, 100, name if isinstance(name, bytes) else name.encode())
    put(100, 8, number(fields.get("mode", 0o644), 8))
    put(108, 8, number(fields.get("uid", 0), 8))
    put(116, 8, number(fields.get("gid", 0), 8))
    put(124, 12, number(size, 12))
    put(136, 12, number(fields.get("mtime", oci.EPOCH), 12))
    put(156, 1, kind)
    put(157, 100, fields.get("linkname", b""))
    put(257, 8, fields.get("magic", b"ustar\x0000"))
    put(329, 8, number(fields.get("major", 0), 8))
    put(337, 8, number(fields.get("minor", 0), 8))
    put(345, 155, fields.get("prefix", b""))
    block[148:156] = b" " * 8
    put(148, 8, fields.get("checksum", b"%06o\0 " % sum(block)))
    return bytes(block)


def padded(data):
    return data + bytes(-len(data) % 512)


def entry(name, data=b"", kind=b"0", **fields):
    return header(name, fields.pop("size", len(data)), kind, **fields) + padded(data)


END = bytes(1024)


def pax_record(key, value):
    key, value = (x if isinstance(x, bytes) else x.encode() for x in (key, value))
    body = b" " + key + b"=" + value + b"\n"
    size = len(body)
    while len(str(size)) + len(body) != size:
        size = len(str(size)) + len(body)
    return str(size).encode() + body


def pax(*records, kind=b"x"):
    """A PAX header entry; a record is (key, value) or raw bytes."""
    return entry("pax", b"".join(r if isinstance(r, bytes) else pax_record(*r) for r in records), kind)


def with_pax(*records, name="file", data=b"data", **fields):
    return pax(*records) + entry(name, data, **fields) + END


def gnu_long(kind, text):
    return entry("././@LongLink", text + b"\0", kind)


# --- whiteouts ---------------------------------------------------------------------------------------


def lower(tar):
    tar.directory("d", mode=0o750, uid=5, mtime=1000000000)
    tar.file("d/a", b"lower a")
    tar.file("d/b", b"lower b")
    tar.directory("d/sub", mode=0o711)
    tar.file("d/sub/x", b"x")
    tar.file("foo", b"lower foo", mode=0o640)
    tar.symlink("link", "d")
    tar.hardlink("foo-too", "foo")


def two(name, upper, **options):
    layers_case(name, lower, upper, **options)


two("whiteout of a file", lambda t: t.whiteout("foo"))
two("whiteout of a directory", lambda t: t.whiteout("d"))
two("whiteout of a symlink", lambda t: t.whiteout("link"))
two("whiteout of one of two hard links", lambda t: t.whiteout("foo"))
two("whiteout of nothing", lambda t: t.whiteout("nothing"))
two("whiteout in a missing directory", lambda t: t.whiteout("no/such/thing"))
two("whiteout below a file", lambda t: t.whiteout("foo/thing"))
two("whiteout below a symlink", lambda t: t.whiteout("link/a"))
two("file then its whiteout", lambda t: (t.file("foo", b"new"), t.whiteout("foo")), names="foo")
two("whiteout then the file", lambda t: (t.whiteout("foo"), t.file("foo", b"new")), names="foo")
two("whiteout then a directory", lambda t: (t.whiteout("foo"), t.directory("foo")))
two("directory then its whiteout", lambda t: (t.directory("d"), t.file("d/n"), t.whiteout("d")))
two("whiteout then child", lambda t: (t.whiteout("d"), t.file("d/n", b"n")))
two("child then whiteout", lambda t: (t.file("d/n", b"n"), t.whiteout("d")))
two("whiteout twice", lambda t: (t.whiteout("foo"), t.whiteout("foo")))
two("whiteout of a whiteout", lambda t: t.whiteout(".wh.foo"))
two("whiteout with a directory entry", lambda t: t.directory(".wh.foo"))
two("whiteout with a symlink entry", lambda t: t.symlink(".wh.foo", "x"))
two("whiteout with a hard-link entry", lambda t: (t.file("n"), t.hardlink(".wh.foo", "n")))
two("whiteout with data", lambda t: t.file(".wh.foo", b"data in a whiteout"))
two("child below a whiteout name", lambda t: t.file(".wh.foo/child", b""))
for text in (".wh.", ".wh..", ".wh...", ".wh..wh.", ".wh..wh.foo", ".wh..wh.aufs", ".wh..wh.plnk", ".wh..wh.orph"):
    two(f"name {text}", lambda t, text=text: t.file(text))
    two(f"name d/{text}", lambda t, text=text: t.file("d/" + text))
two("name d/.wh..wh.plnk/x", lambda t: t.file("d/.wh..wh.plnk/x"))
two("hard link out of aufs storage", lambda t: (t.file(".wh..wh.plnk/1", b"z"), t.hardlink("new", ".wh..wh.plnk/1")))
two("whiteout leaving the root", lambda t: t.file("../.wh.foo"))
two("whiteout with dots in its path", lambda t: t.file("d/../.wh.foo"))
two("whiteout with an absolute path", lambda t: t.file("/.wh.foo"))
two("whiteout of the root", lambda t: t.file("./.wh.."))
layers_case("whiteout in the lowest layer", lambda t: (t.whiteout("foo"), t.file("bar")))
layers_case(
    "whiteout, then the name again above", lower, lambda t: t.whiteout("d"), lambda t: (t.directory("d"), t.file("d/new"))
)
layers_case("whiteout, then an implied directory above", lower, lambda t: t.whiteout("d"), lambda t: t.file("d/new"))
layers_case("whiteout of foo, then a whiteout again", lower, lambda t: t.whiteout("foo"), lambda t: t.whiteout("foo"))

two("opaque directory", lambda t: (t.directory("d", mode=0o700), t.opaque("d"), t.file("d/new", b"n")))
two("opaque mark last", lambda t: (t.directory("d"), t.file("d/new", b"n"), t.opaque("d")))
two("opaque mark first", lambda t: (t.opaque("d"), t.file("d/new", b"n")))
two("opaque mark with implied parents", lambda t: (t.file("d/sub/deep/new", b"n"), t.opaque("d/sub")))
two("opaque mark alone", lambda t: t.opaque("d"))
two("opaque mark on a missing directory", lambda t: t.opaque("missing"))
two("opaque mark on a file", lambda t: t.opaque("foo"))
two("opaque mark over a symlink", lambda t: t.opaque("link"))
two("directory over a symlink, with opaque mark", lambda t: (t.directory("link"), t.opaque("link")))
two("opaque root", lambda t: (t.file(".wh..wh..opq"), t.file("new")))
two("opaque mark twice", lambda t: (t.opaque("d"), t.opaque("d"), t.file("d/n")))
two("opaque mark as a directory", lambda t: t.directory("d/.wh..wh..opq"))
two("opaque and whiteout in one directory", lambda t: (t.opaque("d"), t.whiteout("d/a"), t.file("d/b", b"new")))
two("opaque directory with a subdirectory of the same name", lambda t: (t.opaque("d"), t.directory("d/sub"), t.file("d/sub/y")))
layers_case("opaque in the lowest layer", lambda t: (t.directory("d"), t.opaque("d"), t.file("d/x")))
layers_case(
    "opaque, then implied above", lower, lambda t: (t.directory("d"), t.opaque("d")), lambda t: t.file("d/sub/new", b"n")
)

two("character device 0:0", lambda t: t.device("foo", "c", 0, 0))
two("character device 0:0 over nothing", lambda t: t.device("nothing", "c", 0, 0))
two("character device 0:0 over a directory", lambda t: t.device("d", "c", 0, 0))
two("character device 0:0 with a hard link", lambda t: (t.device("n", "c", 0, 0), t.hardlink("foo", "n")), strict="a hard link to a whiteout would be one more whiteout")
layers_case("character device 0:0 in the lowest layer", lambda t: (t.device("c", "c", 0, 0), t.file("f")))
two("trusted.overlay.opaque", lambda t: t.directory("d", xattrs={"trusted.overlay.opaque": "y"}))
two("trusted.overlay.redirect", lambda t: t.directory("new", xattrs={"trusted.overlay.redirect": "/d"}))
two("trusted.overlay.metacopy", lambda t: t.file("foo", xattrs={"trusted.overlay.metacopy": ""}))
two("trusted.overlay.whiteout", lambda t: t.file("foo", xattrs={"trusted.overlay.whiteout": "y"}))
two("user.overlay.opaque", lambda t: t.directory("d", xattrs={"user.overlay.opaque": "y"}))


# --- types replaced across layers, implied directories -----------------------------------------------

two("file over a directory", lambda t: t.file("d", b"file"))
two("directory over a file", lambda t: t.directory("foo"))
two("symlink over a directory", lambda t: t.symlink("d", "foo"))
two("directory over a symlink", lambda t: t.directory("link", mode=0o700))
two("child of a lower file", lambda t: t.file("foo/child", b"c"))
two("child of a lower symlink", lambda t: t.file("link/evil", b"e"))
two("child of a lower hard link", lambda t: t.file("foo-too/child", b"c"))
two("implied directory keeps lower attributes", lambda t: t.file("d/sub/new", b"n"))
two("fifo over a file", lambda t: t.fifo("foo"))
two("new hard-link group over one of an old", lambda t: (t.file("foo", b"new"), t.hardlink("third", "foo")))
two("copy of one lower hard link", lambda t: t.file("foo", b"lower foo", mode=0o640))
layers_case(
    "directory that was a file below, with a new implied child",
    lambda t: t.file("p", b"file"),
    lambda t: t.directory("p"),
    lambda t: t.file("p/new/x", b"x"),
    lenient="containerd 1.6 stumbles (ENOTDIR) over the hidden file when it copies a parent's attributes",
)
layers_case(
    "implied directory hidden in between",
    lambda t: t.directory("p", mode=0o700, uid=7),
    lambda t: t.file("p", b"file"),
    lambda t: t.file("p/x", b"x"),
)
layers_case(
    "implied directory with xattrs below",
    lambda t: t.directory("p", mode=0o700, xattrs={"user.a": "1", "security.b": "2"}),
    lambda t: t.file("p/x", b"x"),
)
layers_case("same layer twice", lower, lower)
layers_case("root entry", lambda t: (t.directory("./", mode=0o700, uid=9, mtime=1), t.file("f")))
layers_case("root entry as a dot", lambda t: (t.directory(".", mode=0o700, uid=9, xattrs={"user.r": "1"}), t.file("f")))
two("root entry in the upper layer", lambda t: t.directory("./", mode=0o711, gid=3))
layers_case("root as a file", lambda t: t.file(".", b"root"))
layers_case("root as a symlink", lambda t: t.symlink(".", "/etc"))
layers_case("root as a slash", lambda t: (t.directory("/", mode=0o700), t.file("/f")))
layers_case("symlink /. (a name that ends in a dot)", lambda t: (t.symlink("/.", "/tmp"), t.file("evil", b"e")))


# --- duplicates --------------------------------------------------------------------------------------


def dup(name, *steps, **options):
    layers_case("duplicate: " + name, lambda t: [step(t) for step in steps], **options)


dup("file, file", lambda t: t.file("x", b"one"), lambda t: t.file("x", b"two", mode=0o600))
dup("directory, directory", lambda t: t.directory("x", mode=0o700), lambda t: t.file("x/y"), lambda t: t.directory("x", mode=0o711))
dup("file, directory", lambda t: t.file("x", b"one"), lambda t: t.directory("x"))
dup("empty directory, file", lambda t: t.directory("x"), lambda t: t.file("x", b"f"))
dup("full directory, file", lambda t: t.directory("x"), lambda t: t.file("x/y", b"y"), lambda t: t.file("x", b"f"))
dup("full directory, symlink", lambda t: t.file("x/y", b"y"), lambda t: t.symlink("x", "z"))
dup("symlink, directory", lambda t: t.directory("z"), lambda t: t.symlink("x", "z"), lambda t: t.directory("x", mode=0o700))
dup("symlink, file", lambda t: t.file("z", b"z"), lambda t: t.symlink("x", "z"), lambda t: t.file("x", b"x"))
dup("symlink, symlink", lambda t: t.symlink("x", "a"), lambda t: t.symlink("x", "b"))
dup("hard link, file", lambda t: t.file("a", b"a"), lambda t: t.hardlink("x", "a"), lambda t: t.file("x", b"other"))
dup("file with links, file", lambda t: t.file("a", b"a"), lambda t: t.hardlink("x", "a"), lambda t: t.file("a", b"new a"))
dup("hard link over a file", lambda t: t.file("x", b"x"), lambda t: t.file("a", b"a"), lambda t: t.hardlink("x", "a"))
dup("hard link twice", lambda t: t.file("a", b"a"), lambda t: t.hardlink("x", "a"), lambda t: t.hardlink("x", "a"))
dup("written two ways", lambda t: t.file("x", b"1"), lambda t: t.file("./x", b"2"), lambda t: t.file("/x", b"3"))
dup("device, fifo", lambda t: t.device("x", "c", 1, 3), lambda t: t.fifo("x"))
dup("file with xattrs, file", lambda t: t.file("x", xattrs={"user.a": "1"}), lambda t: t.file("x", b"2"))
dup("directory with xattrs, directory", lambda t: t.directory("x", xattrs={"user.a": "1"}), lambda t: t.directory("x", xattrs={"user.b": "2"}))
dup("implied directory, then its entry", lambda t: t.file("x/y"), lambda t: t.directory("x", mode=0o700, mtime=5))


# --- hard links --------------------------------------------------------------------------------------

two("hard link to a lower file only", lambda t: t.hardlink("new", "foo"), names="new")
two("hard link to a file whited out before", lambda t: (t.whiteout("foo"), t.hardlink("new", "foo")), strict="containerd makes one more whiteout of it, and the name is silently gone")
two("hard link to a file whited out after", lambda t: (t.file("n", b"n"), t.hardlink("new", "n"), t.whiteout("n")))
layers_case("hard link before its target", lambda t: (t.hardlink("b", "a"), t.file("a", b"a")), names="b")
layers_case("hard link to nothing", lambda t: t.hardlink("b", "missing"), names="missing")
layers_case("hard link to a directory", lambda t: (t.directory("d"), t.hardlink("b", "d")), names="b")
layers_case("hard link to itself", lambda t: (t.file("a", b"a"), t.hardlink("a", "a")))
layers_case("hard link to itself, missing", lambda t: t.hardlink("a", "a"))
layers_case("hard link to a symlink", lambda t: (t.symlink("l", "t"), t.hardlink("h", "l")))
layers_case("hard link to a hard link", lambda t: (t.file("a", b"a"), t.hardlink("b", "a"), t.hardlink("c", "b")))
layers_case("hard link with an absolute target", lambda t: (t.file("a", b"a"), t.hardlink("b", "/a")))
layers_case("hard link with a target that leaves the root", lambda t: (t.file("a", b"a"), t.hardlink("b", "../../a")))
layers_case("hard link to /etc/passwd of the host", lambda t: t.hardlink("b", "../../../../../../etc/passwd"))
layers_case("hard link with an empty target", lambda t: t.hardlink("b", ""))
layers_case("hard link to the root", lambda t: t.hardlink("b", "/"))
layers_case(
    "hard link through a symlink", lambda t: (t.file("d/a", b"a"), t.symlink("l", "d"), t.hardlink("b", "l/a"))
)
layers_case(
    "hard link through an absolute symlink", lambda t: (t.file("d/a", b"a"), t.symlink("l", "/d"), t.hardlink("b", "l/a"))
)
layers_case("hard link into a missing directory", lambda t: (t.file("a", b"a"), t.hardlink("x/y/z", "a")))
layers_case("hard link changes attributes", lambda t: (t.file("a", b"a"), t.hardlink("b", "a", mode=0o600, uid=4, mtime=77)))
layers_case("hard link with xattrs", lambda t: (t.file("a", b"a"), t.hardlink("b", "a", xattrs={"user.x": "1"})))
raw_case("hard link with data", entry("a", b"a") + entry("b", b"bbb", b"1", linkname=b"a") + entry("c", b"c") + END)
layers_case("hard link to a device", lambda t: (t.device("a", "b", 8, 1), t.hardlink("b", "a")))
layers_case("65 hard links", lambda t: (t.file("a", b"a"), [t.hardlink(f"l{i}", "a") for i in range(65)]))


# --- paths -------------------------------------------------------------------------------------------

for path in (
    "/absolute", "//double", "./dot", "../outside", "../../../../../../outside", "a/../b", "a/../../b", "a//b", "a/./b",
    "a/b/", "a/.", "a/..", "..", "../", "./../x", "/..", "/../x", "...", "a/...", " ", "a/ /b", "\\", "C:\\x", "-", "~",
):
    layers_case(f"file named {path!r}", lambda t, path=path: (t.file("first", b"1"), t.file(path, b"data"), t.file("last")))
    layers_case(f"directory named {path!r}", lambda t, path=path: (t.directory(path, mode=0o700), t.file("last")))
raw_case("empty name", entry("", b"data") + entry("last") + END)
raw_case("old-style directory (a regular entry with a trailing slash)", entry("dir/", b"", b"\0") + entry("dir/f", b"1") + END)
raw_case("regular entry '0' with a trailing slash", entry("dir/", b"", b"0") + entry("dir/f", b"1") + END)
raw_case("directory entry with a size", header("dir/", 600, b"5") + entry("f", b"1") + END)
raw_case("symlink entry with a size", header("l", 600, b"2", linkname=b"t") + entry("f", b"1") + END)
raw_case("fifo entry with a size", header("p", 600, b"6") + entry("f", b"1") + END)
raw_case("name with a prefix", entry("name", b"1", prefix=b"some/prefix") + END)
raw_case("name that fills its field", entry("n" * 100, b"1") + END)
raw_case("name of 255 bytes", lambda: oci.tar_bytes(lambda t: t.file("n" * 255)))
raw_case("name of 256 bytes", lambda: oci.tar_bytes(lambda t: t.file("n" * 256)), names="nnnn")
raw_case("directory name of 256 bytes", lambda: oci.tar_bytes(lambda t: t.directory("n" * 256)))
raw_case("path of 4000 bytes", lambda: oci.tar_bytes(lambda t: t.file("/".join(["p" * 200] * 20)[:4000])), lenient="containerd's paths start at its own directory")
raw_case(
    "path of 5000 bytes",
    lambda: oci.tar_bytes(lambda t: t.file("/".join(["p" * 200] * 25))),
    lenient="containerd's paths start at its own directory",
)
raw_case("path of 1000 levels", lambda: oci.tar_bytes(lambda t: t.file("/".join(["a"] * 1000))))
raw_case(
    "path of a million levels",
    lambda: gnu_long(b"L", b"a/" * 1_000_000 + b"f") + entry("x", b"1") + END,
)
raw_case("path of dots, a million", lambda: gnu_long(b"L", b"./" * 1_000_000 + b"f") + entry("x", b"1") + END)
raw_case("path of dot-dots, a hundred thousand", lambda: gnu_long(b"L", b"../" * 100_000 + b"f") + entry("x", b"1") + END)
raw_case("symlink target of 4095 bytes", lambda: oci.tar_bytes(lambda t: t.symlink("l", "t" * 4095)), lenient="ext4 stores 4095")
raw_case("symlink target of 4096 bytes", lambda: oci.tar_bytes(lambda t: t.symlink("l", "t" * 4096)))
raw_case("symlink target of a megabyte", lambda: gnu_long(b"K", b"t" * (1 << 20)) + entry("l", b"", b"2", linkname=b"t") + END)
raw_case("symlink with an empty target", entry("l", b"", b"2") + END)
layers_case("300 directories deep, one by one", lambda t: [t.directory("/".join(["a"] * i)) for i in range(1, 300)])


# --- symlinks in the way -----------------------------------------------------------------------------


def through(name, *links, file="l/x", **options):
    def fill(t):
        t.directory("d")
        for link, target in links:
            t.symlink(link, target)
        t.file(file, b"through a symlink")

    layers_case("through a symlink: " + name, fill, **options)


through("relative", ("l", "d"))
through("absolute", ("l", "/d"))
through("up and down", ("l", "../../../d"))
through("to a missing directory", ("l", "missing"))
through("to a missing path", ("l", "missing/deeper"))
through("chain", ("l", "m"), ("m", "n"), ("n", "d"))
through("cycle of two", ("l", "m"), ("m", "l"))
through("to itself", ("l", "l"))
through("to itself below", ("l", "l/l"))
through("to the root", ("l", "/"))
through("to a dot", ("l", "."))
through("to the host's /etc", ("l", "/etc"), file="l/zeropull-was-here")
through("to /proc/self/root", ("l", "/proc/self/root"), file="l/tmp/zeropull-was-here")
through("with trailing slashes", ("l", "d///"))
through("then dot-dot", ("l", "d"), file="l/../x")
through("a link below a link", ("l", "d"), ("d/m", ".."), file="l/m/y")
through("chain of 40", *[(f"l{i}", f"l{i + 1}") for i in range(40)], ("l40", "d"), file="l0/x")
through("chain of 300", *[(f"l{i}", f"l{i + 1}") for i in range(300)], ("l300", "d"), file="l0/x")
through("doubling (2^30 steps)", *[(f"l{i}", f"l{i + 1}/l{i + 1}") for i in range(30)], ("l30", "."), file="l0/x")
layers_case("last component is a symlink", lambda t: (t.file("d/x", b"x"), t.symlink("l", "d/x"), t.file("l", b"replaces the link")))
layers_case("directory entry through a symlink", lambda t: (t.directory("d"), t.symlink("l", "d"), t.directory("l/sub", mode=0o700)))
layers_case("symlink entry through a symlink", lambda t: (t.directory("d"), t.symlink("l", "d"), t.symlink("l/s", "x")))
layers_case("whiteout through a symlink", lambda t: t.file("d/x"), lambda t: (t.directory("e"), t.symlink("l", "e"), t.whiteout("l/x")))
layers_case("opaque mark through a symlink", lower, lambda t: (t.directory("d"), t.symlink("m", "d"), t.opaque("m")))
layers_case("file where a parent is a file", lambda t: (t.file("f", b"1"), t.file("f/x", b"2")), names="f/x")
layers_case("file where a parent is a fifo", lambda t: (t.fifo("f"), t.file("f/x", b"2")))
layers_case("link removed after use", lambda t: (t.directory("d"), t.symlink("l", "d"), t.file("l/x"), t.file("l", b"file")))
two("symlink to a lower directory, then through it", lambda t: (t.symlink("new", "d"), t.file("new/a", b"over a?")))
two("symlink replaced by a directory in a lower layer's place", lambda t: (t.directory("link"), t.file("link/a", b"not d/a")))


# --- attributes --------------------------------------------------------------------------------------

WRONG_OWNER = "containerd cuts it to 32 bits, of which all ones leave the owner as it was"
WRONG_DEVICE = "the kernel cuts it to 12 and 20 bits: another device"
for label, mode in (("with type bits", 0o100644), ("with all bits", 0o7777777), ("all set", 0o7777), ("zero", 0)):
    raw_case(f"mode {label}", entry("f", b"1", mode=mode) + entry("d/", b"", b"5", mode=mode) + END)
raw_case("mode in base 256", entry("f", b"1", mode=b"\x80\0\0\0\0\0\x01\xed") + END)
raw_case("mode negative", entry("f", b"1", mode=b"\xff" * 8) + END)
raw_case("mode not octal", entry("f", b"1", mode=b"rwxr-x\0") + END)
raw_case("numbers in blanks", entry("f", b"1", mode=b"   644 \0", uid=b"     7 \0", mtime=b"       1000\0") + END)
raw_case("empty number fields", entry("f", b"1", mode=b"", uid=b"", gid=b"", mtime=b"") + END)
raw_case("uid in base 256", entry("f", b"1", uid=b"\x80\0\0\0\xee\xee\xee\xee") + END)
raw_case("uid past 32 bits", entry("f", b"1", uid=b"\x80\0\0\x01\0\0\0\x05") + END, strict=WRONG_OWNER)
raw_case("uid negative", entry("f", b"1", uid=b"\xff" * 8) + END, strict=WRONG_OWNER)
raw_case("uid 2^32-1", with_pax(("uid", "4294967295"), ("gid", "4294967295")), strict=WRONG_OWNER)
for value in ("4294967294", "4294967296", "-1", "99999999999999999999", "abc", "", "1.5", "0x10", " 5"):
    raw_case(f"PAX uid {value!r}", with_pax(("uid", value)), strict=WRONG_OWNER if value in ("4294967296", "-1") else "")
for value in (
    "1e9", "abc", "", "1.", ".5", "-.5", "-1", "-1.000000001", "99999999999999999999", "9223372036", "9223372037",
    "1700000000.000000001", "1700000000.12345678901234567890", "1,5", "+5", " 5", "nan", "253402300800", "-62135596801",
    "0", "-0", "-0.5", "9999999999.999999999",
):
    raw_case(f"PAX mtime {value!r}", with_pax(("mtime", value)), lenient="ext4's range" if len(value) > 10 else "")
raw_case("PAX atime and ctime", with_pax(("atime", "1000000000.5"), ("ctime", "1000000001.5")))
raw_case("PAX atime not a number", with_pax(("atime", "never")))
raw_case("mtime in base 256, negative", entry("f", b"1", mtime=b"\xff" * 11 + b"\xfe") + END)
raw_case("mtime in base 256, huge", entry("f", b"1", mtime=b"\x80" + b"\0" * 3 + b"\x7f" * 8) + END)
for kind, label in ((b"3", "char"), (b"4", "block")):
    raw_case(f"{label} device", entry("n", b"", kind, major=8, minor=1) + END)
    raw_case(f"{label} device, empty numbers", entry("n", b"", kind, major=b"", minor=b"") + END)
    raw_case(f"{label} device, large numbers", entry("n", b"", kind, major=0o7777, minor=0o3777777) + END)
    raw_case(f"{label} device, major past 12 bits", entry("n", b"", kind, major=0o10000, minor=1) + END, strict=WRONG_DEVICE)
    raw_case(f"{label} device, minor past 20 bits", entry("n", b"", kind, major=1, minor=0o4000000) + END, strict=WRONG_DEVICE)
    raw_case(f"{label} device, base 256", entry("n", b"", kind, major=b"\x80\0\0\0\0\0\x01\x02", minor=b"\x80\0\0\0\0\0\x03\x04") + END)
    raw_case(f"{label} device, negative", entry("n", b"", kind, major=b"\xff" * 8, minor=b"\xff" * 8) + END, strict=WRONG_DEVICE)
    raw_case(f"{label} device, 2^32", entry("n", b"", kind, major=b"\x80\0\0\x01\0\0\0\0", minor=0) + END, strict=WRONG_DEVICE)


# --- xattrs ------------------------------------------------------------------------------------------


def xattr(name, key, value, kind="file", **options):
    def fill(t):
        add = {"file": t.file, "directory": t.directory, "fifo": t.fifo}.get(kind)
        if add:
            add("x", xattrs={key: value})
        elif kind == "symlink":
            t.symlink("x", "target", xattrs={key: value})
        else:
            t.device("x", "c", 1, 3, xattrs={key: value})

    layers_case("xattr: " + name, fill, **options)


CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
xattr("user on a symlink", "user.a", "1", "symlink", lenient="containerd's EPERM")
xattr("user on a fifo", "user.a", "1", "fifo", lenient="containerd's EPERM")
xattr("user on a device", "user.a", "1", "device", lenient="containerd's EPERM")
xattr("security on a symlink", "security.a", "1", "symlink")
xattr("trusted", "trusted.a", "1")
xattr("trusted on a symlink", "trusted.a", "1", "symlink")
xattr("no namespace", "plain", "1")
xattr("unknown namespace", "other.a", "1")
xattr("system.unknown", "system.other", "1")
xattr("empty name", "", "1")
xattr("namespace only", "user.", "1")
xattr("empty value", "user.a", "")
xattr("value with NUL", "user.a", b"a\0b\0")
xattr("value with newline and equals", "user.a", b"a\n5 b=c\n")
xattr("name with equals", "user.a=b", "c")
xattr("name of 255 bytes", "user." + "n" * 250, "1")
xattr("name of 256 bytes", "user." + "n" * 251, "1", names="x")
raw_case("xattr: name not UTF-8", with_pax((b"SCHILY.xattr.user.\xff\xfe", "1")))
xattr("value of 3000 bytes", "user.a", "v" * 3000)
xattr("value of 65535 bytes", "user.a", "v" * 65535, lenient="ext4 stores 4 KiB")
xattr("value of 65537 bytes", "user.a", "v" * 65537)
xattr("capability", "security.capability", CAPABILITY)
xattr("capability on a directory", "security.capability", CAPABILITY, "directory")
xattr("capability too short", "security.capability", b"\1", lenient="the kernel's EINVAL")
xattr("capability of a future revision", "security.capability", b"\1\0\0\x09" + bytes(16), lenient="the kernel's EINVAL")
xattr("capability revision 3", "security.capability", b"\1\0\0\3\0\4" + bytes(14) + b"\xe8\3\0\0")
xattr("selinux", "security.selinux", "system_u:object_r:bin_t:s0\0")
xattr("ima", "security.ima", b"\1\2\3", lenient="the kernel's answer depends on its configuration")
xattr("acl malformed", "system.posix_acl_access", b"\2\0\0\0\1", lenient="the kernel's EINVAL")
xattr("acl of the wrong version", "system.posix_acl_access", b"\1\0\0\0", lenient="the kernel's EOPNOTSUPP")
xattr("default acl on a file", "system.posix_acl_default", b"\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff\x20\0\5\0\xff\xff\xff\xff", lenient="the kernel's EACCES")
xattr("minimal acl equal to the mode", "system.posix_acl_access", b"\2\0\0\0\1\0\6\0\xff\xff\xff\xff\4\0\4\0\xff\xff\xff\xff\x20\0\4\0\xff\xff\xff\xff")
xattr("minimal acl that changes the mode", "system.posix_acl_access", b"\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff\x20\0\1\0\xff\xff\xff\xff")
raw_case("LIBARCHIVE.xattr", with_pax(("LIBARCHIVE.xattr.user.a", "MQ==")))
raw_case("xattr twice", with_pax(("SCHILY.xattr.user.a", "1"), ("SCHILY.xattr.user.a", "2")))
raw_case("xattrs, 300 of them", lambda: with_pax(*[(f"SCHILY.xattr.user.{i}", "") for i in range(300)]), lenient="ext4's space")
raw_case("SCHILY.acl.access", with_pax(("SCHILY.acl.access", "user::rw-,group::r--,other::r--")))
raw_case("RHT.security.selinux", with_pax(("RHT.security.selinux", "system_u:object_r:bin_t:s0")))


# --- PAX and GNU headers -----------------------------------------------------------------------------

raw_case("PAX path", with_pax(("path", "from/pax")))
raw_case("PAX path empty", with_pax(("path", "")))
raw_case("PAX path with NUL", with_pax(("path", b"a\0b")))
raw_case("PAX linkpath with NUL", pax(("linkpath", b"a\0b")) + entry("l", b"", b"2") + END)
raw_case("PAX path leaves the root", with_pax(("path", "../../../x")))
raw_case("PAX key empty", with_pax(("", "x")))
raw_case("PAX key with NUL", with_pax((b"a\0b", "x")))
raw_case("PAX unknown keys", with_pax(("VENDOR.thing", "x"), ("comment", "hello")))
raw_case("PAX size smaller", with_pax(("size", "2")))
raw_case("PAX size larger", lambda: pax(("size", "600")) + header("f", 1) + padded(b"y" * 600) + END)
raw_case("PAX size huge", with_pax(("size", "9223372036854775807")), names="file")
raw_case("PAX size negative", with_pax(("size", "-1")))
raw_case("PAX size not a number", with_pax(("size", "many")))
raw_case("PAX size with an exponent", with_pax(("size", "1e3")))
raw_case("PAX record too long", with_pax(b"99 path=x\n"))
raw_case("PAX record too short", with_pax(b"3 path=x\n"))
raw_case("PAX record of length zero", with_pax(b"0 path=x\n"))
raw_case("PAX record length with leading zeros", with_pax(b"000000011 a=bcd\n"[:16]))
raw_case("PAX record length overflows", with_pax(b"99999999999999999999999 path=x\n"))
raw_case("PAX record length negative", with_pax(b"-11 path=xx\n"))
raw_case("PAX record without equals", with_pax(b"9 pathx\n\n"))
raw_case("PAX record without newline", with_pax(b"10 path=xx"))
raw_case("PAX header of garbage", with_pax(b"garbage garbage"))
raw_case("PAX header empty", with_pax())
raw_case("PAX header twice", pax(("path", "one")) + pax(("mtime", "5")) + entry("file", b"1") + END)
raw_case("PAX header at the end", entry("f", b"1") + pax(("path", "x")) + END)
raw_case("PAX header cut off", entry("f", b"1") + header("pax", 2000, b"x") + b"20 path=")
raw_case("PAX header of 1 MiB", lambda: with_pax(("comment", "c" * ((1 << 20) - 100))))
raw_case("PAX header of 2 MiB", lambda: with_pax(("comment", "c" * (2 << 20))))
raw_case("PAX header said to be 8 EiB", header("pax", b"\x80\0\0\0" + b"\x7f" + b"\xff" * 7, b"x") + bytes(1024) + END)
raw_case("PAX global header", pax(("path", "global"), ("mtime", "5"), ("uid", "7"), kind=b"g") + entry("f", b"1") + entry("g", b"2") + END)
raw_case("PAX global header with xattr", pax(("SCHILY.xattr.user.a", "1"), kind=b"g") + entry("f", b"1") + END)
raw_case("PAX global header malformed", pax(b"99 x=y\n", kind=b"g") + entry("f", b"1") + END)
raw_case("PAX global header of 2 MiB", lambda: pax(("comment", "c" * (2 << 20)), kind=b"g") + entry("f", b"1") + END)
raw_case("PAX mode", with_pax(("SCHILY.dev", "1"), ("SCHILY.ino", "2"), ("SCHILY.nlink", "9"), ("mode", "0777")))
raw_case("PAX devmajor", pax(("SCHILY.devmajor", "5"), ("SCHILY.devminor", "6")) + entry("n", b"", b"3", major=1, minor=3) + END)
raw_case("PAX header with Solaris type X", entry("pax", pax_record("path", "solaris"), b"X") + entry("f", b"1") + END)
raw_case("PAX hdrcharset", with_pax(("hdrcharset", "BINARY"), ("path", b"\xff\xfe")))
raw_case("PAX path not UTF-8", with_pax(("path", b"\xff\xfe")))
raw_case("GNU long name", gnu_long(b"L", b"l" * 200) + entry("short", b"1") + END)
raw_case("GNU long name empty", gnu_long(b"L", b"") + entry("short", b"1") + END)
raw_case("GNU long name with NUL inside", gnu_long(b"L", b"aa\0bb") + entry("short", b"1") + END)
raw_case("GNU long name without NUL", entry("././@LongLink", b"l" * 200, b"L") + entry("short", b"1") + END)
raw_case("GNU long name twice", gnu_long(b"L", b"one") + gnu_long(b"L", b"two") + entry("short", b"1") + END)
raw_case("GNU long name and link", gnu_long(b"K", b"target" * 30) + gnu_long(b"L", b"l" * 200) + entry("s", b"", b"2", linkname=b"t") + END)
raw_case("GNU long name then PAX path", gnu_long(b"L", b"gnu") + with_pax(("path", "pax")))
raw_case("PAX path then GNU long name", pax(("path", "pax")) + gnu_long(b"L", b"gnu") + entry("f", b"1") + END)
raw_case("GNU long name at the end", entry("f", b"1") + gnu_long(b"L", b"name") + END)
raw_case("GNU long name cut off", entry("f", b"1") + header("L", 4000, b"L") + b"abc")
raw_case("GNU long name of 2 MiB", lambda: gnu_long(b"L", b"l" * (2 << 20)) + entry("f", b"1") + END)
raw_case("GNU long name said to be 8 EiB", header("L", b"\x80\0\0\0" + b"\x7f" + b"\xff" * 7, b"L") + END)
raw_case("GNU magic with a prefix field", entry("f", b"1", magic=b"ustar  \0", prefix=b"12345") + END)
raw_case("V7 header", entry("f", b"1", magic=b"", kind=b"\0") + entry("l", b"", magic=b"", kind=b"1", linkname=b"f") + END)
raw_case("STAR header", lambda: entry("f", b"1", magic=b"ustar\x0000", prefix=b"p".ljust(127) + b"0" * 28) + END)
for kind in b"7ADEIMNSVXZ89$\x01\xff":
    raw_case(f"entry type {bytes([kind])!r}", entry("f", b"data", bytes([kind])) + entry("last", b"1") + END)


def gnu_sparse():
    block = bytearray(header("s", 512, b"S", magic=b"ustar  \0"))
    block[386:410] = b"%011o\0%011o\0" % (8192, 512)
    block[483:495] = b"%011o\0" % 8704
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"s" * 512 + entry("last") + END


raw_case("GNU sparse type S", gnu_sparse)
_SPARSE_MAP = b"1\n8192\n512\n".ljust(512, b"\0") + b"s" * 512
raw_case(
    "PAX sparse 1.0",
    lambda: pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "s"), ("GNU.sparse.realsize", "8704"))
    + entry("GNUSparseFile.0/s", _SPARSE_MAP) + entry("last") + END,
)
raw_case(
    "PAX sparse 1.0 with a hostile map",
    lambda: pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "s"), ("GNU.sparse.realsize", "8704"))
    + entry("GNUSparseFile.0/s", b"99999999\n0\n1\n".ljust(512, b"\0")) + END,
)
raw_case(
    "PAX sparse 1.0 of 8 EiB",
    lambda: pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "s"), ("GNU.sparse.realsize", "9223372036854775807"))
    + entry("GNUSparseFile.0/s", b"1\n0\n1\n".ljust(512, b"\0") + b"s" * 512) + END,
    refuse_only=True,
)
raw_case(
    "PAX sparse 0.1",
    lambda: with_pax(("GNU.sparse.size", "8704"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.map", "8192,512"), data=b"s" * 512),
)
raw_case(
    "PAX sparse 0.0",
    lambda: with_pax(
        ("GNU.sparse.size", "8704"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.offset", "8192"), ("GNU.sparse.numbytes", "512"),
        data=b"s" * 512,
    ),
)


# --- archive structure -------------------------------------------------------------------------------

def _signed_checksum():
    block = bytearray(header("caf\u00e9".encode("latin1"), 0))
    block[148:156] = b" " * 8
    signed = sum(b - 256 if b > 127 else b for b in block)
    block[148:156] = b"%06o\0 " % signed
    return bytes(block) + END


_GOOD = entry("a", b"one") + entry("b", b"two" * 300) + entry("c", b"three")
raw_case("end blocks missing", _GOOD)
raw_case("one end block", _GOOD + bytes(512))
raw_case("half an end block", _GOOD + bytes(100))
raw_case("many end blocks", _GOOD + bytes(10240))
raw_case("one zero block in the middle", _GOOD + bytes(512) + entry("d", b"after"))
raw_case("another archive after the end", _GOOD + END + entry("d", b"after") + END)
raw_case("garbage after the end", _GOOD + END + b"garbage" * 1000)
raw_case("zero block first", bytes(512) + _GOOD + END)
raw_case("empty archive", END)
raw_case("no bytes at all", b"")
raw_case("one byte", b"\0")
raw_case("all zeros, a megabyte", bytes(1 << 20))
raw_case("garbage archive", lambda: random.Random(1).randbytes(5000))
raw_case("text archive", b"this is not an archive\n" * 100)
raw_case("cut off in a header", _GOOD[: 512 * 3 - 100], names="")
raw_case("cut off in data", _GOOD[: 512 * 3 + 600], names="b")
raw_case("cut off in padding", _GOOD[: 512 * 3 + 450 * 2])
raw_case("header checksum wrong", entry("a", b"1") + entry("b", b"2", checksum=b"000001\0 ") + END)
raw_case("header checksum of signed bytes", _signed_checksum)
raw_case("header checksum empty", entry("a", b"1", checksum=b"") + END)
raw_case("size not octal", entry("a", b"1", size=b"99999999999") + END)
raw_case("size negative in base 256", entry("a", b"1", size=b"\xff" * 12) + END)
raw_case("size 8 EiB", entry("a", b"1", size=b"\x80\0\0\0\x7f" + b"\xff" * 7) + END, names="a")
raw_case("size past 64 bits", entry("a", b"1", size=b"\x80" + b"\x7f" * 11) + END)
raw_case("size 1 TiB, 1 byte there", entry("a", b"1", size=b"\x80\0\0\0\0\0\1\0\0\0\0\0") + END, names="a")
raw_case("size empty", entry("a", b"", size=b"") + END)
raw_case("size without terminator", entry("a", b"one", size=b"000000000003") + END)
raw_case("cpio instead of tar", b"070701" + b"0" * 600)


# --- compression -------------------------------------------------------------------------------------

PLAIN_TAR = _GOOD + END
GZ, ZST, TAR = oci.LAYER["gzip"], oci.LAYER["zstd"], oci.LAYER["none"]


@dataclass
class Blob:
    """A layer as raw blob bytes, with its media type and the tar its diffID is of."""

    data: bytes
    media_type: str = GZ
    tar: bytes = PLAIN_TAR
    diff_id: str = None
    digest: str = None
    size: int = None
    missing: bool = False


def blob_case(name, make, **options):
    case("blob: " + name, **options)(lambda: [make() if callable(make) else make])


def _gz(data=PLAIN_TAR):
    return gzip.compress(data, 6, mtime=0)


def _zst(data=PLAIN_TAR, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


def _flip(data, at):
    data = bytearray(data)
    data[at] ^= 0x55
    return bytes(data)


_SKIPPABLE = b"\x50\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"skipped"

MISLABELLED = "what is in it is beyond doubt: other runtimes look at the first bytes, and the diffID is checked"
WRONG_SIZE = "a registry would not serve it; containerd does not look at it when it imports"

blob_case("plain gzip", lambda: Blob(_gz()))
blob_case("gzip in three members", lambda: Blob(_gz(PLAIN_TAR[:700]) + _gz(PLAIN_TAR[700:1000]) + _gz(PLAIN_TAR[1000:])))
blob_case("gzip with empty members", lambda: Blob(_gz(b"") + _gz() + _gz(b"") + _gz(b"")))
blob_case("gzip cut off", lambda: Blob(_gz()[:-20]))
blob_case("gzip without its trailer", lambda: Blob(_gz()[:-8]))
blob_case("gzip with half a trailer", lambda: Blob(_gz()[:-3]))
blob_case("gzip, second member cut off", lambda: Blob(_gz(PLAIN_TAR[:700]) + _gz(PLAIN_TAR[700:])[:-12]))
blob_case("gzip with a wrong CRC", lambda: Blob(_flip(_gz(), -6)))
blob_case("gzip with a wrong length", lambda: Blob(_flip(_gz(), -2)))
blob_case("gzip with a flipped bit", lambda: Blob(_flip(_gz(), 60)))
blob_case("gzip followed by zeros", lambda: Blob(_gz() + bytes(100)))
blob_case("gzip followed by garbage", lambda: Blob(_gz() + b"garbage"))
blob_case("gzip followed by one byte", lambda: Blob(_gz() + b"\x1f"))
blob_case("gzip with name, comment, extra field and header CRC", lambda: Blob(_gzip_with_everything()))
blob_case("gzip of an unknown method", lambda: Blob(b"\x1f\x8b\x07" + _gz()[3:]))
blob_case("gzip with reserved flags", lambda: Blob(b"\x1f\x8b\x08\xe0" + _gz()[4:]))
blob_case("gzip header alone", lambda: Blob(_gz()[:10], tar=b""))
blob_case("gzip magic alone", Blob(b"\x1f\x8b", tar=b""))
blob_case("gzip of nothing", lambda: Blob(_gz(b""), tar=b""))
blob_case("empty blob", Blob(b"", tar=b""))
blob_case("empty blob, plain", Blob(b"", TAR, tar=b""))
blob_case("gzip in gzip", lambda: Blob(_gz(_gz()), tar=_gz()))
blob_case("zstd", lambda: Blob(_zst(), ZST))
blob_case("zstd in two frames", lambda: Blob(_zst(PLAIN_TAR[:700]) + _zst(PLAIN_TAR[700:]), ZST))
blob_case("zstd with skippable frames", lambda: Blob(_SKIPPABLE + _zst() + _SKIPPABLE, ZST))
blob_case("zstd, skippable between frames", lambda: Blob(_zst(PLAIN_TAR[:700]) + _SKIPPABLE + _zst(PLAIN_TAR[700:]), ZST))
blob_case("zstd cut off", lambda: Blob(_zst()[:-10], ZST))
blob_case("zstd with a wrong checksum", lambda: Blob(_flip(_zst(), -2), ZST))
blob_case("zstd followed by garbage", lambda: Blob(_zst() + b"garbage", ZST))
blob_case("zstd with a flipped bit", lambda: Blob(_flip(_zst(), 20), ZST))
blob_case("zstd with a 2 GiB window", lambda: Blob(_zst_huge_window(), ZST), lenient="decoder's own window limit")
blob_case("zstd of nothing", lambda: Blob(_zst(b""), ZST, tar=b""))
blob_case("zstd with a dictionary id", lambda: Blob(b"\x28\xb5\x2f\xfd\x23\x39\x05\x00" + _zst()[6:], ZST))
blob_case("plain tar labelled gzip", lambda: Blob(PLAIN_TAR, GZ))
blob_case("zstd labelled gzip", lambda: Blob(_zst(), GZ))
blob_case("gzip labelled zstd", lambda: Blob(_gz(), ZST))
blob_case("gzip labelled plain tar", lambda: Blob(_gz(), TAR), lenient=MISLABELLED)
blob_case("zstd labelled plain tar", lambda: Blob(_zst(), TAR), lenient=MISLABELLED)
blob_case("plain tar labelled zstd", lambda: Blob(PLAIN_TAR, ZST))
blob_case("xz labelled gzip", lambda: Blob(lzma.compress(PLAIN_TAR), GZ))
blob_case("bzip2 labelled gzip", lambda: Blob(bz2.compress(PLAIN_TAR), GZ))
blob_case("unknown media type", lambda: Blob(_gz(), "application/x-unknown"))
blob_case("encrypted media type", lambda: Blob(_gz(), GZ + "+encrypted"))
blob_case("xz media type", lambda: Blob(lzma.compress(PLAIN_TAR), TAR + "+xz"))
blob_case("docker gzip media type", lambda: Blob(_gz(), oci.DOCKER_LAYER))
blob_case("docker plain media type", lambda: Blob(PLAIN_TAR, "application/vnd.docker.image.rootfs.diff.tar"))
blob_case("docker foreign layer", lambda: Blob(_gz(), "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"))
blob_case("OCI nondistributable layer", lambda: Blob(_gz(), "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"))
blob_case("media type empty", lambda: Blob(_gz(), ""))
blob_case("bytes after the end count in the diffID", lambda: Blob(_gz(PLAIN_TAR + b"tail" * 500), tar=PLAIN_TAR + b"tail" * 500))
blob_case("diffID without the bytes after the end", lambda: Blob(_gz(PLAIN_TAR + b"tail" * 500)))
blob_case("wrong diffID", lambda: Blob(_gz(), diff_id="sha256:" + "0" * 64))
blob_case("diffID of the compressed bytes", lambda: Blob(_gz(), diff_id=oci.sha256(_gz())))
blob_case("diffID of another algorithm", lambda: Blob(_gz(), diff_id="sha512:" + "0" * 128))
blob_case("diffID too short", lambda: Blob(_gz(), diff_id="sha256:abc"))
blob_case("diffID in capitals", lambda: Blob(_gz(), diff_id=oci.sha256(PLAIN_TAR).upper().replace("SHA256", "sha256")))
blob_case("diffID empty", lambda: Blob(_gz(), diff_id=""))
blob_case("diffID with a path", lambda: Blob(_gz(), diff_id="sha256:../../../../etc/passwd"))
blob_case("digest of other bytes", lambda: Blob(_gz(), digest=oci.sha256(b"other")))
blob_case("size too small", lambda: Blob(_gz(), size=10), strict=WRONG_SIZE)
blob_case("size too large", lambda: Blob(_gz(), size=100000), strict=WRONG_SIZE)
blob_case("size zero", lambda: Blob(_gz(), size=0), strict=WRONG_SIZE)
blob_case("size negative", lambda: Blob(_gz(), size=-1), strict=WRONG_SIZE)
blob_case("blob missing", lambda: Blob(_gz(), missing=True))


def _gzip_with_everything():
    body = _gz()[10:]
    head = b"\x1f\x8b\x08" + bytes([2 | 4 | 8 | 16]) + bytes(4) + b"\0\x03"
    head += (6).to_bytes(2, "little") + b"AB\x02\0xy" + b"name\0" + b"comment\0"
    return head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + body


def _zst_huge_window():
    # Frame header: no content size, window descriptor 0xA8: 2 GiB. One raw block with all the data.
    block = ((len(PLAIN_TAR) << 3) | 1).to_bytes(3, "little") + PLAIN_TAR
    return b"\x28\xb5\x2f\xfd\x00\xa8" + block


# --- manifest and config -----------------------------------------------------------------------------


def document_case(name, change_manifest=None, change_config=None, **options):
    case(
        "document: " + name, change_manifest=change_manifest, change_config=change_config, **options
    )(lambda: [oci.tar_bytes(lower), oci.tar_bytes(lambda t: t.file("upper"))])


document_case("as it should be")
document_case("diffIDs swapped", change_config=lambda c: c["rootfs"]["diff_ids"].reverse())
document_case("a diffID missing", change_config=lambda c: c["rootfs"]["diff_ids"].pop())
document_case("a diffID too many", change_config=lambda c: c["rootfs"]["diff_ids"].append(oci.sha256(b"")))
document_case("no diffIDs", change_config=lambda c: c["rootfs"].pop("diff_ids"))
document_case("no rootfs", change_config=lambda c: c.pop("rootfs"))
document_case("rootfs of an unknown type", change_config=lambda c: c["rootfs"].update(type="tree"), strict="not an image of layers")
document_case("diffIDs not strings", change_config=lambda c: c["rootfs"].update(diff_ids=[1, 2]))
document_case("layers missing", lambda m: m.pop("layers"))
document_case("layers empty", lambda m: m.update(layers=[]))
document_case("layer dropped", lambda m: m["layers"].pop())
document_case("layers not a list", lambda m: m.update(layers={}))
document_case("layer without digest", lambda m: m["layers"][0].pop("digest"))
document_case("config digest wrong", lambda m: m["config"].update(digest=oci.sha256(b"other")))
document_case("config size wrong", lambda m: m["config"].update(size=3), strict=WRONG_SIZE)
document_case("config missing", lambda m: m.pop("config"))
document_case("config of an artifact", lambda m: m["config"].update(mediaType="application/vnd.example.config+json"), strict="an artifact, not an image")
document_case("schema version 1", lambda m: m.update(schemaVersion=1), strict="not an OCI manifest")
document_case("digest that leaves the layout", lambda m: m["layers"][0].update(digest="sha256:../../../../../../etc/passwd"))
document_case("layer size larger than 2^63", lambda m: m["layers"][0].update(size=2**63))
document_case("layer size not a number", lambda m: m["layers"][0].update(size="12"))
document_case("layer size a fraction", lambda m: m["layers"][0].update(size=1.5))
document_case("deep nesting", lambda m: m.update(annotations=_nested(900)))
document_case("unknown members", lambda m: m.update(somethingNew={"a": [1, 2, 3]}))
document_case("200 layers", lambda m: m.update(layers=m["layers"] * 100), change_config=lambda c: c["rootfs"].update(diff_ids=c["rootfs"]["diff_ids"] * 100), strict="more layers than nodes can mount")


def _nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


# --- bombs -------------------------------------------------------------------------------------------


def _repeated_gzip(chunk, times, head=b"", tail=END):
    """(blob, diff_id) of head + chunk × times + tail, compressed without ever being whole."""
    digest = hashlib.sha256(head)
    for _ in range(times):
        digest.update(chunk)
    digest.update(tail)
    return _gz(head) + _gz(chunk) * times + _gz(tail), "sha256:" + digest.hexdigest()


@case("bomb: four million entries", refuse_only=True)
def _entries_bomb():
    chunk = header("same-name") * 8192
    data, diff_id = _repeated_gzip(chunk, 520)
    return [Blob(data, diff_id=diff_id)]


@case("bomb: a gigabyte of xattrs", refuse_only=True)
def _xattr_bomb():
    chunk = b"".join(
        pax((f"SCHILY.xattr.user.{i}", "v" * 60000)) + header(f"f{i}") for i in range(100)
    )
    data, diff_id = _repeated_gzip(chunk, 200)
    return [Blob(data, diff_id=diff_id)]


@case("bomb: a file said to be 4 EiB, all of it zeros", refuse_only=True)
def _size_bomb():
    data, _ = _repeated_gzip(bytes(16 << 20), 32, head=header("big", b"\x80\0\0\0\x40" + bytes(7)))
    return [Blob(data, diff_id=oci.sha256(b""))]


@case("bomb: a PAX header of 512 MiB", refuse_only=True)
def _pax_bomb():
    data, diff_id = _repeated_gzip(b"c" * (16 << 20), 32, head=header("pax", 512 << 20, b"x"))
    return [Blob(data, diff_id=diff_id)]


def write(layout, tag, chosen):
    """Writes the image of a case into an oci.Layout."""
    layers, missing = [], []
    for made in chosen.make():
        if isinstance(made, bytes):
            made = Blob(_gz(made), tar=made)
        layer = layout.add_raw_layer(made.data, made.diff_id, None, made.tar)
        layer.media_type = made.media_type
        if made.size is not None:
            layer.size = made.size
        if made.digest:
            target = layout.blobs / made.digest.removeprefix("sha256:")
            os.rename(layer.path, target)
            layer.path, layer.digest = target, made.digest
        layers.append(layer)
        if made.missing:
            missing.append(layer.path)
    layout.add_image(tag, layers, {}, chosen.change_manifest, chosen.change_config)
    for path in missing:
        os.unlink(path)
