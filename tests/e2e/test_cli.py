# SPDX-License-Identifier: Apache-2.0
"""The command as a person or a script meets it: exit codes, help, JSON, interruption, a full disk."""
import json
import os
import resource
import signal
import subprocess
import threading
import time

import pytest

from support import images, oci
from support.fault_registry import Tokens, fault_registry
from support.programs import ZEROPULL
from support.zeropull import FAILED, NOT_FOUND, OK, REFUSED, USAGE, Zeropull, error_lines

COMMANDS = ("build", "list", "inspect", "ls", "cat", "verify", "mount", "umount", "export", "remove", "prune", "key")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(zeropull, source): a store that holds the busybox image. Not to be changed."""
    zeropull = Zeropull(tmp_path_factory.mktemp("small") / "store")
    source = images.source("busybox")
    zeropull.build(source)
    return zeropull, source


def two_images(directory):
    layout = oci.Layout(directory)
    for name in ("one", "two"):
        layout.add_image(name, [layout.add_raw_layer(oci.tar_bytes(lambda t, name=name: t.file(name, b"x")))])
    return layout


# --- help and usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_fits_a_screen_and_shows_an_example(command, zeropull):
    text = zeropull.ok(command, "--help")
    lines = text.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100, text
    assert f"zeropull {command}" in text and "xample" in text
    assert not zeropull.store.exists(), "asking for help must not make a store"


def test_help_lists_every_command(zeropull):
    text = subprocess.run([ZEROPULL, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["--unknown"],
        ["build"],
        ["build", "--unknown", "x"],
        ["build", "oci:x:y", "extra"],
        ["build", "oci:x:y", "--threads", "many"],
        ["build", "oci:x:y", "--threads", "0"],
        ["build", "UPPER/Case:tag"],
        ["build", "ftp://host/image"],
        ["list", "extra"],
        ["ls"],
        ["cat", "image"],
        ["mount", "image"],
        ["umount"],
        ["export", "image"],
        ["remove"],
        ["key"],
        ["key", "show"],
        ["key", "destroy", "file"],
        ["key", "show", "file", "--encrypt"],
        ["key", "generate", "file", "--public"],
        ["ls", "image", ""],
        ["cat", "image", ""],
        ["list", "--store", ""],
        ["build", "oci:x:y", "--frame-size", "4M1"],
        ["build", "oci:x:y", "--frame-size", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_one_line_says_why(arguments, zeropull):
    result = zeropull.run(*arguments)
    assert result.returncode == USAGE, result.stderr
    assert result.stdout == b"" and result.stderr
    assert not zeropull.store.exists()


@pytest.mark.parametrize("command", ["inspect", "ls", "verify", "remove"])
def test_unknown_image_is_3(command, small):
    zeropull, _ = small
    result = zeropull.expect(NOT_FOUND, command, "no/such:image")
    assert len(error_lines(result.stderr)) == 1 and "no/such" in result.stderr


@pytest.mark.parametrize("arguments", [["list"], ["prune"], ["prune", "--dry-run"], ["verify"], ["ls", "x"], ["remove", "x"]])
def test_no_store_is_3(arguments, zeropull):
    assert f"no store at '{zeropull.store}'" in zeropull.expect(NOT_FOUND, *arguments).stderr


@pytest.mark.parametrize("size", ["1000", "5k", "5000", "8M", "1g"])
def test_frame_size_out_of_range_says_which_sizes_there_are(size, zeropull):
    result = zeropull.run("build", "oci:x:y", "--frame-size", size)
    assert result.returncode == USAGE and "multiple of 4096 from 4K to 4M" in result.stderr


def test_units_of_sizes_may_be_lower_case(zeropull):
    source = images.source("busybox")
    zeropull.build(source, "--frame-size", "64k")
    zeropull.build(source, "--frame-size", "1m", "--rebuild")


def test_path_that_ends_in_a_slash_is_a_directory(small):
    zeropull, source = small
    for command in (["ls", source], ["ls", "-d", source], ["cat", source]):
        for end in ("/", "/."):
            assert "Not a directory" in zeropull.expect(FAILED, *command, "/bin/busybox" + end).stderr
    assert zeropull.ok("ls", source, "/bin/") == zeropull.ok("ls", source, "/bin")


def test_image_named_twice_is_removed_once(zeropull):
    source = images.source("busybox")
    digest = zeropull.build(source)
    zeropull.expect(NOT_FOUND, "remove", source, "not/there:1")
    assert zeropull.ok("remove", source, digest.strip()) == digest


def test_limit_of_this_machine_on_files_is_1(zeropull):
    result = zeropull.run(
        "build", images.source("busybox"), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    )
    assert result.returncode == FAILED and "ulimit -f" in result.stderr
    assert zeropull.leftovers() == []


def test_missing_source_is_3(zeropull, work):
    for source in (f"oci:{work}/missing:tag", f"oci-archive:{work}/missing.tar", f"docker-archive:{work}/missing.tar"):
        result = zeropull.expect(NOT_FOUND, "build", source)
        assert len(error_lines(result.stderr)) == 1 and "missing" in result.stderr


def test_missing_tag_is_3(zeropull):
    zeropull.expect(NOT_FOUND, "build", f"oci:{images.layout('busybox')}:no-such-tag")


def test_file_that_holds_no_image_is_4(zeropull, work):
    (work / "directory").mkdir()
    (work / "text").write_text("hello\n")
    (work / "empty").write_bytes(b"")
    layout = two_images(work / "layout")
    subprocess.run(["tar", "-C", layout.directory, "-cf", work / "cut", "."], check=True)
    os.truncate(work / "cut", 5000)
    for source in ("oci:directory", *(f"{kind}:{f}" for kind in ("oci-archive", "docker-archive") for f in ("text", "empty", "cut"))):
        kind, _, file = source.partition(":")
        zeropull.expect(REFUSED, "build", f"{kind}:{work}/{file}")


def test_image_that_lacks_a_layer_is_4(zeropull, work):
    layout = two_images(work / "layout")
    layout.layers("one")[0].path.unlink()
    result = zeropull.expect(REFUSED, "build", f"oci:{work}/layout:one")
    assert layout.layers("one")[0].digest in result.stderr


def test_name_that_leaves_the_image_open_is_2(zeropull, work):
    two_images(work / "layout")
    result = zeropull.expect(USAGE, "build", f"oci:{work}/layout")
    assert "one, two" in result.stderr


@pytest.mark.parametrize("source", ["docker-daemon:busybox", "containers-storage:x", "dir:x", "oci-archive", "oci-achive:x.tar"])
def test_other_transport_is_2(zeropull, source):
    assert "docker-archive:FILE" in zeropull.expect(USAGE, "build", source).stderr


@pytest.mark.parametrize("option", ["--auth-file", "--ca-file"])
def test_missing_file_of_an_option_is_1_and_told_first(zeropull, work, option):
    for source in ("docker://127.0.0.1:1/image:tag", images.source("busybox")):
        result = zeropull.expect(FAILED, "build", option, work / "missing", source)
        assert option in result.stderr and "missing" in result.stderr


def test_malformed_auth_file_is_1(zeropull, work):
    layout = two_images(work / "layout")
    (work / "auth.json").write_text("{")
    with fault_registry(layout, Tokens(user="u:p")) as server:
        result = zeropull.expect(FAILED, "build", "--auth-file", work / "auth.json", server.reference("one"))
    assert "auth.json" in result.stderr


def test_platform_that_is_asked_for_is_not_ignored(zeropull, work):
    """An image without an index: taken for what it is, with a word, unless a platform is asked for."""
    layout = oci.Layout(work / "layout")
    layer = layout.add_raw_layer(oci.tar_bytes(lambda t: t.file("x", b"x")))
    layout.add_image("latest", [layer], change_config=lambda c: c.update(architecture="s390x"))
    result = zeropull.expect(NOT_FOUND, "build", "--platform", "linux/arm64", f"oci:{work}/layout:latest")
    assert "linux/s390x" in result.stderr and "linux/arm64" in result.stderr and "hint" in result.stderr
    assert "the image is for linux/s390x, not for linux/" in zeropull.expect(OK, "build", f"oci:{work}/layout:latest").stderr
    result = zeropull.expect(OK, "build", "--platform", "linux/s390x", f"oci:{work}/layout:latest")
    assert "not for" not in result.stderr


def test_missing_path_in_an_image_is_3(small):
    zeropull, source = small
    for command in ("ls", "cat"):
        zeropull.expect(NOT_FOUND, command, source, "/no/such/file")


def test_malformed_image_is_4_and_names_layer_and_entry(zeropull, work):
    layout = oci.Layout(work / "layout")
    tar = oci.tar_bytes(lambda t: t.hardlink("the-entry", "missing"))
    layer = layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar)
    layout.add_image("bad", [layer])
    result = zeropull.expect(REFUSED, "build", f"oci:{work}/layout:bad")
    (line,) = error_lines(result.stderr)
    assert "the-entry" in line and "layer" in line and layer.digest.removeprefix("sha256:")[:12] in line


def test_no_registry_there_is_1(zeropull):
    result = zeropull.expect(FAILED, "build", "docker://127.0.0.1:1/image:tag")
    assert len(error_lines(result.stderr)) == 1 and "127.0.0.1:1" in result.stderr


def test_reading_commands_do_not_make_a_store(zeropull):
    for arguments in (["list"], ["inspect", "x/y:z"], ["verify"]):
        zeropull.run(*arguments)
        assert not zeropull.store.exists()


def test_inspect_counts_one_device_as_one(small):
    zeropull, source = small
    assert ", 1 layer device\n" in zeropull.ok("inspect", source)


def test_an_image_of_an_archive_is_found_by_the_name_it_was_built_by(zeropull, work, monkeypatch):
    monkeypatch.chdir(work)
    two_images(work / "layout")
    subprocess.run(["skopeo", "copy", "--quiet", "oci:layout:one", "docker-archive:a.tar:acme/web:latest"], check=True)
    for name in "docker-archive:a.tar:acme/web", "docker-archive:a.tar:@0", "docker-archive:a.tar:", "docker-archive:a.tar":
        digest = zeropull.ok("build", name).strip()
        assert zeropull.json("inspect", name)["digest"] == digest
    os.rename("a.tar", "b.tar")
    gone = f"docker-archive:{work}/a.tar:docker.io/acme/web"
    for name in gone, "docker-archive:a.tar:acme/web":
        assert zeropull.json("inspect", name)["digest"] == digest
    assert zeropull.ok("remove", gone).strip() == digest


# --- a registry in trouble ---------------------------------------------------------------------------


def test_layer_that_fails_ends_the_wait_for_others(zeropull, work):
    layout = oci.Layout(work / "layout")
    tars = [oci.tar_bytes(lambda t: t.file("good", b"x")), oci.tar_bytes(lambda t: t.hardlink("bad", "missing"))]
    layers = [layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar) for tar in tars]
    layout.add_image("latest", layers)
    done, asked = threading.Event(), threading.Event()

    def never(handler):
        asked.set()
        done.wait(600)
        handler.hang_up()
        return True

    def after_the_other(handler):
        asked.wait(60)
        return False

    with fault_registry(layout) as server:
        server.inject(layers[0].digest, *[never] * 5)
        server.inject(layers[1].digest, after_the_other)
        start = time.monotonic()
        result = zeropull.expect(REFUSED, "build", server.reference())
        done.set()
    assert "bad" in result.stderr and time.monotonic() - start < 90  # five times 30 s would be waited


def test_waiting_is_told_unless_quiet(zeropull, work):
    layout = two_images(work / "layout")
    with fault_registry(layout) as server:
        busy = lambda handler: handler.answer(503, b"", [("Retry-After", "1")]) or True  # noqa: E731
        server.inject("manifests/", busy, lambda _: False, busy)
        result = zeropull.expect(OK, "build", server.reference("one"))
        assert f"{server.host}: the server answered 503 and asks to wait 1 s; trying again (2 of 5)" in result.stderr
        assert zeropull.expect(OK, "build", "--quiet", server.reference("one")).stderr == ""
        assert len(server.seen("manifests/")) == 4


# --- output ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["list"], ["inspect", "IMAGE"], ["ls", "IMAGE"], ["ls", "IMAGE", "/bin"], ["verify"]], ids=" ".join)
def test_json_is_json_and_alone_on_stdout(arguments, small):
    zeropull, source = small
    arguments = [source if a == "IMAGE" else a for a in arguments]
    assert json.loads(zeropull.ok(*arguments, "--json"))


def test_build_says_nothing_when_quiet(zeropull):
    result = zeropull.expect(OK, "build", images.source("busybox"), "--quiet")
    assert result.stderr == ""


def test_progress_for_programs_is_lines_of_json_among_the_others(zeropull):
    result = zeropull.expect(OK, "build", images.source("jdk"), "--progress=json")
    lines = result.stderr.splitlines()
    told = [json.loads(line)["tasks"] for line in lines if line.startswith('{"tasks":')]
    tasks = [task for line in told for task in line]
    assert {task["label"] for task in tasks} <= {"layer 1/2", "layer 2/2"} and len(tasks) >= 2
    assert all(0 <= task["done"] <= task["total"] for task in tasks)
    assert any("done: 2 layers converted" in line for line in lines)


def test_progress_without_a_terminal_is_plain_lines(zeropull):
    result = zeropull.expect(OK, "build", images.source("stack40"))
    assert "\x1b" not in result.stderr and "\r" not in result.stderr


def test_names_with_odd_bytes_do_not_reach_a_terminal_raw(zeropull):
    zeropull.build(images.source("odd"))
    text = zeropull.expect(OK, "ls", images.source("odd"), "/names", "--json").stdout
    json.loads(text.decode("utf-8"))


def test_second_build_finds_everything_done(zeropull):
    source = images.source("python")
    zeropull.build(source)
    before = {path: path.stat().st_mtime_ns for path in zeropull.store.rglob("*") if path.is_file() and ".db" not in path.name}
    zeropull.build(source)
    after = {path: path.stat().st_mtime_ns for path in zeropull.store.rglob("*") if path.is_file() and ".db" not in path.name}
    assert before == after


# --- store -------------------------------------------------------------------------------------------


def test_remove_and_prune_empty_the_store(zeropull):
    for name in ("nginx", "busybox"):
        zeropull.build(images.source(name))
    zeropull.ok("remove", images.source("nginx"))
    zeropull.expect(NOT_FOUND, "inspect", images.source("nginx"))
    zeropull.ok("prune")
    assert len(zeropull.layer_directories()) == 1 and len(zeropull.image_directories()) == 1
    zeropull.ok("verify")
    zeropull.ok("remove", images.source("busybox"))
    zeropull.ok("prune")
    assert zeropull.layer_directories() == [] and zeropull.image_directories() == []


@needs_root
def test_mounted_image_is_not_removed(zeropull, work):
    source = images.source("busybox")
    zeropull.build(source)
    with zeropull.mounted(source, work / "mnt") as mounted:
        zeropull.expect(FAILED, "remove", source)
        zeropull.ok("prune")
        assert (mounted / "bin" / "busybox").stat().st_size > 1 << 20
    zeropull.ok("remove", source)


@needs_root
def test_mount_does_not_let_itself_be_written(zeropull, work):
    source = images.source("busybox")
    zeropull.build(source)
    with zeropull.mounted(source, work / "mnt") as mounted:
        with pytest.raises(OSError):
            (mounted / "new").touch()


def corrupt(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("which", ["layer.erofs", "device.zst", "device.idx", "snapshot.erofs", "manifest.json", "config.json"])
def test_verify_finds_a_flipped_bit(which, zeropull):
    source = images.source("busybox")
    zeropull.build(source)
    (path,) = zeropull.store.rglob(which)
    os.chmod(path, 0o644)
    corrupt(path)
    result = zeropull.run("verify")
    assert result.returncode in (FAILED, REFUSED), f"the change in {which} went unnoticed"
    assert which in result.stderr + result.stdout.decode()


# --- interruption and disasters ----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_build_cleans_up(number, zeropull):
    process = zeropull.start("build", images.source("sparse"))
    while process.poll() is None and not zeropull.leftovers():
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=200)
    assert process.returncode == 128 + number or process.returncode == -number
    assert zeropull.leftovers() == [] and zeropull.image_directories() == []
    zeropull.build(images.source("busybox"))


@needs_root
def test_full_disk_is_one_clear_error_and_the_store_stays_whole(work):
    (work / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", work / "small"], check=True)
    zeropull = Zeropull(work / "small" / "store")
    zeropull.build(images.source("busybox"))
    result = zeropull.expect(FAILED, "build", images.source("python"))
    (line,) = error_lines(result.stderr)
    assert "No space left on device" in line
    assert f"zeropull --store {zeropull.store} prune" in result.stderr
    assert zeropull.leftovers() == []
    zeropull.ok("verify")
    zeropull.ok("inspect", images.source("busybox"))
    zeropull.ok("prune")
    zeropull.build(images.source("odd-gnu"))


@needs_root
def test_peak_memory_of_a_build_is_bounded_whatever_the_file_size(zeropull):
    """4 GiB in one file, and a bound of 200 MiB."""
    code, peak_kib, errors = zeropull.peak("build", images.source("sparse"), "--quiet")
    assert code == OK, errors
    assert peak_kib < 200 * 1024, f"{peak_kib // 1024} MiB"


def test_store_in_a_place_that_cannot_be_is_one_error(work):
    (work / "file").touch()
    result = Zeropull(work / "file" / "store").run("build", images.source("busybox"))
    assert result.returncode == FAILED and len(error_lines(result.stderr)) == 1
