# SPDX-License-Identifier: Apache-2.0
"""Runs remote-tool: puts, gets, publishes and finds what is in a remote."""
import json
import os
import subprocess

from support import oci
from support.programs import BUILD
from support.source_dump import Failure

REMOTE_TOOL = BUILD / "tests" / "tools" / "remote-tool"
ARTIFACT = "application/vnd.zeropull.test.v1"
EMPTY = b"{}"


def environment(home="/nonexistent"):
    """The user's own, without anything that leads to credentials."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "DOCKER_", "REGISTRY_"))}
    return {**own, "HOME": str(home)}


def command(name, *arguments, options=()):
    return [REMOTE_TOOL, *map(str, options), str(name), *map(str, arguments)]


def remote_tool(name, *arguments, options=(), home="/nonexistent"):
    """What remote-tool says, or a Failure."""
    result = subprocess.run(
        command(name, *arguments, options=options), capture_output=True, text=True, timeout=180, env=environment(home)
    )
    assert result.returncode in (0, 1) and result.stdout, result.stderr
    answer = json.loads(result.stdout)
    return answer if result.returncode == 0 else Failure(notices=[], **answer)


def artifact_manifest(subject, blobs=(), artifact_type=ARTIFACT, annotations=None):
    """The bytes of a manifest about `subject` (a descriptor), with layers of these bytes. Needs the empty config."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(EMPTY, "application/vnd.oci.empty.v1+json"),
        "layers": [descriptor(blob, "application/octet-stream") for blob in blobs],
        "subject": subject,
    }
    if annotations:
        manifest["annotations"] = annotations
    return json.dumps(manifest).encode()


def descriptor(data, media_type):
    return {"mediaType": media_type, "digest": oci.sha256(data), "size": len(data)}
