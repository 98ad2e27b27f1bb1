# SPDX-License-Identifier: Apache-2.0
"""Runs tests/tools/kube-tool, the Kubernetes client's test program."""
import json
import os
import queue
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

from .programs import BUILD

TOOL = BUILD / "tests" / "tools" / "kube-tool"
SECONDS = 60


class ToolError(Exception):
    """The tool failed; the text is its message, `code` the errno's name."""

    def __init__(self, text):
        super().__init__(text)
        self.code = text.partition(":")[0].splitlines()[-1] if text else ""


def run(kubeconfig, *arguments, stdin=None, environment=None):
    """The objects that a command prints."""
    result = subprocess.run([TOOL, *map(str, arguments)], env=_environment(kubeconfig, environment), text=True,
                            input=json.dumps(stdin), capture_output=True, timeout=SECONDS)  # fmt: skip
    if result.returncode != 0:
        raise ToolError(result.stderr)
    return [json.loads(line) for line in result.stdout.splitlines() if not line.startswith('{"notice"')]


def _environment(kubeconfig, more=None):
    return {**os.environ, "KUBECONFIG": str(kubeconfig), **(more or {})}


class Running:
    """A command that goes on; its lines can be waited for."""

    def __init__(self, kubeconfig, *arguments, environment=None):
        self.process = subprocess.Popen([TOOL, *map(str, arguments)], env=_environment(kubeconfig, environment), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        self.lines = []  # all so far: (monotonic time, object)
        self._arriving = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._arriving.put((time.monotonic(), json.loads(line)))
        self._arriving.put(None)

    def wait_for(self, what, is_it, seconds=SECONDS):
        """The next line that is it, from those on that were not looked at."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                arrived = self._arriving.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {what} in {seconds} s; last: {self.lines[-5:]}") from None
            assert arrived is not None, f"no {what}: it ended; last: {self.lines[-5:]}"
            self.lines.append(arrived)
            if is_it(arrived[1]):
                return arrived[1]

    def wait_for_change(self, change, name, seconds=SECONDS):
        return self.wait_for(f"{change} of {name}", lambda line: (line.get("change"), line.get("name")) == (change, name), seconds)

    def wait_for_trouble(self, code):
        return self.wait_for(f"trouble {code}", lambda line: line.get("code") == code)

    def wait_until_synced(self):
        self.wait_for("initial sync", lambda line: "synced" in line)

    def wait_for_lease(self, what, seconds=SECONDS):
        self.wait_for(f"lease {what}", lambda line: line.get("lease") == what, seconds)

    def _ask(self, key):
        self.process.stdin.write("statistics\n")
        self.process.stdin.flush()
        return self.wait_for(key, lambda line: key in line)[key]

    def statistics(self):
        return self._ask("statistics")

    def is_held(self):
        return self._ask("is_held")

    def changes(self):
        """(change, name) of all that was told so far."""
        return [(line["change"], line["name"]) for _, line in self.lines if "change" in line]

    def stop(self):
        """Ends it in order; returns how many seconds that took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SECONDS) == 0
        return time.monotonic() - start


@contextmanager
def running(kubeconfig, *arguments, environment=None):
    tool = Running(kubeconfig, *arguments, environment=environment)
    try:
        yield tool
    finally:
        tool.process.kill()
        tool.process.wait()
        tool.process.stdin.close()


@contextmanager
def watching(kubeconfig, api_version="v1", plural="configmaps", namespace="-", *query, synced=True):
    with running(kubeconfig, "watch", api_version, plural, namespace, *query) as tool:
        if synced:
            tool.wait_until_synced()
        yield tool
