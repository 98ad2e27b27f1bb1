# SPDX-License-Identifier: Apache-2.0
"""What the tests of push and pull share: small images, the places they go to, and a look at what lies there."""
import json
import random
import urllib.request

from support import oci
from support.remote_tool import remote_tool
from support.zeropull import Zeropull

SNAPSHOT = "application/vnd.zeropull.snapshot.v1"
BUNDLE = "application/vnd.zeropull.snapshot.bundle.v1"
DATA = "application/vnd.zeropull.device.pack.v1+zstd"
KINDS = {
    "application/vnd.zeropull.snapshot.metadata.v1+zstd": "snapshot metadata",
    BUNDLE: "bundle",
    "application/vnd.zeropull.layer.metadata.v1+zstd": "metadata",
    "application/vnd.zeropull.device.index.v1": "index",
    DATA: "data",
    "application/vnd.zeropull.device.map.v1": "block map",
}


def fill_base(tar):
    """More than one frame, with what an EROFS image can hold."""
    for directory in ("etc", "bin", "data"):
        tar.directory(directory)
    tar.file("data/noise", random.Random(1).randbytes(3_000_000))
    tar.file("data/text", b"nothing but the same line\n" * 100_000, xattrs={"user.note": "here"})
    tar.hardlink("data/again", "data/text", xattrs={"user.note": "here"})
    tar.symlink("etc/link", "../data/text")
    tar.device("etc/null", "c", 1, 3)
    for number in range(50):
        tar.file(f"bin/tool{number:02d}", b"%05d" % number + random.Random(number).randbytes(number * 97), mode=0o755)


def fill_bare(tar):
    """A layer without a byte of file data: its device is empty."""
    tar.whiteout("bin/tool07")
    tar.directory("etc/conf.d", mode=0o700, uid=7)


def fill_app(seed, size=400_000):
    def fill(tar):
        tar.directory("app")
        tar.file("app/main", random.Random(seed).randbytes(size), mode=0o755)
        tar.file("bin/tool01", b"another tool 01")

    return fill


def make_image(layout, tag, *fills, compression="gzip"):
    """Adds an image to an oci.Layout, one layer per fill(Tar); returns its manifest's digest."""
    tars = [oci.tar_bytes(fill) for fill in fills]
    layers = [
        layout.add_raw_layer(oci.compress(tar, compression), media_type=oci.LAYER[compression], tar=tar) for tar in tars
    ]
    return layout.add_image(tag, layers)


def manifest_bytes(layout, tag):
    for descriptor in json.loads(layout.index_path.read_text())["manifests"]:
        if descriptor["annotations"]["org.opencontainers.image.ref.name"] == tag:
            return (layout.blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    raise KeyError(tag)


def put_image(server, layout, tag, repository="a/b"):
    """Puts an image into a memory_registry; returns the reference."""
    manifest = manifest_bytes(layout, tag)
    document = json.loads(manifest)
    for blob in [document["config"], *document["layers"]]:
        server.repository(repository).blobs[blob["digest"]] = (
            layout.blobs / blob["digest"].removeprefix("sha256:")
        ).read_bytes()
    server.put_manifest(manifest, tag, document["mediaType"], repository)
    return f"docker://{server.host}/{repository}:{tag}"


def snapshots(remote, subject, **options):
    """Digests of the snapshots of an image in a remote."""
    found = remote_tool(remote, "find", subject, SNAPSHOT, **options)
    return [artifact["digest"] for artifact in found]


def layers_of(artifact):
    """[(what a pull's messages call the blob, descriptor)] of a snapshot artifact (parsed)."""
    found, layers, devices = [("snapshot metadata", artifact["layers"][0])], 0, 0
    for blob in artifact["layers"][1:]:
        kind = KINDS[blob["mediaType"]]
        layers += kind == "metadata"
        devices += kind == "index"
        of = {"metadata": f"layer {layers}, ", "bundle": ""}.get(kind, f"device {devices}, ")
        found.append((of + kind, blob))
    return found


def get(url, accept=oci.MANIFEST):
    """(status, body) of a registry's answer."""
    request = urllib.request.Request(url, headers={"Accept": ", ".join([accept, oci.INDEX, oci.DOCKER_MANIFEST])})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def check_same(left, right):
    """Two stores hold the same files, and the second is whole."""
    assert right.files() == left.files()
    assert right.leftovers() == []
    right.ok("verify")


def check_empty(zeropull):
    """Nothing of a snapshot is there, nor of an attempt."""
    assert zeropull.image_directories() == [] and zeropull.leftovers() == []


def fresh(work, name):
    return Zeropull(work / name)
