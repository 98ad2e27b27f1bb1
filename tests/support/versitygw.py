# SPDX-License-Identifier: Apache-2.0
"""A real S3 server (versitygw over a POSIX directory) on a port of its own, and a proxy that misbehaves before it."""
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .go_tools import TOOLS, installed_or_skip
from .listening import ended, started

VERSION = "v1.8.0"
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret/+="


def program():
    """The server's path; it is built when Go is there, and the test skipped otherwise."""
    if found := shutil.which("versitygw", path=f"{os.environ['PATH']}:{TOOLS}"):
        return found
    return installed_or_skip(f"versitygw-{VERSION}", f"github.com/versity/versitygw/cmd/versitygw@{VERSION}") / "versitygw"


@dataclass
class S3:
    """A running server. `storage`: where buckets are directories and objects files."""

    url: str
    storage: Path
    log: Path

    @property
    def environment(self):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def bucket(self, name):
        (self.storage / name).mkdir()
        return self.storage / name

    def leftovers(self, bucket):
        """Parts of uploads that are neither finished nor given up."""
        hidden = self.storage / bucket / ".sgwtmp"
        return [p for p in hidden.rglob("*") if p.is_file()] if hidden.exists() else []


def _start(directory, storage, options):
    log = directory / "log"
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}

    def start(port):
        with open(log, "ab") as log_file:
            return subprocess.Popen(
                [program(), "--port", f"127.0.0.1:{port}", "--keep-alive", *options, "posix", storage],
                env=environment, stdout=log_file, stderr=log_file, cwd=directory,
            )  # fmt: skip

    return *started(start, log), log


@contextmanager
def versitygw(directory, *options, tls=None):
    """Runs a server that keeps everything below `directory`. tls: (certificate, key) files."""
    directory = Path(directory) / "s3"
    storage = directory / "buckets"
    storage.mkdir(parents=True)
    tls_options = ["--cert", tls[0], "--key", tls[1]] if tls else []
    process, port, log = _start(directory, storage, [*tls_options, *options])
    try:
        yield S3(f"http{'s' if tls else ''}://127.0.0.1:{port}", storage, log)
    finally:
        ended(process)
