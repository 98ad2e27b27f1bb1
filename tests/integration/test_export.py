# SPDX-License-Identifier: Apache-2.0
"""Where `zeropull export` writes its file, and what it leaves there when it does not get to the end."""
import fcntl
import hashlib
import os
import random

import pytest

from support import oci
from support.zeropull import FAILED, USAGE


@pytest.fixture
def source(zeropull, work):
    layout = oci.Layout(work / "layout")
    content = random.Random(1).randbytes(30_000_000)
    layout.add_image("v1", [layout.add_raw_layer(oci.tar_bytes(lambda tar: tar.file("file", content)))])
    source = f"oci:{work / 'layout'}:v1"
    zeropull.build(source)
    return source


@pytest.fixture
def place(work):
    (work / "place").mkdir()
    return work / "place"


def temporary(path):
    """The name that the file has before it is complete, where it has one."""
    return path.with_name(".zeropull-export-" + hashlib.sha256(path.name.encode()).hexdigest()[:16])


def open_files(process):
    for fd in os.listdir(f"/proc/{process.pid}/fd"):
        try:
            yield os.readlink(f"/proc/{process.pid}/fd/{fd}")
        except FileNotFoundError:  # closed meanwhile
            pass


def test_killed_export_leaves_nothing(zeropull, source, place):
    process = zeropull.start("export", source, str(place / "disk"))
    while not any(path.startswith(f"{place}/") for path in open_files(process)):
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert list(place.iterdir()) == []


def test_what_a_killed_export_left_is_removed_by_the_next(zeropull, source, place):
    temporary(place / "disk").write_bytes(b"half")
    zeropull.ok("export", source, str(place / "disk"))
    assert [path.name for path in place.iterdir()] == ["disk"]


def test_only_one_writes_a_file_at_a_time(zeropull, source, place):
    with temporary(place / "disk").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process" in zeropull.expect(FAILED, "export", source, str(place / "disk")).stderr
        zeropull.ok("export", source, str(place / "other"))
    assert not (place / "disk").exists()


def test_existing_file_is_replaced_through_links_and_keeps_its_mode(zeropull, source, place):
    (place / "disk").write_bytes(b"old")
    (place / "disk").chmod(0o640)
    (place / "link").symlink_to("disk")
    zeropull.ok("export", source, str(place / "link"))
    assert (place / "link").is_symlink()
    assert (place / "disk").stat().st_size > 30_000_000
    assert (place / "disk").stat().st_mode & 0o7777 == 0o640
    assert sorted(path.name for path in place.iterdir()) == ["disk", "link"]


def test_new_file_has_the_mode_of_any_new_file(zeropull, source, place):
    zeropull.ok("export", source, str(place / "disk"), umask=0o027)
    assert (place / "disk").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("name", ["dangling", "directory", "missing/disk", "new/", "fifo"])
def test_impossible_place_is_refused_before_anything_is_written(name, zeropull, source, place):
    (place / "dangling").symlink_to("nothing")
    (place / "directory").mkdir()
    os.mkfifo(place / "fifo")
    before = sorted(place.iterdir())
    result = zeropull.expect(FAILED, "export", source, f"{place}/{name}")
    assert name.rstrip("/") in result.stderr and "writing" not in result.stderr
    assert ("No such file or directory" in result.stderr) == (name == "missing/disk")
    assert sorted(place.iterdir()) == before


def test_empty_name_is_wrong_usage(zeropull, source):
    zeropull.expect(USAGE, "export", source, "")


def test_export_into_the_store_is_refused(zeropull, source, place):
    (place / "link").symlink_to(zeropull.store / "layers")
    before = zeropull.files()
    for target in (zeropull.store / "zeropull.db", zeropull.store / "new", place / "link" / "new"):
        assert "in the store" in zeropull.expect(FAILED, "export", source, str(target)).stderr
    assert zeropull.files() == before
    zeropull.ok("verify")
