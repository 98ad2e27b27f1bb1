# SPDX-License-Identifier: Apache-2.0
"""zeropull's Debian packages: made of the build under test, or of the source in a clean Debian; and with another version."""
import re
import shutil
from pathlib import Path

from . import debian, debian_system
from .programs import BUILD, SOURCE

BUILD_PACKAGES = SOURCE / "deploy" / "build-packages"
NAMES = ["zeropull", "zeropull-snapshotter", "zeropull-hook", "zeropull-controller"]


def of_the_build(output):
    """Packages of what is built already; nothing is compiled."""
    debian.run_logged([BUILD_PACKAGES, "--built", BUILD, output])


def of_the_source(output):
    """Packages built in a Debian that has what they say they need for that, and no network."""

    def not_source(directory, names):
        return [name for name in names if re.match(r"\.git$|build($|-)", name)] if directory == str(SOURCE) else []

    def prepare(root, apt):
        source = root / "source"
        shutil.copytree(SOURCE, source, symlinks=True, ignore=not_source)
        (source / "debian").symlink_to("deploy/debian")
        apt("install", "dpkg-dev")
        apt("build-dep", "/source")
        (source / "debian").unlink()

    with debian_system.system(prepare) as machine:
        machine.run("/source/deploy/build-packages", "/packages")
        shutil.copytree(machine.root / "packages", output)


def with_version(package, version, output, change=lambda tree: None):
    """The same package as another version of itself, needing that version of the others; `change` may alter its files."""
    with debian.work_directory() as work:
        tree = Path(work) / "tree"
        debian.run_logged(["dpkg-deb", "--raw-extract", package, tree])
        control = (tree / "DEBIAN" / "control").read_text()
        current = re.search(r"^Version: (.*)$", control, re.MULTILINE)[1]
        control = control.replace(f"Version: {current}\n", f"Version: {version}\n").replace(f"(= {current})", f"(= {version})")
        (tree / "DEBIAN" / "control").write_text(control)
        change(tree)
        debian.run_logged(["dpkg-deb", "--root-owner-group", "--build", tree, output])
    return output
