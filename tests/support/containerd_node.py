# SPDX-License-Identifier: Apache-2.0
"""A real containerd whose snapshotter is zeropull-snapshotter: the node as a user of it has it."""
import json
import time
from contextlib import contextmanager

from .containerd import ContainerdError, containerd
from .snapshotter import mounted, snapshotter

GC_SECONDS = 60


class Node:
    """A containerd with the snapshotter, and a client of the snapshotter beside it."""

    def __init__(self, daemon, server):
        self.daemon = daemon
        self.server = server
        self.api = daemon.client()

    def ctr(self, *arguments, **options):
        return self.server.ctr(*arguments, **options)

    def run(self, image, name, *command, rm=True, options=()):
        """What the container wrote."""
        return self.server.output("run", *(["--rm"] if rm else []), *options, image, name, *command)

    def info(self, key):
        text = self.ctr("snapshots", "info", key)
        return json.loads(text[text.index("{") :])

    def run_when_connected(self, *arguments):
        """containerd waits a moment before it connects again."""
        deadline = time.monotonic() + GC_SECONDS
        while True:
            try:
                return self.run(*arguments)
            except ContainerdError as error:
                if "connect" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    @contextmanager
    def shown(self, work):
        """The one image there is, as a view."""
        infos = self.api.list("kind==committed")
        (top,) = {info.name for info in infos} - {info.parent for info in infos}
        with mounted(self.api.view("shown", top), work / "shown") as root:
            yield root
        self.api.remove("shown")

    @contextmanager
    def looking_into(self, key, work):
        """A view of what containerd calls `key`, of which containerd does not know: what `ctr snapshots view` makes is
        nobody's, and its garbage collection takes it away and forgets to tell the parent, which then cannot be removed
        (with overlayfs as well)."""
        (name,) = [name for name in self.api.names("kind==committed") if name.endswith("/" + key)]
        with mounted(self.api.view("looking", name), work / "looking") as root:
            yield root
        self.api.remove("looking")

    def await_nothing_left(self):
        """Garbage collection is asynchronous in containerd; it ends with nothing here."""
        deadline = time.monotonic() + GC_SECONDS
        while time.monotonic() < deadline:
            left = self.api.names()
            if not left:
                self.api.cleanup()
                left = self.daemon.directories() + self.daemon.trash()
            if not left:
                break
            time.sleep(0.2)
        assert left == []
        self.daemon.await_no_mounts()


@contextmanager
def node_with(work, programs):
    (work / "config.yaml").write_text("version: 1\nregistry_timeout_s: 120\n")
    with snapshotter(work, "--config", work / "config.yaml") as daemon, containerd(programs, daemon.socket) as server:
        node = Node(daemon, server)
        yield node
        node.api.close()
