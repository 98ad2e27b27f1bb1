# SPDX-License-Identifier: Apache-2.0
"""The test images: one maker per kind. `layout(NAME)` gives a cached OCI layout whose tag is NAME.

Raise a maker's version when what it makes changes; the cache is keyed by it.
"""
import hashlib
import json
import os
import random
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import debian, oci

MAKERS = {}


class Maker:
    """What a maker function works with: layers are appended in order, lowest first."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.layers = []
        self.config = {}

    def layer(self, compression="gzip", level=1, **options):
        """A context manager that yields an oci.Tar for the next layer."""
        return _LayerContext(self, compression, level, options)

    def raw_layer(self, compression="gzip", level=1):
        """A context manager that yields a writer for the next layer's tar bytes."""
        return _RawContext(self, compression, level)


class _RawContext:
    def __init__(self, maker, compression, level):
        self.maker = maker
        self.writer = oci.LayerWriter(maker.directory / f"layer-{len(maker.layers)}", compression, level)

    def __enter__(self):
        return self.writer.__enter__()

    def __exit__(self, *error):
        self.writer.__exit__(*error)
        if self.writer.layer:
            self.maker.layers.append(self.writer.layer)


class _LayerContext(_RawContext):
    def __init__(self, maker, compression, level, options):
        super().__init__(maker, compression, level)
        self.options = options

    def __enter__(self):
        self.tar = oci.Tar(super().__enter__(), **self.options)
        return self.tar

    def __exit__(self, kind, *rest):
        if kind is None:
            self.tar.close()
        super().__exit__(kind, *rest)


def image(name, version=1):
    """Registers a maker. Its output goes to the cache under name and version."""

    def register(function):
        MAKERS[name] = (function, version)
        return function

    return register


def layout(name):
    """The OCI layout directory of a test image (tag: its name), made when it is not in the cache."""
    function, version = MAKERS[name]
    directory = debian.CACHE / "images" / f"{name}.v{version}"
    with debian.locked("image-" + name):
        if not directory.exists():
            debian.publish(directory, lambda out: _make(name, function, out))
    return directory


def _make(name, function, out):
    with debian.work_directory() as work:
        maker = Maker(work)
        function(maker)
        oci.Layout(out).add_image(name, maker.layers, maker.config)


def source(name):
    """The name by which zeropull and skopeo know a test image."""
    return f"oci:{layout(name)}:{name}"


def config(name):
    return oci.Layout(layout(name)).image_config(name)["config"]


def make_all(names=None):
    """Makes several images at the same time."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(layout, names or MAKERS))


def copy_into(name, target):
    """Adds a test image to the OCI layout at `target`, which may hold others."""
    made = oci.Layout(layout(name))
    out = oci.Layout(target)
    for blob in made.blobs.iterdir():
        out.put_file(blob, "sha256:" + blob.name)
    descriptor = json.loads(made.index_path.read_text())["manifests"][0]
    manifest = (made.blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    out.tag_manifest(name, manifest, descriptor["mediaType"])


# --- real images -------------------------------------------------------------------------------------


def _add_debian_base(maker):
    """The same lowest layer, by digest, in every image that starts from Debian."""
    maker.layers += oci.Layout(layout("base")).layers("base")


@image("base")
def _base(maker):
    tar, _ = debian.base()
    with maker.raw_layer(level=6) as out, open(tar, "rb") as file:
        while data := file.read(1 << 20):
            out.write(data)
    maker.config = {"Cmd": ["sh", "-c", "echo hello from debian"]}


def _package_image(name, packages, command, output, compression="gzip", version=1):
    @image(name, version)
    def make(maker):
        _add_debian_base(maker)
        with maker.layer(compression) as tar:
            debian.install_packages(packages, tar)
        maker.config = {"Cmd": command, "Labels": {"test.output": output}}

    return make


_package_image(
    "python",
    ["python3", "python3-numpy", "python3-flask"],
    ["python3", "-c", "import numpy, flask; print('hello from python', numpy.arange(10).sum())"],
    "hello from python 45",
)
_package_image("nginx", ["nginx"], ["sh", "-c", "nginx -v 2>&1 && echo hello from nginx"], "hello from nginx")
_package_image(
    "node", ["nodejs"], ["node", "-e", "console.log('hello from node', 6 * 7)"], "hello from node 42", compression="zstd"
)
_package_image(
    "jdk",
    ["openjdk-17-jre-headless"],
    ["sh", "-c", "java -version 2>&1 && echo hello from java"],
    "hello from java",
)
_package_image(
    "postgresql",
    ["postgresql"],
    ["sh", "-c", "/usr/lib/postgresql/15/bin/postgres --version && echo hello from postgres"],
    "hello from postgres",
)


@image("busybox")
def _busybox(maker):
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["dpkg-deb", "-x", debian.download("busybox-static"), work], check=True)
        program = (Path(work) / "bin" / "busybox").read_bytes()
        applets = subprocess.run(
            [Path(work) / "bin" / "busybox", "--list"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()
    with maker.layer() as tar:
        for directory, mode in [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("proc", 0o555)]:
            tar.directory(directory, mode=mode)
        for directory in ("dev", "sys", "usr", "usr/bin", "var"):
            tar.directory(directory)
        tar.file("bin/busybox", program, mode=0o755)
        for applet in applets:
            if applet != "busybox":
                tar.hardlink("bin/" + applet, "bin/busybox", mode=0o755)
        tar.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        tar.file("etc/group", b"root:x:0:\n")
    maker.config = {"Cmd": ["/bin/sh", "-c", "echo hello from busybox"], "Labels": {"test.output": "hello from busybox"}}


# --- made-up images ----------------------------------------------------------------------------------


def _noise(seed, size):
    return random.Random(seed).randbytes(size)


class _Stack:
    """A random but well-formed history of a file tree, one layer after the other, as `docker build` would
    make it: every whiteout hides something, and no layer names a path twice."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.tree = {}  # path → "dir" or "other"; what the layers so far show
        self.once_other = set()  # paths that were not directories in some layer
        self.serial = 0

    def children(self, directory):
        return [p for p in self.tree if p.startswith(directory + "/")]

    def name(self, kind):
        self.serial += 1
        return f"{kind}{self.serial:04d}"

    def forget_children(self, path):
        for child in self.children(path):
            self.forget(child)

    def forget(self, path):
        self.forget_children(path)
        if self.tree.pop(path, None) == "other":
            self.once_other.add(path)

    def may_imply_below(self, path):
        """containerd 1.6 fails with ENOTDIR to make a new parent directory where any lower layer, even a hidden
        one, has something else in its way."""
        return not any(path == other or path.startswith(other + "/") for other in self.once_other)

    def directories(self, touched):
        return [p for p, kind in self.tree.items() if kind == "dir" and not self.is_touched(p, touched)]

    @staticmethod
    def is_touched(path, touched):
        return any(path == t or path.startswith(t + "/") or t.startswith(path + "/") for t in touched)

    def parent(self, replaced):
        """A directory to put something in; not one replaced or hidden in this layer."""
        choices = [""] + [p for p in self.directories(replaced)]
        return self.random.choice(choices)

    def attributes(self):
        r = self.random
        return {
            "mode": r.choice([0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o000]),
            "uid": r.choice([0, 1, 1000, 65534]),
            "gid": r.choice([0, 1, 1000, 65534]),
            "mtime": f"{r.randrange(10**9, oci.EPOCH)}.{r.randrange(10**9):09d}",
        }

    def add_leaf(self, tar, path):
        r = self.random
        kind = r.choices(["file", "symlink", "fifo", "device"], [10, 3, 1, 1])[0]
        attributes = self.attributes()
        if kind == "file":
            tar.file(path, r.randbytes(r.choice([0, 5, 100, 4096, 5000, 20000])), **attributes)
        elif kind == "symlink":
            attributes.pop("mode")
            tar.symlink(path, r.choice(["target", "/etc", "../x", "."]), **attributes)
        elif kind == "fifo":
            tar.fifo(path, **attributes)
        else:
            tar.device(path, r.choice("cb"), r.randrange(1, 200), r.randrange(256), **attributes)
        self.tree[path] = "other"

    def write_layer(self, tar):
        r = self.random
        used = []  # paths this layer has dealt with; nothing else happens at or below or above them
        for _ in range(r.randrange(1, 6)):
            self.hide(tar, used)
        for _ in range(r.randrange(2, 10)):
            self.add(tar, used)

    def hide(self, tar, used):
        candidates = [p for p in self.tree if not self.is_touched(p, used)]
        if not candidates:
            return
        path = self.random.choice(candidates)
        action = self.random.choice(["remove", "opaque", "retype", "attributes"])
        used.append(path)
        if action == "remove":
            tar.whiteout(path)
            self.forget(path)
        elif action == "retype":
            was = self.tree[path]
            self.forget(path)
            if was == "dir":
                self.add_leaf(tar, path)
            else:
                tar.directory(path, **self.attributes())
                self.tree[path] = "dir"
        elif self.tree[path] != "dir":
            self.add_leaf(tar, path)
        else:
            tar.directory(path, **self.attributes())
            if action == "opaque":
                self.forget_children(path)
                tar.opaque(path)
                for _ in range(self.random.randrange(3)):
                    self.add_leaf(tar, f"{path}/{self.name('f')}")

    def add(self, tar, used):
        parent = self.parent(used)
        prefix = parent + "/" if parent else ""
        kind = self.random.choice(["dir", "leaf", "links", "implied"])
        if kind == "dir":
            path = prefix + self.name("d")
            tar.directory(path, **self.attributes())
            self.tree[path] = "dir"
            self.add_leaf(tar, f"{path}/{self.name('f')}")
        elif kind == "links":
            first = prefix + self.name("h")
            attributes = self.attributes()
            tar.file(first, self.random.randbytes(3000), **attributes)
            self.tree[first] = "other"
            for _ in range(self.random.randrange(1, 4)):
                other = prefix + self.name("h")
                tar.hardlink(other, first, **attributes)
                self.tree[other] = "other"
        elif kind == "implied" and self.may_imply_below(parent):
            directory = prefix + self.name("i")
            self.tree[directory] = "dir"
            self.add_leaf(tar, f"{directory}/{self.name('f')}")
        else:
            self.add_leaf(tar, prefix + self.name("f"))


@image("stack40", version=2)
def _stack40(maker):
    stack = _Stack(40)
    for number in range(40):
        with maker.layer(["gzip", "zstd", "none", "gzip-members"][number % 4]) as tar:
            stack.write_layer(tar)


@image("hundredk")
def _hundredk(maker):
    noise = random.Random(100_000)
    pool = noise.randbytes(1 << 20)
    with maker.layer("zstd") as tar:
        for directory in range(1000):
            tar.directory(f"data/{directory:03d}")
            for number in range(100):
                size, at = noise.randrange(2000), noise.randrange(len(pool) - 2000)
                tar.file(f"data/{directory:03d}/{number:02d}", b"%06d" % (directory * 100 + number) + pool[at : at + size])


@image("sparse")
def _sparse(maker):
    """One file of 4 GiB and a bit that is zeros but for some islands; the tar is never on disk as such. The
    long runs of zeros are gzip members compressed once."""
    size, chunk = (4 << 30) + 12345, 16 << 20
    zeros = bytes(chunk)
    zero_member = oci.compress(zeros, "gzip")
    blob = maker.directory / "sparse"
    digest = hashlib.sha256()
    with open(blob, "wb") as out:

        def put(data, member=None):
            digest.update(data)
            out.write(member or oci.compress(data, "gzip"))

        header = oci.tar_header("big", size)
        put(header)
        offset = 0
        while offset < size:
            take = min(chunk, size - offset)
            if offset // chunk % 64 == 7 or take < chunk:
                put(_noise(offset, 1 << 20).ljust(take, b"\0")[:take])
            else:
                put(zeros, zero_member)
            offset += take
        put(bytes(-size % 512 + 1024))
    maker.layers.append(
        oci.Layer(blob, oci.sha256_file(blob), blob.stat().st_size, "sha256:" + digest.hexdigest(), oci.LAYER["gzip"])
    )


def _capability(bits):
    """security.capability, revision 2, permitted and effective (linux/capability.h)."""
    low, high = bits & 0xFFFFFFFF, bits >> 32
    return b"".join(x.to_bytes(4, "little") for x in (0x02000001, low, 0, high, 0))


def _acl(*entries):
    """system.posix_acl_access, version 2: (tag, permissions, id) (linux/posix_acl_xattr.h)."""
    return (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, bits, who in entries
    )


_NOBODY = 0xFFFFFFFF
_AN_ACL = _acl((1, 6, _NOBODY), (2, 4, 1234), (4, 4, _NOBODY), (16, 4, _NOBODY), (32, 4, _NOBODY))


def _odd_names(tar):
    tar.directory("names")
    for index, name in enumerate(
        [
            b"n" * 255,
            b"latin1-\xe9\xff\xfe",
            b"invalid-utf8-\xc3\x28\xed\xa0\x80",
            "snow☃man".encode(),
            b"new\nline",
            b"tab\tquote'\"back\\slash",
            b"\x01\x02\x7f",
            b" leading and trailing ",
            b"-dash",
            b"...",
            b"..a",
            b".w",
            b"wh.file",
            b"*?[glob]",
            b"%s%n",
        ]
    ):
        tar.file(b"names/" + name, b"%d" % index)
    tar.symlink(b"names/link-\xff", b"target-\xfe\n")
    tar.symlink("names/long-target", "x" * 4000)
    path = "deep"
    for level in range(30):
        tar.directory(path)
        path += f"/{'d' * 100}{level:02d}"
    tar.file("deep/" + "/".join(["e" * 200] * 15) + "/file", b"a long path with implied parents")


def _odd_sizes(tar):
    tar.directory("sizes")
    for size in [0, 1, 2, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 3000, 4000, 4095, 4096, 4097, 8191, 8192]:
        tar.file(f"sizes/{size}", _noise(size, size))
    for size in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (4 << 20) + 7]:
        tar.file(f"sizes/{size}", _noise(size, size))
    for copy in range(3):
        tar.file(f"sizes/same-{copy}", _noise("same", 10000))
        tar.file(f"sizes/same-small-{copy}", b"the same few bytes")
        tar.file(f"sizes/zeros-{copy}", bytes(50000))
    tar.file("sizes/hole-inside", b"a" * 4096 + bytes(1 << 20) + b"b" * 10)


def _odd_times(tar):
    tar.directory("times", mtime="1234567890.123456789")
    for name, mtime in {
        "epoch": "0",
        "one-nanosecond": "0.000000001",
        "nearly-one": "0.999999999",
        "negative": "-1000000000",
        "negative-fraction": "-1.5",
        "before-1970": "-86400.000000001",
        "past-2038": "2147483648.5",
        "past-2106": "4294967296.000000123",
        "short-fraction": "1700000000.5",
        "more-than-nine-digits": "1700000000.1234567899",
    }.items():
        tar.file(f"times/{name}", mtime=mtime)
    tar.directory("times/directory", mtime="1000000000.000000007")
    tar.file("times/directory/child", mtime="1500000000.1")
    tar.symlink("times/link", "epoch", mtime="1600000000.987654321")


def _odd_xattrs(tar):
    tar.directory("xattrs", xattrs={"user.on-directory": "yes", "system.posix_acl_default": _AN_ACL})
    tar.file("xattrs/capability", b"program", mode=0o755, xattrs={"security.capability": _capability(1 << 10)})
    tar.file("xattrs/user", b"x", xattrs={"user.empty": b"", "user.binary": bytes(range(256)), "user.a": b"1"})
    tar.file("xattrs/same-as-user", b"y", xattrs={"user.binary": bytes(range(256)), "user.a": b"1"})
    tar.file("xattrs/large", b"z", xattrs={"user.large": _noise("large", 2500)})
    tar.file("xattrs/acl", b"acl", mode=0o644, xattrs={"system.posix_acl_access": _AN_ACL})
    tar.file("xattrs/trusted", b"t", xattrs={"trusted.made-up": b"1", "trusted.overlay.opaque": b"y"})
    tar.file("xattrs/long-name", b"l", xattrs={"user." + "n" * 250: b"v"})
    tar.file("xattrs/security-other", b"s", xattrs={"security.made-up": b"value"})
    tar.file("xattrs/empty-file", b"", xattrs={"user.a": b"1"})
    for number in range(40):
        tar.file(f"xattrs/many-{number}", b"m", xattrs={f"user.key{i}": b"v%d" % (i * number) for i in range(8)})
    tar.symlink("xattrs/link", "user", xattrs={"security.made-up": b"on a link"})


def _odd_kinds(tar):
    tar.directory("kinds")
    tar.device("kinds/char", "c", 1, 3, mode=0o666)
    tar.device("kinds/block", "b", 259, 65537, mode=0o660, gid=6)
    tar.device("kinds/large-major", "c", 4095, 1048575)
    tar.device("kinds/block-0-0", "b", 0, 0)
    tar.fifo("kinds/fifo", mode=0o622)
    tar.file("kinds/setuid", b"s", mode=0o4755, uid=33, gid=33)
    tar.file("kinds/setgid", b"s", mode=0o2755)
    tar.directory("kinds/sticky", mode=0o1777)
    tar.directory("kinds/setgid-directory", mode=0o2775, gid=50)
    tar.file("kinds/no-permissions", b"n", mode=0)
    tar.directory("kinds/closed", mode=0)
    tar.file("kinds/closed/inside", b"i")
    tar.file("kinds/huge-ids", b"h", uid=4294967294, gid=2147483648)
    tar.file("kinds/ids-past-octal", b"h", uid=2097152, gid=2097153)
    for target in ("fifo", "char", "setuid", "no-permissions"):
        tar.hardlink(f"kinds/link-to-{target}", f"kinds/{target}")
    tar.symlink("kinds/symlink", "../../..//etc/./passwd")
    tar.hardlink("kinds/link-to-symlink", "kinds/symlink")
    tar.directory("links-a")
    tar.directory("links-b")
    tar.file("links-a/first", _noise("links", 6000), mode=0o640)
    for number in range(20):
        tar.hardlink(f"links-{'ab'[number % 2]}/name-{number}", "links-a/first")


def _odd(tar):
    _odd_names(tar)
    _odd_sizes(tar)
    _odd_times(tar)
    _odd_xattrs(tar)
    _odd_kinds(tar)


@image("odd", version=1)
def _odd_image(maker):
    with maker.layer() as tar:
        _odd(tar)


@image("odd-changed", version=1)
def _odd_changed(maker):
    """The odd layer, and one over it that removes and replaces some of it."""
    with maker.layer() as tar:
        _odd(tar)
    with maker.layer() as tar:
        for path in (b"names/" + b"n" * 250, b"names/latin1-\xe9\xff\xfe"[:14]):
            tar.file(path, b"beside an odd name")
        tar.whiteout("links-a/first")
        tar.whiteout("links-b/name-1")
        tar.directory("xattrs", xattrs={"user.on-directory": "changed"})
        tar.directory("sizes")
        tar.opaque("sizes")
        tar.file("sizes/only", b"this is all")
        tar.file("kinds", b"a file where a directory was")
        tar.whiteout(b"names/invalid-utf8-\xc3\x28\xed\xa0\x80")
        tar.file("times/epoch", b"now with content", mtime="1.000000002")


@image("odd-gnu", version=1)
def _odd_gnu(maker):
    """GNU format: L and K headers, base-256 numbers."""
    with maker.layer(format="gnu") as tar:
        tar.directory("gnu")
        tar.file("gnu/" + "l" * 240, b"long name")
        tar.symlink("gnu/long-link", "t" * 1000)
        tar.file("gnu/ids", b"", uid=4000000000, gid=3000000000)
        tar.file("gnu/latin1-\udce9", b"")
        tar.file("gnu/old", b"", mtime=-5)
        path = "/".join(["p" * 100] * 20)
        tar.file("gnu/" + path, b"deep")
        tar.hardlink("gnu/hard", "gnu/" + path)


def _variant(name, compression):
    @image(name)
    def make(maker):
        with maker.layer(compression) as tar:
            tar.directory("d")
            for number in range(50):
                tar.file(f"d/{number}", _noise(number, number * 4000))
            tar.file("zeros", bytes(3 << 20))
        with maker.layer(compression) as tar:
            tar.whiteout("d/7")
            tar.file("d/8", b"changed")

    return make


_variant("zstd-layers", "zstd")
_variant("plain-layers", "none")
_variant("gzip-members", "gzip-members")


@image("empty-layers")
def _empty_layers(maker):
    with maker.layer() as tar:
        tar.file("only", b"file")
    for compression in ("gzip", "none", "zstd"):
        with maker.raw_layer(compression) as out:
            out.write(bytes(1024))


@image("nothing")
def _nothing(maker):
    with maker.raw_layer() as out:
        out.write(bytes(1024))
