# SPDX-License-Identifier: Apache-2.0
"""Starts servers that have to be told a port and take no port 0, and one that says nothing; and ends programs."""
import socket
import subprocess
import time
from contextlib import contextmanager, suppress

TRIES = 5


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def started(start, log, deadline_s=120):
    """`start(port)` gives a process. A port that was free is tried, and another when somebody else was faster. Returns process
    and port; what the file `log` ends with is told when nothing comes of it."""
    for _ in range(TRIES):
        port = _free_port()
        process = start(port)
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline and process.poll() is None:
            if _listens(port):
                return process, port
            time.sleep(0.05)
        process.kill()
        process.wait()
    raise RuntimeError(f"{process.args[0]} did not start: {log.read_text(errors='replace')[-1000:]}")


def ended(process, deadline_s=10):
    """Asks a program to end; after a while it has to."""
    process.terminate()
    try:
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Deaf:
    """Takes connections and says nothing."""

    def __init__(self, listening):
        self.listening = listening
        self.host = "127.0.0.1:%d" % listening.getsockname()[1]

    def connections(self):
        """How many came since it was asked last."""
        count = 0
        with suppress(BlockingIOError):
            while True:
                self.listening.accept()[0].close()
                count += 1
        return count


@contextmanager
def deaf():
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        listening.setblocking(False)
        yield Deaf(listening)
