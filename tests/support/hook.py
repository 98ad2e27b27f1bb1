# SPDX-License-Identifier: Apache-2.0
"""zeropull-hook, as a test runs it: on a port the kernel gave, with a state of its own."""
import json
import os
import re
import select
import signal
import stat
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from .programs import BUILD, ZEROPULL

# A sanitizer's shadow is larger than any limit.
IS_SANITIZED = any(
    option["name"] == "sanitize" and option["value"]
    for option in json.loads((BUILD / "meson-info" / "intro-buildoptions.json").read_text())
)
HOOK = BUILD / "registry-hook" / "zeropull-hook"

# A builder that costs nothing: notes that it was asked to build what, and answers as zeropull does.
FAKE_BUILDER = """#!/bin/sh
store= reference=
while [ $# -gt 0 ]; do
    case "$1" in --store) store=$2; shift ;; docker://*) reference=$1 ;; esac
    shift
done
echo "$reference" >> "$store/built"
echo "pretending to build" >&2
echo '{"snapshot": "sha256:%s", "snapshotSize": 10, "bytesSent": 5}'
""" % ("a" * 64)


def fake_builder(directory, text=FAKE_BUILDER):
    path = Path(directory) / "fake-zeropull"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


def notifications(url, token=None):
    """The registry's configuration that makes it tell the hook (registry(extra=…))."""
    endpoint = {
        "name": "zeropull",
        "url": f"{url}/hooks/distribution",
        "timeout": "5s",
        "threshold": 2,
        "backoff": "200ms",
        "ignore": {"mediatypes": ["application/octet-stream"], "actions": ["pull"]},
    }
    if token:
        endpoint["headers"] = {"Authorization": [token]}
    return {"notifications": {"events": {"includereferences": True}, "endpoints": [endpoint]}}


class HookApi:
    """A service, asked over HTTP; `said` is what it has logged."""

    def __init__(self, url=None):
        self.url, self.token = url, None

    def request(self, path, body=None, method=None, headers=None, raw=None):
        """(status, parsed JSON or text)."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers = {**({"Content-Type": "application/json"} if data is not None else {}), **(headers or {})}
        if self.token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode()

    def get(self, path):
        status, answer = self.request(path)
        assert status == 200, (path, status, answer)
        return answer

    def builds(self, **query):
        return self.get("/v1/builds?" + "&".join(f"{key}={value}" for key, value in {"limit": 1000, **query}.items()))[
            "builds"
        ]

    def snapshots(self):
        return self.get("/v1/snapshots?limit=1000")["snapshots"]

    def settle(self, timeout_s=300):
        """Waits until every event is decided and every build is over."""

        def is_settled():
            status = self.get("/v1/status")
            return status["pending"] == status["queued"] == status["running"] == 0

        until(is_settled, timeout_s, lambda: self.said()[-3000:])


class Hook(HookApi):
    def __init__(self, state, config=None, builder=ZEROPULL, environment=None):
        super().__init__()
        self.state = Path(state)
        self.state.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.builder = builder
        if IS_SANITIZED and builder == ZEROPULL:  # looking for leaks needs ptrace, which the sandbox refuses
            wrapper = f'#!/bin/sh\nASAN_OPTIONS=detect_leaks=0 exec {ZEROPULL} "$@"\n'
            self.builder = fake_builder(self.state, wrapper)
        self.environment = {**os.environ, "HOME": "/nonexistent", **(environment or {})}
        self.listen = "127.0.0.1:0"
        self.log = self.state.parent / (self.state.name + ".log")
        self.process = None
        self.scheme = "http"

    def start(self):
        how = ["--config", self.config] if self.config else ["--standalone"]
        start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [HOOK, *how, "--listen", self.listen, "--state", self.state, "--builder", self.builder],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        until(lambda: self._is_listening(start), 120, lambda: self.said()[-2000:])
        return self

    def _is_listening(self, start):
        with open(self.log, "rb") as log:
            log.seek(start)
            found = re.search(rb"listening on (https?)://127\.0\.0\.1:(\d+);", log.read())
        if found:
            self.scheme, port = found[1].decode(), int(found[2])
            self.listen = f"127.0.0.1:{port}"
            self.url = f"{self.scheme}://127.0.0.1:{port}"
        elif self.process.poll() is not None:
            raise RuntimeError(f"zeropull-hook ended with {self.process.returncode}: {self.said()[-2000:]}")
        return found

    def said(self):
        return self.log.read_text(errors="backslashreplace")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(90) == 0, self.said()[-3000:]
        assert not any(mark in self.said() for mark in ("Sanitizer", "runtime error:")), self.said()[-6000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def command(self, *arguments):
        return subprocess.run(
            [HOOK, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120,
            env={**self.environment, "ZEROPULL_HOOK_URL": self.url or ""},
        )  # fmt: skip


def until(condition, timeout_s, explain=lambda: ""):
    """Asks again until it holds; the only wait that tests of other processes need."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, explain()
        select.select([], [], [], 0.05)


@contextmanager
def hook(state, **options):
    running = Hook(state, **options).start()
    try:
        yield running
        running.stop()
    finally:
        if running.process.poll() is None:
            running.kill()
