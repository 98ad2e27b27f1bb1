# SPDX-License-Identifier: Apache-2.0
"""Real containerd and containers while the daemon's processes are killed again and again. ZP_KILL_SECONDS says for how
long (60 is the promise)."""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support import erofs, hook, images, oci
from support.containerd import ContainerdError, containerd_2_or_skip, output_into
from support.containerd_node import node_with
from support.registry import registry
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
SECONDS = float(os.environ.get("ZP_KILL_SECONDS", "5"))
LOAD = Path(__file__).resolve().parent.parent / "support" / "container_load.py"


def expected_files(name):
    """sha256 and path of the image's larger regular files, from its layers."""
    found = {}
    layout = oci.Layout(images.layout(name))
    for layer in layout.layers(name):
        with tarfile.open(layer.path, "r:*") as tar:
            for entry in tar:
                if entry.isreg() and entry.size > 2000 and entry.name.lstrip("./").startswith("usr/lib/"):
                    found["/" + entry.name.lstrip("./")] = hashlib.sha256(tar.extractfile(entry).read()).hexdigest()
    return found


@pytest.fixture
def node(work):
    with node_with(work, containerd_2_or_skip()) as made:
        yield made


@pytest.fixture
def image(node, work):
    """An image of which no layer is downloaded."""
    with registry(work) as server:
        server.push(images.source("python"), "python")
        Zeropull(work / "builder").ok("build", "--push", server.reference("python"))
        reference = server.reference("python").removeprefix("docker://")
        node.server.pull(reference)
        yield reference


class Load:
    """A container whose processes read in every way, until told to stop."""

    WAYS = ("read", "read", "map", "exec")

    def __init__(self, node, image, work):
        self.node, self.share, self.name = node, work / "share", "load"
        self.share.mkdir()
        shutil.copy(LOAD, self.share / "load.py")
        files = expected_files("python")
        (self.share / "expected").write_text("".join(f"{digest}  {path}\n" for path, digest in files.items()))
        mount = f"type=bind,src={self.share},dst=/share,options=rbind:ro"
        node.ctr("run", "--detach", "--mount", mount, image, self.name, "/bin/sh", "-c", "sleep 100000")

    def __enter__(self):
        self.readers = [self._start(number, way) for number, way in enumerate(self.WAYS)]
        hook.until(lambda: all("begun" in lines for lines in self.outputs()), 120, lambda: f"not begun: {self.outputs()}")
        return self

    def _output(self, number):
        return self.share.parent / f"output-{number}"

    def _start(self, number, way):
        command = ["python3", "/share/load.py", way, "/share/expected", "/share/stop", str(number)]
        into = output_into(self._output(number))
        with open(self._output(number), "ab") as file:  # what ctr itself has to say is added
            return subprocess.Popen(
                self.node.server.command("tasks", "exec", *into, "--exec-id", f"reader{number}", self.name, *command),
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def __exit__(self, *_):
        (self.share / "stop").touch()
        try:
            for reader in self.readers:
                reader.wait(timeout=300)
        finally:
            for reader in self.readers:
                reader.kill()
            self.node.ctr("tasks", "delete", "--force", self.name)
            self.node.ctr("containers", "remove", self.name)

    def outputs(self):
        return [self._output(number).read_text().splitlines() for number in range(len(self.WAYS))]

    def problems(self):
        """What the readers complained of, and those that did not end as they should."""
        found = [(way, line) for way, lines in zip(self.WAYS, self.outputs()) for line in lines if not is_fine(line)]
        return found + [(way, reader.returncode) for way, reader in zip(self.WAYS, self.readers) if reader.returncode]

    def counts(self):
        return [int(line.split()[1]) for lines in self.outputs() for line in lines if line.startswith("done ")]


def is_fine(line):
    return line == "begun" or line.startswith("done ") or "DEPRECATION" in line


def worker(node, part):
    """The pid of a worker, None while there is none."""
    pid = node.daemon.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            if part in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def kill(node, part):
    """Whether there was one to kill."""
    pid = worker(node, part)
    try:
        if pid:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return pid is not None


@pytest.mark.skipif(erofs.kernel_version() < (6, 9), reason="the kernel cannot send requests again (Linux 6.9)")
def test_a_killed_data_plane_is_not_noticed_by_containers(node, image, work):
    rng, kills = random.Random(1), 0
    with Load(node, image, work) as load:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or kills <= SECONDS:
            assert time.monotonic() < until + 60, "the data plane does not start again"
            time.sleep(rng.uniform(0.05, 0.2))
            kills += kill(node, "data plane")
    assert load.problems() == [], node.daemon.log()[-4000:]
    assert len(load.counts()) == len(load.WAYS) and all(count > 1 for count in load.counts())
    node.server.remove(image)
    node.await_nothing_left()


def attempt(node, image, name):
    """Runs a container; None, or what containerd said."""
    try:
        node.run(image, name, "/bin/true")
    except ContainerdError as error:
        for command in (("tasks", "delete", "--force", name), ("containers", "remove", name)):
            with suppress(ContainerdError):
                node.ctr(*command)
        return str(error)
    return None


def test_a_killed_control_plane_costs_only_the_calls_it_was_at(node, image):
    """Nobody can take back that a call was under way; but nobody finds the socket without a listener."""
    rng, kills, problems, attempts = random.Random(2), 0, [], 0
    until, is_over = time.monotonic() + SECONDS, threading.Event()

    def kill_again_and_again():
        nonlocal kills
        while not is_over.wait(rng.uniform(0.05, 0.2)):
            kills += kill(node, "control plane")

    killer = threading.Thread(target=kill_again_and_again)
    killer.start()
    try:
        while time.monotonic() < until or attempts < 5:
            problem = attempt(node, image, f"c{attempts}")
            attempts += 1
            problems += [problem] if problem else []
    finally:
        is_over.set()
        killer.join()
    assert kills >= 5
    # gRPC gives the same answer to all who call within a second of a connection that ended while it was being made
    cut = ("error reading from server", "error reading server preface", "failed to write client preface")
    assert [problem for problem in problems if not any(text in problem for text in cut)] == []
    # containerd's gRPC waits a while before it connects again
    until = time.monotonic() + 60
    while (problem := attempt(node, image, f"c{attempts}")) and time.monotonic() < until:
        attempts += 1
    assert problem is None
    node.server.remove(image)
    node.await_nothing_left()
