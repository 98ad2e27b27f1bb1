# SPDX-License-Identifier: Apache-2.0
"""A build killed at any moment leaves nothing that a later one trips over."""
import os
import random
import signal
import subprocess
import time

import pytest

from support import images
from support.zeropull import OK

ROUNDS = int(os.environ.get("ZP_KILL_ROUNDS", "6"))
IMAGE = "python"


def check_store(zeropull):
    """What is there is complete, and nothing else is there."""
    assert len(zeropull.image_directories()) == len(zeropull.json("list"))
    assert zeropull.leftovers() == []
    zeropull.ok("verify")
    zeropull.ok("prune")
    layers = zeropull.json("inspect", images.source(IMAGE))["layers"]
    devices = {device["digest"].removeprefix("sha256:") for layer in layers for device in layer["devices"]}
    assert {directory.name for directory in zeropull.device_directories()} == devices
    names = {layer["metadataDigest"].removeprefix("sha256:") for layer in layers}
    assert {directory.name for directory in zeropull.layer_directories()} == names


@pytest.fixture(scope="module")
def build_seconds(tmp_path_factory):
    """How long an undisturbed build takes, so that the kills spread over all of it."""
    from support.zeropull import Zeropull

    zeropull = Zeropull(tmp_path_factory.mktemp("undisturbed") / "store")
    source = images.source(IMAGE)
    begin = time.monotonic()
    zeropull.build(source)
    return time.monotonic() - begin


def killed_build(zeropull, source, seconds):
    """Starts a build and kills it after `seconds`, unless it is done by then; returns whether it was killed."""
    process = zeropull.start("build", source)
    try:
        _, stderr = process.communicate(timeout=seconds)
        assert process.returncode == OK, stderr
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_next_build_after_a_kill_succeeds(seed, zeropull, build_seconds):
    moments = random.Random(seed)
    source = images.source(IMAGE)
    for _ in range(moments.randrange(1, 4)):
        killed_build(zeropull, source, moments.uniform(0, build_seconds))
    zeropull.build(source)
    check_store(zeropull)


def test_a_build_beside_a_killed_one_does_not_wait_for_it(zeropull, build_seconds):
    source = images.source(IMAGE)
    first = zeropull.start("build", source)
    second = zeropull.start("build", source)
    try:
        first.communicate(timeout=build_seconds / 2)
    except subprocess.TimeoutExpired:
        first.kill()
        first.communicate()
    _, stderr = second.communicate(timeout=300 + 10 * build_seconds)
    assert second.returncode == OK, stderr
    zeropull.ok("prune")  # the first one's leftovers go when the store is next opened for writing
    check_store(zeropull)


def test_concurrent_builds_of_one_image_do_the_work_once(zeropull):
    source = images.source(IMAGE)
    processes = [zeropull.start("build", source) for _ in range(4)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [OK] * 4, outputs
    check_store(zeropull)


def test_concurrent_builds_of_different_images_share_the_base(zeropull):
    names = ["nginx", "python", "node"]
    processes = [zeropull.start("build", images.source(name)) for name in names]
    for process in processes:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == OK, stderr
    assert len(zeropull.layer_directories()) == 4
    zeropull.ok("verify")
    assert zeropull.leftovers() == []
