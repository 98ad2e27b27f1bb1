# SPDX-License-Identifier: Apache-2.0
"""Where the kubelet's calls do not come by, the node's agent says whose pods wait for an image, and what the node has is
given to those of them whom the registry lets read it."""
import base64
import hashlib
import json
import os
import re
import socket
import sqlite3
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import grpc
import pytest

from support import oci
from support.rights_registry import rights_registry
from support.ship import fill_app, fill_base, make_image, manifest_bytes, put_image
from support.snapshotter import SNAPSHOTTER, mounted, settings, snapshotter
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
ALICE = {"username": "alice", "password": "a"}
BOB = {"username": "bob", "password": "b"}
REASON = "containerd.io/snapshot/zeropull.not-accelerated"
USERS = {"alice:a": {"team/private", "bob/copy"}, "bob:b": {"bob/copy"}, "": {"team/public"}}


class Agent:
    """zeropull-node's answers."""

    def __init__(self, path):
        self.path, self.asked = path, []
        self.answer = lambda image: {"pullers": []}

    def _converse(self, connection):
        with connection:
            question = b""
            while piece := connection.recv(4096):
                question += piece
            self.asked.append(question.decode())
            answer = self.answer(question.decode())
            connection.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    @contextmanager
    def running(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                self._converse(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield self
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()
            self.path.unlink()


class World:
    def __init__(self, work, server):
        self.work, self.server = work, server
        self.layout = oci.Layout(work / "layout")
        self.agent = Agent(work / "agent.sock")
        self.count = 0
        make_image(self.layout, "v1", fill_base, fill_app(3))
        manifest = manifest_bytes(self.layout, "v1")
        self.digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        config = json.loads((self.layout.blobs / json.loads(manifest)["config"]["digest"].removeprefix("sha256:")).read_bytes())
        self.first = config["rootfs"]["diff_ids"][0]

    def publish(self, repository, snapshot=True):
        """The name of the image, which is the same everywhere."""
        put_image(self.server, self.layout, "v1", repository)
        if snapshot:
            with self.server.open_to_all():
                to = f"--push={self.server.remote(repository)}"
                Zeropull(self.work / "builder").ok("build", to, f"oci:{self.layout.directory}:v1")
        return f"{self.server.host}/{repository}:v1"

    def pull(self, name, *pullers):
        """What becomes of the first layer, as containerd asks for it, while these wait."""
        self.agent.answer = lambda image: {"pullers": list(pullers)}
        return self.prepare(name)

    def labels(self, name):
        return {"containerd.io/snapshot.ref": self.first, "containerd.io/snapshot/cri.image-ref": name,
                "containerd.io/snapshot/cri.manifest-digest": self.digest}  # fmt: skip

    def prepare(self, name):
        self.count += 1
        key = f"test/{self.count}/extract"
        client = self.daemon.client()
        try:
            client.prepare(key, "", self.labels(name))
            client.remove(key)
            return "ordinary"
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error.details()
            return "accelerated"
        finally:
            client.close()

    def told(self):
        """What the log says of images, in its order."""
        return re.findall(r'msg="image ((?:not )?accelerated)"', self.daemon.log())

    def status(self):
        """Of each image, why it is not accelerated; None: it is."""
        database = sqlite3.connect(f"file:{self.daemon.root}/metadata.db?mode=ro", uri=True)
        with closing(database):
            return [reason for (reason,) in database.execute("select reason from images")]

    def reason(self):
        return [line for line in self.daemon.log().splitlines() if 'msg="image not accelerated"' in line][-1]


@pytest.fixture
def world(work):
    with rights_registry(users={user: set(names) for user, names in USERS.items()}) as server:
        yield World(work, server)


@contextmanager
def node(world, auths=None):
    (world.work / "auth.json").write_text(json.dumps(auths or {}))
    options = settings(world.work, f"auth_file: {world.work}/auth.json", f"agent: {world.agent.path}")
    with world.agent.running(), snapshotter(world.work, *options) as daemon:
        world.daemon = daemon
        yield daemon


def login(host, user):
    return {"auths": {host: {"auth": base64.b64encode(user.encode()).decode()}}}


def test_a_waiting_pods_pull_secret_suffices_and_another_pods_does_not(world):
    image = world.publish("team/private")
    with node(world):
        assert world.pull(image, BOB) == "ordinary"
        assert world.pull(image, {}) == "ordinary"
        assert world.pull(image, ALICE) == "accelerated"
        assert set(world.agent.asked) == {image}
        assert "a" * 8 not in world.daemon.log() and "alice" not in world.daemon.log()


def test_a_pod_that_the_images_registry_refuses_keeps_it_from_nobody(world):
    """containerd asked there before, as who pulls: it was not refused."""
    image = world.publish("team/private")
    with node(world):
        assert world.pull(image, BOB, ALICE) == "accelerated"
        assert world.pull(image, ALICE, BOB) == "accelerated"
        assert world.pull(image, {}, ALICE, BOB) == "accelerated"


def test_what_becomes_of_an_image_is_told_once_whoever_waits_for_it(world):
    """Not for each of those who wait, nor for each layer; and the last word is what became of it."""
    image = world.publish("team/private")
    with node(world):
        assert world.pull(image, ALICE, BOB) == "accelerated"
        for _ in range(3):
            assert world.pull(image, ALICE, BOB) == "accelerated"
        assert world.told() == ["accelerated"]
        assert world.pull(image, {}, ALICE) == "accelerated"  # one is asked about anew, and refused
        assert world.told() == ["accelerated"] * 2
        assert world.status() == [None]


def test_what_becomes_of_an_image_is_told_once_when_its_layers_come_at_one_moment(world):
    """Also when each layer finds out about another one of those who wait."""
    image = world.publish("team/private")
    pullers, at_the_registry = [ALICE, BOB], threading.Barrier(2)

    def meet(handler):
        with suppress(threading.BrokenBarrierError):
            at_the_registry.wait(1)
        return False

    def answer(_):
        pullers.reverse()
        return {"pullers": list(pullers)}

    with node(world):
        world.agent.answer = answer
        world.server.inject("/token", meet, meet)
        with ThreadPoolExecutor(2) as two:
            assert list(two.map(world.prepare, [image] * 2)) == ["accelerated"] * 2
        assert world.told() == ["accelerated"] and world.status() == [None]


def test_a_layer_that_is_none_of_the_images_is_no_news_of_it(world):
    image = world.publish("team/private")
    with node(world):
        assert world.pull(image, ALICE) == "accelerated"
        world.first = "sha256:" + "1" * 64
        assert world.pull(image, ALICE) == "ordinary"
        assert world.told() == ["accelerated"]


def test_an_agent_that_is_away_is_told_once_for_each_image(world):
    image, other = world.publish("team/private"), world.publish("bob/copy", snapshot=False)
    with snapshotter(world.work, *settings(world.work, f"agent: {world.agent.path}")) as world.daemon:
        for name in (image, image, other, image):
            assert world.prepare(name) == "ordinary"
        assert world.told() == ["not accelerated"] * 2
        assert all("cannot be asked who pulls" in why for why in world.status())


def test_a_copy_elsewhere_opens_nothing_to_those_who_may_not_read_the_original(world):
    private, copy = world.publish("team/private"), world.publish("bob/copy", snapshot=False)
    with node(world):
        assert world.pull(private, ALICE) == "accelerated"
        assert world.pull(copy, BOB) == "ordinary"
        assert "team/private" in world.reason()
        assert world.pull(copy, BOB, ALICE) == "ordinary"
        assert world.pull(copy, ALICE, BOB) == "ordinary"
        assert world.pull(copy, ALICE) == "accelerated"


def test_an_image_that_no_pod_waits_for_is_the_nodes(world):
    image = world.publish("team/private")
    with node(world, auths=login(world.server.host, "alice:a")):
        assert world.pull(image) == "accelerated"


def test_credentials_that_cannot_be_read_are_the_reason_and_no_missing_snapshot(world):
    image = world.publish("team/private")
    with node(world, auths=login(world.server.host, "alice:a")):
        (world.work / "auth.json").unlink()
        assert world.pull(image) == "ordinary"
        (why,) = world.status()
        assert f"credentials: open '{world.work}/auth.json'" in why
        with closing(world.daemon.client()) as client:
            client.prepare("x", "", world.labels(image))
            label = client.stat("x").labels[REASON]
            assert label.startswith("other: ") and f"credentials: open '{world.work}/auth.json'" in label
            client.remove("x")


def test_a_pod_without_pull_secrets_comes_with_the_nodes_credentials(world):
    image = world.publish("team/private")
    with node(world, auths=login(world.server.host, "alice:a")):
        assert world.pull(image, {}) == "accelerated"
        assert world.pull(image, {}, BOB) == "accelerated"


@pytest.mark.parametrize("answer", [b"", b"{", b'{"pullers": [1]}', b'{"pullers": [{"username": 3}]}', b"{}"])
def test_an_agent_that_makes_no_sense_opens_nothing(world, answer):
    image = world.publish("team/private")
    with node(world, auths=login(world.server.host, "alice:a")):
        world.agent.answer = lambda _: answer
        assert world.prepare(image) == "ordinary"
        assert "the node's agent" in world.reason()
        assert world.pull(image, ALICE) == "accelerated"


def test_without_the_agent_images_are_pulled_as_ever_until_it_is_there(world):
    image = world.publish("team/private")
    with node(world):
        pass
    options = settings(world.work, f"agent: {world.agent.path}")
    with snapshotter(world.work, *options) as world.daemon:
        assert world.prepare(image) == "ordinary"
        assert "cannot be asked who pulls" in world.reason()
        with world.agent.running():
            assert world.pull(image, ALICE) == "accelerated"


def test_an_agent_that_begins_a_little_later_is_waited_for(world):
    image = world.publish("team/private")
    options = settings(world.work, f"agent: {world.agent.path}")
    with ExitStack() as stack:
        world.daemon = stack.enter_context(snapshotter(world.work, *options))
        begin = threading.Timer(0.5, lambda: stack.enter_context(world.agent.running()))
        begin.start()
        assert world.pull(image, ALICE) == "accelerated"
        begin.join()


def test_what_everybody_may_read_needs_no_agent(world):
    image = world.publish("team/public")
    with snapshotter(world.work, *settings(world.work, f"agent: {world.agent.path}")) as world.daemon:
        assert world.prepare(image) == "accelerated"


def test_where_rights_are_not_checked_what_the_node_can_fetch_needs_no_agent(world):
    image = world.publish("team/private")
    (world.work / "auth.json").write_text(json.dumps(login(world.server.host, "alice:a")))
    options = settings(world.work, f"auth_file: {world.work}/auth.json", "check_rights: false", f"agent: {world.agent.path}")
    with snapshotter(world.work, *options) as world.daemon:
        assert world.prepare(image) == "accelerated"


def test_what_is_read_later_is_fetched_with_the_pods_credentials(world):
    image = world.publish("team/private")
    with node(world) as daemon:
        assert world.pull(image, ALICE) == "accelerated"
        api = daemon.client()
        (top,) = api.list()
        with mounted(api.view("view", top.name), world.work / "m") as root:
            assert len((root / "data/noise").read_bytes()) == 3_000_000
        api.remove("view")
        api.close()


def test_the_agent_and_the_image_service_exclude_each_other(work):
    (work / "config.yaml").write_text("version: 1\nimage_service: /run/a.sock\nagent: /run/b.sock\n")
    result = subprocess.run([SNAPSHOTTER, "--test-config", "--config", work / "config.yaml"], capture_output=True, text=True)
    assert result.returncode == 2 and "config.yaml:3: agent" in result.stderr
