# SPDX-License-Identifier: Apache-2.0
"""The node's data path: containers' reads while processes die, are replaced, and the registry misbehaves. Needs root."""
import errno
import hashlib
import mmap
import multiprocessing
import os
import queue
import random
import shutil
import sqlite3
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from support import erofs, oci, ship
from support.fault_proxy import fault_proxy
from support.node import NODE_DATA, Device, Manager, is_mounted, node, push_blob
from support.registry import registry
from support.serving import hang_up
from support.zeropull import Zeropull

SECONDS = float(os.environ.get("ZP_KILL_SECONDS", "5"))
FILES = {f"data/{i:02}": random.Random(i).randbytes(300_000 + i * 17_000) for i in range(24)}
REPOSITORY = "a/b"

needs_resend = pytest.mark.skipif(erofs.kernel_version() < (6, 9), reason="the kernel cannot send requests again (Linux 6.9)")


def fill(tar):
    for name, data in FILES.items():
        tar.file(name, data)
    tar.file("bin/cat", open(shutil.which("cat"), "rb").read(), mode=0o755)


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    return Device(tmp_path_factory.mktemp("device"), fill)


@pytest.fixture(scope="module")
def real_registry(tmp_path_factory, device):
    with registry(tmp_path_factory.mktemp("registry")) as running:
        push_blob(running.url, REPOSITORY, device.pack.read_bytes())
        yield running


@contextmanager
def started(work, device, url, *settings, **options):
    """A node that has the device by its index alone, and the snapshot mounted on it: (node, mount point)."""
    with ExitStack() as stack:
        device.hold(work / "store", url and f"docker://{url.removeprefix('http://')}/{REPOSITORY}")
        running = stack.enter_context(node(work, *settings, **options))
        yield running, stack.enter_context(mounted(device, running, work / "rootfs"))


@contextmanager
def mounted(device, running, where):
    with erofs.mounted_with_devices(device.snapshot, [running.mount / device.hex], where) as mountpoint:
        yield mountpoint


def read_cold(path):
    """What the device has, not the page cache."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def map_cold(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            return bytes(mapped)


def run_cold(path):
    """By a program that is itself on the device. A page fault that fails would kill it."""
    cat = path.parent.parent / "bin" / "cat"
    fd = os.open(cat, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    return subprocess.run([cat, path], check=True, capture_output=True).stdout


class Load:
    """Readers of every kind, until told to stop; in a process of their own, because starting a program that cannot be read
    yet holds up all of Python."""

    def __init__(self, mountpoint):
        self.mountpoint = mountpoint
        context = multiprocessing.get_context("fork")
        self.is_over, self.results, self.counts = context.Event(), context.Queue(), context.Array("i", 4)
        self.process = context.Process(target=self._run, daemon=True)

    def _run(self):
        threads = [threading.Thread(target=self._read, args=(i, how))
                   for i, how in enumerate((read_cold, read_cold, map_cold, run_cold))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _read(self, seed, how):
        rng, problems = random.Random(seed), []
        while not self.is_over.is_set():
            name, data = rng.choice(list(FILES.items()))
            try:
                if how(self.mountpoint / name) != data:
                    problems.append(f"{how.__name__} {name}: other bytes")
            except (OSError, subprocess.CalledProcessError) as error:
                problems.append(f"{how.__name__} {name}: {error}")
            self.counts[seed] += 1
        self.results.put(problems)

    def __enter__(self):
        self.process.start()
        return self

    def has_read(self):
        """Whether each reader has come to its third read."""
        return min(self.counts) > 1

    def await_reads(self, count, seconds=300):
        """Until so many more are done."""
        goal, until = sum(self.counts) + count, time.monotonic() + seconds
        while sum(self.counts) < goal:
            assert time.monotonic() < until, "the readers do not get on"
            time.sleep(0.01)

    def __exit__(self, *_):
        self.is_over.set()
        try:
            results = [self.results.get(timeout=120) for _ in range(4)]
        except queue.Empty:
            pytest.fail("a reader hangs")
        finally:
            self.process.join(10)
            self.process.kill()
        assert results == [[]] * 4
        assert self.has_read()


@needs_resend
def test_killed_data_plane_costs_no_read(tmp_path, device, real_registry):
    rng, kills = random.Random(1), 0
    with started(tmp_path, device, real_registry.url, "idle_ms=300") as (running, rootfs):
        with Load(rootfs) as load:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until or not load.has_read() or kills < SECONDS:
                assert time.monotonic() < until + 60, f"the readers do not get on: {kills} workers killed"
                time.sleep(rng.uniform(0.05, 0.2))
                kills += running.kill_worker()
        running.worker(kills + 1)
        assert running.statistics()["failed_reads"] == 0
        assert running.stop() == 0


@needs_resend
def test_kept_blocks_survive_a_kill(tmp_path, device, real_registry):
    with started(tmp_path, device, real_registry.url) as (running, rootfs):
        for name, data in FILES.items():
            assert read_cold(rootfs / name) == data
        running.kill_worker()
        for name, data in FILES.items():
            assert read_cold(rootfs / name) == data
        assert running.worker(2) != running.worker(1)
        assert running.statistics()["fetched_frames"] == 0


@needs_resend
def test_replacing_the_program_costs_no_read(tmp_path, device, real_registry):
    program = tmp_path / "node-data"
    shutil.copy(NODE_DATA, program)
    with started(tmp_path, device, real_registry.url, program=program) as (running, rootfs):
        before = running.process.pid
        with Load(rootfs) as load:
            for round_number in range(3):
                load.await_reads(40)
                os.rename(shutil.copy(NODE_DATA, tmp_path / "new"), program)
                running.process.send_signal(1)
                running.worker(round_number + 2)
            load.await_reads(40)
        assert running.process.pid == before and running.process.poll() is None


@needs_resend
def test_restart_by_the_service_manager_costs_no_read(tmp_path, device, real_registry):
    manager = Manager(tmp_path)
    device.hold(tmp_path / "store", f"docker://{real_registry.host}/{REPOSITORY}")
    with node(tmp_path) as running:
        running.stop()
        assert not is_mounted(running.mount)
        running.start(**manager.options())
        manager.hear("READY=1")
        assert "FDSTORE=1" in manager.messages and "FDNAME=fuse" in manager.messages and manager.fd is not None
        with mounted(device, running, tmp_path / "rootfs") as rootfs, Load(rootfs) as load:
            for end in ("stop", "kill"):
                load.await_reads(40)
                if end == "stop":
                    assert running.stop() == 0
                else:
                    running.process.kill()
                    running.process.wait()
                manager.messages.clear()
                running.start(**manager.options())
                manager.hear("READY=1")
            load.await_reads(40)
        assert "FDSTORE=1" not in manager.messages
        running.stop()
        manager.close()


def always(action):
    """For FaultProxy.inject: for every request from now on."""
    return [action] * 100_000


def spoil(handler):
    """Whatever frames an answer holds: none of them is right."""
    return handler.forward(change=lambda body: bytes(byte ^ (at % 512 == 0) for at, byte in enumerate(body)))


def test_reads_wait_for_a_registry_that_is_away_for_a_moment(tmp_path, device, real_registry):
    with fault_proxy(real_registry.url) as proxy:
        with started(tmp_path, device, proxy.url, "deadline_ms=30000") as (running, rootfs):
            proxy.inject("GET .*blobs", *always(hang_up))
            answers = []
            reader = threading.Thread(target=lambda: answers.append(read_cold(rootfs / "data/03")))
            reader.start()
            while len(proxy.seen("GET .*blobs")) < 2:
                time.sleep(0.01)
            assert not answers
            proxy.faults.clear()
            reader.join(60)
            assert answers == [FILES["data/03"]]


def slow(handler):
    """A second until the answer begins, and its bytes one small piece after the other."""
    handler.server.never.wait(1)
    return handler.forward(rate=200_000)


def test_reads_wait_for_a_registry_that_is_slow(tmp_path, device, real_registry):
    """Several readers at once, each of which waits for seconds: no error, and nothing is fetched twice for it."""
    names = [f"data/{i:02}" for i in (0, 7, 14, 21)]
    with fault_proxy(real_registry.url) as proxy:
        with started(tmp_path, device, proxy.url) as (running, rootfs), ThreadPoolExecutor(len(names)) as pool:
            proxy.inject("GET .*blobs", *always(slow))
            begin = time.monotonic()
            assert list(pool.map(lambda name: read_cold(rootfs / name), names)) == [FILES[name] for name in names]
            assert time.monotonic() - begin > 2
            counts = running.statistics()
            assert counts["failed_reads"] == 0 and counts["fetched_bytes"] <= device.pack.stat().st_size


def test_a_registry_that_stays_away_costs_the_blocks_that_are_not_here(tmp_path, device, real_registry):
    with fault_proxy(real_registry.url) as proxy:
        with started(tmp_path, device, proxy.url, "deadline_ms=8000") as (running, rootfs):
            assert read_cold(rootfs / "data/00") == FILES["data/00"]
            proxy.inject("GET .*blobs", *always(hang_up))
            for read in (read_cold, lambda path: path.read_bytes()):
                begin = time.monotonic()
                with pytest.raises(OSError) as error:
                    read(rootfs / "data/23")
                # the kernel tries again by itself, page by page; that takes no second deadline
                assert error.value.errno == errno.EIO and time.monotonic() - begin < 2 * 8 - 1
            assert read_cold(rootfs / "data/00") == FILES["data/00"]
            proxy.faults.clear()
            assert read_again(rootfs / "data/23") == FILES["data/23"]


def read_again(path, seconds=60):
    """Reads until it works: what failed is asked for anew by a later read."""
    until = time.monotonic() + seconds
    while True:
        try:
            return read_cold(path)
        except OSError:
            if time.monotonic() > until:
                raise


def test_wrong_bytes_never_arrive(tmp_path, device, real_registry):
    with fault_proxy(real_registry.url) as proxy:
        with started(tmp_path, device, proxy.url, "deadline_ms=10000") as (running, rootfs):
            proxy.inject("GET .*blobs", spoil)
            assert read_cold(rootfs / "data/01") == FILES["data/01"]
            proxy.inject("GET .*blobs", *always(spoil))
            with pytest.raises(OSError) as error:
                read_cold(rootfs / "data/20")
            assert error.value.errno == errno.EIO
            assert read_cold(rootfs / "data/01") == FILES["data/01"]
            proxy.faults.clear()
            assert read_again(rootfs / "data/20") == FILES["data/20"]
            assert running.statistics()["wrong_frames"] >= 3


def test_a_mount_with_a_waiting_read_can_be_taken_away(tmp_path, device, real_registry):
    with fault_proxy(real_registry.url) as proxy:
        with started(tmp_path, device, proxy.url, "deadline_ms=2000") as (running, rootfs):
            proxy.inject("GET .*blobs", *always(hang_up))
            errors = []

            def read():
                try:
                    read_cold(rootfs / "data/10")
                except OSError as error:
                    errors.append(error.errno)

            reader = threading.Thread(target=read)
            reader.start()
            while not proxy.seen("GET .*blobs"):
                time.sleep(0.01)
            erofs.unmount(rootfs)
            assert not is_mounted(rootfs)
            reader.join(30)
            assert errors == [errno.EIO]
            assert running.stop() == 0
            assert not is_mounted(running.mount)


def test_everything_fetched_becomes_a_plain_file(tmp_path, device, real_registry):
    with started(tmp_path, device, real_registry.url, "completes_all=1") as (running, rootfs):
        raw = running.cache / f"{device.hex}.raw"
        until = time.monotonic() + 120
        while not raw.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert raw.read_bytes() == device.raw.read_bytes()
        for name, data in FILES.items():
            assert read_cold(rootfs / name) == data


@pytest.mark.parametrize("kind", ["pack", "raw"])
def test_what_a_preload_has_is_neither_fetched_nor_copied(tmp_path, device, kind):
    preload = tmp_path / "preload"
    (preload / "devices" / device.hex).mkdir(parents=True)
    shutil.copy(device.index, preload / "devices" / device.hex)
    if kind == "pack":
        shutil.copy(device.pack, preload / "devices" / device.hex)
    else:
        (preload / "unpacked").mkdir()
        shutil.copy(device.raw, preload / "unpacked" / f"{device.hex}.raw")
    with node(tmp_path, f"preload={preload}") as running:
        with mounted(device, running, tmp_path / "rootfs") as rootfs:
            for name, data in FILES.items():
                assert read_cold(rootfs / name) == data
        assert running.statistics()["requests"] == 0
        assert list(running.cache.iterdir()) == []


def announce(running, image, *ranges):
    """Gives an image its start-up ranges."""
    (running.store / "images" / image).mkdir(parents=True)
    (running.store / "images" / image / "ranges").write_text("".join(f"{range}\n" for range in ranges))


def ask_for(running, name, frames):
    """Asks for what is never there, and waits until so many frames were fetched ahead."""
    assert not (running.mount / name).exists()
    until = time.monotonic() + 120
    while running.statistics()["ahead_frames"] < frames:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_start_up_ranges_are_fetched_when_the_image_is_announced(tmp_path, device, real_registry):
    image = "ab" * 32
    with started(tmp_path, device, real_registry.url) as (running, rootfs):
        announce(running, image, f"{device.hex} 1048576 200000", f"{device.hex} 0 10")
        before = running.statistics()["fetched_frames"]
        ask_for(running, f"start-{image}", 5)  # 64 KiB each
        assert running.statistics()["fetched_frames"] == before + 5


def test_of_a_start_that_is_expected_the_first_8_MiB_come_apart_from_the_rest(tmp_path, device, real_registry):
    image, size = "ab" * 32, device.raw.stat().st_size
    with started(tmp_path, device, real_registry.url) as (running, rootfs):
        announce(running, image, f"{device.hex} {3 << 20} {size - (3 << 20)}", f"{device.hex} 0 {3 << 20}")
        ask_for(running, f"expect-first-{image}", 128)
        time.sleep(0.3)
        assert running.statistics()["ahead_frames"] == 128
        ask_for(running, f"expect-rest-{image}", -(-size // 65536))


def make_lazy(store, remote):
    """As an image is held that was fetched without its data: devices by their indexes, packs in the remote."""
    with closing(sqlite3.connect(store / "zeropull.db")) as database, database:
        for directory in (store / "devices").iterdir():
            pack = (directory / "device.zst").read_bytes()
            (directory / "device.zst").unlink()
            database.execute("UPDATE devices SET complete = 0, pack_digest = ? WHERE digest = ?",
                             (hashlib.sha256(pack).digest(), bytes.fromhex(directory.name)))
        database.execute("UPDATE images SET origin = ?", (remote,))


def lazy_store(tmp_path, real_registry, *options):
    """Makes a store with one image as it is held after a pull without data; returns the image's directory."""
    layout = oci.Layout(tmp_path / "layout")
    ship.make_image(layout, "x", fill, ship.fill_app(1))
    reference = real_registry.push(f"oci:{layout.directory}:x", "some/image", "x", "--preserve-digests")
    zeropull = Zeropull(tmp_path / "store")
    zeropull.build(reference, "--frame-size", "64k", *options)
    zeropull.ok("push", reference)
    make_lazy(tmp_path / "store", f"docker://{real_registry.host}/some/image")
    (image,) = (tmp_path / "store" / "images").iterdir()
    return image


CUT_OFF = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE large (x)")
database.executemany("INSERT INTO large VALUES (?)", [(os.urandom(3000),) for _ in range(1000)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_commit_that_was_cut_off_costs_no_read(tmp_path, real_registry):
    """The data plane has the store open, and finds a journal in it that only who may write can roll back."""
    image = lazy_store(tmp_path, real_registry)
    with node(tmp_path, "database=1", "idle_ms=50") as running:
        files = [running.mount / hex for hex in device_table(image / "snapshot.erofs")]
        with erofs.mounted_with_devices(image / "snapshot.erofs", files, tmp_path / "rootfs") as rootfs:
            assert read_cold(rootfs / "data/00") == FILES["data/00"]
            until = time.monotonic() + 120
            while open_copies(running):
                assert time.monotonic() < until
                time.sleep(0.05)
            database = running.store / "zeropull.db"
            subprocess.run(["python3", "-c", CUT_OFF, database], check=False)
            assert database.with_name("zeropull.db-journal").stat().st_size > 0
            assert read_cold(rootfs / "data/23") == FILES["data/23"]
        assert running.statistics()["failed_reads"] == 0


def open_copies(running):
    fds = f"/proc/{running.worker()}/fd"
    copies = []
    for fd in os.listdir(fds):
        with suppress(FileNotFoundError):  # closed meanwhile
            copies += [fd] if os.readlink(f"{fds}/{fd}").endswith(".part") else []
    return copies


def test_the_store_says_where_the_rest_of_an_image_is_and_what_it_needs_first(tmp_path, real_registry):
    profile = tmp_path / "profile"
    profile.write_text("/data/07\n/data/15\n")
    image = lazy_store(tmp_path, real_registry, "--profile", profile)
    devices = device_table(image / "snapshot.erofs")
    assert len(devices) == 2
    with node(tmp_path, "database=1") as running:
        files = [running.mount / hex for hex in devices]
        with erofs.mounted_with_devices(image / "snapshot.erofs", files, tmp_path / "rootfs") as rootfs:
            assert not (running.mount / f"start-{image.name}").exists()
            wanted = len(FILES["data/07"]) + len(FILES["data/15"])
            until = time.monotonic() + 120
            while running.statistics()["ahead_frames"] < -(-wanted // 65536):
                assert time.monotonic() < until
                time.sleep(0.02)
            waited = running.statistics()["waited_reads"]
            for name in ("data/07", "data/15"):
                assert read_cold(rootfs / name) == FILES[name]
            assert running.statistics()["waited_reads"] <= waited + 1  # the last frame may still be on its way
            for name, data in FILES.items():
                assert read_cold(rootfs / name) == data
            assert (rootfs / "app/main").read_bytes() == random.Random(1).randbytes(400_000)


def device_table(snapshot):
    """The devices' names in the file system's own order: the tags of its device table."""
    data = snapshot.read_bytes()
    count, slot = struct.unpack_from("<HH", data, 1024 + 86)
    return [data[(slot + i) * 128:(slot + i) * 128 + 64].decode() for i in range(count)]


def index_of(seed, frames=2000, frame_size=512 << 10):
    """A well-formed index of a device of 1 GiB."""
    rng = random.Random(seed)
    offsets = [i * 200_000 for i in range(frames)]
    head = struct.pack("<4sIIIQQ", b"ZPIX", 1, frame_size, frames, frames * frame_size, frames * 200_000 + 17 + 8 * frames)
    return head + b"".join(struct.pack("<Q", offset) + rng.randbytes(32) for offset in offsets)


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_thousand_devices_take_little_memory(tmp_path):
    names = []
    for i in range(1000):
        index = index_of(i)
        names.append(oci.sha256(index).removeprefix("sha256:"))
        directory = tmp_path / "store" / "devices" / names[-1]
        directory.mkdir(parents=True)
        (directory / "device.idx").write_bytes(index)
        (directory / "remote").write_text(f"docker://127.0.0.1:1/a/b sha256:{'00' * 32} {2000 * 200_000 + 17 + 16000}\n")
    with node(tmp_path) as running:
        fds = [os.open(running.mount / name, os.O_RDONLY) for name in names]
        assert {os.fstat(fd).st_size for fd in fds} == {2000 * (512 << 10)}
        peak = resident_kib(running.worker())
        for fd in fds:
            os.close(fd)
        print(f"data plane: {peak} KiB, supervisor: {resident_kib(running.process.pid)} KiB")
        assert peak + resident_kib(running.process.pid) < 25 << 10
        assert len(os.listdir(f"/proc/{running.worker()}/fd")) < 200


def test_damage_in_the_store_is_an_error_of_that_device(tmp_path, device, real_registry):
    with started(tmp_path, device, real_registry.url) as (running, rootfs):
        other = tmp_path / "store" / "devices" / ("ab" * 32)
        other.mkdir()
        (other / "device.idx").write_bytes(device.index.read_bytes())
        with pytest.raises(OSError) as error:
            os.stat(running.mount / ("ab" * 32))
        assert error.value.errno == errno.EIO
        with pytest.raises(FileNotFoundError):
            os.stat(running.mount / ("cd" * 32))
        assert read_cold(rootfs / "data/05") == FILES["data/05"]


def test_a_worker_that_cannot_start_is_not_started_in_haste(tmp_path):
    log = tmp_path / "log"
    begin = time.monotonic()
    with open(log, "w") as log_file, node(tmp_path, "exit=3", log=log_file) as running:
        running.worker(5)
        assert time.monotonic() - begin > 1.4  # 100, 200, 400, 800 ms
        assert running.stop() == 0
    assert "ended with code 3" in log.read_text()
