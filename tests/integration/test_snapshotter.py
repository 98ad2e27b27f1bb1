# SPDX-License-Identifier: Apache-2.0
"""The snapshotter keeps containerd's contract for ordinary images: what its interface documents, driven over gRPC with
real mounts, as containerd makes them."""
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import grpc
import pytest

from support.half_sent import half_sent
from support.snapshots_api import ACTIVE, COMMITTED, MESSAGES, VIEW
from support.snapshotter import SNAPSHOTTER, Snapshotter, mounted, snapshotter, stopped

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def code_of(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as failure:
        call(*arguments, **options)
    return failure.value.code().name


def layer(api, work, name, parent, change):
    """A committed snapshot with what `change(directory)` makes of its parent."""
    with mounted(api.prepare(f"tmp-{name}", parent), work / "layer") as root:
        change(root)
    api.commit(name, f"tmp-{name}")
    return name


def write(root, path, text, mode=0o644):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    (root / path).chmod(mode)


def tree(root):
    """{path: (mode, uid, gid, content)}"""
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content = open(path).read() if stat.S_ISREG(status.st_mode) else None
            found[os.path.relpath(path, root)] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


# ---- what snapshots show ----


def test_layers_build_on_each_other(api, work):
    def first(root):
        write(root, "foo", "foo\n", 0o777)
        (root / "a/b/c").mkdir(parents=True)

    def second(root):
        write(root, "bar", "bar\n")
        write(root, "foo", "changed\n")
        shutil.rmtree(root / "a/b")

    layer(api, work, "one", "", first)
    layer(api, work, "two", "one", second)
    with mounted(api.view("v1", "one"), work / "m") as root:
        assert (root / "foo").read_text() == "foo\n" and (root / "a/b/c").is_dir() and not (root / "bar").exists()
    with mounted(api.view("v2", "two"), work / "m") as root:
        assert (root / "foo").read_text() == "changed\n" and (root / "bar").read_text() == "bar\n"
        assert os.listdir(root / "a") == []


def test_a_directory_removed_and_made_again_hides_what_was_in_it(api, work):
    def second(root):
        shutil.rmtree(root / "d")
        write(root, "d/new", "n")

    layer(api, work, "one", "", lambda root: write(root, "d/old", "o"))
    layer(api, work, "two", "one", second)
    layer(api, work, "three", "two", lambda root: write(root, "d/more", "m"))
    with mounted(api.view("v", "three"), work / "m") as root:
        assert sorted(os.listdir(root / "d")) == ["more", "new"]


def test_a_file_can_be_moved_out_of_a_lower_layer(api, work):
    layer(api, work, "one", "", lambda root: write(root, "dir1/f1", "same"))

    def second(root):
        (root / "dir2").mkdir()
        os.rename(root / "dir1/f1", root / "dir2/f1")

    layer(api, work, "two", "one", second)
    with mounted(api.view("v", "two"), work / "m") as root:
        assert (root / "dir2/f1").read_text() == "same" and os.listdir(root / "dir1") == []


def test_a_directory_of_a_lower_layer_can_be_renamed(api, work):
    """More than containerd's overlayfs snapshotter does, where programs are told EXDEV."""
    layer(api, work, "one", "", lambda root: write(root, "dir1/f1", "same"))
    layer(api, work, "two", "one", lambda root: os.rename(root / "dir1", root / "dir2"))
    layer(api, work, "three", "two", lambda root: write(root, "dir2/f2", "more"))
    layer(api, work, "four", "three", lambda root: os.rename(root / "dir2", root / "dir1"))
    for name, shown in ("two", {"dir2/f1"}), ("three", {"dir2/f1", "dir2/f2"}), ("four", {"dir1/f1", "dir1/f2"}):
        with mounted(api.view(f"v-{name}", name), work / "m") as root:
            assert {path for path in tree(root) if "/" in path} == shown and len(os.listdir(root)) == 1
            assert (root / sorted(shown)[0]).read_text() == "same"


def test_owners_and_modes_survive_a_commit(api, work):
    def first(root):
        write(root, "opt/a.txt", "a")
        (root / "dir").mkdir()
        (root / "dir").chmod(0o2775)

    layer(api, work, "one", "", first)
    layer(api, work, "two", "one", lambda root: os.chown(root / "opt/a.txt", 1, 2))
    layer(api, work, "three", "two", lambda root: (root / "dir").chmod(0o700))
    with mounted(api.view("v", "three"), work / "m") as root:
        status = (root / "opt/a.txt").stat()
        assert (status.st_uid, status.st_gid) == (1, 2)
        assert stat.S_IMODE((root / "dir").stat().st_mode) == 0o700


def test_the_root_directory_is_0755_and_keeps_its_owner(api, work):
    with mounted(api.prepare("a"), work / "m") as root:
        assert stat.S_IMODE(root.stat().st_mode) == 0o755
        os.chown(root, 1000, 1001)
    api.commit("one", "a")
    with mounted(api.prepare("b", "one"), work / "m") as root:
        assert (root.stat().st_uid, root.stat().st_gid) == (1000, 1001)


def test_a_view_cannot_be_written(api, work):
    layer(api, work, "one", "", lambda root: write(root, "f", "x"))
    layer(api, work, "two", "one", lambda root: write(root, "g", "x"))
    for name in ("one", "two"):
        with mounted(api.view(f"v-{name}", name), work / "m") as root:
            with pytest.raises(OSError):
                (root / "new").write_text("no")
            assert (root / "f").read_text() == "x"


def test_containers_of_one_image_do_not_see_each_other(api, work):
    layer(api, work, "one", "", lambda root: write(root, "f", "image"))
    with mounted(api.prepare("a", "one"), work / "a") as a, mounted(api.prepare("b", "one"), work / "b") as b:
        (a / "f").write_text("a")
        (b / "f").unlink()
        assert (a / "f").read_text() == "a" and not (b / "f").exists()
    with mounted(api.view("v", "one"), work / "m") as root:
        assert (root / "f").read_text() == "image"


def test_128_layers_are_mounted(api, work):
    parent = ""
    for i in range(128):

        def change(root, number=i):
            write(root, f"dir/file-{number}", "same")
            write(root, "overwritten", str(number))

        parent = layer(api, work, f"layer-{i}", parent, change)
    with mounted(api.prepare("container", parent), work / "m") as root:
        assert len(os.listdir(root / "dir")) == 128
        assert (root / "overwritten").read_text() == "127"
        (root / "new").write_text("x")


# ---- records ----


def test_stat_tells_what_a_snapshot_is(api):
    before = time.time()
    api.prepare("a", labels={"x": "1", "empty": ""})
    info = api.stat("a")
    assert (info.name, info.parent, info.kind, dict(info.labels)) == ("a", "", ACTIVE, {"x": "1"})
    assert before <= info.created_at.ToNanoseconds() / 1e9 <= time.time()
    assert info.updated_at == info.created_at
    api.commit("one", "a", labels={"y": "2"})
    done = api.stat("one")
    assert (done.kind, dict(done.labels)) == (COMMITTED, {"y": "2"})
    assert done.created_at.ToNanoseconds() > info.created_at.ToNanoseconds()
    api.view("v", "one")
    assert (api.stat("v").kind, api.stat("v").parent) == (VIEW, "one")
    assert code_of(api.stat, "a") == "NOT_FOUND"


def test_labels_are_updated_by_mask(api):
    api.prepare("a", labels={"x": "1", "y": "2"})
    created = api.stat("a")
    updated = api.update("a", {"x": "3", "z": "4"}, "labels.x", "labels.y")
    assert dict(updated.labels) == {"x": "3"}
    assert updated.updated_at.ToNanoseconds() > created.updated_at.ToNanoseconds()
    assert updated.created_at == created.created_at
    assert dict(api.update("a", {"p": "q"}, "labels").labels) == {"p": "q"}
    assert dict(api.update("a", {"r": "s", "containerd.io/gc.root": "t"}).labels) == {"r": "s", "containerd.io/gc.root": "t"}
    assert dict(api.update("a", {"containerd.io/gc.root": "u"}, "labels.containerd.io/gc.root").labels)["containerd.io/gc.root"] == "u"
    for field in ("name", "parent", "kind", "created_at", "labels."):
        assert code_of(api.update, "a", {}, field) == "INVALID_ARGUMENT"
    assert dict(api.stat("a").labels) == {"r": "s", "containerd.io/gc.root": "u"}
    assert code_of(api.update, "absent", {}) == "NOT_FOUND"


def test_list_filters(api):
    root = {"containerd.io/gc.root": "walk"}
    api.prepare("a-np", labels=root)
    api.prepare("p-tmp")
    api.commit("p", "p-tmp", labels=root)
    api.prepare("a", "p", labels=root)
    api.view("v", "p", labels=root)
    api.prepare("p-wl-tmp")
    api.commit("p-wl", "p-wl-tmp", labels={"l": "1", **root})
    api.prepare("a-wl", "p-wl", labels={"l": "2", **root})
    api.view("v-wl", "p-wl", labels={"l": "3", **root})
    everything = ["a", "a-np", "a-wl", "p", "p-wl", "v", "v-wl"]
    assert api.names() == everything
    for filters, expected in [
        (['labels."containerd.io/gc.root"==walk'], everything),
        (["kind==active"], ["a", "a-np", "a-wl"]),
        (["kind==view"], ["v", "v-wl"]),
        (["kind==committed"], ["p", "p-wl"]),
        (["name==p", "name==a-np"], ["a-np", "p"]),
        (["name==a-wl,labels.l"], ["a-wl"]),
        (["parent==p"], ["a", "v"]),
        (['parent!="",labels.l'], ["a-wl", "v-wl"]),
        (["labels.l"], ["a-wl", "p-wl", "v-wl"]),
        (["labels.l==2"], ["a-wl"]),
        (["name~=^v"], ["v", "v-wl"]),
        (['labels."containerd.io/snapshot.ref"==sha256:0,parent=="p"'], []),
    ]:
        assert api.names(*filters) == expected, filters
    assert code_of(api.names, "name==") == "INVALID_ARGUMENT"


def test_list_streams_many(api):
    for i in range(250):
        api.prepare(f"many-{i:03}")
    pages = list(api.call("List"))
    assert len(pages) > 1 and max(len(page.info) for page in pages) <= 100
    assert api.names() == [f"many-{i:03}" for i in range(250)]


def test_usage_counts_what_a_snapshot_holds_itself(api, work):
    layer(api, work, "one", "", lambda root: write(root, "big", "x" * 1_000_000))
    empty_size, empty_inodes = 0, 0
    with mounted(api.prepare("a", "one"), work / "m") as root:
        empty_size, empty_inodes = api.usage("a")
        (root / "f").write_bytes(os.urandom(100_000))
        os.link(root / "f", root / "g")
        subprocess.run(["sync", "-f", root], check=True)
        size, inodes = api.usage("a")
    assert empty_inodes == 1 and inodes == 2
    assert 100_000 <= size - empty_size < 200_000
    api.commit("two", "a")
    assert api.usage("two")[1] == 2
    assert api.usage("one")[0] >= 1_000_000
    assert code_of(api.usage, "absent") == "NOT_FOUND"


# ---- what is refused ----


def test_names_are_taken_once(api):
    api.prepare("p-tmp")
    api.commit("p", "p-tmp")
    api.prepare("a", "p")
    api.view("v", "p")
    for call in (api.prepare, api.view):
        for name in ("a", "v", "p"):
            assert code_of(call, name, "p") == "ALREADY_EXISTS"
    assert code_of(api.commit, "p", "a") == "ALREADY_EXISTS"


def test_parents_must_be_committed(api):
    api.prepare("a")
    assert code_of(api.prepare, "b", "a") == "INVALID_ARGUMENT"
    assert code_of(api.view, "b", "absent") == "NOT_FOUND"
    assert code_of(api.stat, "b") == "NOT_FOUND"


def test_only_active_snapshots_are_committed(api):
    api.prepare("a")
    api.commit("one", "a")
    api.view("v", "one")
    assert code_of(api.commit, "x", "v") == "FAILED_PRECONDITION"
    assert code_of(api.commit, "x", "one") == "FAILED_PRECONDITION"
    assert code_of(api.commit, "x", "absent") == "NOT_FOUND"


def test_a_parent_is_removed_last(api):
    api.prepare("a")
    api.commit("one", "a")
    api.prepare("b", "one")
    api.commit("two", "b")
    api.view("v", "two")
    for name in ("one", "two"):
        assert code_of(api.remove, name) == "FAILED_PRECONDITION"
    for name in ("v", "two", "one"):
        api.remove(name)
    assert code_of(api.remove, "one") == "NOT_FOUND"
    assert api.names() == []


def test_committed_snapshots_have_no_mounts(api):
    api.prepare("a")
    assert api.mounts("a")[0].type == "bind"
    api.commit("one", "a")
    assert code_of(api.mounts, "one") == "FAILED_PRECONDITION"
    assert code_of(api.mounts, "a") == "NOT_FOUND"
    assert api.view("v", "one") == api.mounts("v")


def test_a_snapshot_gets_a_parent_by_its_commit(api, work):
    """containerd 2.1 and later unpack layers side by side this way (capability "rebase")."""
    layer(api, work, "one", "", lambda root: write(root, "f", "1"))
    with mounted(api.prepare("b"), work / "m") as root:
        write(root, "g", "2")
    api.commit("two", "b", parent="one")
    with mounted(api.view("v", "two"), work / "m") as root:
        assert sorted(os.listdir(root)) == ["f", "g"]
    assert code_of(api.remove, "one") == "FAILED_PRECONDITION"


def test_a_mapped_root_owns_its_directory(api, work):
    layer(api, work, "one", "", lambda root: write(root, "f", "1"))
    maps = {"containerd.io/snapshot/uidmapping": "0:100000:65536", "containerd.io/snapshot/gidmapping": "0:200000:65536"}
    with mounted(api.prepare("a", "one", labels=maps), work / "m") as root:
        assert (root.stat().st_uid, root.stat().st_gid) == (100000, 200000)
    assert code_of(api.prepare, "b", "one", labels={"containerd.io/snapshot/uidmapping": "5:1:1"}) == "INVALID_ARGUMENT"
    for text in ("0:+1:1", "0: 1:1", "0:0x1:1", "0:1", "x"):
        assert code_of(api.prepare, "b", "one", labels={"containerd.io/snapshot/gidmapping": text}) == "INVALID_ARGUMENT"


def test_a_label_with_an_empty_value_is_none(api, work):
    layer(api, work, "one", "", lambda root: write(root, "f", "1"))
    names = ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping", "l"]
    for key, make in ("a", api.prepare), ("v", api.view):
        with mounted(make(key, "one", labels=dict.fromkeys(names, "")), work / "m") as root:
            assert root.stat().st_uid == root.stat().st_gid == 0
        assert dict(api.stat(key).labels) == {}
    labels = {"containerd.io/snapshot/uidmapping": "0:100000:65536", "containerd.io/snapshot/gidmapping": ""}
    with mounted(api.prepare("b", "one", labels=labels), work / "m") as root:
        assert (root.stat().st_uid, root.stat().st_gid) == (100000, 0)


@pytest.mark.parametrize("method", ["Prepare", "View", "Mounts", "Commit", "Remove", "Stat", "Update", "Usage"])
def test_malformed_requests_are_refused(api, method):
    stub = api.stub(method)
    for request in (b"", b"\x0a\x00\x12\x00\x1a\x00", b"\xff\xff", b"\x12\x05ab", b"\x12\x03a\x00b\x1a\x01k", b"\x12\x02\xc3\x28\x1a\x01k"):
        assert code_of(stub, request, timeout=10) == "INVALID_ARGUMENT", request
    assert api.names() == []


def test_oversized_requests_are_refused(api):
    assert code_of(api.prepare, "x" * 5000) == "INVALID_ARGUMENT"
    assert code_of(api.prepare, "a", labels={"l": "x" * 4096}) == "INVALID_ARGUMENT"
    assert api.names(*["name"] * 64) == api.names(",".join(["name"] * 64)) == api.names("name==" + "x" * 4090) == []
    for filters in (["name"] * 65, [",".join(["name"] * 65)], ["name==" + "x" * 4091]):
        assert code_of(api.names, *filters) == "INVALID_ARGUMENT"
    assert code_of(api.prepare, "a", labels={f"{i}": "x" * 4000 for i in range(400)}) == "RESOURCE_EXHAUSTED"
    with pytest.raises(grpc.RpcError) as failure:  # some 15 bytes a label on the wire, 100 in memory
        api.prepare("a", labels={f"{i}": "x" for i in range(50_000)})
    assert failure.value.code().name == "INVALID_ARGUMENT"
    assert failure.value.details() == "the request takes more than 4 MiB in memory: it has too many labels"
    assert api.names() == []


def test_an_unknown_method_is_told(api):
    method = api.channel.unary_unary("/containerd.services.snapshots.v1.Snapshots/Nothing")
    assert code_of(method, b"", timeout=10) == "UNIMPLEMENTED"


# ---- directories ----


def test_removed_snapshots_leave_nothing(daemon, api, work):
    layer(api, work, "one", "", lambda root: write(root, "a/b/c", "x"))
    api.prepare("a", "one")
    api.remove("a")
    api.remove("one")
    api.cleanup()
    assert daemon.directories() == [] and daemon.trash() == []


def test_cleanup_takes_what_has_no_record(daemon, api):
    api.prepare("a")
    (daemon.root / "snapshots" / "77" / "fs").mkdir(parents=True)
    api.cleanup()
    assert len(daemon.directories()) == 1 and 77 not in daemon.directories()


def test_a_failed_prepare_leaves_no_directory(daemon, api):
    api.prepare("a")
    before = daemon.directories()
    assert code_of(api.prepare, "a") == "ALREADY_EXISTS"
    assert daemon.directories() == before


# ---- the process ----


def test_state_survives_a_restart(work):
    with snapshotter(work) as daemon:
        api = daemon.client()
        layer(api, work, "one", "", lambda root: write(root, "f", "kept"))
        expected = api.stat("one")
        mounts = api.prepare("a", "one")
        api.close()
        daemon.stop()
        daemon.start()
        api = daemon.client()
        assert api.stat("one") == expected
        assert api.mounts("a") == mounts
        with mounted(mounts, work / "m") as root:
            assert (root / "f").read_text() == "kept"
        api.close()


def test_mounts_in_use_survive_a_stop(work):
    with snapshotter(work) as daemon:
        api = daemon.client()
        layer(api, work, "one", "", lambda root: write(root, "f", "kept"))
        with mounted(api.prepare("a", "one"), work / "m") as root:
            api.close()
            assert daemon.stop() == 0
            assert not daemon.socket.exists()
            assert (root / "f").read_text() == "kept"
            (root / "g").write_text("new")
            daemon.start()
            api = daemon.client()
            assert api.usage("a")[1] == 2
            api.close()


def churn(api, worker, rounds, done, failed):
    """Prepares, commits and removes without end; the calls that a killed daemon does not answer do not count."""
    i = 0
    while not done.is_set() and i < rounds:
        name = f"{worker}-{i}"
        try:
            api.prepare(f"k-{name}")
            api.commit(f"n-{name}", f"k-{name}")
            api.view(f"v-{name}", f"n-{name}")
            api.remove(f"v-{name}")
            if i % 3:
                api.remove(f"n-{name}")
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                failed.append(error)
                return
        i += 1


def test_killed_at_any_point_it_starts_clean(work):
    """Each record has its directories, each directory its record, whenever the process died."""
    daemon = Snapshotter(work)
    try:
        for round_number in range(15):
            daemon.start()
            failed, done = [], threading.Event()
            clients = [daemon.client() for _ in range(3)]
            threads = [
                threading.Thread(target=churn, args=(client, f"{round_number}-{n}", 1000, done, failed))
                for n, client in enumerate(clients)
            ]
            for thread in threads:
                thread.start()
            done.wait(0.02 * (round_number + 1))
            daemon.kill()
            done.set()
            for thread in threads:
                thread.join()
            for client in clients:
                client.close()
            assert failed == []
        daemon.start()
        api = daemon.client()
        infos = api.list()
        for info in infos:
            if info.kind != COMMITTED:
                api.remove(info.name)
        for info in infos:
            if info.kind == COMMITTED:
                with mounted(api.view("check", info.name), work / "m") as root:
                    assert os.listdir(root) == []
                api.remove("check")
                api.remove(info.name)
        api.cleanup()
        assert daemon.directories() == [] and daemon.trash() == []
        api.close()
    finally:
        if daemon.process:
            assert daemon.stop() == 0


def test_requests_run_side_by_side(daemon):
    api = daemon.client()

    def work_on(number):
        name = f"n{number}"
        api.prepare(f"k-{name}")
        api.commit(name, f"k-{name}")
        for i in range(5):
            api.prepare(f"{name}-{i}", name)
        return len(api.names(f"parent=={name}"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work_on, range(32))) == [5] * 32
    # the same key from all sides: one gets it
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: try_prepare(api, "contended"), range(16)))
    assert results.count("OK") == 1 and results.count("ALREADY_EXISTS") == 15
    api.close()


def try_prepare(api, key):
    try:
        api.prepare(key)
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def test_a_client_that_gives_up_does_not_stop_others(daemon, api, work):
    """Cleanup of a large tree, given up after a moment; the daemon answers others meanwhile."""
    with mounted(api.prepare("big"), work / "m") as root:
        for i in range(100):
            (root / str(i)).mkdir()
            for j in range(100):
                (root / str(i) / str(j)).touch()
    api.remove("big")
    future = api.stub("Cleanup").future(MESSAGES["CleanupRequest"](), timeout=0.05)
    api.prepare("other")
    assert future.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)
    api.cleanup()
    assert daemon.trash() == []


@contextmanager
def silent_calls(daemon, count):
    """Calls of two connections that begin, and send no request."""
    never = threading.Event()

    def nothing():
        never.wait(60)
        yield from ()

    with closing(daemon.client()) as one, closing(daemon.client()) as other:
        path = "/containerd.services.snapshots.v1.Snapshots/Stat"
        yield [api.channel.stream_unary(path).future(nothing()) for api in (one, other) for _ in range(count // 2)]
        never.set()


def test_calls_that_send_no_request_leave_their_places_to_others(daemon, api):
    api.timeout = 30
    with silent_calls(daemon, 240) as calls:
        api.prepare("k")
        for call in calls[:20]:
            call.exception(timeout=30)
        api.remove("k")
    assert "sends no request" in daemon.log()


def test_a_client_with_thousands_of_unfinished_calls_delays_nobody(daemon, api):
    """One that heeds no limit, and reads nothing."""
    api.timeout = 5
    api.prepare("k")
    with half_sent(daemon.socket, 4000):
        for _ in range(20):
            assert api.stat("k").name == "k"
        daemon.await_log("a connection is ended whose client does not go on")
        with closing(daemon.client()) as other:
            other.timeout = 5
            assert other.stat("k").name == "k"


def test_a_daemon_that_stood_still_does_not_take_that_for_its_clients_fault(daemon, api):
    api.prepare("k")
    goes_on = threading.Event()

    def request():
        goes_on.wait(60)
        yield MESSAGES["StatSnapshotRequest"](snapshotter="zeropull", key="k").SerializeToString()

    call = api.channel.stream_unary("/containerd.services.snapshots.v1.Snapshots/Stat").future(request())
    api.stat("k")
    with stopped(daemon.control_plane()):
        goes_on.set()
        time.sleep(11)  # longer than a client may take
    assert call.result(timeout=30)
    assert "calls are cancelled" not in daemon.log()


def test_answers_that_nobody_takes_keep_no_thread(daemon, api):
    for i in range(350):
        api.prepare(f"key-{i}", labels={"containerd.io/snapshot/long": "x" * 3000})
    with closing(daemon.client(("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536))) as other:
        lists = [other.call("List", filters=[]) for _ in range(8)]
        api.timeout = 40
        assert api.usage("key-1")[1] == 1
        assert api.list("name==key-1")
        daemon.await_log("does not take the answer")  # the others' calls may have come first
    assert lists


@pytest.fixture
def many_descriptors():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_connections_without_end_leave_descriptors_to_what_is_done(daemon, api, many_descriptors):
    api.prepare("before")
    with ExitStack() as idle:
        for _ in range(1100):
            idle.enter_context(socket.socket(socket.AF_UNIX)).connect(str(daemon.socket))
        daemon.await_log("connections are refused")
        api.prepare("k")
        assert len(os.listdir(f"/proc/{daemon.control_plane()}/fd")) <= 1024 + 64
    deadline = time.monotonic() + 30
    while True:
        with closing(daemon.client()) as other, suppress(grpc.RpcError):
            other.prepare("after")
            break
        assert time.monotonic() < deadline


def test_it_stays_small(daemon, api):
    for i in range(300):
        api.prepare(f"key-{i}", labels={"containerd.io/snapshot/long": "x" * 3000})
    for _ in range(20):
        assert len(api.list()) == 300
    assert max(daemon.resident_kib()) <= 25 * 1024


def test_a_second_daemon_is_refused(daemon, work):
    def refused(*arguments):
        result = subprocess.run([SNAPSHOTTER, *arguments], capture_output=True, text=True, timeout=30)
        assert result.returncode == 1
        return result.stderr

    assert "another zeropull-snapshotter uses it" in refused("--root", daemon.root, "--address", work / "other.sock")
    assert "another process listens there" in refused("--root", work / "other", "--address", daemon.socket)
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def test_a_dead_daemons_socket_is_taken_over(work):
    daemon = Snapshotter(work)
    daemon.start()
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    assert daemon.client().names() == []
    assert daemon.stop() == 0


def test_an_upgrade_refuses_no_connection(daemon):
    """SIGHUP starts the installed program in the place of the one that runs."""
    for _ in range(3):
        before = daemon.control_plane()
        daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while daemon.control_plane() == before:
            assert time.monotonic() < deadline, daemon.log()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.connect(str(daemon.socket))
            time.sleep(0.01)  # more than can be kept waiting are refused
        assert daemon.client().names() == []


def test_command_line(work):
    def run(*arguments):
        return subprocess.run([SNAPSHOTTER, *arguments], capture_output=True, text=True, timeout=30)

    assert run("--help").returncode == 0 and "--root DIR" in run("--help").stdout
    assert run("--version").stdout.startswith("zeropull-snapshotter ")
    for wrong in ([], ["--root", "/x"], ["--colour"], ["--root"], ["extra"], ["--root", "/x", "--address", "/y", "-l", "loud"]):
        result = run(*wrong)
        assert result.returncode == 2 and "hint" in result.stderr, wrong
    (work / "config.yaml").write_text("version: 1\nroot: /x\ncolour: red\n")
    result = run("--config", work / "config.yaml")
    assert result.returncode == 2 and f"{work}/config.yaml:3: configuration: 'colour' is not known" in result.stderr
    for setting, value in (("image_service", "/y"), ("agent", "/y"), ("image_service", "/run/containerd/containerd.sock")):
        (work / "config.yaml").write_text(f"version: 1\nroot: /x\naddress: /y\n{setting}: {value}\n")
        result = run("--test-config", "--config", work / "config.yaml")
        assert result.returncode == 2 and f"'{setting}'" in result.stderr and f"'{value}'" in result.stderr
    result = run("--config", work / "nowhere.yaml")
    assert result.returncode == 2 and f"{work}/nowhere.yaml" in result.stderr
    (work / "config.yaml").write_text(f"version: 1\nimage_service: /{'x' * 120}\n")
    result = run("--test-config", "--config", work / "config.yaml")
    assert result.returncode == 2 and "config.yaml:2: image_service" in result.stderr
    for length in (99, 100):  # it is bound as PATH.PID
        result = run("--test-config", "--root", "/x", "--address", "/" + "x" * (length - 1))
        assert result.returncode == (0 if length == 99 else 2) and ("'address'" in result.stderr) == (length == 100)
        (work / "config.yaml").write_text(f"version: 1\nroot: /x\naddress: /{'x' * (length - 1)}\n")
        result = run("--test-config", "--config", work / "config.yaml")
        assert result.returncode == (0 if length == 99 else 2)
        assert ("config.yaml:3: address" in result.stderr) == (length == 100)
    (work / "config.yaml").write_text(f"version: 1\nroot: {work}/x\naddress: {work}/y\n")
    assert run("--test-config", "--config", work / "config.yaml").returncode == 0 and not (work / "x").exists()


@pytest.mark.parametrize("root, store, line, said", [
    ("/", None, 3, "the root of all"),
    ("//", None, 3, "the root of all"),
    ("slash", None, 3, "the root of all"),
    ("a:b", None, 3, "overlayfs takes no path with"),
    ("a,b", None, 3, "overlayfs takes no path with"),
    ("a\\b", None, 3, "overlayfs takes no path with"),
    ("x" * 1000, None, 3, "a path of more than"),
    ("x", "x", 4, "'store'"),
    ("x", "x/", 4, "'store'"),
    ("x", "x/./", 4, "'store'"),
    ("x", "link/x", 4, "'store'"),
    ("x", "x/snapshots", 4, "'store'"),
    ("x", "x//trash/store", 4, "'store'"),
    ("x", "x/devices/", 4, "'store'"),
    ("x", "x/store", None, None),
    ("x", "x/snapshots2", None, None),
    ("x", "xx", None, None),
    ("x", "a:b,c", None, None),
])  # fmt: skip
def test_directories_that_cannot_be_are_refused_with_file_and_line(work, root, store, line, said):
    (work / "slash").symlink_to("/")
    (work / "link").symlink_to(".")
    (work / "x").mkdir()
    config = work / "config.yaml"
    lines = ["version: 1", f"address: {work}/socket", f"root: {work / root if '//' not in root else root}"]
    config.write_text("\n".join(lines + ([f"store: {work}/{store}"] if store else [])) + "\n")
    before = sorted(work.rglob("*"))
    for command in [("--test-config",), ()] if line else [("--test-config",)]:
        result = subprocess.run([SNAPSHOTTER, *command, "--config", config], capture_output=True, text=True, timeout=30)
        assert result.returncode == (2 if line else 0), result.stderr
        if line:
            assert f"{config}:{line}: " in result.stderr and said in result.stderr, result.stderr
        assert sorted(work.rglob("*")) == before
    if line == 4:  # with an option instead
        config.write_text(f"version: 1\nstore: {work}/{store}\n")
        command = [SNAPSHOTTER, "--root", work / root, "--address", work / "socket", "--test-config", "--config", config]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert result.returncode == 2 and said in result.stderr, result.stderr


@pytest.mark.parametrize("root, socket_path, store", [
    ("new/one", "taken", "store"),
    ("new/one", "x" * 120, "store"),
    ("new,one", "socket", "store"),
    ("new/one", "socket", "taken/store"),
], ids=["socket-taken", "socket-too-long", "root", "store"])  # fmt: skip
def test_a_start_that_is_refused_leaves_nothing(work, root, socket_path, store):
    (work / "taken").write_text("something else")
    (work / "config.yaml").write_text(f"version: 1\nstore: {work}/{store}\n")
    before = sorted(work.rglob("*"))
    command = [SNAPSHOTTER, "--config", work / "config.yaml", "--root", work / root, "--address", work / socket_path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode in (1, 2) and result.stderr, result.stderr
    assert sorted(work.rglob("*")) == before
