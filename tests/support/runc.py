# SPDX-License-Identifier: Apache-2.0
"""Runs an image's command with runc on a root file system that is read-only, as a node would: an overlay with an
empty upper directory on top."""
import json
import os
import subprocess
import uuid
from contextlib import contextmanager
from pathlib import Path

_CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_KILL"]


def spec(config):
    """An OCI runtime configuration for an image's config."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": (config.get("Entrypoint") or []) + (config.get("Cmd") or []),
            "env": config.get("Env") or [],
            "cwd": config.get("WorkingDir") or "/",
            "capabilities": {kind: _CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }


@contextmanager
def overlay(lower, work):
    """A writable overlay on `lower`; yields the merged directory."""
    work = Path(work)
    for name in ("upper", "ovl", "rootfs"):
        (work / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={work / 'upper'},workdir={work / 'ovl'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, work / "rootfs"], check=True)
    try:
        yield work / "rootfs"
    finally:
        subprocess.run(["umount", work / "rootfs"], check=True)


@contextmanager
def prepared(lower, config, work):
    """A bundle ready to run; yields the command that runs it."""
    with overlay(lower, work):
        (Path(work) / "config.json").write_text(json.dumps(spec(config)))
        yield ["runc", "--root", str(Path(work) / "runc"), "run", "--bundle", str(work), f"zp-{uuid.uuid4().hex[:12]}"]


def run(lower, config, work, timeout=60):
    """Runs the image's command; returns its CompletedProcess (text, stderr in stdout)."""
    with prepared(lower, config, work) as command:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={"PATH": os.environ["PATH"]},
        )
