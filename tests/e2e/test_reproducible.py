# SPDX-License-Identifier: Apache-2.0
"""Same image, same bytes: whatever the threads, the clock, the time zone, the umask, the locale, the order."""
import hashlib
import os
import shutil

import pytest

from support import images
from support.zeropull import Zeropull

IMAGES = ("odd-changed", "stack40", "python", pytest.param("hundredk", marks=pytest.mark.long))

VARIATIONS = {
    "one thread": dict(options=["--threads", "1"]),
    "seven threads": dict(options=["--threads", "7"]),
    "another time": dict(prefix=["faketime", "2001-02-03 04:05:06"]),
    "another time zone and locale": dict(environment={"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    "another umask": dict(umask=0o077),
    "one processor": dict(prefix=["taskset", "-c", "0"]),
}


def digests(zeropull):
    return {path: hashlib.sha256(data).hexdigest() for path, data in zeropull.files().items()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The digests of an ordinary build of each image."""
    known = {}

    def get(name):
        if name not in known:
            zeropull = Zeropull(tmp_path_factory.mktemp("expected") / "store")
            zeropull.build(images.source(name))
            known[name] = digests(zeropull)
            shutil.rmtree(zeropull.store)
        return known[name]

    return get


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("name", IMAGES)
def test_same_bytes(name, variation, expected, work):
    how = VARIATIONS[variation]
    prefix = how.get("prefix", [])
    if prefix and not shutil.which(prefix[0]):
        pytest.skip(f"no {prefix[0]}")
    zeropull = Zeropull(work / "store", how.get("environment"))
    zeropull.prefix = prefix
    zeropull.ok("build", images.source(name), *how.get("options", []), umask=how.get("umask", -1))
    assert expected(name) and digests(zeropull) == expected(name)


def test_order_of_builds_does_not_matter(expected, work):
    """Layers that another image brought earlier are reused, and the snapshot is still the same."""
    zeropull = Zeropull(work / "store")
    for name in ("base", "nginx", "python"):
        zeropull.build(images.source(name))
    assert expected("python").items() <= digests(zeropull).items()


def test_verify_rebuild_agrees(work):
    zeropull = Zeropull(work / "store")
    source = images.source("stack40")
    zeropull.build(source)
    zeropull.ok("verify", source, "--rebuild")


def test_verify_rebuild_does_not_change_the_store(work):
    zeropull = Zeropull(work / "store")
    source = images.source("odd")
    zeropull.build(source)
    before = digests(zeropull)
    times = {path: os.stat(zeropull.store / path).st_mtime_ns for path in before}
    zeropull.ok("verify", source, "--rebuild")
    assert digests(zeropull) == before
    assert times == {path: os.stat(zeropull.store / path).st_mtime_ns for path in before}
    assert zeropull.leftovers() == []
