# SPDX-License-Identifier: Apache-2.0
"""The other lazy snapshotters, as they are shipped: how each runs on a node, and how an image is made for it."""
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from support import images
from support.containerd import containerd, containerd_2
from support.listening import ended

from . import subjects

START_SECONDS = 60
_NYDUS = """version = 1
cleanup_on_close = true
[system]
address = "{directory}/system.sock"
[daemon]
nydusd_config = "{directory}/nydusd.json"
recover_policy = "none"
[metrics]
address = ""
"""
# misc/snapshotter/nydusd-config.fusedev.json of nydus-snapshotter, and plain HTTP
_NYDUSD = {
    "device": {
        "backend": {"type": "registry", "config": {"scheme": "http", "timeout": 5, "connect_timeout": 5, "retry_limit": 2}},
        "cache": {"type": "blobcache"},
    },
    "mode": "direct",
    "digest_validate": False,
    "iostats_files": False,
    "enable_xattr": True,
    "amplify_io": 1 << 20,
    "fs_prefetch": {"enable": True, "threads_count": 8, "merging_size": 1 << 20, "prefetch_all": True},
}


@dataclass
class Peer:
    programs: list
    configure: Callable  # (directory): writes the configuration and returns the daemon's options
    convert: Callable  # (subject, plain, target): puts what it makes of an image of the registry there too

    def is_there(self):
        return all(map(shutil.which, self.programs))


def _run(*command):
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise RuntimeError(f"{command[0]}: {result.stdout.decode(errors='replace')[-500:]}")


def _configure_stargz(directory):
    (directory / "config.toml").write_text("")
    return []


def _configure_soci(directory):
    address = directory.parent / "containerd" / "containerd.sock"
    (directory / "config.toml").write_text(f'[content_store]\ncontainerd_address = "{address}"\n')
    return []


def _configure_nydus(directory):
    (directory / "config.toml").write_text(_NYDUS.format(directory=directory))
    (directory / "nydusd.json").write_text(json.dumps(_NYDUSD))
    return ["--log-to-stdout"]


def _convert_stargz(subject, plain, target):
    """What is prefetched is what the container reads that a profile is recorded of."""
    script = shlex.join(subject.start) + (f"; exec {shlex.join(subject.serve)}" if subject.serve else "")
    with containerd(containerd_2()) as daemon:
        daemon.pull(plain)
        _run("ctr-remote", *daemon.command()[1:], "images", "optimize", "--oci", "--net-host",
             "--entrypoint", json.dumps(["sh", "-c", script]), plain, target)  # fmt: skip
        daemon.ctr("images", "push", "--plain-http", target)


def _convert_soci(subject, plain, target):
    # it leaves small layers alone; that of `programs` is one
    options = ["--min-layer-size", "0"] if subject.name == "busybox" else []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
        _run("soci", "convert", "--standalone", "--format", "oci-dir", *options, images.layout(subject.name), f"{work}/made")
        _run("skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci:{work}/made", f"docker://{target}")


def _convert_nydus(subject, plain, target):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
        _run("nydusify", "convert", "--source-insecure", "--target-insecure", "--work-dir", work,
             "--source", plain, "--target", target)  # fmt: skip


# by the name that containerd knows it by
ALL = {
    "stargz": Peer(["containerd-stargz-grpc", "ctr-remote"], _configure_stargz, _convert_stargz),
    "soci": Peer(["soci-snapshotter-grpc", "soci"], _configure_soci, _convert_soci),
    "nydus": Peer(["containerd-nydus-grpc", "nydusd", "nydus-image", "nydusify"], _configure_nydus, _convert_nydus),
}
TOOLS = {"stargz": "stargz", "SOCI": "soci", "nydus": "nydus"}


def there():
    """The tools whose programs are in PATH."""
    return [tool for tool, name in TOOLS.items() if ALL[name].is_there()]


class Daemon:
    """A peer's daemon with all its files below `directory`."""

    def __init__(self, directory, name):
        self.directory, self.peer, self.process = Path(directory), ALL[name], None
        self.directory.mkdir()
        self.socket = self.directory / "grpc.sock"

    def start(self):
        options = self.peer.configure(self.directory)
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                [self.peer.programs[0], "--address", self.socket, "--root", self.directory / "root",
                 "--config", self.directory / "config.toml", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.peer.programs[0]} did not start: {self.log()}")
            time.sleep(0.01)

    def log(self):
        return (self.directory / "log").read_text(errors="replace")[-500:]

    def stop(self):
        """And every process that it started."""
        if self.process:
            ended(self.process)
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def publish(server, tools, names):
    """Puts each image into the registry as each of the tools has it, in SNAPSHOTTER/NAME, and `programs` likewise. What cannot
    be made is not there, and fails when it is pulled."""
    reference = lambda repository: server.reference(repository).removeprefix("docker://")  # noqa: E731
    for tool in tools:
        for name in ["programs", *names]:
            subject = subjects.ALL[name] if name in subjects.ALL else subjects.Subject("busybox")
            plain = "programs" if name == "programs" else f"plain/{name}"
            target = reference(f"{TOOLS[tool]}/{name}")
            try:
                ALL[TOOLS[tool]].convert(subject, reference(plain), target)
            except Exception as error:
                print(f"  {name} cannot be made for {tool}: {error}", file=sys.stderr, flush=True)
