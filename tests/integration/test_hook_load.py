# SPDX-License-Identifier: Apache-2.0
"""The short forms of benchmarks/hook-load (nothing is lost, nothing is answered with an error, and memory stays flat), of
benchmarks/push and of benchmarks/controller (one list, and no write that changes nothing).

How fast it is, is for the long form to say, on a machine that does nothing else.
"""
import os
import shutil
import subprocess

import pytest
from support import kubernetes_programs
from support.hook import IS_SANITIZED
from support.programs import BUILD, SOURCE


def short(name):
    return subprocess.run(
        ["/usr/bin/python3", SOURCE / "benchmarks" / name, "--short"],
        env={**os.environ, "ZP_BUILD_DIR": str(BUILD)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk")
@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer keeps what was freed")
def test_nothing_is_lost_under_load_and_memory_stays_flat():
    result = short("hook-load")
    assert result.returncode == 0 and "WRONG" not in result.stdout, result.stdout + result.stderr


def test_the_way_from_a_push_to_the_snapshot_can_be_measured():
    result = short("push")
    assert result.returncode == 0 and "changed top layer: " in result.stdout, result.stdout + result.stderr


@pytest.mark.skipif(kubernetes_programs.missing() is not None, reason=str(kubernetes_programs.missing()))
def test_a_controller_lists_once_and_writes_nothing_that_has_not_changed():
    if not kubernetes_programs.programs(may_build=False):
        pytest.skip("no Kubernetes in the cache of test tools")
    result = short("controller")
    assert result.returncode == 0 and "WRONG" not in result.stdout and "initial sync: " in result.stdout, result.stdout + result.stderr
