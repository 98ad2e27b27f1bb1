# SPDX-License-Identifier: Apache-2.0
"""zeropull-controller, with the rights of deploy/kubernetes, while a real API server goes away and comes back, forgets its
history, refuses a token that was good, and others write to the same objects all the time: no build is lost, none is made
twice, and every status says at last what is so."""
import base64
import json
import signal
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import debian, kubernetes_programs
from support.controller import Controller, controller, played_node, snapshot_of, until
from support.controller_site import ACCOUNT, API_OPTIONS, NAMESPACE, Site, install, kubeconfig, renew
from support.kubernetes import API, cluster
from support.kubernetes_api import ApiError, KubernetesApi
from support.kubernetes_audit import Audit
from support.kubernetes_node import private_network
from support.registry import registry

reason = kubernetes_programs.missing()
pytestmark = [pytest.mark.skipif(reason is not None, reason=str(reason)), pytest.mark.long]

LEASE_SECONDS = 20
CLUSTERS = "/apis/zeropull.dev/v1alpha1/clusterimagesnapshots"


@pytest.fixture(scope="module")
def site():
    """Without its watch cache the API server remembers no more than etcd does."""
    kubernetes = kubernetes_programs.programs(may_build=False)
    if not kubernetes:
        pytest.skip("no Kubernetes in the cache of test tools. `./run-tests --long e2e` builds it, given Go")
    with ExitStack() as stack:
        stack.enter_context(private_network())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=debian.CACHE / "tmp", prefix="ctl-")))
        server = stack.enter_context(registry(directory / "open"))
        audit = Audit(directory, NAMESPACE, ACCOUNT)
        options = [*API_OPTIONS, *audit.options, "--watch-cache=false"]
        kube = stack.enter_context(cluster(directory / "cluster", kubernetes, api_options=options))
        install(kube)
        site = Site(directory, kube, server, None)
        site.audit = audit
        yield site


@pytest.fixture
def node(site):
    """Whose builds cost nothing."""
    with played_node(site.kube, site.directory / site.name()) as node:
        node.is_real = False
        yield node


@pytest.fixture
def user(site):
    return kubeconfig(site.kube, site.directory / site.name())


class Fleet:
    """ImageSnapshots of a namespace of their own, each with an image of its own."""

    def __init__(self, site, node):
        self.site, self.node, self.namespace = site, node, site.namespace()
        self.snapshots, self.sources = [], []

    def add(self, count):
        for _ in range(count):
            image, digest = self.site.image()
            self.sources.append(f"docker://{image}@{digest}")
            self.snapshots.append(self.site.snapshot(self.namespace, image))

    def built(self):
        """What each Job built. A Job whose pod's creation an API server leaves unanswered gets a second pod from Kubernetes
        (its documentation says so), which builds the same again: that is one build of ours."""
        return [source for _, source in {(job, source) for where, job, source in self.node.ran if where == self.namespace}]

    def assert_ready_and_built_once(self):
        for snapshot in self.snapshots:
            snapshot.wait()
        assert sorted(self.built()) == sorted(self.sources)
        assert len(self.site.jobs(self.namespace)) == len(self.sources)
        for snapshot in self.snapshots:
            found = snapshot.get()
            (image,) = found["status"]["images"]
            assert (image["phase"], image["snapshotDigest"]) == ("Ready", snapshot_of(image["digest"]))
            assert (found["status"]["ready"], found["status"]["failed"]) == (1, 0)
            assert found["status"]["observedGeneration"] == found["metadata"]["generation"]


@pytest.fixture
def fleet(site, node):
    return Fleet(site, node)


@contextmanager
def working(site, fleet, user, *options):
    with controller(site.directory / site.name(), user, site.config(), "--namespace", fleet.namespace, *options) as running:
        yield running


# --- the API server


def test_a_restarted_api_server_costs_no_build_and_no_list(site, fleet, user):
    with working(site, fleet, user) as running:
        fleet.add(10)
        until(lambda: running.metric("builds_started_total") >= 3)
        site.kube.restart_api_server(lambda: until(lambda: running.metric("watch_failures_total") > 0))
        fleet.add(5)
        fleet.assert_ready_and_built_once()
        assert running.metric("lists_total") == 1


def test_history_that_is_gone_costs_no_build_and_one_list(site, fleet, user):
    with working(site, fleet, user) as running:
        fleet.add(6)
        fleet.assert_ready_and_built_once()
        gone, changed = fleet.snapshots.pop(), fleet.snapshots[0]
        running.process.send_signal(signal.SIGSTOP)
        try:
            site.kube.restart_api_server()  # the watches end
            gone.delete()
            site.api.merge(gone.path, {"metadata": {"finalizers": None}})
            site.api.merge(changed.path, {"spec": {"priority": 7}})
            fleet.add(3)
            site.kube.forget_history()
        finally:
            running.process.send_signal(signal.SIGCONT)
        for snapshot in fleet.snapshots:
            snapshot.wait()
        until(lambda: changed.get()["status"]["observedGeneration"] == changed.get()["metadata"]["generation"])
        assert sorted(fleet.built()) == sorted(fleet.sources)
        until(lambda: running.metric("imagesnapshots") == len(fleet.snapshots))
        assert running.metric("lists_total") == 2
        fleet.add(1)
        fleet.snapshots[-1].wait()
        assert running.metric("lists_total") == 2


# --- its token


def bound_to(site, secret):
    """Options of a token that is good as long as this Secret is there."""
    return "--bound-object-kind=Secret", f"--bound-object-name={secret}"


def is_refused(kube, token):
    context = ssl.create_default_context(cafile=kube.directory / "keys" / "ca.crt")
    request = urllib.request.Request(f"{API}{CLUSTERS}", headers={"Authorization": f"Bearer {token}"})
    try:
        urllib.request.urlopen(request, context=context).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    return False


def test_a_rotated_token_is_taken_up_and_costs_no_list(site, fleet):
    secrets = [site.name() for _ in range(2)]
    for secret in secrets:
        site.api.create(f"/api/v1/namespaces/{NAMESPACE}/secrets", {"metadata": {"name": secret}})
    user = kubeconfig(site.kube, site.directory / site.name(), *bound_to(site, secrets[0]))
    token = user.with_suffix(".token")
    with working(site, fleet, user) as running:
        fleet.add(3)
        fleet.assert_ready_and_built_once()
        old = token.read_text()
        renew(site.kube, token, *bound_to(site, secrets[1]))
        site.api.delete(f"/api/v1/namespaces/{NAMESPACE}/secrets/{secrets[0]}")
        site.kube.restart_api_server()  # which ends the watches that the old one was good for
        until(lambda: is_refused(site.kube, old))
        fleet.add(3)
        fleet.assert_ready_and_built_once()
        assert running.metric("lists_total") == 1


# --- others who write


class Storm:
    """Others who write to the same objects all the time: labels and priorities, finalizers of their own by whole
    replacement, and the status, as if it were theirs. Threads of their own."""

    def __init__(self, site, snapshots):
        self.site, self.snapshots = site, snapshots
        self.written = {self._change: 0, self._replace: 0, self._rule: 0}
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(how,), daemon=True) for how in self.written]
        for thread in self._threads:
            thread.start()

    def _change(self, api, snapshot, number):
        api.merge(snapshot.path, {"metadata": {"labels": {"storm": f"{number}"}}, "spec": {"priority": number % 50}})

    def _replace(self, api, snapshot, number):
        found = api.get(snapshot.path)
        finalizers = [name for name in found["metadata"].get("finalizers", []) if name != "example.dev/storm"]
        if number % 2 and "deletionTimestamp" not in found["metadata"]:
            finalizers.append("example.dev/storm")
        found["metadata"]["finalizers"] = finalizers
        api.call("PUT", snapshot.path, found)

    def _rule(self, api, snapshot, number):
        api.merge(f"{snapshot.path}/status", {"status": {"ready": number % 3, "observedGeneration": 1}})

    def _write(self, how):
        api, number = KubernetesApi(self.site.kube), 0
        while not self._ending.is_set():
            number += 1
            for snapshot in self.snapshots:
                try:
                    how(api, snapshot, number)
                    self.written[how] += 1
                except ApiError as error:
                    assert error.status in (404, 409, 422), error  # gone, changed, or being deleted

    def end(self):
        self._ending.set()
        for thread in self._threads:
            thread.join()
        for snapshot in self.snapshots:  # who leaves takes his finalizer with him
            found = self.site.api.find(snapshot.path)
            if found:
                kept = [name for name in found["metadata"].get("finalizers", []) if name != "example.dev/storm"]
                self.site.api.merge(snapshot.path, {"metadata": {"finalizers": kept}})


def test_a_storm_of_others_writes_costs_no_build_and_no_finalizer(site, fleet, user):
    with working(site, fleet, user) as running:
        fleet.add(8)
        storm = Storm(site, list(fleet.snapshots))
        try:
            until(lambda: running.metric("builds_done_total") >= 8)
            until(lambda: min(storm.written.values()) >= 80)
            going = [fleet.snapshots.pop() for _ in range(3)]
            for snapshot in going:
                snapshot.delete()
            until(lambda: all(snapshot.is_gone() or "zeropull.dev/cleanup" not in snapshot.get()["metadata"].get("finalizers", [])
                              for snapshot in going))  # fmt: skip
        finally:
            storm.end()
        until(lambda: all(snapshot.is_gone() for snapshot in going))
        for snapshot in fleet.snapshots:
            until(lambda: snapshot.get()["status"]["observedGeneration"] == snapshot.get()["metadata"]["generation"]
                  and snapshot.get()["status"]["ready"] == 1)  # fmt: skip
            assert snapshot.get()["metadata"]["finalizers"] == ["zeropull.dev/cleanup"]
        assert sorted(fleet.built()) == sorted(fleet.sources)


# --- leaders


def leading(site, fleet, user):
    return Controller(site.directory / site.name(), user, site.config(), "--namespace", fleet.namespace, "--leader-elect")


@contextmanager
def ending(*controllers):
    """None of them is left behind."""
    try:
        yield
    finally:
        for one in controllers:
            if one.process and one.is_running():
                one.process.send_signal(signal.SIGCONT)
                one.kill()


def credential(user):
    """By which the audit log knows who comes with its token."""
    body = user.with_suffix(".token").read_text().split(".")[1]
    return "JTI=" + json.loads(base64.urlsafe_b64decode(body + "=="))["jti"]


def test_a_leader_that_sleeps_is_followed_and_changes_nothing_when_it_wakes(site, fleet, node):
    users = [kubeconfig(site.kube, site.directory / site.name()) for _ in range(2)]
    first, second = (leading(site, fleet, user) for user in users)
    with ending(first, second):
        first.start()
        until(lambda: first.metric("leader") == 1)
        second.start()
        node.is_held = True
        fleet.add(10)
        until(lambda: first.metric("builds_started_total") >= 3)
        first.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        until(lambda: second.metric("leader") == 1, LEASE_SECONDS)
        assert time.monotonic() - start < LEASE_SECONDS
        fleet.add(3)
        position = site.audit.mark()
        first.process.send_signal(signal.SIGCONT)
        node.is_held = False
        assert first.process.wait(30) == 1
        assert "is not the leader any more" in first.said()
        fleet.assert_ready_and_built_once()
        theirs = [request for request in site.audit.since(position) if request.token == credential(users[0])]
        assert [r for r in theirs if r.is_write and r.code < 300 and r.resource[1] not in ("events", "leases")] == []
        assert any(r.token == credential(users[1]) for r in site.audit.since(position))
        second.stop()


def test_a_leader_that_cannot_renew_ends_and_the_next_goes_on(site, fleet, node, user):
    one = leading(site, fleet, user)
    with ending(one):
        one.start()
        node.is_held = True
        fleet.add(8)
        until(lambda: one.metric("builds_started_total") >= 3)
        site.kube.restart_api_server(lambda: one.process.wait(30))
        assert one.process.returncode == 1 and "is not the leader any more" in one.said()
        one.start()  # as the kubelet does
        node.is_held = False
        fleet.assert_ready_and_built_once()
        one.stop()
