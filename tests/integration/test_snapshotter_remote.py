# SPDX-License-Identifier: Apache-2.0
"""Layers that need not be downloaded: the snapshotter finds the image's snapshot, says that the layers are there, and
shows containers the same files; or says why not, and everything goes the ordinary way."""
import os
import random
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from support.containerd import unmount_below
from support.fault_proxy import fault_proxy
from support.listening import deaf
from support.programs import treecmp
from support.pulls import prepare_layer, pull, reason
from support.ship import fill_app, fill_bare, fill_base
from support.snapshotter import mounted, settings, snapshotter
from support.zeropull import FAILED, Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
SETTINGS = ["registry_timeout_s: 40"]


def mounts_of(daemon):
    with open("/proc/self/mounts") as file:
        points = [line.split()[1] for line in file]
    return [point for point in points if point.startswith(f"{daemon.root}/mounts/")]


def test_a_layer_that_must_be_unpacked_after_all_has_its_accelerated_parent_mounted(world, daemon, api, work):
    """Whoever names a target is not expected to mount anything."""
    image, plain = world.image("web", fill_base), world.image("plain", fill_app(3), publish=False)
    (name,) = pull(api, image)
    assert mounts_of(daemon) == []
    mounts = api.prepare("extract", name, plain.labels(0))
    assert len(mounts_of(daemon)) == 1
    assert api.stat("extract").labels["containerd.io/snapshot/zeropull.not-accelerated"]
    with mounted(mounts, work / "m") as root:
        assert (root / "data/noise").read_bytes()


def test_an_image_with_a_snapshot_needs_no_layer(world, daemon, api, work):
    image = world.image("web", fill_base, fill_bare, fill_app(3))
    names = pull(api, image)
    assert None not in names and len(names) == 3
    with world.expected(image) as expected:
        with mounted(api.view("view", names[-1]), work / "v") as root:
            assert treecmp(expected, root) == []
        with mounted(api.prepare("container", names[-1]), work / "c") as root:
            (root / "new").write_text("written")
            (root / "bin/tool00").unlink()
            assert (root / "app/main").read_bytes() == (expected / "app/main").read_bytes()
    assert image.config in world.server.blobs_read() and not world.server.blobs_read() & set(image.layers)
    api.commit("committed", "container")
    with mounted(api.view("again", "committed"), work / "v") as root:
        assert (root / "new").read_text() == "written" and not (root / "bin/tool00").exists()
    assert len(mounts_of(daemon)) == 1


def test_nothing_is_left_when_the_last_snapshot_is_gone(world, daemon, api):
    image = world.image("web", fill_base, fill_app(3))
    names = pull(api, image)
    api.prepare("c1", names[-1])
    api.prepare("c2", names[-1])
    api.view("v", names[0])
    assert len(mounts_of(daemon)) == 2
    for name in ("c1", "c2", "v"):
        api.remove(name)
    for name in reversed(names):
        api.remove(name)
    api.cleanup()
    assert mounts_of(daemon) == []
    assert daemon.directories() == daemon.trash() == []
    assert list((daemon.root / "mounts").iterdir()) == list((daemon.root / "bases").glob("*.erofs")) == []


def test_an_image_on_the_same_lower_layers_needs_only_its_own(world, daemon, api, work):
    """Two of three layers come from the first image's snapshot; the second image has none."""
    first = world.image("first", fill_base, fill_bare, fill_app(3))
    names = pull(api, first)
    with mounted(api.prepare("extract", names[1]), work / "m") as root:
        assert (root / "etc/conf.d").stat().st_uid == 7
        assert not (root / "bin/tool07").exists() and not (root / "app").exists()
        (root / "own").write_text("of the second image")
    api.commit("second", "extract")
    shorter = world.image("shorter", fill_base, fill_bare)
    with world.expected(shorter) as expected, mounted(api.view("lower", names[1]), work / "m") as root:
        assert treecmp(expected, root) == []
    with mounted(api.view("upper", "second"), work / "m") as root:
        assert (root / "own").read_text() == "of the second image" and (root / "data/text").exists()


def test_remove_and_prune_leave_what_a_mounted_part_of_an_image_reads(world, daemon, api, work):
    """The lower layers of the first image are mounted for a second one; the first one's own snapshot is gone."""
    first = world.image("first", fill_base, fill_bare, fill_app(3))
    names = pull(api, first)
    store = Zeropull(daemon.root / "store")
    with world.expected(world.image("shorter", fill_base, fill_bare)) as expected:
        with mounted(api.view("extract", names[1]), work / "m") as root:
            api.remove(names[2])
            devices = store.device_directories()
            refused = store.expect(FAILED, "remove", first.digest)
            assert f"is mounted at '{daemon.root}/mounts/" in refused.stderr
            store.ok("prune")
            assert store.device_directories() == devices
            assert treecmp(expected, root) == []  # fetched only now
            store.ok("prune")
            with open(root / "data/noise", "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                assert file.read() == (expected / "data/noise").read_bytes()
    api.remove("extract")
    for name in reversed(names[:2]):
        api.remove(name)
    api.cleanup()
    store.ok("remove", first.digest)
    store.ok("prune")
    assert store.device_directories() == store.image_directories() == []


def test_the_daemons_mounts_are_not_unmounted_by_hand(world, daemon, api, work):
    """A container has a mount of its own of what is unmounted: nobody would see that it still reads."""
    image, store = world.image("web", fill_base), Zeropull(daemon.root / "store")
    name = pull(api, image)[-1]
    with mounted(api.prepare("container", name), work / "c") as root:
        (point,) = mounts_of(daemon)
        for option in [], ["--lazy"]:
            assert "mount of the node's daemon" in store.run("umount", *option, point).stderr
        refused = store.run("remove", image.digest)
        assert refused.returncode == FAILED and "crictl rmi" in refused.stderr and "zeropull umount" not in refused.stderr
        assert mounts_of(daemon) == [point] and (root / "data/noise").read_bytes()


def test_an_image_without_a_snapshot_goes_the_ordinary_way(world, daemon, api, work):
    image = world.image("plain", fill_base, publish=False)
    assert pull(api, image) == [None]
    assert "has no snapshot" in reason(daemon) or "no snapshot" in reason(daemon)
    assert api.names("kind==active") and not api.names("kind==committed")
    with mounted(api.mounts(api.names("kind==active")[0]), work / "m") as root:
        (root / "f").write_text("unpacked")


def test_a_policy_that_rejects_is_obeyed(world, daemon, api, work):
    image = world.image("web", fill_base)
    (work / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: reject\n")
    assert pull(api, image) == [None]
    assert "policy.yaml" in reason(daemon)


def test_a_policy_that_cannot_be_read_accepts_nothing(world, daemon, api, work):
    image = world.image("web", fill_base)
    (work / "policy.yaml").write_text("version: 1\nrulez: []\n")
    assert pull(api, image) == [None]
    assert "policy.yaml:2" in reason(daemon)


@pytest.fixture
def silent():
    with deaf() as registry:
        yield registry


@pytest.fixture
def impatient(work):
    """A snapshotter that waits 3 s for a registry."""
    with snapshotter(work, *settings(work, "registry_timeout_s: 3")) as daemon:
        yield daemon


def test_a_registry_that_does_not_answer_delays_by_the_deadline(world, silent, impatient):
    image = world.image("web", fill_base, fill_app(1))
    image.name = f"{silent.host}/web"
    with closing(impatient.client()) as api:
        start = time.monotonic()
        assert prepare_layer(api, image, 0, "") is None
        assert 2.5 < time.monotonic() - start < 25
        assert "could not be had within 3000 ms" in reason(impatient) and silent.connections()
        assert prepare_layer(api, image, 0, "") is None  # the answer counts for the other layers, too
        assert not silent.connections()


def test_a_registry_that_fails_slowly_is_said_to_fail(world, impatient):
    def fail(handler):
        handler.server.never.wait(2)
        handler.answer(500)
        return True

    image = world.image("web", fill_base)
    with fault_proxy(world.server.url) as proxy, closing(impatient.client()) as api:
        image.name = f"{proxy.host}/web"
        proxy.inject("web", *[fail] * 10)
        assert prepare_layer(api, image, 0, "") is None
        said = reason(impatient).partition("reason=")[2]
        assert "could not be had within 3000 ms: " in said and image.name in said and "the server answered 500" in said


def test_a_registry_that_does_not_answer_is_not_waited_for_by_each_image(world, silent, impatient):
    image = world.image("web", fill_base)
    names = [world.image(f"other{number}", fill_app(number)) for number in range(3)]
    for other in names:
        other.name = f"{silent.host}/{other.name.split('/')[1]}"
    with closing(impatient.client()) as api:
        assert prepare_layer(api, names[0], 0, "") is prepare_layer(api, names[1], 0, "") is None
        assert silent.connections()
        assert prepare_layer(api, names[2], 0, "") is None
        assert "was not asked: it did not answer in time, 2 times in a row" in reason(impatient) and not silent.connections()
        # another registry is, whether it is in time or not
        assert pull(api, image) != [None] or "could not be had within" in reason(impatient)


def test_a_damaged_snapshot_goes_the_ordinary_way(world, daemon, api):
    image = world.image("web", fill_base)
    for path in Path(world.server.storage).rglob("data"):
        content = path.read_bytes()
        if content.startswith(b"\x28\xb5\x2f\xfd"):  # zstd: packs and metadata
            path.write_bytes(content[:100] + b"\0" * 10 + content[110:])
    assert pull(api, image) == [None]
    assert reason(daemon)


def test_labels_that_make_no_sense_are_no_obstacle(api, daemon):
    for n, labels in enumerate([
        {"containerd.io/snapshot.ref": "sha256:0"},
        {"containerd.io/snapshot.ref": "x", "containerd.io/snapshot/cri.image-ref": "y", "containerd.io/snapshot/cri.manifest-digest": "z"},
        {"containerd.io/snapshot.ref": "sha256:" + "0" * 64, "containerd.io/snapshot/cri.image-ref": "UPPER/../x",
         "containerd.io/snapshot/cri.manifest-digest": "sha256:" + "0" * 64},
    ]):  # fmt: skip
        assert api.prepare(f"k{n}", labels=labels)[0].type == "bind"


def test_two_namespaces_share_what_is_accelerated(world, daemon, api):
    image = world.image("web", fill_base, fill_app(3))
    assert pull(api, image) == pull(api, image)
    assert len(api.names("kind==committed")) == 2


def test_a_killed_control_plane_comes_back_and_nobody_notices(world, daemon):
    image = world.image("web", fill_base, fill_app(3))
    api = daemon.client()
    with mounted(api.prepare("c", pull(api, image)[-1]), world.work / "m") as root:
        api.close()
        before = daemon.control_plane(), mounts_of(daemon)
        os.kill(before[0], signal.SIGKILL)
        assert len((root / "app/main").read_bytes()) == 400_000
        daemon.await_other_control_plane(before[0])
        api = daemon.client()
        assert api.mounts("c")[0].type == "overlay"
        assert mounts_of(daemon) == before[1]
        api.close()


def test_after_everything_was_killed_new_containers_get_new_mounts(world, daemon, work):
    image = world.image("web", fill_base, fill_app(3))
    api = daemon.client()
    names = pull(api, image)
    mounts = api.prepare("c", names[-1])
    api.view("lower", names[0])
    api.close()
    before = mounts_of(daemon)
    daemon.kill()
    daemon.start()
    api = daemon.client()
    for key in ("c", "lower"):
        with mounted(api.mounts(key), work / "m") as root:
            assert len((root / "data/noise").read_bytes()) == 3_000_000
    with mounted(mounts, work / "m") as root:
        assert len((root / "app/main").read_bytes()) == 400_000
    assert sorted(mounts_of(daemon)) == sorted(before)
    api.close()


def test_after_a_reboot_everything_is_mounted_again(world, daemon, work):
    """No process and no mount is left; the socket, the lock, and what was being made are."""
    image = world.image("web", fill_base, fill_app(3))
    api = daemon.client()
    names = pull(api, image)
    mounts = api.prepare("c", names[-1])
    api.view("lower", names[0])
    with mounted(mounts, work / "m") as root:
        (root / "written").write_text("before")
        (root / "app/main").unlink()
    with mounted(api.prepare("plain", ""), work / "m") as root:
        (root / "own").write_text("before")
    api.close()
    before = mounts_of(daemon)
    assert len(before) == 2
    daemon.kill()
    unmount_below(work)
    assert mounts_of(daemon) == [] and daemon.socket.exists() and (daemon.root / "devices").is_dir()
    daemon.start()
    api = daemon.client()
    assert sorted(api.names()) == sorted([*names, "c", "lower", "plain"])
    with mounted(api.mounts("c"), work / "m") as root:
        assert (root / "written").read_text() == "before" and not (root / "app/main").exists()
        assert len((root / "data/noise").read_bytes()) == 3_000_000
    with mounted(api.mounts("lower"), work / "m") as root:
        assert len((root / "data/noise").read_bytes()) == 3_000_000 and not (root / "app").exists()
    with mounted(api.mounts("plain"), work / "m") as root:
        assert (root / "own").read_text() == "before"
    assert sorted(mounts_of(daemon)) == sorted(before)
    for key in ("c", "lower", "plain", *reversed(names)):
        api.remove(key)
    api.cleanup()
    assert mounts_of(daemon) == [] and daemon.directories() == [] and daemon.trash() == []
    api.close()


def test_what_was_killed_in_the_middle_of_a_merge_leaves_no_file(daemon):
    daemon.kill()
    for name in ("7.erofs", "8.erofs.new"):
        (daemon.root / "bases" / name).write_text("half")
    daemon.start()
    assert list((daemon.root / "bases").iterdir()) == []


def with_checksum(erofs):
    """The superblock's: CRC-32C, not inverted, of the first block from its byte 1024 on."""
    block = bytearray(erofs[1024:4096])
    block[4:8] = bytes(4)
    crc = 0xFFFFFFFF
    for byte in block:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    block[4:8] = crc.to_bytes(4, "little")
    return erofs[:1024] + bytes(block) + erofs[4096:]


def test_the_first_layers_are_merged_anew_when_their_devices_are_not_those_any_more(world, daemon, api, work):
    """As after the image was fetched again, in another build."""
    image = world.image("web", fill_base, fill_app(3))
    names = pull(api, image)
    api.view("v", names[0])
    (point,) = mounts_of(daemon)
    subprocess.run(["umount", point], check=True)
    (base,) = (daemon.root / "bases").glob("*.erofs")
    content = base.read_bytes()
    for device in (daemon.root / "store/devices").iterdir():
        content = content.replace(device.name.encode(), os.urandom(32).hex().encode())
    assert with_checksum(base.read_bytes()) == base.read_bytes() != content
    base.write_bytes(with_checksum(content))
    with mounted(api.mounts("v"), work / "m") as root:
        assert len((root / "data/noise").read_bytes()) == 3_000_000


def test_what_the_store_has_lost_is_fetched_again(world, daemon, api, work):
    image = world.image("web", fill_base, fill_app(3))
    names = pull(api, image)
    Zeropull(daemon.root / "store").ok("remove", image.digest)
    with mounted(api.prepare("c", names[-1]), work / "m") as root:
        assert (root / "app/main").exists()


def test_a_failed_mount_leaves_no_snapshot(world, daemon, api):
    image = world.image("web", fill_base, fill_app(3))
    names = pull(api, image)
    Zeropull(daemon.root / "store").ok("remove", image.digest)
    for path in Path(world.server.storage).rglob("_manifests"):
        subprocess.run(["rm", "-r", path], check=True)
    with pytest.raises(grpc.RpcError) as failure:
        api.prepare("c", names[-1])
    assert failure.value.code() == grpc.StatusCode.INTERNAL
    assert api.names("kind==active") == []
    for name in reversed(names):
        api.remove(name)
    assert mounts_of(daemon) == []


def test_an_image_that_was_built_again_under_its_mount_is_mounted_anew_for_the_next_container(world, work):
    """Its devices are others then; those of the mount are not completed any more."""
    image = world.image("web", fill_base, lambda tar: tar.file("big", random.Random(9).randbytes(3_000_000)))
    with snapshotter(work, *settings(work, "check_rights: false", "complete: never")) as daemon, closing(daemon.client()) as api:
        names, store = pull(api, image), Zeropull(daemon.root / "store")
        api.prepare("one", names[-1])
        (work / "profile").write_text("/data/text\t0\t100000\n/big\t0\t1000\n")
        store.ok("build", "--rebuild", "--base=none", "--profile", work / "profile", f"oci:{world.layout.directory}:web")
        (work / "mounted").mkdir()
        store.ok("mount", image.digest, work / "mounted")  # completes the new devices
        subprocess.run(["umount", work / "mounted"], check=True)
        api.prepare("two", names[-1])
        assert daemon.log().count("mounted its plain files") == 1
