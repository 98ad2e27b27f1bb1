# SPDX-License-Identifier: Apache-2.0
"""Writes OCI image layouts and layers, deterministically and byte by byte as told.

Everything here can also be wrong on purpose: a layer may be any bytes, and what the manifest or the config
say about it may be overridden.
"""
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

# 2023-11-14: whatever has no time of its own gets this one.
EPOCH = 1700000000


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_file(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Layer:
    """One layer's blob and what the manifest and config say about it."""

    path: Path
    digest: str
    size: int
    diff_id: str
    media_type: str


class _Gzip:
    def __init__(self, out, level, member_size=None):
        self.out, self.level, self.member_size = out, level, member_size
        self._begin()

    def _begin(self):
        self.compressor, self.taken = zlib.compressobj(self.level, zlib.DEFLATED, 31), 0

    def write(self, data):
        if self.member_size and self.taken >= self.member_size:
            self.out.write(self.compressor.flush())
            self._begin()
        self.taken += len(data)
        self.out.write(self.compressor.compress(data))

    def close(self):
        self.out.write(self.compressor.flush())


class _Zstd:
    def __init__(self, out, level):
        self.process = subprocess.Popen(
            ["zstd", "-q", "-c", f"-{level}", "-T1", "--no-check"], stdin=subprocess.PIPE, stdout=out
        )

    def write(self, data):
        self.process.stdin.write(data)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise RuntimeError("zstd failed")


class _Plain:
    def __init__(self, out):
        self.write = out.write

    def close(self):
        pass


class LayerWriter:
    """Streams tar bytes into a blob file, hashing both sides. Use as a context manager, then .layer.

    compression: none, gzip, zstd, or gzip-members (a new gzip member about every MiB).
    """

    def __init__(self, path, compression="gzip", level=1):
        self.path, self.compression = Path(path), compression
        self.out = open(path, "wb")
        self.sink = {
            "none": lambda: _Plain(self.out),
            "gzip": lambda: _Gzip(self.out, level),
            "gzip-members": lambda: _Gzip(self.out, level, 1 << 20),
            "zstd": lambda: _Zstd(self.out, level),
        }[compression]()
        self.hash = hashlib.sha256()
        self.layer = None

    def write(self, data):
        self.hash.update(data)
        self.sink.write(data)
        return len(data)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.sink.close()
        self.out.close()
        if kind is None:
            self.layer = Layer(
                self.path,
                sha256_file(self.path),
                self.path.stat().st_size,
                "sha256:" + self.hash.hexdigest(),
                LAYER["gzip" if self.compression == "gzip-members" else self.compression],
            )


class Tar:
    """A tar under construction: entries in the order they are added, with explicit attributes.

    `out` is anything with write(). Names may be bytes (any bytes) or str.
    """

    def __init__(self, out, format="pax"):
        self.tar = tarfile.open(
            fileobj=out,
            mode="w|",
            format={"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}[format],
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=1 << 20,
        )

    def add(self, name, kind=tarfile.REGTYPE, data=b"", **attributes):
        """attributes: mode uid gid mtime (float, or a PAX decimal string for all nine digits) xattrs linkname major minor."""
        info = tarfile.TarInfo(os.fsdecode(name))
        info.type = kind
        info.mode = attributes.get("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
        info.uid, info.gid = attributes.get("uid", 0), attributes.get("gid", 0)
        info.uname = info.gname = ""
        info.linkname = os.fsdecode(attributes.get("linkname", ""))
        info.devmajor, info.devminor = attributes.get("major", 0), attributes.get("minor", 0)
        mtime = attributes.get("mtime", EPOCH)
        if isinstance(mtime, str):
            info.mtime = 0
            info.pax_headers["mtime"] = mtime
        else:
            info.mtime = mtime
        for key, value in attributes.get("xattrs", {}).items():
            value = value if isinstance(value, bytes) else value.encode()
            info.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
        if kind == tarfile.REGTYPE:
            info.size = attributes["size"] if "size" in attributes else len(data)
        self.tar.addfile(info, data if hasattr(data, "read") else io.BytesIO(data))

    def file(self, name, data=b"", **attributes):
        self.add(name, data=data, **attributes)

    def directory(self, name, **attributes):
        self.add(name, tarfile.DIRTYPE, **attributes)

    def symlink(self, name, target, **attributes):
        self.add(name, tarfile.SYMTYPE, linkname=target, mode=0o777, **attributes)

    def hardlink(self, name, target, **attributes):
        self.add(name, tarfile.LNKTYPE, linkname=target, **attributes)

    def fifo(self, name, **attributes):
        self.add(name, tarfile.FIFOTYPE, **attributes)

    def device(self, name, kind, major, minor, **attributes):
        self.add(name, {"c": tarfile.CHRTYPE, "b": tarfile.BLKTYPE}[kind], major=major, minor=minor, **attributes)

    def whiteout(self, name):
        head, tail = os.path.split(os.fsencode(name))
        self.file(os.path.join(head, b".wh." + tail))

    def opaque(self, directory):
        self.file(os.path.join(os.fsencode(directory), b".wh..wh..opq"))

    def close(self):
        self.tar.close()


def tar_bytes(fill):
    """The bytes of a tar that fill(Tar) describes."""
    out = io.BytesIO()
    tar = Tar(out)
    fill(tar)
    tar.close()
    return out.getvalue()


def tar_header(name, size):
    """The header block(s) of a regular file, without its data."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, EPOCH
    return info.tobuf(tarfile.PAX_FORMAT)


def compress(data, compression, level=1):
    if compression == "none":
        return data
    if compression == "gzip":
        return gzip.compress(data, level, mtime=0)
    if compression == "gzip-members":
        return b"".join(gzip.compress(data[i : i + (1 << 20)], level, mtime=0) for i in range(0, len(data), 1 << 20))
    return subprocess.run(
        ["zstd", "-q", "-c", f"-{level}", "-T1"], input=data, stdout=subprocess.PIPE, check=True
    ).stdout


class Layout:
    """An OCI layout directory. Images are added one at a time, each under a tag."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.blobs = self.directory / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.index_path = self.directory / "index.json"
        if not self.index_path.exists():
            (self.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            self._write_index([])

    def _write_index(self, manifests):
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        self.index_path.write_text(json.dumps(index, indent=1))

    def put(self, data):
        """Stores bytes as a blob; returns its digest."""
        digest = sha256(data)
        (self.blobs / digest.removeprefix("sha256:")).write_bytes(data)
        return digest

    def put_file(self, path, digest):
        """Stores a file as a blob by hard link (or copy across file systems)."""
        target = self.blobs / digest.removeprefix("sha256:")
        if target.exists():
            return
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)

    def add_raw_layer(self, blob, diff_id=None, media_type=None, tar=None):
        """A layer from blob bytes as they are. diff_id defaults to the hash of `tar`, or of the blob."""
        digest = self.put(blob)
        return Layer(
            self.blobs / digest.removeprefix("sha256:"),
            digest,
            len(blob),
            diff_id or sha256(tar if tar is not None else blob),
            media_type or LAYER["gzip"],
        )

    def tag_manifest(self, tag, data, media_type=MANIFEST, **extra):
        descriptor = {"mediaType": media_type, "digest": self.put(data), "size": len(data), **extra}
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
        manifests = json.loads(self.index_path.read_text())["manifests"]
        keep = [m for m in manifests if m.get("annotations", {}).get("org.opencontainers.image.ref.name") != tag]
        self._write_index(keep + [descriptor])
        return descriptor["digest"]

    def add_image(self, tag, layers, config=None, change_manifest=None, change_config=None, docker=False):
        """Writes config and manifest, tags the image; returns the manifest's digest."""
        for layer in layers:
            self.put_file(layer.path, layer.digest)
        image_config = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2023-11-14T22:13:20Z",
            "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        if change_config:
            change_config(image_config)
        config_bytes = json.dumps(image_config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else MANIFEST,
            "config": {
                "mediaType": DOCKER_CONFIG if docker else CONFIG,
                "digest": self.put(config_bytes),
                "size": len(config_bytes),
            },
            "layers": [
                {"mediaType": DOCKER_LAYER if docker else layer.media_type, "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
        }
        if change_manifest:
            change_manifest(manifest)
        return self.tag_manifest(tag, json.dumps(manifest).encode(), manifest["mediaType"])

    def manifest(self, tag):
        """The parsed manifest of a tagged image."""
        for descriptor in json.loads(self.index_path.read_text())["manifests"]:
            if descriptor.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
                return self.blob_json(descriptor["digest"])
        raise KeyError(tag)

    def image_config(self, tag):
        """The parsed config of a tagged image."""
        return self.blob_json(self.manifest(tag)["config"]["digest"])

    def layers(self, tag):
        """The layers of a tagged image, lowest first."""
        diff_ids = self.image_config(tag)["rootfs"]["diff_ids"]
        return [
            Layer(
                self.blobs / layer["digest"].removeprefix("sha256:"),
                layer["digest"],
                layer["size"],
                diff_id,
                layer["mediaType"],
            )
            for layer, diff_id in zip(self.manifest(tag)["layers"], diff_ids, strict=True)
        ]

    def blob_json(self, digest):
        return json.loads((self.blobs / digest.removeprefix("sha256:")).read_bytes())
