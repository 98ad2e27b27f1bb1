# SPDX-License-Identifier: Apache-2.0
"""A real S3 server (versitygw over a POSIX directory) on a port of its own, and a proxy that misbehaves before it."""
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .listening import ended, started

TOOLS = Path(os.environ.get("ZP_TEST_TOOLS", "/var/tmp/zeropull-test-tools"))
MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret/+="


def program():
    """The server's path; it is built when Go is there, and the test skipped otherwise."""
    found = shutil.which("versitygw") or TOOLS / "versitygw"
    if Path(found).exists():
        return found
    if not shutil.which("go"):
        pytest.skip(f"no S3 server: neither {found} nor Go to build it (go install {MODULE})")
    TOOLS.mkdir(parents=True, exist_ok=True)
    # Built aside: two test runs may come here at once, and one that is stopped leaves nothing half-made.
    aside = TOOLS / f".build-{os.getpid()}"
    environment = {**os.environ, "GOBIN": str(aside), "CGO_ENABLED": "0", "GOSUMDB": "off"}
    result = subprocess.run(["go", "install", MODULE], env=environment, cwd="/", capture_output=True, text=True)
    if result.returncode != 0:
        shutil.rmtree(aside, ignore_errors=True)
        pytest.skip("no S3 server: it could not be built: " + result.stderr[-300:])
    os.replace(aside / "versitygw", TOOLS / "versitygw")
    shutil.rmtree(aside, ignore_errors=True)
    return TOOLS / "versitygw"


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
