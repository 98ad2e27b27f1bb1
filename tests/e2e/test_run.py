# SPDX-License-Identifier: Apache-2.0
"""A container runs from a mounted snapshot: runc, with an overlay on top of it."""
import os
import shutil

import pytest

from support import images, runc

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems"),
    pytest.mark.skipif(not shutil.which("runc"), reason="no runc"),
]


@pytest.mark.parametrize("name", ["busybox", "python", "nginx", "node", "jdk", "postgresql"])
def test_container_prints_what_its_image_says(name, zeropull, work):
    source, config = images.source(name), images.config(name)
    zeropull.build(source)
    with zeropull.mounted(source, work / "snapshot") as snapshot:
        result = runc.run(snapshot, config, work / "bundle")
    assert result.returncode == 0, result.stdout
    assert config["Labels"]["test.output"] in result.stdout


def test_container_may_write_and_the_snapshot_stays(zeropull, work):
    source, config = images.source("busybox"), images.config("busybox")
    zeropull.build(source)
    config["Cmd"] = ["/bin/sh", "-c", "echo changed >/etc/passwd && rm -r /var && touch /new && cat /etc/passwd"]
    with zeropull.mounted(source, work / "snapshot") as snapshot:
        result = runc.run(snapshot, config, work / "bundle")
        assert (result.returncode, result.stdout) == (0, "changed\n")
        assert (snapshot / "etc" / "passwd").read_text().startswith("root:")
        assert (snapshot / "var").is_dir() and not (snapshot / "new").exists()
    assert (work / "bundle" / "upper" / "new").exists()
