# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration and e2e tests, and how a skipped test is made impossible to overlook."""
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from support import containerd as containerd_support  # noqa: E402
from support import debian, programs  # noqa: E402
from support.hook_world import hook_and_registry  # noqa: E402
from support.memory_registry import memory_registry  # noqa: E402
from support.pulls import World  # noqa: E402
from support.registry import registry  # noqa: E402
from support.snapshotter import settings, snapshotter  # noqa: E402
from support.zeropull import Zeropull  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--part", default="1/1", metavar="K/N", help="run the K-th of N parts of the tests, in their order")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes a minute or more; `run-tests --long` runs it")


def pytest_collection_modifyitems(config, items):
    """Parts run side by side. Neighbours share what a module or a parameter sets up, so a part is one stretch."""
    long = [item for item in items if item.get_closest_marker("long") and not os.environ.get("ZP_LONG")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]
    part, parts = map(int, config.getoption("part").split("/"))
    assert 1 <= part <= parts
    first, end = (len(items) * n // parts for n in (part - 1, part))
    config.hook.pytest_deselected(items=items[:first] + items[end:])
    items[:] = items[first:end]


def pytest_report_header():
    fsck = shutil.which("fsck.erofs")
    version = subprocess.run([fsck, "-V"], capture_output=True, text=True).stdout.split("\n")[0] if fsck else "missing"
    return [
        f"zeropull: {programs.ZEROPULL}",
        f"fsck.erofs: {fsck or 'not found'} ({version})",
        f"kernel: {os.uname().release}, cpus: {os.cpu_count()}, test images: {debian.CACHE}",
    ]


def pytest_terminal_summary(terminalreporter):
    """One line a skip, so that a run which tested less than it should says so at its end."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"SKIPPED, NOT TESTED: {report.nodeid}: {reason}", yellow=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """A suite of which nothing ran did not pass: for meson it is skipped, too."""
    stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
    is_all_skipped = exitstatus == 0 and stats.get("skipped") and not stats.get("passed")
    is_all_long = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and stats.get("deselected")
    if is_all_skipped or is_all_long:
        session.exitstatus = 77


@pytest.fixture
def work():
    """A temporary directory on a real file system (overlayfs and user.* xattrs work), unmounted and removed after."""
    (debian.CACHE / "tmp").mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=debian.CACHE / "tmp", prefix="test-"))
    yield directory
    containerd_support.unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def place():
    """A registry in memory."""
    with memory_registry() as server:
        yield server


@pytest.fixture
def zeropull(work):
    """The zeropull command with a store of its own."""
    return Zeropull(work / "store")


@pytest.fixture(scope="session")
def containerd():
    """One private containerd for the whole run."""
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    with containerd_support.containerd() as daemon:
        yield daemon


@pytest.fixture
def world(work):
    """A registry of the test's own, and images in it."""
    with registry(work) as server:
        yield World(work, server)


@pytest.fixture
def pair(work):
    """Starts, when called with rules, a zeropull-hook and a registry that tells it."""
    with hook_and_registry(work) as start:
        yield start


@pytest.fixture
def daemon(request, work):
    """A snapshotter, with the module's SETTINGS where there are any."""
    lines = getattr(request.module, "SETTINGS", None)
    with snapshotter(work, *(settings(work, *lines) if lines else ())) as running:
        yield running


@pytest.fixture
def api(daemon):
    """A connection to it."""
    with closing(daemon.client()) as client:
        yield client
