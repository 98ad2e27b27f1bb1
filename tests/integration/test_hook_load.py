# SPDX-License-Identifier: Apache-2.0
"""The short form of benchmarks/hook-load: nothing is lost, nothing is answered with an error, and memory stays flat.

How fast it is, is for the long form to say, on a machine that does nothing else.
"""
import os
import shutil
import subprocess

import pytest
from support.hook import IS_SANITIZED
from support.programs import BUILD, SOURCE


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk")
@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer keeps what was freed")
def test_nothing_is_lost_under_load_and_memory_stays_flat():
    result = subprocess.run(
        ["/usr/bin/python3", SOURCE / "benchmarks" / "hook-load", "--short"],
        env={**os.environ, "ZP_BUILD_DIR": str(BUILD)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0 and "WRONG" not in result.stdout, result.stdout + result.stderr
