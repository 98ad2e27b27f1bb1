# SPDX-License-Identifier: Apache-2.0
"""That no thread of a process which parses layers keeps what a confined build gives up."""
import os
import pty
import random
import subprocess
import threading

import pytest

from support import oci


@pytest.fixture
def source(work):
    layout = oci.Layout(work / "layout")
    tar = oci.tar_bytes(lambda tar: tar.file("big", random.Random(3).randbytes(50_000_000)))
    layout.add_image("v1", [layout.add_raw_layer(tar)])
    return f"oci:{work / 'layout'}:v1"


def threads_of(pid):
    """Its threads' no_new_privs; of those that end meanwhile, nothing."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/status") as status:
                found += [line.split()[1] == "1" for line in status if line.startswith("NoNewPrivs:")]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def start_on_a_terminal(command):
    """Where there are bars, which a thread of their own draws."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)

    def drain():
        try:
            while os.read(ours, 4096):
                pass
        except OSError:
            pass
        os.close(ours)

    threading.Thread(target=drain, daemon=True).start()
    return process


def test_every_thread_of_a_build_is_confined(zeropull, source):
    process = start_on_a_terminal(zeropull.command("build", source))
    most = 0
    while process.poll() is None:
        try:
            threads = threads_of(process.pid)
        except FileNotFoundError:
            break
        most = max(most, len(threads))
        assert len(threads) < 2 or all(threads)
    assert process.wait() == 0
    assert most > 2, "its threads were not seen"
