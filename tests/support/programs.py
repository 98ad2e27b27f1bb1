# SPDX-License-Identifier: Apache-2.0
"""Where the programs under test are: in $ZP_BUILD_DIR, or build/ in the source tree."""
import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("ZP_BUILD_DIR", SOURCE / "build")).resolve()
ZEROPULL = BUILD / "cli" / "zeropull"
TREECMP = BUILD / "tests" / "tools" / "treecmp"


def treecmp(left, right, *options):
    """Differences between two trees, one a line; [] when they are the same."""
    result = subprocess.run(
        [TREECMP, *map(str, options), left, right], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if result.returncode not in (0, 1):
        raise RuntimeError(result.stderr)
    lines = result.stdout.splitlines()
    assert bool(lines) == (result.returncode == 1)
    return lines
