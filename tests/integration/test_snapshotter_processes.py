# SPDX-License-Identifier: Apache-2.0
"""Which processes the snapshotter runs, and that none of them keeps another from ending or from being started: a device
file that nobody answers for is a thread that cannot be killed. Needs root."""
import os
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import grpc
import pytest

from support.node import Manager, is_mounted
from support.pulls import pull
from support.ship import fill_app, fill_base
from support.snapshotter import SNAPSHOTTER, Snapshotter, mounted, settings, snapshotter, stopped
from support.containerd import unmount_below

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def manager(work):
    with closing(Manager(work)) as manager:
        yield manager


def test_without_acceleration_one_process_serves_a_fresh_root(work, manager):
    with snapshotter(work, *settings(work, "accelerate: false"), manager=manager) as daemon:  # hears READY=1
        assert daemon.workers() == [] and daemon.control_plane() == daemon.process.pid
        with closing(daemon.client()) as api:
            with mounted(api.prepare("c"), work / "m") as root:
                (root / "file").write_text("x")


def test_what_was_accelerated_goes_on_without_acceleration(world, work, manager):
    image, other = world.image("web", fill_base, fill_app(3)), world.image("other", fill_app(4))
    with snapshotter(work, *settings(work), manager=manager) as daemon:
        with closing(daemon.client()) as api:
            names = pull(api, image)
            mounts = api.prepare("c", names[-1])
        with mounted(mounts, work / "m") as root:
            settings(work, "accelerate: false")
            assert daemon.stop() == 0
            daemon.start()
            assert len((root / "app/main").read_bytes()) == 400_000
            with closing(daemon.client()) as api:
                assert pull(api, other) == [None]
                with mounted(api.prepare("d", names[-1]), work / "m2") as fresh:
                    assert len((fresh / "data/noise").read_bytes()) == 3_000_000
        with closing(daemon.client()) as api:
            for name in ("c", "d", *reversed(names)):
                api.remove(name)
        assert daemon.stop() == 0
        manager.fd = os.close(manager.fd)  # of a mount that is gone: the service manager sees that
        daemon.start()
        assert daemon.workers() == [] and not is_mounted(daemon.root / "devices")


def test_settings_that_are_not_understood_stop_nothing(work):
    with snapshotter(work, *settings(work)) as daemon:
        before = daemon.control_plane(), daemon.workers()
        (work / "config.yaml").write_text("version: 1\ncolour: red\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_log("would not start; going on with the program that runs")
        assert "config.yaml:2: configuration: 'colour' is not known" in daemon.log()
        assert (daemon.control_plane(), daemon.workers()) == before
        settings(work)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_log("took over the mount")
        daemon.await_other_control_plane(before[0])


def await_text(file, text):
    deadline = time.monotonic() + 30
    while text not in file.read_text():
        assert time.monotonic() < deadline, file.read_text()
        time.sleep(0.01)


def put_elsewhere(path, work):
    (work / "elsewhere").mkdir()
    path.exists() and path.rmdir()
    path.symlink_to(work / "elsewhere")


def make_later(database):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")


NO_DATABASE = b"no database" * 1000


@pytest.mark.parametrize("name, spoil, said", [
    ("metadata.db", lambda path, work: path.write_bytes(NO_DATABASE), "file is not a database|move its root directory away"),
    ("metadata.db", lambda path, work: make_later(path), "of version 99, this program knows 1|use the version that wrote it"),
    ("metadata.db", lambda path, work: (path.unlink(), os.mkfifo(path)), "not a regular file|move its root directory away"),
    ("mounts", lambda path, work: (path.rmdir(), path.write_text("x")), "not a directory|move it away"),
    ("bases", lambda path, work: (path.rmdir(), path.write_text("x")), "not a directory|move it away"),
    ("devices", lambda path, work: (path.rmdir(), path.write_text("x")), "not a directory|move it away"),
    ("devices", put_elsewhere, "not a directory|move it away"),
])  # fmt: skip
def test_a_root_directory_that_is_of_no_use_is_told_once_with_what_to_do(work, name, spoil, said):
    daemon = Snapshotter(work, *settings(work))
    daemon.start()
    assert daemon.stop() == 0
    spoil(daemon.root / name, work)
    command = [SNAPSHOTTER, "--root", daemon.root, "--address", daemon.socket, *daemon.options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        log = process.communicate(timeout=15)[1]
        assert process.returncode == 1 and str(daemon.root / name) in log, log
        assert all(log.count(text) == 1 for text in said.split("|")) and len(log.splitlines()) == 2, log
        assert not daemon.socket.exists() and str(work) not in Path("/proc/self/mounts").read_text()
    finally:
        process.kill()
        process.wait()
        unmount_below(work)


@pytest.mark.parametrize("owns", [True, False], ids=["/dev/fuse", "root directory"])
def test_whoever_is_not_root_is_told_to_be(work, owns):
    options = settings(work)
    os.chmod(work, 0o755)
    if owns:
        os.chown(work, 65534, 65534)
    command = [SNAPSHOTTER, "--root", work / "root", "--address", work / "socket", *options]
    daemon = subprocess.run(command, capture_output=True, text=True, user=65534, group=65534, extra_groups=[], timeout=30)
    assert daemon.returncode == 1 and "run it as root" in daemon.stderr, daemon.stderr


def test_a_damaged_database_ends_no_container(world, work, manager):
    """Neither when the daemon is to be replaced, nor when it was: whoever reads goes on to read."""
    with snapshotter(work, *settings(work), manager=manager) as daemon:
        with closing(daemon.client()) as api:
            names = pull(api, world.image("web", fill_base))
            mounts = api.prepare("c", names[-1])
        with mounted(mounts, work / "m") as root:
            database = daemon.root / "metadata.db"
            whole = database.read_bytes()
            before = daemon.control_plane()
            database.write_bytes(NO_DATABASE)
            daemon.process.send_signal(signal.SIGHUP)
            daemon.await_log("would not start; going on with the program that runs")
            assert daemon.control_plane() == before and "file is not a database" in daemon.log()
            assert daemon.stop() == 0
            database.write_bytes(NO_DATABASE)
            started = threading.Thread(target=daemon.start)
            started.start()
            daemon.await_log("the control plane ended with code 1")
            assert len((root / "data/noise").read_bytes()) == 3_000_000
            database.write_bytes(whole)
            started.join()
            with closing(daemon.client()) as api:
                assert "c" in api.names()


@pytest.mark.parametrize("lose", [lambda path: path.write_bytes(b""), lambda path: path.unlink()], ids=["empty", "gone"])
def test_a_lost_database_costs_nothing_that_containers_wrote(work, lose):
    with snapshotter(work, *settings(work)) as daemon:
        with closing(daemon.client()) as api:
            api.prepare("w")
        (written,) = (daemon.root / "snapshots").glob("*/fs")
        (written / "data").write_text("precious")
        database = daemon.root / "metadata.db"
        assert daemon.stop() == 0
        whole = database.read_bytes()
        lose(database)
        with pytest.raises(RuntimeError, match="and '.*snapshots' has snapshots"):
            daemon.start()
        assert (written / "data").read_text() == "precious"
        database.write_bytes(whole)
        daemon.start()
        with closing(daemon.client()) as api:
            assert api.names() == ["w"]
        # nor while it runs
        lose(database)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_log("would not start; going on with the program that runs")
        os.kill(daemon.control_plane(), signal.SIGKILL)
        daemon.await_log("the control plane ended with code 1")
        assert (written / "data").read_text() == "precious"


def test_a_root_over_which_nothing_can_be_mounted_is_told(work):
    for name in ("lower", "upper", "merge", "at"):
        (work / name).mkdir()
    options = f"lowerdir={work}/lower,upperdir={work}/upper,workdir={work}/merge"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, work / "at"], check=True)
    daemon = Snapshotter(work, *settings(work, "accelerate: false"))
    daemon.root = work / "at" / "root"
    try:
        daemon.start()
        daemon.await_log("the root directory is on an overlayfs: no container can be mounted")
        assert daemon.stop() == 0
    finally:
        unmount_below(work)


@pytest.mark.parametrize("setting", ["root", "address", "store"])
def test_what_is_in_use_is_not_exchanged_while_it_runs(work, setting):
    own = {"root": work / "root", "address": work / "own.sock", "store": work / "store"}
    config = work / "whole.yaml"

    def write(**other):
        config.write_text("version: 1\n" + "".join(f"{name}: {path}\n" for name, path in {**own, **other}.items()))

    write()
    daemon = Snapshotter(work, "--config", config)
    with open(work / "log", "ab") as log:
        process = subprocess.Popen([SNAPSHOTTER, "--config", config], stdin=subprocess.DEVNULL, stderr=log)
    try:
        daemon.root, daemon.socket = own["root"], own["address"]
        await_text(work / "log", "all workers are ready")
        (work / "link").symlink_to(work)
        same = work / "link" / own[setting].name  # by another name, which for a socket is another one
        for other in (work / "elsewhere", work / "a b", Path("/proc/none"), *([same] if setting == "address" else [])):
            write(**{setting: other})
            process.send_signal(signal.SIGHUP)
            await_text(work / "log", "would not start; going on with the program that runs")
            text = (work / "log").read_text()
            assert "stay what they are while the daemon runs" in text and f"{setting}: {own[setting]}" in text, text
            (work / "log").write_text("")
            assert daemon.client().names() == [] and is_mounted(own["root"] / "devices")
            assert not (work / "elsewhere").exists()
        write(**{setting: own[setting] if setting == "address" else same})
        process.send_signal(signal.SIGHUP)
        await_text(work / "log", "took over the mount")
        assert "level=warn" not in (work / "log").read_text()
    finally:
        process.terminate()
        assert process.wait(60) == 0
        unmount_below(work)


def test_settings_are_read_again_when_the_store_is_elsewhere_by_a_link(work):
    daemon = Snapshotter(work, *settings(work))
    for directory in (daemon.root, work / "elsewhere"):
        directory.mkdir(mode=0o700)
    (daemon.root / "store").symlink_to(work / "elsewhere")
    daemon.start()
    try:
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_log("took over the mount")
        assert "level=warn" not in daemon.log()
        assert daemon.stop() == 0
    finally:
        if daemon.process:
            daemon.kill()
        unmount_below(work)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_that_all_processes_are_told_is_none_to_warn_of(work, number):
    daemon = Snapshotter(work, *settings(work))
    daemon.start()
    try:
        os.killpg(daemon.process.pid, number)  # as a service manager or a terminal does
        code, daemon.process = daemon.process.wait(30), None
        assert code == 0 and "level=warn" not in daemon.log() and "the data plane ended" in daemon.log(), daemon.log()
    finally:
        if daemon.process:
            daemon.kill()
        unmount_below(work)


@pytest.mark.parametrize("accelerate", ["true", "false"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_that_comes_while_it_starts_is_in_order(work, number, accelerate):
    """It comes as soon as there is a socket, before anybody answers there."""
    daemon = Snapshotter(work, *settings(work, f"accelerate: {accelerate}"))
    command = [SNAPSHOTTER, "--root", daemon.root, "--address", daemon.socket, *daemon.options]
    for _ in range(3):
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            while not daemon.socket.exists() and process.poll() is None:
                pass
            process.send_signal(number)
            _, log = process.communicate(timeout=60)
        assert process.returncode == 0 and "level=warn" not in log, log
        assert not daemon.socket.exists() and not is_mounted(daemon.root / "devices")


def test_a_log_that_nobody_reads_any_more_ends_nothing(work):
    daemon = Snapshotter(work, *settings(work))
    reader, writer = os.pipe()
    command = [SNAPSHOTTER, "--root", daemon.root, "--address", daemon.socket, *daemon.options]
    daemon.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, start_new_session=True)
    os.close(writer)
    try:
        with open(reader) as log:  # as head(1) does
            assert any("all workers are ready" in line for line in log)
        before = daemon.workers()
        os.kill(before[0], signal.SIGKILL)  # which the supervisor tells the log
        deadline = time.monotonic() + 30
        while len(now := daemon.workers()) < 2 or before[0] in now:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with closing(daemon.client()) as api:
            assert api.prepare("c")
        assert daemon.stop() == 0
    finally:
        if daemon.process:
            daemon.kill()
        unmount_below(work)


class Hung:
    """A container whose image has a device that the data plane, when it has it from the kernel, does not come back from:
    its index is a pipe into which nobody writes."""

    def __init__(self, world, daemon):
        image = world.image("web", fill_base)
        with closing(daemon.client()) as api:
            (self.name,) = pull(api, image)
        (index,) = (daemon.root / "store").glob("devices/*/device.idx")
        self.index, self.content = index, index.read_bytes()
        index.unlink()
        os.mkfifo(index)
        self.pipe = os.open(index, os.O_PATH)
        self.client = daemon.client()
        self.call = threading.Thread(target=self.prepare)
        self.call.start()
        self.await_waiting(daemon)

    def prepare(self):
        with pytest.raises(grpc.RpcError):
            self.client.prepare("c", self.name)

    @staticmethod
    def waits(pid, where):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return any(where in (task / "stack").read_text() for task in tasks)

    def await_waiting(self, daemon):
        """The control plane waits for the data plane, which waits for the pipe."""
        deadline = time.monotonic() + 20
        while not (self.waits(daemon.data_plane(), "fifo_open") and self.waits(daemon.control_plane(), "fuse_")):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def put_index_back(self):
        """In one step: whoever looks finds the pipe or the index."""
        aside = self.index.with_name("aside")
        aside.write_bytes(self.content)
        aside.replace(self.index)

    def put_right(self, *calls):
        """Returns when its own call and those given, threads, have ended. The data plane may still be on its way to the
        pipe; or it has died, and nobody will ever be there: so it is opened again and again, without waiting."""
        self.put_index_back()
        for call in (self.call, *calls):
            while call.is_alive():
                with suppress(OSError):  # nobody reads from it
                    os.close(os.open(f"/proc/self/fd/{self.pipe}", os.O_WRONLY | os.O_NONBLOCK))
                call.join(0.05)
        os.close(self.pipe)
        self.client.close()


def test_a_data_plane_that_hangs_does_not_keep_the_daemon_from_ending(world, work):
    daemon = Snapshotter(work, *settings(work))
    daemon.start()
    try:
        hung = Hung(world, daemon)
        assert daemon.stop() == 0
        hung.put_right()
        assert not is_mounted(daemon.root / "devices") or subprocess.run(["umount", daemon.root / "devices"]).returncode == 0
    finally:
        if daemon.process:
            daemon.kill()
        unmount_below(work)


def test_a_control_plane_that_cannot_be_killed_does_not_keep_the_next_from_serving(world, work, manager):
    with snapshotter(work, *settings(work), manager=manager) as daemon:
        hung = Hung(world, daemon)
        os.killpg(daemon.process.pid, 9)
        daemon.process.wait()
        hung.put_index_back()
        daemon.start()
        hung.put_right()
        with closing(daemon.client()) as api:
            with mounted(api.prepare("c", hung.name), work / "m") as root:
                assert len((root / "data/noise").read_bytes()) == 3_000_000


def test_a_data_plane_that_hangs_keeps_nobody_waiting_who_does_not_need_it(world, work):
    """Neither ordinary images, nor the layers of one that is pulled; and those who need it are told in the end."""
    plain = world.image("plain", fill_app(5), publish=False)
    other = world.image("other", fill_app(6))
    several = world.image("several", fill_base, fill_app(7), fill_app(8))
    with snapshotter(work, *settings(work)) as daemon:
        hung = Hung(world, daemon)
        clients = [daemon.client() for _ in range(7)]
        calls = [threading.Thread(target=lambda c=c, i=i: suppressed(c.prepare, f"hangs-{i}", hung.name)) for i, c in enumerate(clients)]
        for call in calls:
            call.start()
        with closing(daemon.client()) as api:
            api.timeout = 20
            for number in range(20):
                api.prepare(f"plain-{number}")
                api.mounts(f"plain-{number}")
            assert pull(api, plain) == [None]
            assert len(pull(api, other)) == 1
            deadline = time.monotonic() + 60
            while True:
                with pytest.raises(grpc.RpcError) as failure:
                    api.timeout = 3
                    api.prepare("one-more", hung.name)
                if failure.value.code().name == "UNAVAILABLE":
                    break
                assert time.monotonic() < deadline, failure.value
            assert "6 mounts of images wait for the data plane" in failure.value.details()
            assert "6 mounts of images wait for the data plane" in daemon.log()
            api.timeout = 20
            assert None not in pull(api, several)  # the second layer's parent is accelerated, and mounted by nobody
        hung.put_right(*calls)
        for client in clients:
            client.close()


def test_removing_an_image_does_not_wait_for_its_mount_that_hangs(world, work):
    """containerd has a lock meanwhile that all of the node's images want."""
    with snapshotter(work, *settings(work)) as daemon:
        hung = Hung(world, daemon)
        with closing(daemon.client()) as api:
            api.timeout = 30
            api.remove(hung.name)
        hung.put_right()
        deadline = time.monotonic() + 20
        while os.listdir(daemon.root / "mounts"):  # who mounted it takes it away
            assert time.monotonic() < deadline
            time.sleep(0.01)


def leave_read_under_way(path):
    """Of a device, that nobody awaits any more: who awaited it was killed."""
    reader = subprocess.Popen(["dd", f"if={path}", "of=/dev/null", "count=1", "status=none"])
    deadline = time.monotonic() + 20
    while not Hung.waits(reader.pid, "folio"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    reader.kill()
    reader.wait(timeout=20)


def test_unmounts_that_hang_keep_up_nothing_else(world, work):
    """They take as long as reads of which nobody waits for the end."""
    images = [world.image(f"image-{number}", fill_app(number)) for number in range(8)]
    with snapshotter(work, *settings(work, "complete: never")) as daemon, closing(daemon.client()) as api:
        names = [name for image in images for name in pull(api, image)]
        mounts = [api.view(f"view-{name}", name) for name in names]
        with stopped(daemon.data_plane()):
            for name, mount in zip(names, mounts):
                with mounted(mount, work / "m") as root:
                    leave_read_under_way(root / "app/main")
                api.remove(f"view-{name}")
            with closing(daemon.client()) as others:
                removals = [threading.Thread(target=suppressed, args=(others.remove, name)) for name in names[:-1]]
                for removal in removals:
                    removal.start()
                deadline = time.monotonic() + 60
                while len(api.list()) > 1:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                assert api.stat(names[-1]).name == names[-1]
                for removal in removals:
                    removal.join(60)
                    assert not removal.is_alive()
            assert any(Hung.waits(daemon.control_plane(), where) for where in ("erofs", "truncate", "evict"))
        api.remove(names[-1])
        deadline = time.monotonic() + 20
        while os.listdir(daemon.root / "mounts"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_killed_control_plane_costs_no_mount_although_no_file_can_be_written(world, work):
    bases = work / "snapshotter/bases"
    bases.mkdir(parents=True)
    bases.parent.chmod(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1,mode=700", "full", bases], check=True)
    image = world.image("web", fill_base)
    with snapshotter(work, *settings(work)) as daemon, closing(daemon.client()) as api:
        (name,) = pull(api, image)
        with mounted(api.prepare("c", name), work / "m"):
            (mount,) = (daemon.root / "mounts").iterdir()
            device, pid = mount.stat().st_dev, daemon.control_plane()
            os.kill(pid, signal.SIGKILL)
            daemon.await_other_control_plane(pid)
            assert is_mounted(mount) and mount.stat().st_dev == device, daemon.log()


def test_what_cannot_be_noted_of_starts_costs_no_read(world, work):
    (work / "snapshotter").mkdir(mode=0o700)
    (work / "snapshotter/starts").symlink_to("starts")  # where no directory can be made
    image = world.image("web", fill_base)
    hook = "report_starts: {url: 'http://127.0.0.1:9'}"
    with snapshotter(work, *settings(work, hook)) as daemon, closing(daemon.client()) as api:
        (name,) = pull(api, image)
        with mounted(api.prepare("c", name), work / "m") as root:
            assert len((root / "data/noise").read_bytes()) == 3_000_000
        assert "the data plane ended" not in daemon.log()


def test_those_who_wait_for_a_mount_while_none_gets_on_leave_places_to_others(world, work):
    with snapshotter(work, *settings(work)) as daemon:
        hung = Hung(world, daemon)
        refused, calls = [], []

        def prepare(api, number):
            try:
                api.prepare(f"waits-{number}", hung.name)
            except grpc.RpcError as failure:
                refused.append(failure)

        with closing(daemon.client()) as many, closing(daemon.client()) as api:
            began = time.monotonic()
            while not refused:
                assert time.monotonic() - began < 60
                calls.append(threading.Thread(target=prepare, args=(many, len(calls))))
                calls[-1].start()
                calls[-1].join(0.05 if len(calls) < 60 else 1)
            assert refused[0].code().name == "UNAVAILABLE"
            count = int(refused[0].details().split()[0])
            is_late = time.monotonic() - began >= 10  # on a busy machine: then nobody need wait behind those six
            assert 6 + 32 <= count <= len(calls) or (is_late and count == 6)
            assert "mounts of images wait for the data plane" in refused[0].details()
            api.timeout = 20
            api.prepare("plain")
            hung.put_right(*calls)


def suppressed(call, *arguments):
    with suppress(grpc.RpcError):
        call(*arguments)


def test_a_worker_is_started_again_also_where_who_started_the_daemon_ignores_its_children(work):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # which outlives exec
    try:
        daemon = Snapshotter(work, *settings(work)).start()
    finally:
        signal.signal(signal.SIGCHLD, before)
    try:
        killed = daemon.control_plane()
        os.kill(killed, signal.SIGKILL)
        daemon.await_other_control_plane(killed)
    finally:
        assert daemon.stop() == 0
