# SPDX-License-Identifier: Apache-2.0
"""What a node has is given to those whom the registry lets read the image: who that is, is learned from kubelet's calls
of CRI's image service, which are passed on to containerd as they are."""
import base64
import hashlib
import json
import os
import signal
import threading
import time
from contextlib import contextmanager

import grpc
import pytest

from support import oci
from support.cri_api import ImageService, field, image_server, pull_request
from support.rights_registry import rights_registry
from support.ship import fill_app, fill_base, make_image, manifest_bytes, put_image
from support.snapshotter import mounted, settings, snapshotter
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
REASON = "the registry did not confirm that this puller may read the image"
ALICE = {"username": "alice", "password": "a"}
BOB = {"username": "bob", "password": "b"}
USERS = {"alice:a": {"team/private", "team/public"}, "bob:b": {"team/public", "bob/copy"}, "": {"team/public"}}


class Image:
    """What containerd knows of an image when it pulls it."""

    def __init__(self, layout, server, tag, repository):
        manifest = manifest_bytes(layout, tag)
        self.name = f"{server.host}/{repository}:{tag}"
        self.digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        config = json.loads((layout.blobs / json.loads(manifest)["config"]["digest"].removeprefix("sha256:")).read_bytes())
        self.chain = []
        for diff_id in config["rootfs"]["diff_ids"]:
            text = f"{self.chain[-1]} {diff_id}" if self.chain else None
            self.chain.append("sha256:" + hashlib.sha256(text.encode()).hexdigest() if text else diff_id)

    def labels(self, index=0):
        return {
            "containerd.io/snapshot.ref": self.chain[index],
            "containerd.io/snapshot/cri.image-ref": self.name,
            "containerd.io/snapshot/cri.manifest-digest": self.digest,
        }


class World:
    """A registry, a node, and a containerd that has only the part of a pull that matters here."""

    def __init__(self, work, server):
        self.work, self.server = work, server
        self.layout = oci.Layout(work / "layout")
        self.count = 0
        self.lock = threading.Lock()
        self.in_pull = lambda image: None  # called in PullImage, before layers are prepared and after
        self.images, self.daemon = {}, None

    def image(self, repository, tag="v1", *fills, snapshot=True):
        make_image(self.layout, tag, *(fills or (fill_base, fill_app(3))))
        return self.publish(repository, tag, snapshot)

    def publish(self, repository, tag, snapshot=True):
        put_image(self.server, self.layout, tag, repository)
        if snapshot:
            with self.server.open_to_all():
                Zeropull(self.work / "builder").ok(
                    "build", f"--push={self.server.remote(repository)}", f"oci:{self.layout.directory}:{tag}"
                )  # fmt: skip
        image = Image(self.layout, self.server, tag, repository)
        self.images[image.name] = image
        return image

    def prepare(self, image, index=0, parent=""):
        """As containerd does before it downloads a layer: whether it need not."""
        with self.lock:
            self.count += 1
            key = f"test/{self.count}/extract"
        client = self.daemon.client()
        try:
            client.prepare(key, parent, image.labels(index))
            client.remove(key)
            return False
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error.details()
            return True
        finally:
            client.close()

    def answer(self, path, message, context):
        """containerd's image service: PullImage says which way the first layer went."""
        assert path == "/runtime.v1.ImageService/PullImage"
        name = next(name for name in self.images if name.encode() in message)
        self.in_pull(name)
        is_accelerated = self.prepare(self.images[name])
        self.in_pull(name)
        return field(1, "accelerated" if is_accelerated else "ordinary")

    def reason(self):
        lines = [line for line in self.daemon.log().splitlines() if 'msg="image not accelerated"' in line]
        return lines[-1] if lines else ""

    def asked(self, pattern):
        return len(self.server.seen(pattern))


@contextmanager
def node(world, *lines, auths=None):
    work = world.work
    (work / "auth.json").write_text(json.dumps(auths or {}))
    options = settings(work, f"auth_file: {work}/auth.json", f"image_service: {work}/image.sock",
                       f"containerd: {work}/containerd.sock", *lines)  # fmt: skip
    with image_server(work / "containerd.sock", world.answer), snapshotter(work, *options) as daemon:
        world.daemon = daemon
        world.kubelet = ImageService(work / "image.sock")
        yield world.kubelet
        world.kubelet.close()


@pytest.fixture
def world(work):
    with rights_registry(users={user: set(names) for user, names in USERS.items()}, refresh_tokens={"refresh": {"team/private"}}) as server:
        yield World(work, server)


def login(host, user):
    return {"auths": {host: {"auth": base64.b64encode(user.encode()).decode()}}}


def test_what_one_may_read_another_does_not_get_from_the_node(world):
    image = world.image("team/private")
    with node(world) as kubelet:
        assert kubelet.pull(image.name, **ALICE) == "accelerated"
        assert kubelet.pull(image.name, **BOB) == "ordinary"
        assert REASON in world.reason() and image.name in world.reason()
        assert kubelet.pull(image.name) == "ordinary"
        assert kubelet.pull(image.name, username="alice", password="wrong") == "ordinary"
        assert kubelet.pull(image.name, **ALICE) == "accelerated"


def test_a_puller_of_a_cold_image_must_have_the_right_too(world):
    image = world.image("team/private")
    with node(world) as kubelet:
        assert kubelet.pull(image.name, **BOB) == "ordinary"
        assert kubelet.pull(image.name, **ALICE) == "accelerated"


def test_a_right_costs_one_question_when_warm_and_none_when_cold_or_known(world):
    image = world.image("team/public")
    with node(world, auths=login(world.server.host, "alice:a")) as kubelet:
        world.server.requests.clear()
        assert kubelet.pull(image.name) == "accelerated"
        assert world.asked("HEAD") == 0
        fetched = world.asked("/v2/team/public/manifests/" + image.digest)
        assert world.prepare(image)  # the node itself: not the one whose pull it was
        questions = [r for r in world.server.seen("HEAD") if r.path == f"/v2/team/public/manifests/{image.digest}"]
        # one that is answered with what token is wanted, and one with it
        assert ["Authorization" in question.headers for question in questions] == [False, True]
        assert world.asked("/v2/team/public/manifests/" + image.digest) == fetched + 2
        asked = world.asked(".")
        assert world.prepare(image) and world.prepare(image, 1)
        assert world.asked(".") == asked


def test_rights_are_not_asked_for_where_they_are_not_checked(world):
    image = world.image("team/private")
    with node(world, "check_rights: false") as kubelet:
        assert kubelet.pull(image.name, **ALICE) == "accelerated"
        asked = world.asked(".")
        assert kubelet.pull(image.name, **BOB) == "accelerated"
        assert world.asked(".") == asked


@pytest.mark.parametrize("auth", [
    {"auth": base64.b64encode(b"alice:a").decode()},
    {"identity_token": "refresh"},
    {"registry_token": "fetched-elsewhere"},
    {**ALICE, "server_address": "http://{host}/v1/"},
])  # fmt: skip
def test_all_forms_of_credentials_are_understood(world, auth):
    image = world.image("team/private")
    world.server.grant("fetched-elsewhere", "team/private")
    auth = {name: value.format(host=world.server.host) for name, value in auth.items()}
    with node(world) as kubelet:
        assert kubelet.pull(image.name, **auth) == "accelerated"


def test_credentials_for_another_registry_are_not_shown(world):
    image = world.image("team/private")
    with node(world) as kubelet:
        assert kubelet.pull(image.name, **ALICE, server_address="https://other.example") == "ordinary"
        assert all("Authorization" not in request.headers for request in world.server.seen("/token"))


def test_of_those_who_pull_at_the_same_time_each_must_have_the_right(world):
    """A layer does not say whose it is."""
    image = world.image("team/private")
    both = threading.Barrier(2)
    results = {}

    def pull(name, auth):
        client = ImageService(world.work / "image.sock")
        results[name] = client.pull(image.name, **auth)
        client.close()

    with node(world) as kubelet:
        assert kubelet.pull(image.name, **ALICE) == "accelerated"
        world.in_pull = lambda name: both.wait(30)
        threads = [threading.Thread(target=pull, args=args) for args in (("alice", ALICE), ("bob", BOB))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {"alice": "ordinary", "bob": "ordinary"}
        world.in_pull = lambda name: None
        assert kubelet.pull(image.name, **ALICE) == "accelerated"


def test_the_nodes_own_credentials_are_not_those_of_a_pull(world):
    image = world.image("team/private")
    with node(world, auths=login(world.server.host, "alice:a")) as kubelet:
        assert world.prepare(image)
        assert kubelet.pull(image.name) == "ordinary"
        assert kubelet.pull(image.name, **BOB) == "ordinary"


def test_a_copy_elsewhere_opens_nothing(world):
    """Who offers a manifest under a name of his own need not have what it names."""
    private = world.image("team/private")
    copy = world.publish("bob/copy", "v1", snapshot=False)
    assert copy.digest == private.digest
    with node(world) as kubelet:
        assert kubelet.pull(private.name, **ALICE) == "accelerated"
        assert kubelet.pull(copy.name, **BOB) == "ordinary"
        assert REASON in world.reason() and "team/private" in world.reason()
        world.server.rights.users["bob:b"] |= {"team/private"}
        # other credentials: the answer for the first ones counts for a minute
        world.server.rights.users["bob:new"] = world.server.rights.users["bob:b"]
        assert kubelet.pull(copy.name, username="bob", password="new") == "accelerated"


def test_a_private_layer_is_not_had_by_a_public_image_that_lacks_it(world):
    """Both begin with the same layer; the second one is private."""
    private = world.image("team/private", "v1", fill_base, fill_app(3))
    public = world.image("team/public", "v2", fill_base, fill_app(4))
    with node(world) as kubelet:
        assert kubelet.pull(private.name, **ALICE) == "accelerated"
        assert kubelet.pull(public.name, **BOB) == "accelerated"
        labels = public.labels(1)
        labels["containerd.io/snapshot.ref"] = private.chain[1]
        api = world.daemon.client()
        assert api.prepare("stolen", labels=labels)[0].type == "bind"
        api.close()


def test_a_registry_that_is_away_confirms_nothing(world):
    image = world.image("team/public")
    with node(world) as kubelet:
        assert kubelet.pull(image.name) == "accelerated"
        world.server.shutdown()
        world.server.socket.close()
        assert kubelet.pull(image.name, **BOB) == "ordinary"
        assert "did not confirm" in world.reason()


def test_a_private_image_is_read_with_the_credentials_of_its_pull(world):
    """The data plane fetches as who was confirmed, long after the pull."""
    image = world.image("team/private")
    with node(world) as kubelet:
        assert kubelet.pull(image.name, **ALICE) == "accelerated"
        api = world.daemon.client()
        assert world.prepare(image, 0) is False  # not by the node itself
        (base,) = api.list('labels."containerd.io/snapshot.ref"==' + image.chain[0])
        with mounted(api.view("v", base.name), world.work / "m") as root:
            assert len((root / "data/noise").read_bytes()) == 3_000_000
        api.close()


def test_a_helper_names_the_node(world, monkeypatch):
    helpers = world.work / "bin"
    helpers.mkdir()
    (helpers / "docker-credential-test").write_text(
        "#!/bin/sh\nread -r server\n"
        f'[ "$server" = {world.server.host} ] && echo \'{{"Username":"<token>","Secret":"refresh"}}\'\n'
    )
    (helpers / "docker-credential-hang").write_text("#!/bin/sh\nexec sleep 600\n")
    for path in helpers.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helpers}:{os.environ['PATH']}")
    image = world.image("team/private")
    with node(world, auths={"credHelpers": {world.server.host: "test"}}):
        assert world.prepare(image)
    with node(world, "registry_timeout_s: 5", auths={"credsStore": "hang"}):
        assert not world.prepare(image)
        assert REASON in world.reason() or "did not confirm within" in world.reason()


def test_no_secret_is_logged_or_kept(world):
    image = world.image("team/private")
    with node(world) as kubelet:
        assert kubelet.pull(image.name, username="alice", password="wrong-S3CRET") == "ordinary"
        assert kubelet.pull(image.name, **ALICE) == "accelerated"
        assert "S3CRET" not in world.daemon.log()
    for path in world.daemon.root.rglob("*"):
        if path.is_file():
            assert b"S3CRET" not in path.read_bytes()


# ---- the image service ----


def test_what_a_preload_has_is_for_those_who_may_read_it_where_it_is_from(world):
    image = world.image("team/private")
    with world.server.open_to_all():
        Zeropull(world.work / "baked").ok("pull", f"docker://{image.name}")
    copy = world.publish("bob/copy", "v1", snapshot=False)
    before = world.asked(r"/v2/team/private/referrers/")
    with node(world, f"preloads: [{world.work}/baked]") as kubelet:
        assert kubelet.pull(copy.name, **BOB) == "ordinary"
        assert REASON in world.daemon.log()
        assert kubelet.pull(image.name, **ALICE) == "accelerated"
        assert kubelet.pull(copy.name, **BOB) == "ordinary"
    assert world.asked(r"/v2/team/private/referrers/") == before


@contextmanager
def proxy(world, answer):
    world.answer = answer
    with node(world) as kubelet:
        yield kubelet


def test_calls_and_answers_pass_as_they_are(world):
    seen = {}

    def answer(path, message, context):
        seen.update(path=path, message=message, metadata=dict(context.invocation_metadata()))
        context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last-bin", b"\0\xff"),))
        return b"\x0a\x03any"

    with proxy(world, answer):
        for service in ("runtime.v1", "runtime.v1alpha2"):
            for method in ("ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo", "NotYetInvented"):
                message = b"\x12\x01" + method[:1].encode()
                client = ImageService(world.work / "image.sock", f"/{service}.ImageService/")
                result, call = client.method(method).with_call(message, timeout=30, metadata=(("trace", "t-1"),))
                assert result == b"\x0a\x03any"
                assert seen["path"] == f"/{service}.ImageService/{method}" and seen["message"] == message
                assert seen["metadata"]["trace"] == "t-1"
                assert ("first", "1") in call.initial_metadata() and ("last-bin", b"\0\xff") in call.trailing_metadata()
                client.close()


def test_only_the_image_service_is_served(world):
    with proxy(world, lambda *_: b""):
        client = ImageService(world.work / "image.sock", "/runtime.v1.RuntimeService/")
        with pytest.raises(grpc.RpcError) as error:
            client.call("Version")
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
        client.close()


def test_errors_pass_as_they_are(world):
    long = "failed to pull: " + "x" * 20_000

    def answer(path, message, context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05details"),))
        context.abort(grpc.StatusCode.NOT_FOUND, long + " ü\n")

    with proxy(world, answer) as kubelet:
        with pytest.raises(grpc.RpcError) as error:
            kubelet.pull("registry.example/a:1")
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        assert error.value.details() == long + " ü\n"
        assert ("grpc-status-details-bin", b"\x08\x05details") in error.value.trailing_metadata()


def test_a_list_of_many_images_passes(world):
    answer = bytes(15 << 20)
    with proxy(world, lambda *_: answer) as kubelet:
        assert kubelet.call("ListImages") == answer


def test_deadline_and_cancellation_reach_containerd(world):
    ended, arrived = threading.Event(), threading.Event()
    remaining = []

    def answer(path, message, context):
        remaining.append(context.time_remaining())
        context.add_callback(ended.set)
        arrived.set()
        assert ended.wait(60)
        return b""

    with proxy(world, answer) as kubelet:
        with pytest.raises(grpc.RpcError) as error:
            kubelet.pull("registry.example/a:1", timeout=3)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert ended.wait(60) and remaining[0] <= 3
        ended.clear(), arrived.clear()
        call = kubelet.method("PullImage").future(pull_request("registry.example/a:1"))
        assert arrived.wait(60)
        assert call.cancel() and ended.wait(60)
        assert remaining[1] > 1e6 or remaining[1] is None


def test_without_containerd_calls_fail_and_then_succeed(world):
    with proxy(world, lambda *_: b"\x0a\x00") as kubelet:
        pass
    (world.work / "containerd.sock").unlink(missing_ok=True)
    with snapshotter(world.work, "--config", world.work / "config.yaml"):
        kubelet = ImageService(world.work / "image.sock")
        with pytest.raises(grpc.RpcError) as error:
            kubelet.call("ListImages")
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        with image_server(world.work / "containerd.sock", lambda *_: b"ok"):
            deadline = time.monotonic() + 20
            while True:
                try:
                    assert kubelet.call("ListImages") == b"ok"
                    break
                except grpc.RpcError:
                    assert time.monotonic() < deadline
        kubelet.close()


def test_a_killed_control_plane_serves_again(world):
    image = world.image("team/private")
    with node(world) as kubelet:
        assert kubelet.pull(image.name, **ALICE) == "accelerated"
        before = world.daemon.control_plane()
        os.kill(before, signal.SIGKILL)
        world.daemon.await_other_control_plane(before)
        client = ImageService(world.work / "image.sock")
        assert client.pull(image.name, **ALICE) == "accelerated"
        assert client.pull(image.name, **BOB) == "ordinary"
        client.close()
