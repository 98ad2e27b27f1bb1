# SPDX-License-Identifier: Apache-2.0
"""zeropull-node and the warm-up planner with a real API server: what an ImageSnapshot asks for is in the store of each node
that it selects, and goes again. The nodes are objects only; the agent of one runs here."""
import base64
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import debian, kubernetes_programs
from support.controller import controller, push_tiny, until
from support.kubernetes import cluster
from support.kubernetes_api import SNAPSHOTS, KubernetesApi
from support.kubernetes_node import private_network
from support.programs import BUILD, SOURCE, ZEROPULL
from support.registry import registry
from support.zeropull import Zeropull

reason = kubernetes_programs.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

NODE = BUILD / "controller" / "node" / "zeropull-node"
DEPLOY = SOURCE / "deploy" / "kubernetes"
CACHES = "/apis/zeropull.dev/v1alpha1/nodesnapshotcaches"
USER, PASSWORD = "puller", "xyzzy"


class Agent:
    """zeropull-node of the node "here"."""

    def __init__(self, site):
        self.root = site.directory / "agent"
        self.store = Zeropull(self.root / "store")
        self.log = site.directory / "agent.log"
        self.command = [NODE, "--node", "here", "--root", self.root, "--kubeconfig", site.kube.kubeconfig, "--zeropull", ZEROPULL]

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(list(map(str, self.command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.said()

    def said(self):
        return self.log.read_text(errors="replace")[-4000:]

    def images(self):
        if not self.store.store.exists():
            return set()
        return {image["digest"] for image in json.loads(self.store.ok("list", "--json"))}


class Site:
    def __init__(self, directory, kube, server, locked):
        self.directory, self.kube, self.server, self.locked = directory, kube, server, locked
        self.api = KubernetesApi(kube)
        self.builder = Zeropull(directory / "builder")
        self.count = 0

    def node(self, name, **labels):
        """A node that is ready; again and again, or the cluster would take it for lost."""
        known = self.api.find(f"/api/v1/nodes/{name}")
        labels = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **labels}
        if not known:
            self.api.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ready = {"type": "Ready", "status": "True", "reason": "Test", "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now}
        self.api.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [ready]}})

    def image(self, server=None):
        """(name, digest) of a new image that has a snapshot."""
        server = server or self.server
        self.count += 1
        digest = push_tiny(self.server, f"r/w{self.count}", "latest", f"warm-{self.count}")
        if server is self.locked:
            server.push(self.server.reference(f"r/w{self.count}"), f"r/w{self.count}", "latest", "--src-tls-verify=false")
        credentials = ["--creds", f"{USER}:{PASSWORD}"] if server is self.locked else []
        self.builder.ok("build", "--push", *credentials, server.reference(f"r/w{self.count}"))
        return f"{server.host}/r/w{self.count}:latest", digest

    @contextmanager
    def snapshot(self, *images, **spec):
        """An ImageSnapshot, for a while."""
        self.count += 1
        name = f"s{self.count}"
        path = SNAPSHOTS.format("default")
        self.api.create(path, {"apiVersion": "zeropull.dev/v1alpha1", "kind": "ImageSnapshot", "metadata": {"name": name},
                               "spec": {"images": list(images), **spec}})  # fmt: skip
        try:
            yield f"{path}/{name}"
        finally:
            self.api.delete(f"{path}/{name}")
            until(lambda: not self.api.find(f"{path}/{name}"), explain=lambda: self.api.find(f"{path}/{name}"))

    def warm(self, path):
        return self.api.get(path).get("status", {}).get("warmUp", {})

    def entries(self, node, part="status"):
        found = self.api.find(f"{CACHES}/{node}") or {}
        return {item["image"]: item for item in found.get(part, {}).get("images", [])}

    def explain(self):
        return json.dumps([self.api.list(CACHES), self.agent.said(), self.controller.said()], indent=1)

    def until(self, condition):
        return until(condition, 60, self.explain)


@pytest.fixture(scope="module")
def site():
    if not (kubernetes := kubernetes_programs.programs(may_build=False)):
        pytest.skip("no Kubernetes in the cache of test tools. `./run-tests --long e2e` builds it, given Go")
    with ExitStack() as stack:
        stack.enter_context(private_network())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=debian.CACHE / "tmp", prefix="node-")))
        server = stack.enter_context(registry(directory / "open"))
        locked = stack.enter_context(registry(directory / "locked", users={USER: PASSWORD}))
        kube = stack.enter_context(cluster(directory / "cluster", kubernetes))
        kube.kubectl("apply", "-f", str(DEPLOY / "base" / "crds"))
        kube.kubectl("wait", "--for=condition=Established", "crd", "--all")
        site = Site(directory, kube, server, locked)
        config = {"platforms": ["linux/amd64"], "job": {"image": "r.example/zeropull:test"}, "cleanup-timeout": "3s",
                  "agents": {"namespace": "default", "service-account": "agent", "targets": [f"{server.host}/named/**"]}}  # fmt: skip
        site.controller = stack.enter_context(controller(directory / "controller", kube.kubeconfig, config))
        site.agent = Agent(site)
        site.agent.start()
        stack.callback(site.agent.stop)
        yield site


@pytest.fixture(autouse=True)
def nodes(site):
    site.node("here", disk="ssd")
    site.node("elsewhere", disk="tape")


def test_an_image_is_on_the_selected_nodes_and_goes_with_its_object(site):
    image, digest = site.image()
    with site.snapshot(image, warmUp={"nodeSelector": {"disk": "ssd"}, "complete": True}) as path:
        site.until(lambda: site.warm(path) == {"desired": 1, "ready": 1, "failed": 0})
        assert digest in site.agent.images()
        status = site.entries("here")[image]
        assert (status["phase"], status["digest"], status["complete"]) == ("Ready", digest, True)
        assert site.entries("elsewhere", "spec") == {}
        assert site.api.get(f"{CACHES}/here")["metadata"]["ownerReferences"][0]["kind"] == "Node"
        assert site.api.get(f"{CACHES}/here")["status"]["conditions"][0]["reason"] == "AllPresent"
    site.until(lambda: site.entries("here", "spec") == {} and site.entries("here") == {})
    site.until(lambda: digest not in site.agent.images())


def test_a_node_that_joins_is_warmed(site):
    image, digest = site.image()
    with site.snapshot(image, warmUp={"nodeSelector": {"joins": "late"}}) as path:
        site.node("late", joins="late")
        site.until(lambda: site.entries("late", "spec").get(image, {}).get("digest") == digest)
        site.until(lambda: site.warm(path).get("desired") == 1)
        site.api.delete("/api/v1/nodes/late")
        site.until(lambda: not site.api.find(f"{CACHES}/late"))  # the cluster's collection: the node owned it


def test_what_the_agent_fetched_it_removes_after_a_restart_too(site):
    image, digest = site.image()
    with site.snapshot(image, warmUp={"nodeSelector": {"disk": "ssd"}}) as path:
        site.until(lambda: site.warm(path).get("ready") == 1)
        site.agent.stop()
    site.agent.start()
    site.until(lambda: digest not in site.agent.images())


def test_what_was_there_before_stays(site):
    image, digest = site.image()
    site.agent.store.ok("pull", f"docker://{image}")
    with site.snapshot(image, warmUp={"nodeSelector": {"disk": "ssd"}}) as path:
        site.until(lambda: site.warm(path).get("ready") == 1)
    other, others_digest = site.image()
    with site.snapshot(other, warmUp={"nodeSelector": {"disk": "ssd"}}) as path:
        site.until(lambda: site.warm(path).get("ready") == 1)
    site.until(lambda: others_digest not in site.agent.images())
    assert digest in site.agent.images()


def test_a_pull_secret_that_is_missing_keeps_no_image_away_that_needs_none(site):
    image, digest = site.image()
    site.node("here", disk="ssd")
    with site.snapshot(image, warmUp={"nodeSelector": {"disk": "ssd"}}, pullSecrets=[{"name": "missing"}]) as path:
        site.until(lambda: site.warm(path) == {"desired": 1, "ready": 1, "failed": 0})
        assert digest in site.agent.images()


def test_an_object_with_a_repository_of_its_own_choice_is_warmed_nowhere(site):
    image, digest = site.image()
    elsewhere = {"target": f"{site.server.host}/elsewhere"}
    with site.snapshot(image, warmUp={"nodeSelector": {"disk": "ssd"}}, **elsewhere):
        other, of_other = site.image()
        with site.snapshot(other, warmUp={"nodeSelector": {"disk": "ssd"}}) as path:
            site.until(lambda: site.warm(path).get("ready") == 1)
            assert list(site.entries("here", "spec")) == [other]
    assert digest not in site.agent.images()


def test_a_private_image_comes_with_the_objects_secret_and_the_agent_may_read_that_one_alone(site):
    image, digest = site.image(site.locked)
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = base64.b64encode(json.dumps({"auths": {site.locked.host: {"auth": login}}}).encode()).decode()
    site.api.create("/api/v1/namespaces/default/secrets", {
        "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": config}})  # fmt: skip
    with site.snapshot(image, warmUp={"nodeSelector": {"disk": "ssd"}}, pullSecrets=[{"name": "missing"}, {"name": "pull"}]) as path:
        site.until(lambda: site.warm(path).get("ready") == 1)
        assert digest in site.agent.images()
        uid = site.api.get(path)["metadata"]["uid"]
        kind = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
        role = site.api.get(f"{kind}/roles/zeropull-warmup-{uid}")
        assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["missing", "pull"], "verbs": ["get"]}]
        agent = "system:serviceaccount:default:agent"
        assert site.kube.is_true("auth", "can-i", "get", "secrets/pull", "--as", agent)
        assert not site.kube.is_true("auth", "can-i", "get", "secrets/other", "--as", agent)
        site.api.merge(path, {"spec": {"warmUp": None}})
        site.until(lambda: not site.api.get(f"{kind}/roles/zeropull-warmup-{uid}").get("rules"))
        site.until(lambda: not site.kube.is_true("auth", "can-i", "get", "secrets/pull", "--as", agent))
    assert PASSWORD not in site.agent.log.read_text(errors="replace")
    site.until(lambda: not site.api.find(f"{kind}/roles/zeropull-warmup-{uid}"))


def ask(path, image):
    """As the snapshotter does (snapshotter/keychain/waiting.h)."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(image.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return json.loads(answer)["pullers"]


@contextmanager
def pullers_agent(site):
    """A zeropull-node that says whose pods wait; its socket."""
    directory = site.directory / f"pullers-{site.count}"
    directory.mkdir()
    (directory / "config.yaml").write_text(f"version: 1\nroot: {directory}/root\nagent: {directory}/agent.sock\n")
    command = [NODE, "--node", "here", "--config", directory / "config.yaml", "--kubeconfig", site.kube.kubeconfig,
               "--zeropull", ZEROPULL, "--no-pod-events"]  # fmt: skip
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: (directory / "agent.sock").exists(), 30, lambda: (directory / "log").read_text())
        yield directory / "agent.sock"
        assert PASSWORD not in (directory / "log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (directory / "log").read_text()


def test_the_agent_says_whose_pods_may_be_pulling_an_image_and_with_what(site):
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    pods, secrets = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/secrets"
    auths = json.dumps({"auths": {"r.example": {"auth": login}, "other.example": {"auth": "eDp5"}}})
    site.api.create(secrets, {"metadata": {"name": "of-pod"}, "type": "kubernetes.io/dockerconfigjson",
                              "stringData": {".dockerconfigjson": auths}})  # fmt: skip

    def pod(name, image, *named, node="here"):
        site.api.create(pods, {"metadata": {"name": name}, "spec": {
            "nodeName": node, "containers": [{"name": "c", "image": image}], "terminationGracePeriodSeconds": 0,
            "imagePullSecrets": [{"name": secret} for secret in named]}})  # fmt: skip

    site.node("elsewhere")
    with pullers_agent(site) as path:
        pod("one", "r.example/team/web:1", "missing", "of-pod")
        assert ask(path, "r.example/team/web:1") == [{"username": USER, "password": PASSWORD}]
        pod("two", "r.example/team/web:1")
        until(lambda: {} in ask(path, "r.example/team/web:1"), 30)
        assert len(ask(path, "r.example/team/web:1")) == 2
        pod("third", "third.example/web:1", "of-pod")
        assert ask(path, "third.example/web:1") == [{}]
        pod("far", "r.example/far:1", "of-pod", node="elsewhere")
        assert ask(path, "r.example/far:1") == []
        for name in ("one", "two", "third", "far"):
            site.api.delete(f"{pods}/{name}?gracePeriodSeconds=0")
        until(lambda: ask(path, "r.example/team/web:1") == [], 30)
    site.api.delete(f"{secrets}/of-pod")


def test_an_object_with_a_repository_that_the_cluster_has_named_is_warmed_from_there(site):
    image, digest = site.image()
    target = f"{site.server.host}/named/snapshots"
    site.builder.ok("push", digest, f"docker://{target}")
    with site.snapshot(image, warmUp={"nodeSelector": {"disk": "ssd"}}, target=target) as path:
        site.until(lambda: site.warm(path).get("ready") == 1)
        assert site.entries("here", "spec")[image]["from"] == target
        assert digest in site.agent.images()


def test_a_kept_descriptor_outlives_its_service(site):
    """The keeper gives the next one what the last one left; a keeper that was restarted gets it again."""
    socket, out = site.directory / "keeper.sock", site.directory / "seen"
    script = site.directory / "service"
    script.write_text(f"""#!/usr/bin/python3
import array, os, signal, socket, sys
seen = open({str(out)!r}, "a")
if os.environ.get("LISTEN_FDS") == "1" and os.environ["LISTEN_PID"] == str(os.getpid()):
    print("kept", os.environ["LISTEN_FDNAMES"], os.read(3, 100).decode(), os.environ["ZEROPULL_MOUNT_STAYS"], file=seen, flush=True)
    os.lseek(3, 0, 0)
else:
    fd = os.memfd_create("x"); os.write(fd, b"content"); os.lseek(fd, 0, 0)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ["NOTIFY_SOCKET"])
    s.sendmsg([b"FDSTORE=1\\nFDNAME=fuse"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    print("made", file=seen, flush=True)
signal.sigwait([signal.SIGTERM])
""")
    script.chmod(0o755)

    def keeper():
        return subprocess.Popen([NODE, "--keeper", socket, "keep"], stderr=subprocess.DEVNULL)

    def service():
        log = open(site.directory / "service.log", "ab")
        return subprocess.Popen([NODE, "--keeper", socket, "run", "--", script], stderr=log, start_new_session=True)

    def lines(count):
        until(lambda: out.exists() and len(out.read_text().splitlines()) >= count, 20, lambda: (site.directory / "service.log").read_text())
        return out.read_text().splitlines()[count - 1]

    def kept():
        """How many files without a name the keeper has."""
        links = [os.readlink(path) for path in Path(f"/proc/{running.pid}/fd").iterdir() if path.is_symlink()]
        return len([link for link in links if "memfd:x" in link])

    running = keeper()
    first = service()
    try:
        assert lines(1) == "made"
        until(kept, 20)
        first.terminate()
        first.wait(20)
        first = service()
        assert lines(2) == "kept fuse content 1"
        running.kill()
        running.wait()
        running = keeper()
        until(kept, 20)
        os.killpg(first.pid, signal.SIGKILL)  # with its service; the descriptor is the keeper's alone
        first.wait(20)
        first = service()
        assert lines(3) == "kept fuse content 1"
    finally:
        for process in (first, running):
            process.terminate()
            process.wait(20)
