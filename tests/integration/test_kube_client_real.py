# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes client with a real API server: what the fake one is told to do, this one does by itself."""
import json
import os
import signal
import time

import pytest

from support import kubernetes_programs
from support.kube_tool import ToolError, run, running, watching
from support.kubernetes import KubernetesError, cluster
from support.kubernetes_node import private_network

reason = kubernetes_programs.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

THINGS = ("example.dev/v1", "things")
# What is promised, where no other tests run beside these.
FOLLOWED_SECONDS = 20 if os.environ.get("ZP_LONG") else 40


@pytest.fixture(scope="module")
def kube(tmp_path_factory):
    """Without its watch cache it remembers no more than etcd does."""
    programs = kubernetes_programs.programs(may_build=False)
    if programs is None:
        pytest.skip("Kubernetes has not been built (e2e/kubernetes builds it)")
    directory = tmp_path_factory.mktemp("kubernetes")
    with private_network(), cluster(directory, programs, api_options=["--watch-cache=false"]) as running_cluster:
        running_cluster.namespaces = 0
        yield running_cluster


@pytest.fixture
def namespace(kube):
    kube.namespaces += 1
    name = f"test-{kube.namespaces}"
    kube.kubectl("create", "namespace", name)
    kube.wait_for("service account", lambda: kube.is_true("get", "serviceaccount", "default", "-n", name))
    return name


def create(kube, namespace, *names):
    kube.apply(*[{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}} for name in names])


def change(kube, namespace, name, value):
    kube.kubectl("patch", "secret", name, "-n", namespace, "-p", json.dumps({"stringData": {"x": value}}))


def watch(kube, namespace, kubeconfig=None):
    return watching(kubeconfig or kube.kubeconfig, "v1", "secrets", namespace)


def test_what_happens_is_told(kube, namespace):
    create(kube, namespace, "a", "b")
    with watch(kube, namespace) as tool:
        assert tool.changes() == [("added", "a"), ("added", "b")]
        change(kube, namespace, "a", "1")
        kube.kubectl("delete", "secret", "b", "-n", namespace)
        create(kube, namespace, "b")
        tool.wait_for_change("added", "b")
        assert tool.changes()[2:] == [("changed", "a"), ("deleted", "b"), ("added", "b")]
        assert tool.stop() < 20


def test_a_restarted_server_is_found_again_without_a_list(kube, namespace):
    create(kube, namespace, "a")
    with watch(kube, namespace) as tool:
        kube.restart_api_server(lambda: tool.wait_for_trouble("ECONNREFUSED"))
        change(kube, namespace, "a", "1")
        tool.wait_for_change("changed", "a")
        assert tool.statistics()["lists"] == 1


def test_compacted_history_leads_to_what_was_missed(kube, namespace):
    create(kube, namespace, "stays", "goes", "changes", "comes-back")
    with watch(kube, namespace) as tool:
        tool.process.send_signal(signal.SIGSTOP)
        kube.restart_api_server()
        kube.kubectl("delete", "secret", "goes", "comes-back", "-n", namespace)
        create(kube, namespace, "new", "comes-back")
        change(kube, namespace, "changes", "1")
        kube.forget_history()
        tool.process.send_signal(signal.SIGCONT)
        tool.wait_for_trouble("ESTALE")
        tool.wait_for_change("deleted", "goes")
        assert sorted(tool.changes()[4:]) == sorted([
            ("deleted", "goes"), ("added", "new"), ("changed", "changes"), ("deleted", "comes-back"), ("added", "comes-back")
        ])  # fmt: skip
        create(kube, namespace, "later")
        tool.wait_for_change("added", "later")
        assert tool.statistics()["lists"] == 2


def test_service_accounts_need_rights_and_their_tokens_may_rotate(kube, namespace, tmp_path):
    create(kube, namespace, "first", "second")
    config = json.loads(kube.kubeconfig.read_text())
    token, kubeconfig = tmp_path / "token", tmp_path / "kubeconfig"
    config["users"][0]["user"] = {"tokenFile": "token"}
    kubeconfig.write_text(json.dumps(config))

    def bound_to(secret):
        """A token that is good as long as the secret is there."""
        bound = ("--bound-object-kind=Secret", f"--bound-object-name={secret}")
        token.write_text(kube.kubectl("create", "token", "default", "-n", namespace, *bound))

    bound_to("first")
    with pytest.raises(ToolError, match="Forbidden") as refusal:
        run(kubeconfig, "list", "v1", "secrets", namespace)
    assert refusal.value.code == "EPERM"
    kube.kubectl("create", "rolebinding", "edit", "-n", namespace, "--clusterrole=edit", f"--serviceaccount={namespace}:default")
    with watch(kube, namespace, kubeconfig) as tool:
        bound_to("second")
        kube.kubectl("delete", "secret", "first", "-n", namespace)
        tool.wait_for_change("deleted", "first")
        kube.restart_api_server()
        change(kube, namespace, "second", "1")
        tool.wait_for_change("changed", "second")
        statistics = tool.statistics()
        assert (statistics["credential_reloads"], statistics["lists"]) == (1, 1)


def test_writes_are_refused_as_documented(kube, namespace):
    place = ("v1", "configmaps", namespace, "a")
    thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1", "y": "1"}}

    def refused(code, *arguments, stdin=None):
        with pytest.raises(ToolError) as refusal:
            run(kube.kubeconfig, *arguments, stdin=stdin)
        assert refusal.value.code == code, refusal.value

    (made,) = run(kube.kubeconfig, "apply", "one", *place, stdin=thing)
    refused("EEXIST", "create", *place[:3], stdin=thing)
    refused("EINVAL", "create", *place[:3], stdin={**thing, "metadata": {"name": "B!"}})
    refused("EINVAL", "create", *place[:3], stdin={**thing, "dta": {}})
    refused("EINVAL", "apply", "one", *place, stdin={**thing, "dta": {}})
    refused("EBUSY", "apply", "two", *place, stdin={**thing, "data": {"x": "2"}})
    (forced,) = run(kube.kubeconfig, "apply-forced", "two", *place, stdin={**thing, "data": {"x": "2"}})
    refused("EBUSY", "replace", *place, stdin=made)
    (rest,) = run(kube.kubeconfig, "apply", "two", *place, stdin={**thing, "data": {}})
    assert (forced["data"], rest["data"]) == ({"x": "2", "y": "1"}, {"y": "1"})
    refused("EBUSY", "delete", *place, "not-its-uid")
    run(kube.kubeconfig, "delete", *place)
    refused("ENOENT", "delete", *place)


def test_finalizers_keep_an_object_until_they_are_taken_away(kube, namespace):
    place = ("v1", "configmaps", namespace, "a")
    (made,) = run(kube.kubeconfig, "create", *place[:3], stdin={"metadata": {"name": "a"}})
    kube.kubectl("annotate", "configmap", "a", "-n", namespace, "x=y")  # so that what we have seen is old
    run(kube.kubeconfig, "add-finalizer", "example.dev/one", *place, stdin=made)
    run(kube.kubeconfig, "add-finalizer", "example.dev/two", *place)
    run(kube.kubeconfig, "delete", *place)
    with pytest.raises(ToolError) as refusal:
        run(kube.kubeconfig, "add-finalizer", "example.dev/three", *place)
    assert refusal.value.code == "ESTALE"
    run(kube.kubeconfig, "remove-finalizer", "example.dev/one", *place, stdin=made)
    run(kube.kubeconfig, "remove-finalizer", "example.dev/one", *place)
    (held,) = run(kube.kubeconfig, "get", f"/api/v1/namespaces/{namespace}/configmaps/a")
    assert held["metadata"]["finalizers"] == ["example.dev/two"]
    run(kube.kubeconfig, "remove-finalizer", "example.dev/two", *place)
    assert not kube.is_true("get", "configmap", "a", "-n", namespace)
    run(kube.kubeconfig, "remove-finalizer", "example.dev/two", *place)
    # made again: what was seen before is another one
    run(kube.kubeconfig, "create", *place[:3], stdin={"metadata": {"name": "a"}})
    with pytest.raises(ToolError) as refusal:
        run(kube.kubeconfig, "add-finalizer", "example.dev/one", *place, stdin=made)
    assert refusal.value.code == "ENOENT"


def test_describe_shows_events_and_how_often(kube, namespace):
    kube.kubectl("create", "configmap", "a", "-n", namespace)
    uid = kube.get("configmap", "a", "-n", namespace)["metadata"]["uid"]
    event = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": namespace, "name": "a", "uid": uid, "action": "Build",
             "reason": "BuildFailed", "note": "no such manifest", "warning": True, "times": 30}  # fmt: skip
    cluster_wide = {**event, "kind": "Node", "namespace": None, "name": "n1", "uid": "n1", "note": "é" * 600, "times": 1}
    run(kube.kubeconfig, "events", "host", stdin=[event, {key: value for key, value in cluster_wide.items() if value is not None}])
    (found,) = kube.get("events.events.k8s.io", "-n", namespace, "--field-selector=reason=BuildFailed")["items"]
    assert found["series"]["count"] == 30
    described = kube.kubectl("describe", "configmap", "a", "-n", namespace)
    (line,) = [line.split() for line in described.splitlines() if "no such manifest" in line]
    assert line[:2] == ["Warning", "BuildFailed"]
    of_node = kube.get("events.events.k8s.io", "-n", "default", "--field-selector=reason=BuildFailed")["items"]
    assert [item["note"] for item in of_node] == ["é" * 500]


def test_a_killed_leader_is_followed_when_its_lease_is_over(kube, namespace):
    def lease(identity):
        return running(kube.kubeconfig, "lease", namespace, "leader", identity)

    with lease("one") as one:
        one.wait_for_lease("acquired")
        with lease("two") as two:
            two.wait_for("who has it", lambda line: "held by 'one'" in line.get("notice", ""))
            one.process.kill()
            start = time.monotonic()
            two.wait_for_lease("acquired", seconds=60)
            assert 8 < time.monotonic() - start < FOLLOWED_SECONDS
            with lease("three") as three:
                three.wait_for("who has it", lambda line: "held by 'two'" in line.get("notice", ""))
                start = time.monotonic()
                two.stop()
                three.wait_for_lease("acquired")
                assert time.monotonic() - start < 12
    spec = kube.get("lease", "leader", "-n", namespace)["spec"]
    assert spec["holderIdentity"] == "three" and spec["leaseDurationSeconds"] == 15


def test_a_kind_that_is_not_installed_yet_is_followed_once_it_is(kube):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.dev"},
        "spec": {"group": "example.dev", "scope": "Cluster", "names": {"kind": "Thing", "plural": "things"}, "versions": [
            {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}]},
    }  # fmt: skip
    thing = {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "a"}}
    with watching(kube.kubeconfig, *THINGS, synced=False) as tool:
        tool.wait_for_trouble("ENOENT")
        kube.apply(definition)
        tool.wait_until_synced()
        kube.kubectl("wait", "--for=condition=Established", "crd/things.example.dev", "--timeout=60s")
        run(kube.kubeconfig, "create", *THINGS, "-", stdin={**thing, "spec": {"x": 1}})
        tool.wait_for_change("added", "a")
        status = (*THINGS, "-", "a", "status")
        (made,) = run(kube.kubeconfig, "apply", "one", *status, stdin={**thing, "status": {"phase": "Ready", "note": "x"}})
        (less,) = run(kube.kubeconfig, "apply", "one", *status, stdin={**thing, "status": {"phase": "Failed"}})
        assert (made["spec"], less["status"]) == ({"x": 1}, {"phase": "Failed"})
        tool.wait_for_change("changed", "a")
        kube.kubectl("delete", "crd", "things.example.dev")
        tool.wait_for_change("deleted", "a")
    with pytest.raises(KubernetesError):
        kube.get("things")
