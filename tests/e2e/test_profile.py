# SPDX-License-Identifier: Apache-2.0
"""What a start reads is recorded, lies together in the next build, and travels with the snapshot."""
import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from support import images, oci, ship
from support.memory_registry import memory_registry
from support.programs import treecmp
from support.zeropull import FAILED, OK, USAGE, Zeropull

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="recording takes root")
STARTS = {
    "python": ["python3", "-c", "import numpy, flask"],
    "node": ["node", "-e", "1"],
    "jdk": ["java", "-version"],
}


def prefetch(zeropull):
    (image,) = zeropull.image_directories()
    return json.loads((image / "prefetch.json").read_text())["ranges"]


def record(zeropull, source, out, *command):
    return json.loads(zeropull.ok("--json", "profile", "record", source, "-o", out, *command))


def blocks(profile):
    """The blocks of files that a recorded profile names."""
    lines = [line.split("\t") for line in open(profile).read().splitlines() if not line.startswith("#")]
    return {(path, block) for path, offset, length in lines
            for block in range(int(offset) // 4096, (int(offset) + int(length) - 1) // 4096 + 1)}


@needs_root
@pytest.mark.parametrize("name", STARTS)
def test_a_start_needs_a_few_ranges(name, zeropull, work):
    source, profile, command = images.source(name), str(work / "profile"), ["--", *STARTS[name]]
    zeropull.build(source)
    first = record(zeropull, source, profile, *command)
    # without a profile, most of it was guessed
    assert first["bytesOutsidePrefetch"] <= 0.05 * first["bytesRead"] and not first["readAhead"]
    guessed = prefetch(zeropull)
    assert sum(part["length"] for part in guessed) <= 4 * first["bytesRead"]
    # in order: what lies side by side, but is needed at different times, is not one range
    ends = {(part["device"], part["offset"] + part["length"]) for part in guessed}
    assert any((part["device"], part["offset"]) in ends for part in guessed)
    zeropull.build(source, "--profile", profile)
    ranges = prefetch(zeropull)
    again = record(zeropull, source, str(work / "again"), *command)
    assert len(ranges) <= 8
    assert sum(part["length"] for part in ranges) <= 1.3 * again["bytesRead"]
    # a start may do other things than the last one: the JVM's threads reach other pages of it in 1 to 2 % of its reads
    fresh = 4096 * len(blocks(work / "again") - blocks(profile))
    assert fresh <= 0.05 * again["bytesRead"]
    assert again["bytesOutsidePrefetch"] <= fresh + 0.01 * again["bytesRead"]
    assert zeropull.leftovers() == []

    plain = Zeropull(work / "plain")
    plain.build(source)
    with zeropull.mounted(source, work / "left") as left, plain.mounted(source, work / "right") as right:
        assert treecmp(left, right) == []
    zeropull.ok("verify")


def fill(tar):
    noise = random.Random(1)
    for number in range(40):
        tar.file(f"data/{number:02d}", noise.randbytes(30_000 + number * 1000))
    tar.file("data/large", noise.randbytes(3_000_000))


@pytest.fixture
def layout(work):
    out = oci.Layout(work / "layout")
    ship.make_image(out, "app", ship.fill_base, fill, compression="none")
    return out


PROFILE = "# by hand\n/data/large\t2000000\t100000\n/data/07\n/data/31\t4096\t1\n/absent\n/data/large\t0\t1\n"


def test_what_the_profile_names_lies_first_and_the_list_travels(layout, work):
    (work / "profile").write_text(PROFILE)
    with memory_registry() as server:
        reference = ship.put_image(server, layout, "app")
        builder, node, plain = (Zeropull(work / name) for name in ("builder", "node", "plain"))
        builder.ok("build", "--push", "--profile", str(work / "profile"), reference)
        ranges = prefetch(builder)
        # 25 blocks of the large file (it is split every 4 KiB), 10 of 07, one of 31, one of the large file
        assert [(part["offset"], part["length"]) for part in ranges] == [(0, (25 + 10 + 1 + 1) * 4096)]
        node.ok("pull", "--complete", reference)
        assert prefetch(node) == ranges
        plain.ok("build", reference)
        builder.ok("export", reference, str(work / "one"), "--compat")
        for path in ("data/large", "data/07", "data/31", "data/30"):
            shown = [zeropull.expect(0, "cat", reference, path).stdout for zeropull in (node, plain)]
            assert shown[0] == shown[1]
        node.ok("verify")


def test_same_image_and_same_profile_give_the_same_bytes(layout, work):
    (work / "profile").write_text(PROFILE)
    source = f"oci:{layout.directory}:app"
    shown = []
    for threads in ("1", "3"):
        zeropull = Zeropull(work / threads)
        zeropull.build(source, "--profile", str(work / "profile"), "--threads", threads)
        shown.append(zeropull.files())
        zeropull.ok("verify", "--rebuild", source)
    assert shown[0] == shown[1]


def test_a_layer_that_the_profile_does_not_name_is_as_without(layout, work):
    (work / "profile").write_text("/data/07\n")
    source = f"oci:{layout.directory}:app"
    with_profile, plain = Zeropull(work / "one"), Zeropull(work / "other")
    result = plain.json("build", source)
    assert result["layersConverted"] == 2
    with_profile.build(source, "--profile", str(work / "profile"))
    layers = [zeropull.json("inspect", source)["layers"] for zeropull in (with_profile, plain)]
    assert layers[0][0]["devices"] == layers[1][0]["devices"] and layers[0][0]["recipe"] == ""
    assert layers[0][1]["devices"] != layers[1][1]["devices"] and "profile" in layers[0][1]["recipe"]
    again = plain.json("build", source, "--profile", str(work / "profile"))
    assert (again["layersConverted"], again["layersReused"]) == (1, 1)
    assert plain.json("build", source, "--profile", str(work / "profile"))["wasPresent"]


def test_the_next_version_keeps_what_is_hot_together(layout, work):
    """Hot content of a rebuilt layer refers to the hot area of its base, and to nothing else of it."""
    (work / "profile").write_text("/data/07\n/data/08\n/data/large\t0\t40000\n")
    source = f"oci:{layout.directory}:app"
    zeropull = Zeropull(work / "store")
    zeropull.build(source, "--profile", str(work / "profile"))

    def fill_again(tar):
        fill(tar)
        tar.file("data/new", b"new" * 100_000)

    ship.make_image(layout, "app", ship.fill_base, fill_again, compression="none")
    zeropull.build(source, "--profile", str(work / "profile"))
    new = max(zeropull.image_directories(), key=lambda path: (path / "prefetch.json").stat().st_mtime_ns)
    ranges = json.loads((new / "prefetch.json").read_text())["ranges"]
    assert [(part["offset"], part["length"]) for part in ranges] == [(0, (10 + 10 + 10) * 4096)]


def test_mistakes_in_profiles_are_told(layout, work):
    zeropull = Zeropull(work / "store")
    (work / "profile").write_text("/good\n/bad\tx\t1\n")
    result = zeropull.expect(FAILED, "build", "--profile", str(work / "profile"), f"oci:{layout.directory}:app")
    assert f"{work / 'profile'}:2: " in result.stderr
    zeropull.expect(FAILED, "build", "--profile", str(work / "absent"), f"oci:{layout.directory}:app")
    zeropull.expect(USAGE, "profile", "play", "x")


def test_a_profile_of_another_image_is_told(layout, work):
    """It is no mistake, one profile serves several versions, but nobody would notice."""
    zeropull, source = Zeropull(work / "store"), f"oci:{layout.directory}:app"
    (work / "profile").write_text("/usr/bin/other\n/data/absent\t0\t100\n")
    result = zeropull.expect(OK, "build", "--profile", str(work / "profile"), source)
    assert "warning: the profile names nothing" in result.stderr
    assert zeropull.json("build", "--profile", str(work / "profile"), source)["prefetchSize"] == 0
    (work / "profile").write_text("/usr/bin/other\n/data/07\n")
    result = zeropull.expect(OK, "build", "--json", "--profile", str(work / "profile"), source)
    assert "warning" not in result.stderr and json.loads(result.stdout)["prefetchSize"] == 10 * 4096
    assert zeropull.json("build", source)["prefetchSize"] is None


def test_profiles_merge(work):
    zeropull = Zeropull(work / "store")
    (work / "one").write_text("/a\t0\t100\n/b\n")
    (work / "two").write_text("/b\t5\t5\n/c\n/a\t0\t50\n")
    assert zeropull.ok("profile", "merge", str(work / "one"), str(work / "two")) == "/a\t0\t100\n/b\n/c\n"
    zeropull.ok("profile", "merge", str(work / "one"), "-o", str(work / "three"))
    assert (work / "three").read_text() == (work / "one").read_text()
    assert zeropull.ok("profile", "merge", str(work / "one"), "-o", "/dev/stdout") == (work / "one").read_text()


@pytest.fixture
def busybox(zeropull):
    source = images.source("busybox")
    zeropull.build(source)
    return source


def running(text):
    """Whether some process has been started with this in an argument."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and text.encode() in (entry / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def cgroups(pid):
    """Those of a recording, in all hierarchies."""
    return [path for depth in ("", "*/", "*/*/", "*/*/*/") for path in Path("/sys/fs/cgroup").glob(f"{depth}zeropull-*.{pid}.*")]


@needs_root
@pytest.mark.skipif(not shutil.which("runc"), reason="no runc")
class TestRecording:
    def test_a_program_that_fails_leaves_no_profile(self, busybox, zeropull, work):
        result = zeropull.expect(FAILED, "profile", "record", busybox, "-o", str(work / "p"), "--", "sh", "-c", "exit 7")
        assert "status 7" in result.stderr
        assert not (work / "p").exists() and zeropull.leftovers() == []

    def test_a_place_that_cannot_be_written_to_is_told_before_the_program_runs(self, busybox, zeropull, work):
        (work / "folder").mkdir()
        for place in (work / "folder", work / "absent" / "p", "/proc/p", "/dev/full/p"):
            result = zeropull.expect(FAILED, "profile", "record", busybox, "-o", str(place), "--", "echo", "it runs")
            assert str(place) in result.stderr and "it runs" not in result.stderr
        assert zeropull.leftovers() == []

    def test_numbers_are_had_without_the_profile(self, busybox, zeropull):
        shown = record(zeropull, busybox, "/dev/null", "--", "true")
        assert shown["bytesRead"] > 0 and shown["bytesOutsidePrefetch"] is not None

    def test_a_program_that_does_not_end_is_ended(self, busybox, zeropull, work):
        zeropull.ok("profile", "record", busybox, "-o", str(work / "p"), "--seconds", "1", "--", "sleep", "1000")
        assert (work / "p").read_text().startswith("/")
        assert zeropull.leftovers() == []

    def test_the_program_cannot_change_the_machine(self, busybox, zeropull, work):
        """Whoever may write a core_pattern runs programs outside of any container."""
        look = "cd /proc/sys/kernel && test -e core_pattern && ! (: >> core_pattern)"  # opens it and writes nothing
        zeropull.ok("profile", "record", busybox, "-o", str(work / "p"), "--", "sh", "-c", look)

    def test_the_program_runs_behind_a_filter_and_gets_no_rights_of_its_own(self, busybox, zeropull, work):
        """A new user namespace has all capabilities in it, and much of the kernel behind those."""
        look = "grep -q 'Seccomp:.2' /proc/self/status && grep -q 'NoNewPrivs:.1' /proc/self/status"
        refused = "! unshare -U true 2>/dev/null && ! unshare -m true 2>/dev/null"
        zeropull.ok("profile", "record", busybox, "-o", str(work / "p"), "--", "sh", "-c", f"{look} && {refused}")

    def test_a_killed_recording_ends_its_program(self, busybox, zeropull, work):
        number = str(random.SystemRandom().randrange(10**8, 10**9))
        command = ["--", "sh", "-c", f"echo up; sleep {number}"]
        process = zeropull.start("profile", "record", busybox, "-o", str(work / "p"), *command)
        while b"up" not in process.stderr.readline():
            pass
        assert running(number)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 20
        while running(number):
            assert time.monotonic() < deadline, "the program has outlived the recording"
        assert cgroups(process.pid)
        while cgroups(process.pid):  # which nobody is in when the kernel is done with the processes
            zeropull.ok("profile", "record", busybox, "-o", str(work / "p"), "--", "true")
            assert time.monotonic() < deadline, "the next recording does not remove what this one has left"
        assert zeropull.leftovers() == []

    def test_an_image_without_its_data_says_how_to_get_it(self, layout, work):
        with memory_registry() as server:
            reference = ship.put_image(server, layout, "app")
            Zeropull(work / "builder").ok("build", "--push", reference)
            node = Zeropull(work / "node")
            node.ok("pull", reference)
            result = node.expect(FAILED, "profile", "record", reference, "--", "true")
            assert f"pull --complete {reference}" in result.stderr

    def test_an_interrupted_recording_leaves_nothing(self, busybox, zeropull, work):
        process = zeropull.start("profile", "record", busybox, "-o", str(work / "p"), "--", "sh", "-c", "echo up; sleep 1000")
        while b"up" not in process.stderr.readline():
            pass
        process.terminate()
        process.communicate()
        assert process.returncode == 128 + 15
        assert not (work / "p").exists() and zeropull.leftovers() == []

    def test_what_is_read_is_listed_and_nothing_else(self, work):
        layout = oci.Layout(work / "layout2")
        noise = random.Random(3)
        box = next(iter(oci.Layout(images.layout("busybox")).layers("busybox")))
        layout.put_file(box.path, box.digest)
        extra = oci.tar_bytes(lambda tar: [tar.file(f"x/{n}", noise.randbytes(500_000)) for n in range(3)])
        layout.add_image("v", [box, layout.add_raw_layer(extra)])
        zeropull = Zeropull(work / "store")
        source = f"oci:{work / 'layout2'}:v"
        zeropull.build(source)
        command = "dd if=/x/1 of=/dev/null bs=4096 skip=50 count=3; dd if=/x/0 of=/dev/null bs=1 count=1"
        text = zeropull.ok("profile", "record", source, "--", "sh", "-c", command)
        lines = [line for line in text.splitlines() if line.startswith("/x/")]
        assert lines == ["/x/1\t204800\t12288", "/x/0\t0\t4096"]
