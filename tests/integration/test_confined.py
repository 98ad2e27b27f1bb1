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


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]


def expect_confined(process, find_builders):
    most = 0
    while process.poll() is None:
        try:
            for pid in find_builders(process.pid):
                threads = threads_of(pid)
                most = max(most, len(threads))
                assert len(threads) < 2 or all(threads)
        except (FileNotFoundError, ProcessLookupError):
            pass
    assert process.wait() == 0
    assert most > 2, "its threads were not seen"


def test_every_thread_of_a_build_is_confined(zeropull, source):
    expect_confined(start_on_a_terminal(zeropull.command("build", source)), lambda pid: [pid])


def test_every_thread_of_a_build_that_publishes_is_confined(zeropull, source, work):
    (work / "remote").mkdir()
    command = zeropull.command("build", f"--push=dir:{work / 'remote'}", source)
    expect_confined(start_on_a_terminal(command), lambda pid: [pid])


def test_every_thread_that_builds_for_verify_is_confined(zeropull, source):
    zeropull.build(source)
    expect_confined(start_on_a_terminal(zeropull.command("verify", "--rebuild")), children_of)
    assert zeropull.leftovers() == []
