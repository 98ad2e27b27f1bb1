# SPDX-License-Identifier: Apache-2.0
"""The closed loop: a push, a start on a node, another push, and the second version's cold start is fetched ahead by what
the node saw of the first, though nobody wrote a profile. Registry, hook, builder, snapshotter, containerd are real."""
import json
import os
import random
from contextlib import contextmanager

import pytest

from support import images, oci
from support.containerd import containerd
from support.hook import hook, notifications, until
from support.registry import registry
from support.snapshotter import snapshotter
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
SECONDS = 20  # that a node looks at
UNREAD = 64 << 20  # as much again as is read, and more: whoever fetches it is found out
FRAME = 512 << 10  # of a pack, unpacked


class Node:
    def __init__(self, work, daemon, server):
        self.zeropull = Zeropull(work / "unused")
        self.daemon, self.server = daemon, server

    def start(self, image):
        """Runs the image's program, cold; returns what it says."""
        self.zeropull.ok("rpull", "--address", self.server.socket, "--namespace", self.server.namespace, image)
        return self.server.output("run", "--rm", image, f"loop-{os.getpid()}")

    def statistics(self):
        return self.daemon.statistics()

    def reads_left(self):
        """What was seen of starts and is not told yet."""
        return sorted((self.daemon.root / "starts").glob("?" * 64))


@contextmanager
def cold_node(work, url):
    work.mkdir()
    config = work / "snapshotter.yaml"
    config.write_text(
        f"version: 1\npolicy: {work}/policy.yaml\nregistry_timeout_s: 120\nreport_starts: {{url: '{url}', seconds: {SECONDS}}}\n"
    )
    (work / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: accept\n")
    with snapshotter(work, "--config", config) as daemon, containerd(None, daemon.socket) as server:
        yield Node(work, daemon, server)


def version(work, number):
    """The python image with much that no start reads, and the application: what a rebuild changes."""
    layout = oci.Layout(work / f"version-{number}")
    images.copy_into("python", layout.directory)
    layers = layout.layers("python")
    made = images.Maker(work)
    with made.layer() as tar:
        tar.file("unread", random.Random(0).randbytes(UNREAD))
    with made.layer() as tar:
        tar.directory("app")
        tar.file("app/version", b"%d\n" % number)
    layout.add_image("web", [*layers, *made.layers], images.config("python"))
    return f"oci:{layout.directory}:web"


def reported(service, name):
    """Bytes of files that were read, as the hook was told (path, offset, length), each once, in blocks. Not the second
    node's: what is whole before the container runs is read past the data plane, and noted nowhere."""
    blocks = set()
    for path, offset, size in (line.split("\t") for line in service.request(f"/v1/profiles?repository={name}")[1].splitlines()):
        first, last = int(offset) // 4096, (int(offset) + int(size) - 1) // 4096
        blocks.update((path, block) for block in range(first, last + 1))
    return len(blocks) * 4096


def test_second_version_starts_by_what_a_node_saw_of_the_first(work):
    output = images.config("python")["Labels"]["test.output"]
    with hook(work / "state") as service, registry(work, extra=notifications(service.url)) as place:
        name = f"{place.host}/acme/web"
        place.push(version(work, 1), "acme/web", "1")
        until(service.snapshots, 300, service.said)
        with cold_node(work / "first", service.url) as node:
            assert output in node.start(f"{name}:1")
            until(lambda: service.request(f"/v1/profiles?repository={name}")[0] == 200, 180, node.daemon.log)
            until(lambda: not node.reads_left(), 120, node.daemon.log)
        read = reported(service, name)
        place.push(version(work, 2), "acme/web", "2")
        until(lambda: len(service.snapshots()) == 2, 300, service.said)
        (build,) = [b for b in service.builds() if "2" in b["tags"]]
        assert build["state"] == "done"
        with cold_node(work / "second-node", service.url) as node:
            assert output in node.start(f"{name}:2")
            (listed,) = (node.daemon.root / "store" / "images").glob("*/prefetch.json")
            ranges = json.loads(listed.read_text())["ranges"]
            listed_size = sum(part["length"] for part in ranges)
            statistics = node.statistics()
            fetched = statistics["fetched_frames"] * FRAME  # the most it can be: last frames are shorter
        print(
            f"\n{read / 1e6:.1f} MB read; the list has {listed_size / 1e6:.1f} MB ({listed_size / read:.2f} times that) in"
            f" {len(ranges)} ranges; fetched in all {fetched / 1e6:.1f} MB ({fetched / read:.2f} times that), packed"
            f" {statistics['received_bytes'] / 1e6:.1f} MB, in {statistics['requests']} requests;"
            f" {statistics['waited_reads']} of {statistics['reads']} reads waited"
        )
        assert listed_size <= 1.3 * read and fetched <= 1.3 * read
        assert len(ranges) <= 8
