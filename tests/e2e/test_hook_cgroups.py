# SPDX-License-Identifier: Apache-2.0
"""A build's cgroup, under a kernel whose whole tree is ours: tests/unit/registry-hook/test_cgroups.c in a virtual machine."""
import shutil

import pytest

from support import vm
from support.hook import IS_SANITIZED
from support.programs import BUILD

PROGRAM = BUILD / "tests" / "unit" / "test_registry_hook_cgroups"


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="no qemu-system-x86_64")
@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer's shadow is larger than the limits")
def test_a_build_that_takes_all_memory_or_forks_without_end_is_ended_whole(work):
    status, console = vm.run_program(PROGRAM, {"ZP_TEST_CGROUPS": "1"}, work)
    assert status == 0, console
    assert "[       OK ] limits_hold_for_all_processes_of_a_build" in console
