# SPDX-License-Identifier: Apache-2.0
"""Images in a registry, and what containerd asks a snapshotter while it pulls one of them."""
import hashlib
import json
import random
import urllib.request

import grpc

from . import oci
from .ship import make_image
from .snapshots_api import COMMITTED
from .zeropull import Zeropull


def chains(diff_ids):
    """OCI image-spec, Layer ChainID."""
    result = []
    for diff_id in diff_ids:
        result.append(diff_id if not result else "sha256:" + hashlib.sha256(f"{result[-1]} {diff_id}".encode()).hexdigest())
    return result


class Image:
    """What containerd knows of an image when it pulls it."""

    def __init__(self, server, name, manifest_digest):
        self.name = f"{server.host}/{name}"
        self.digest = manifest_digest
        self.layers, config = [], None
        manifest = self._get(server, name, "manifests", manifest_digest)
        self.layers = [layer["digest"] for layer in manifest["layers"]]
        self.config = manifest["config"]["digest"]
        config = self._get(server, name, "blobs", self.config)
        self.chain = chains(config["rootfs"]["diff_ids"])

    @staticmethod
    def _get(server, name, kind, digest):
        request = urllib.request.Request(f"{server.url}/v2/{name}/{kind}/{digest}", headers={"Accept": oci.MANIFEST})
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def labels(self, index):
        return {
            "containerd.io/snapshot.ref": self.chain[index],
            "containerd.io/snapshot/cri.image-ref": f"{self.name}:latest",
            "containerd.io/snapshot/cri.manifest-digest": self.digest,
            "containerd.io/snapshot/cri.layer-digest": self.layers[index],
            "containerd.io/snapshot/cri.image-layers": ",".join(self.layers[index:]),
        }


class World:
    """A registry, and who builds the images in it and their snapshots."""

    def __init__(self, work, server):
        self.work = work
        self.server = server
        self.zeropull = Zeropull(work / "builder")
        self.layout = oci.Layout(work / "layout")
        self.counter = 0

    def image(self, name, *fills, publish=True, options=()):
        """`options` are the build's."""
        digest = make_image(self.layout, name, *fills)
        self.server.push(f"oci:{self.layout.directory}:{name}", name)
        if publish:
            self.zeropull.ok("build", *options, f"--push=docker://{self.server.host}/{name}", f"oci:{self.layout.directory}:{name}")
        return Image(self.server, name, digest)

    def image_of_noise(self, name, seed, size, read=None):
        """Of one file, /noise, of which a start reads all, or so much, as the build is told."""
        profile = self.work / "profile"
        profile.write_text(f"/noise\t0\t{read or size}\n")
        fill = lambda layer: layer.file("noise", random.Random(seed).randbytes(size))  # noqa: E731
        return self.image(name, fill, options=["--profile", profile])

    def expected(self, image):
        """The image's root file system, mounted by the zeropull command."""
        return self.zeropull.mounted(image.digest, self.work / "expected")


def prepare_layer(api, image, index, parent, count=[0]):
    """As containerd does: the parent's name, or None when an ordinary unpack is wanted."""
    count[0] += 1
    key = f"test/{count[0]}/extract-{image.chain[index]}"
    try:
        api.prepare(key, parent, image.labels(index))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error.details()
    else:
        return None
    # how containerd finds it: core/metadata
    found = api.list(f'labels."containerd.io/snapshot.ref"=={image.chain[index]},parent=="{parent}"')
    assert [info.kind for info in found] == [COMMITTED]
    return found[0].name


def pull(api, image):
    """Names of the image's committed snapshots; None from the first layer on that must be unpacked."""
    names = []
    for index in range(len(image.chain)):
        name = prepare_layer(api, image, index, names[-1] if names else "")
        names.append(name)
        if name is None:
            break
    return names


def reason(daemon):
    lines = [line for line in daemon.log().splitlines() if 'msg="image not accelerated"' in line]
    return lines[-1] if lines else ""
