# SPDX-License-Identifier: Apache-2.0
"""Servers that Debian does not have, built by Go when they are first wanted and kept for the next run."""
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from . import debian

TOOLS = Path(os.environ.get("ZP_TEST_TOOLS", "/var/tmp/zeropull-test-tools"))


@functools.cache
def installed(name, *commands):
    """The directory `name` with what `go install` makes of the commands (module/path@version), which takes minutes once; and
    why there is none."""
    directory = TOOLS / name
    with debian.locked("tool-" + name):
        if directory.exists():
            return directory, None
        if not shutil.which("go"):
            return None, f"no {directory}, and no Go to build it (go install {' '.join(commands)})"
        TOOLS.mkdir(parents=True, exist_ok=True)
        # Built aside: a test run that is stopped leaves nothing half-made.
        aside = Path(tempfile.mkdtemp(dir=TOOLS, prefix=f".{name}-"))
        try:
            environment = {**os.environ, "GOBIN": str(aside), "CGO_ENABLED": "0", "GOSUMDB": "off"}
            result = subprocess.run(["go", "install", *commands], env=environment, cwd="/", capture_output=True, text=True)
            if result.returncode != 0:
                return None, f"{name} could not be built: {result.stderr[-300:]}"
            aside.chmod(0o755)
            os.replace(aside, directory)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return directory, None


def installed_or_skip(name, *commands):
    """The directory; without it the test is skipped."""
    directory, reason = installed(name, *commands)
    return directory or pytest.skip(reason)
