# SPDX-License-Identifier: Apache-2.0
"""Runs source-dump: resolves an image and reads its layers."""
import json
import os
import subprocess
from dataclasses import dataclass

from support.programs import BUILD

SOURCE_DUMP = BUILD / "tests" / "tools" / "source-dump"


@dataclass
class Failure:
    """Why an image could not be read."""

    code: int  # errno
    message: str
    hint: str
    notices: list


def source_dump(name, *options, home="/nonexistent", path=None):
    """What source-dump says about an image (and its notices, as a list of lines), or a Failure. No credentials of the user's are found unless below `home`.

    path: a directory with further programs.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DOCKER_", "REGISTRY_"))}
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    result = subprocess.run(
        [SOURCE_DUMP, *map(str, options), str(name)],
        capture_output=True, text=True, timeout=120, env={**environment, "HOME": str(home)},
    )  # fmt: skip
    assert result.returncode in (0, 1) and result.stdout, result.stderr
    answer = {**json.loads(result.stdout), "notices": result.stderr.splitlines()}
    return answer if result.returncode == 0 else Failure(**answer)


def check_layers(dump, layers):
    """The dump has these layers (oci.Layer), and their bytes arrived."""
    assert [layer["digest"] for layer in dump["layers"]] == [layer.digest for layer in layers]
    assert [layer["received"] for layer in dump["layers"]] == [layer.digest for layer in layers]
    assert [layer["diff_id"] for layer in dump["layers"]] == [layer.diff_id for layer in layers]
