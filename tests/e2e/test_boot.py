# SPDX-License-Identifier: Apache-2.0
"""The flat disk of a snapshot boots under qemu, with Debian 12's own kernel, and runs a program of the image.

That kernel (6.1) knows no flat device tables (Linux 6.4), so the disk is exported with --compat.
"""
import shutil

import pytest

from support import images, vm

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="no qemu-system-x86_64")


@pytest.mark.parametrize("name", ["busybox", pytest.param("python", marks=pytest.mark.long)])
def test_disk_boots_and_runs_the_image(name, zeropull, work):
    source, config = images.source(name), images.config(name)
    zeropull.build(source)
    zeropull.ok("export", source, str(work / "disk"), "--compat")
    status, console = vm.boot(work / "disk", config, work)
    assert status == 0, console
    assert "kernel 6.1." in console and config["Labels"]["test.output"] in console
