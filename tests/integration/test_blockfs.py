# SPDX-License-Identifier: Apache-2.0
"""The kernel's EROFS on device files served by lib/blockfs, while the server is killed again and again. Needs root."""
import errno
import os
import random
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from support import erofs
from support.erofs import directory, regular
from support.programs import BUILD

SERVE = BUILD / "tests" / "tools" / "blockfs-serve"
SECONDS = float(os.environ.get("ZP_KILL_SECONDS", "4"))
DEVICE = "deadbeef00112233"


@contextmanager
def served(mountpoint, files, delay_us=0, kill_every_ms=10**6, journal=()):
    """Yields the process; ends it by the end of its input."""
    with suppress(OSError):  # there, perhaps as a dead mount
        mountpoint.mkdir()
    process = subprocess.Popen([SERVE, mountpoint, files, str(delay_us), str(kill_every_ms), *journal], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("ready")
        yield process
    finally:
        if process.poll() is None:
            process.stdin.close()
            process.wait(timeout=60)
        erofs.unmount(mountpoint)


def tree(seed, file_count=40):
    rng = random.Random(seed)
    root = directory()
    for i in range(file_count):
        root.children[b"file-%d" % i] = regular(rng.randbytes(rng.choice((100, 5000, 70_000, 1_500_000))))
    return root


def make(path, root):
    """Metadata and the directory of device files."""
    device = erofs.Device()
    metadata, files = path / "metadata", path / "files"
    erofs.make(erofs.describe(root, [device]), metadata)
    files.mkdir()
    (files / DEVICE).write_bytes(device.data)
    return metadata, files


def is_mounted(path):
    return any(line.split()[1] == str(path) for line in open("/proc/self/mounts"))


def test_erofs_on_served_files_shows_the_tree(tmp_path):
    root = tree(1)
    metadata, files = make(tmp_path, root)
    served_at = tmp_path / "served"
    with served(served_at, files) as process:
        with erofs.mounted_with_devices(metadata, [served_at / DEVICE], tmp_path / "mnt") as mountpoint:
            assert erofs.differences(erofs.expect(root), erofs.observe(mountpoint)) == []
        assert os.listdir(served_at) == []
        assert (served_at / DEVICE).stat().st_size == (files / DEVICE).stat().st_size
        assert (served_at / DEVICE).read_bytes() == (files / DEVICE).read_bytes()
        for name in ("0", "1", "abc"):
            with pytest.raises(FileNotFoundError):
                os.stat(served_at / name)
        with pytest.raises(OSError) as error:
            os.open(served_at / DEVICE, os.O_RDWR)
        assert error.value.errno == errno.EROFS
    assert process.returncode == 0 and not is_mounted(served_at)


def read_again_and_again(mountpoint, expected, seed, until, problems, counts):
    rng = random.Random(seed)
    while time.monotonic() < until:
        name, data = rng.choice(expected)
        try:
            fd = os.open(mountpoint / name, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            with open(fd, "rb") as file:
                if file.read() != data:
                    problems.append(f"{name}: other bytes")
        except OSError as error:
            problems.append(f"{name}: {error}")
        counts.append(len(data))


@pytest.mark.parametrize("memory", ["kernel", "journal"])
def test_killed_servers_lose_no_read(tmp_path, memory):
    """`journal`: as on kernels that do not send requests again."""
    if memory == "kernel" and erofs.kernel_version() < (6, 9):
        pytest.skip("the kernel cannot send requests again (Linux 6.9)")
    root = tree(2)
    metadata, files = make(tmp_path, root)
    expected = [(name.decode(), node.data) for name, node in root.children.items()]
    problems, counts = [], []
    with served(tmp_path / "served", files, delay_us=3000, kill_every_ms=100,
                journal=[tmp_path / "journal"] if memory == "journal" else []) as process:
        with erofs.mounted_with_devices(metadata, [tmp_path / "served" / DEVICE], tmp_path / "mnt") as mountpoint:
            until = time.monotonic() + SECONDS
            threads = [threading.Thread(target=read_again_and_again, args=(mountpoint, expected, i, until, problems, counts))
                       for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=SECONDS + 60)
                assert not thread.is_alive(), "a read hangs"
        process.stdin.close()
        killed = int(process.stdout.read().split()[1])
        assert process.wait(timeout=60) == 0
    assert problems == []
    assert killed >= SECONDS * 4 and len(counts) > killed


def test_without_any_server_reads_fail_at_once_and_the_next_server_clears_up(tmp_path):
    root = tree(3, 3)
    metadata, files = make(tmp_path, root)
    served_at = tmp_path / "served"
    served_at.mkdir()
    arguments = [SERVE, served_at, files, "0", "0"]
    first = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline().startswith("ready")
        second = subprocess.run(arguments, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert second.returncode == 1 and "in use" in second.stderr
        fd = os.open(served_at / DEVICE, os.O_RDONLY)
        first.kill()
        first.wait()
        with pytest.raises(OSError) as error:
            os.pread(fd, 4096, 0)
        assert error.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
        with suppress(OSError):  # flush has nobody to go to either
            os.close(fd)
        with served(served_at, files):
            assert (served_at / DEVICE).read_bytes() == (files / DEVICE).read_bytes()
        assert not is_mounted(served_at)
    finally:
        first.kill()
        erofs.unmount(served_at)
