# SPDX-License-Identifier: Apache-2.0
"""A real registry (the distribution project's, Debian's 2.8 or version 3) on a port the kernel gave."""
import json
import os
import re
import select
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .go_tools import TOOLS, installed_or_skip
from .listening import ended

VERSION_3 = "v3.0.0"
LOG_SECONDS = 120


@dataclass
class Registry:
    """A running registry; `host` is what image names start with."""

    host: str
    url: str
    storage: Path
    log: Path
    users: dict

    def reference(self, repository, tag="latest"):
        return f"docker://{self.host}/{repository}:{tag}"

    def push(self, source, repository, tag="latest", *options):
        """Copies an image (as skopeo names it) into the registry, with all of its platforms."""
        credentials = [f"--dest-creds={user}:{password}" for user, password in list(self.users.items())[:1]]
        subprocess.run(
            [
                "skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", *credentials, *options,
                str(source), self.reference(repository, tag),
            ],
            check=True,
        )  # fmt: skip
        return self.reference(repository, tag)

    def requests(self, start=0):
        """Its log from a position on, with everything that was asked for until now: another process writes it, later."""
        mark = f"/v2/mark-{time.monotonic_ns()}/tags/list"
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(self.url + mark, context=ssl._create_unverified_context())
        deadline = time.monotonic() + LOG_SECONDS
        while mark not in (log := self.log.read_text(errors="replace")):
            assert time.monotonic() < deadline, "the registry's log stands still"
            time.sleep(0.01)
        return log[start:]

    def blobs_read(self):
        """Digests of the blobs that were asked for with GET so far, as its log says."""
        answered = re.compile(r'http\.request\.method=GET .*http\.request\.uri="/v2/[^"]*/blobs/(sha256:[0-9a-f]{64})')
        return set(answered.findall(self.requests()))


def _configuration(storage, users, tls, extra):
    configuration = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "headers": {"X-Content-Type-Options": ["nosniff"]}},
    }
    if users:
        file = storage / "htpasswd"
        file.touch()
        for user, password in users.items():
            subprocess.run(["htpasswd", "-Bb", file, user, password], check=True, stderr=subprocess.DEVNULL)
        configuration["auth"] = {"htpasswd": {"realm": "test", "path": str(file)}}
    if tls:
        configuration["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    for key, value in (extra or {}).items():
        configuration[key] = value
    return configuration


def _port(process, log, deadline_s=120):
    """Copies the registry's log to a file until it says where it listens."""
    pattern = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")
    deadline, seen = time.monotonic() + deadline_s, b""
    while time.monotonic() < deadline and process.poll() is None:
        if not select.select([process.stderr], [], [], 0.2)[0]:
            continue
        piece = process.stderr.read1(65536)
        seen += piece
        log.write(piece)
        if match := pattern.search(seen):
            return int(match[1])
    raise RuntimeError("docker-registry did not start: " + seen.decode(errors="replace"))


def distribution_3():
    """The registry of distribution v3; it is built when Go is there, and the test skipped otherwise."""
    if found := shutil.which("registry", path=f"{TOOLS}:{os.environ['PATH']}"):
        return found
    module = "github.com/distribution/distribution/v3"
    return installed_or_skip(f"distribution-{VERSION_3}", f"{module}/cmd/registry@{VERSION_3}") / "registry"


@contextmanager
def registry(directory, users=None, tls=None, extra=None, program="docker-registry"):
    """Runs a registry that keeps everything below `directory`.

    program: docker-registry, or what distribution_3() found.
    users: {name: password}, asked for by Basic authentication. tls: (certificate, key) files.
    extra: further top-level sections of the configuration, e.g. {"notifications": {...}}.
    """
    storage = Path(directory) / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    configuration = storage / "config.json"
    configuration.write_text(json.dumps(_configuration(storage, users, tls, extra)))
    log = storage / "log"
    with open(log, "wb") as log_file:
        process = subprocess.Popen(
            [program, "serve", configuration], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        drain = None
        try:
            port = _port(process, log_file)
            log_file.flush()
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=log_file)
            scheme = "https" if tls else "http"
            yield Registry(f"127.0.0.1:{port}", f"{scheme}://127.0.0.1:{port}", storage, log, users or {})
        finally:
            ended(process)
            process.stderr.close()
            if drain:
                drain.wait()
