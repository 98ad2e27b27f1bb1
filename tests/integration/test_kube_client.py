# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes client against a server that does what a real one does seldom: whatever happens to connections, history
and credentials, what is watched is told once and completely, and what is written is written once."""
import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest

from support import kubernetes_programs, tls
from support.connect_proxy import connect_proxy
from support.fake_kubernetes import fake_kubernetes, gone
from support.controller import until
from support.kube_tool import SECONDS, TOOL, ToolError, run, running, watching

WATCH = "/configmaps"


@pytest.fixture
def kube(tmp_path):
    with fake_kubernetes(tmp_path) as server:
        yield server


def configmap(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def create(kube, *names, **more):
    return [kube.objects.create(kube.resource("configmaps"), "default", configmap(name, **more)) for name in names]


def change(kube, name, **data):
    return kube.objects.merge_patch(kube.resource("configmaps"), "default", name, {"data": data})


def delete(kube, name):
    kube.objects.delete(kube.resource("configmaps"), "default", name, {})


def wait_until_watched(kube):
    deadline = time.monotonic() + SECONDS
    while not kube.count("GET", WATCH, watch=True):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def watched_from(kube):
    """The versions that were watched from, in order."""
    return [re.search(r"resourceVersion=(\d+)", path)[1] for _, path, is_watch, _ in kube.requests if is_watch]


# --- the fake one


def test_kubectl_finds_the_fake_server_to_be_a_kubernetes(kube, tmp_path):
    programs = kubernetes_programs.programs(may_build=False)
    if programs is None:
        pytest.skip("no kubectl: Kubernetes has not been built (e2e/kubernetes builds it)")
    environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(kube.kubeconfig())}

    def kubectl(*arguments, stdin="", status=0):
        result = subprocess.run([programs / "kubectl", *arguments], env=environment, input=stdin, capture_output=True, text=True)
        assert result.returncode == status, result
        return result.stdout + result.stderr

    assert "ImageSnapshot" in kubectl("api-resources")
    snapshot = {"apiVersion": "zeropull.dev/v1alpha1", "kind": "ImageSnapshot", "metadata": {"name": "web"}, "spec": {"images": ["a"]}}
    kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(snapshot))
    assert "AlreadyExists" in kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(snapshot), status=1)
    kubectl("patch", "imagesnapshots", "web", "--type=merge", "-p", '{"spec":{"images":["b"]}}')
    kubectl("patch", "imagesnapshots", "web", "--subresource=status", "--type=merge", "-p", '{"status":{"ready":1}}')
    got = json.loads(kubectl("get", "imagesnapshots", "web", "-o", "json"))
    assert (got["spec"], got["status"], got["metadata"]["generation"]) == ({"images": ["b"]}, {"ready": 1}, 2)
    kubectl("annotate", "--overwrite", "imagesnapshots", "web", "a=b")
    kubectl("apply", "--server-side", "--validate=false", "-f", "-", stdin=json.dumps(configmap("c", data={"a": "1"})))
    conflict = kubectl("apply", "--server-side", "--validate=false", "--field-manager=other", "-f", "-",
                       stdin=json.dumps(configmap("c", data={"a": "2"})), status=1)  # fmt: skip
    assert "Apply failed with 1 conflict" in conflict
    kubectl("delete", "imagesnapshots", "web", "--timeout=10s")
    assert "No resources found" in kubectl("get", "imagesnapshots")
    kube.watch_seconds = 1
    assert "c " in kubectl("get", "configmaps", "--watch")


# --- following


def test_what_is_there_is_told_once_then_synced_then_what_happens(kube):
    create(kube, "a", "b")
    with watching(kube.kubeconfig()) as tool:
        assert tool.changes() == [("added", "a"), ("added", "b")]
        create(kube, "c")
        change(kube, "a", x="1")
        delete(kube, "b")
        tool.wait_for_change("deleted", "b")
        assert tool.changes()[2:] == [("added", "c"), ("changed", "a"), ("deleted", "b")]
        assert tool.statistics()["objects"] == 2
        assert tool.stop() < 20
    assert kube.count("GET", WATCH, watch=False) == 1


def test_lists_come_in_pages_and_selectors_select(kube):
    for i in range(1203):
        create(kube, f"n{i:04}")
    with watching(kube.kubeconfig(), "v1", "configmaps", "default") as tool:
        assert len(set(tool.changes())) == 1203
    assert kube.count("GET", "limit=500", watch=False) == 3
    with watching(kube.kubeconfig(), "v1", "configmaps", "-", "fieldSelector=metadata.name%3Dn0007") as tool:
        change(kube, "n0008", x="1")
        change(kube, "n0007", x="1")
        tool.wait_for_change("changed", "n0007")
        assert tool.changes() == [("added", "n0007"), ("changed", "n0007")]


def test_in_steady_state_nothing_is_listed_again(kube):
    create(kube, "a")
    kube.watch_seconds = 1.2
    with watching(kube.kubeconfig()) as tool:
        for i in range(5):
            before = tool.statistics()["watches"]
            while tool.statistics()["watches"] == before:
                time.sleep(0.05)
            change(kube, "a", x=str(i))
            tool.wait_for_change("changed", "a")
        statistics = tool.statistics()
    assert (statistics["lists"], statistics["watch_failures"]) == (1, 0)
    assert tool.changes() == [("added", "a")] + 5 * [("changed", "a")]


@pytest.mark.parametrize("how", ["plain", "in the stream"])
def test_history_that_is_gone_leads_to_a_list_and_to_what_was_missed(kube, how):
    create(kube, "stays", "goes", "changes", "comes-back")
    with watching(kube.kubeconfig()) as tool:
        kube.stop()
        delete(kube, "goes")
        delete(kube, "comes-back")
        create(kube, "new", "comes-back")
        change(kube, "changes", x="1")
        kube.objects.compact()
        if how == "plain":
            kube.add_fault(watch=True, status=410, body=gone())
        kube.start()
        tool.wait_for_trouble("ESTALE")
        tool.wait_for_change("deleted", "goes")
        told = tool.changes()[4:]
        assert sorted(told) == sorted([("deleted", "goes"), ("added", "new"), ("changed", "changes"), ("deleted", "comes-back"),
                                       ("added", "comes-back")])  # fmt: skip
        assert told.index(("deleted", "comes-back")) < told.index(("added", "comes-back"))
        create(kube, "later")
        tool.wait_for_change("added", "later")
        assert tool.statistics()["lists"] == 2


def test_pages_that_expire_on_the_way_lead_to_a_whole_list(kube):
    for i in range(1100):
        create(kube, f"n{i:04}")
    kube.add_fault(path="continue=", status=410, body=gone("Expired"))
    with watching(kube.kubeconfig()) as tool:
        assert len(tool.changes()) == len(set(tool.changes())) == 1100
    assert kube.count("GET", f"{WATCH}$", watch=False) == 1


def test_a_version_from_the_future_leads_to_a_list(kube):
    """After a restore from a backup the server's versions are behind ours."""
    create(kube, "a", "b")
    with watching(kube.kubeconfig()) as tool:
        kube.stop()
        delete(kube, "b")
        kube.objects.revision = 900
        kube.objects.history.clear()
        kube.start()
        tool.wait_for_change("deleted", "b")
        create(kube, "c")
        tool.wait_for_change("added", "c")


@pytest.mark.parametrize("after", [1, 700, 1500])
def test_a_watch_cut_within_a_chunk_goes_on_where_it_was(kube, after):
    create(kube, "a")
    kube.add_fault(watch=True, cut=after, times=3)
    with watching(kube.kubeconfig()) as tool:
        for i in range(12):
            change(kube, "a", x=str(i), y="z" * 200)
        create(kube, "last")
        tool.wait_for_change("added", "last")
        seen = [line["resourceVersion"] for _, line in tool.lines if line.get("name") == "a"]
        assert seen == sorted(set(seen), key=int) and len(seen) == 13
        assert tool.statistics()["lists"] == 1


def test_a_list_cut_on_the_way_is_asked_for_again(kube):
    for i in range(50):
        create(kube, f"n{i:02}")
    fault = kube.add_fault(watch=False, cut=5000, times=2)
    with watching(kube.kubeconfig()) as tool:
        assert len(tool.changes()) == 50
    assert fault.happened == 2


@pytest.mark.parametrize("how", ["its pages expire", "it is cut"])
def test_what_goes_while_a_list_is_begun_anew_is_told_to_be_gone(kube, how):
    """It was told of already: by the pages that came, or by the part of one."""
    create(kube, *(f"n{i:04}" for i in range(600)))
    if how == "it is cut":
        kube.add_fault(watch=False, cut=5000)
        kube.add_fault(watch=False, first=lambda: delete(kube, "n0000"))
    else:
        kube.add_fault(path="continue=", status=410, body=gone(), first=lambda: delete(kube, "n0000"))
    with watching(kube.kubeconfig()) as tool:
        assert tool.changes().count(("added", "n0000")) == tool.changes().count(("deleted", "n0000")) == 1
        assert len(set(tool.changes())) == 601
        assert tool.statistics()["objects"] == 599


def test_bookmarks_move_the_place_to_go_on_from(kube):
    create(kube, "a")
    kube.bookmark_seconds = 0.2
    with watching(kube.kubeconfig()) as tool:
        other = kube.objects.create(kube.resource("secrets"), "default", {"metadata": {"name": "other"}})
        before = tool.statistics()["events"]
        while tool.statistics()["events"] < before + 3:
            time.sleep(0.05)
        kube.objects.compact()  # all of it is behind the bookmark
        kube.break_watches()
        create(kube, "b")
        tool.wait_for_change("added", "b")
        assert tool.statistics()["lists"] == 1
    assert watched_from(kube)[1] == other["metadata"]["resourceVersion"]


def test_a_server_that_was_away_is_found_again(kube):
    create(kube, "a")
    with watching(kube.kubeconfig()) as tool:
        kube.stop()
        tool.wait_for_trouble("ECONNREFUSED")
        change(kube, "a", x="1")
        kube.start()
        tool.wait_for_change("changed", "a")
        assert tool.statistics()["lists"] == 1


def test_watches_that_end_at_once_or_are_dropped_are_not_begun_in_a_hurry(kube):
    create(kube, "a")
    with watching(kube.kubeconfig()) as tool:
        wait_until_watched(kube)
        drops = kube.add_fault(watch=True, drop=True, times=2)
        refusals = kube.add_fault(watch=True, status=503, times=2)
        start = time.monotonic()
        kube.break_watches()
        change(kube, "a", x="1")
        tool.wait_for_change("changed", "a")
        assert time.monotonic() - start > 0.4 + 0.8 + 1.6 + 3.2  # the shortest waits
        assert (drops.happened, refusals.happened) == (2, 2)


def test_what_cannot_be_read_is_left_out_and_the_rest_is_told(kube):
    create(kube, "nul", data={"a": "\0"})
    create(kube, "large", data={"a": "x" * (4 << 20)})
    create(kube, "a")
    with watching(kube.kubeconfig()) as tool:
        assert tool.changes() == [("added", "a")]
        create(kube, "larger", data={"a": "x" * (5 << 20)})
        create(kube, "nul-2", data={"a": "\0"})
        create(kube, "b")
        tool.wait_for_change("added", "b")
        assert tool.changes() == [("added", "a"), ("added", "b")]
        codes = [line["code"] for _, line in tool.lines if "troubled" in line]
        assert sorted(codes) == ["EBADMSG", "EBADMSG", "EFBIG", "EFBIG"]
        assert tool.statistics()["peak_rss_kib"] < 24 << 10


def test_events_that_are_none_of_the_api_lead_to_another_watch(kube):
    create(kube, "a")
    kube.add_fault(watch=True, event=("NONSENSE", {"metadata": {"resourceVersion": "1"}}))
    with watching(kube.kubeconfig()) as tool:
        tool.wait_for_trouble("EBADMSG")
        change(kube, "a", x="1")
        tool.wait_for_change("changed", "a")


# --- requests


def test_too_many_requests_are_repeated_when_the_server_says(kube):
    limited = kube.add_fault(method="POST", path=WATCH, status=429, headers={"Retry-After": "1"}, times=2)
    start = time.monotonic()
    run(kube.kubeconfig(), "create", "v1", "configmaps", "default", stdin=configmap("a"))
    assert limited.happened == 2 and time.monotonic() - start >= 2
    kube.add_fault(path=WATCH, status=429, headers={"Retry-After": "1000"})
    with pytest.raises(ToolError, match="429") as refusal:
        run(kube.kubeconfig(), "list", "v1", "configmaps", "default")
    assert refusal.value.code == "EAGAIN"
    assert kube.count("GET", WATCH) == 1


def test_a_request_that_may_have_been_carried_out_is_not_sent_twice(kube):
    kube.add_fault(method="POST", path=WATCH, cut=10)
    with pytest.raises(ToolError):
        run(kube.kubeconfig(), "create", "v1", "configmaps", "default", stdin=configmap("a"))
    assert kube.count("POST", WATCH) == 1
    kube.add_fault(method="PUT", path=WATCH, cut=10)  # but this one has a version, and is the same the second time
    run(kube.kubeconfig(), "replace", "v1", "configmaps", "default", "a", stdin=configmap("a", data={"x": "1"}))
    assert kube.count("PUT", WATCH) == 2


def test_who_may_not_write_any_more_sends_nothing_again_but_leases(kube):
    kube.add_fault(method="POST", path=WATCH, status=429, headers={"Retry-After": "1"})
    with pytest.raises(ToolError) as refusal:
        run(kube.kubeconfig(), "create", "v1", "configmaps", "default", stdin=configmap("a"), environment={"WRITES": "1"})
    assert (refusal.value.code, kube.count("POST", WATCH)) == ("ECANCELED", 1)
    with running(kube.kubeconfig(), "lease", "default", "one", "me", environment={"WRITES": "0"}) as tool:
        tool.wait_for_lease("acquired")


@pytest.mark.long
def test_a_process_that_sleeps_longer_than_a_request_may_take_does_not_repeat_it(kube):
    limited = kube.add_fault(method="PUT", path=WATCH, status=429, headers={"Retry-After": "2"})
    create(kube, "a")
    tool = subprocess.Popen([TOOL, "replace", "v1", "configmaps", "default", "a"], env={**os.environ, "KUBECONFIG": str(kube.kubeconfig())},
                            stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)  # fmt: skip
    tool.stdin.write(json.dumps(configmap("a")).encode())
    tool.stdin.close()
    until(lambda: limited.happened)
    tool.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    until(lambda: time.monotonic() > start + 31)
    tool.send_signal(signal.SIGCONT)
    assert tool.stderr.read().startswith((b"EAGAIN:", b"ETIMEDOUT:")) and tool.wait() == 1  # it may not have read the answer yet
    assert kube.count("PUT", WATCH) == 1


@pytest.mark.parametrize("status, reason, code", [
    (400, "BadRequest", "EINVAL"), (403, "Forbidden", "EPERM"), (404, "NotFound", "ENOENT"), (405, "", "EOPNOTSUPP"),
    (409, "Conflict", "EBUSY"), (409, "AlreadyExists", "EEXIST"), (410, "Gone", "ESTALE"), (415, "", "EOPNOTSUPP"),
    (422, "Invalid", "EINVAL"), (302, "", "EBADMSG"), (500, "InternalError", "EAGAIN"),
])  # fmt: skip
def test_refusals_say_what_they_are(kube, status, reason, code):
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": "because\nof this", "code": status}
    kube.add_fault(path="/pods/x", status=status, body=body)
    with pytest.raises(ToolError, match=f"{status} ?{reason}: because\\?of this") as refusal:
        run(kube.kubeconfig(), "get", "/api/v1/namespaces/default/pods/x")
    assert refusal.value.code == code
    assert kube.count("GET", "/pods/x") == 1


def test_answers_that_are_too_large_or_no_json_are_refused(kube):
    kube.add_fault(path="/pods/x", status=200, body=b'{"a": "' + b"x" * (5 << 20) + b'"}')
    kube.add_fault(path="/pods/x", status=200, body=b"<html>")
    for code in ("EFBIG", "EBADMSG"):
        with pytest.raises(ToolError) as refusal:
            run(kube.kubeconfig(), "get", "/api/v1/namespaces/default/pods/x")
        assert refusal.value.code == code


def test_finalizers_survive_a_storm_of_conflicts(kube):
    place = ("v1", "configmaps", "default", "a")
    (stale,) = create(kube, "a")
    change(kube, "a", x="1")
    run(kube.kubeconfig(), "add-finalizer", "x.example/mine", *place, stdin=stale)
    for _ in range(3):
        kube.add_fault(method="PATCH", path=WATCH, status=409, body={"kind": "Status", "reason": "Conflict", "code": 409})
    kube.objects.merge_patch(kube.resource("configmaps"), "default", "a",
                             {"metadata": {"finalizers": ["x.example/mine", "x.example/theirs"]}})  # fmt: skip
    run(kube.kubeconfig(), "remove-finalizer", "x.example/mine", *place)
    assert kube.objects.get(kube.resource("configmaps"), "default", "a")["metadata"]["finalizers"] == ["x.example/theirs"]
    storm = kube.add_fault(method="PATCH", path=WATCH, status=409, body={"kind": "Status", "code": 409}, times=100)
    with pytest.raises(ToolError) as refusal:
        run(kube.kubeconfig(), "add-finalizer", "x.example/mine", *place)
    assert refusal.value.code == "EBUSY" and storm.happened == 8


def test_finalizers_leave_another_object_of_that_name_alone(kube):
    place = ("v1", "configmaps", "default", "a")
    (first,) = create(kube, "a")
    delete(kube, "a")
    create(kube, "a")
    with pytest.raises(ToolError) as refusal:
        run(kube.kubeconfig(), "add-finalizer", "x.example/mine", *place, stdin=first)
    assert refusal.value.code == "ENOENT"
    delete(kube, "a")
    run(kube.kubeconfig(), "remove-finalizer", "x.example/mine", *place)


# --- credentials


def test_a_token_that_is_rotated_is_read_again_and_watches_go_on(kube, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    kube.tokens = {"first"}
    create(kube, "a")
    with watching(kube.kubeconfig(tokenFile="token")) as tool:
        token.write_text("second\n")
        kube.tokens = {"second"}
        kube.break_watches()
        change(kube, "a", x="1")
        tool.wait_for_change("changed", "a")
        statistics = tool.statistics()
        assert (statistics["credential_reloads"], statistics["lists"]) == (1, 1)
        kube.tokens = {"third"}  # and we do not know it
        kube.break_watches()
        assert "third" not in tool.wait_for_trouble("EACCES")["troubled"]


def test_an_exec_plugin_is_asked_once_and_again_when_refused(kube, tmp_path):
    plugin = tmp_path / "plugin"
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "TOKEN"}}
    plugin.write_text(
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho run >>runs\necho \"$KUBERNETES_EXEC_INFO\" >info\n"
        f"sed \"s/TOKEN/$A-$1-$(wc -l <runs)/\" <<'END'\n{json.dumps(credential)}\nEND\n"
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": credential["apiVersion"], "command": "./plugin", "args": ["x"], "provideClusterInfo": True,
                     "env": [{"name": "A", "value": "a"}], "interactiveMode": "Never"}}  # fmt: skip
    kube.tokens = {"a-x-1"}
    create(kube, "a")
    with watching(kube.kubeconfig(**user)) as tool:
        kube.tokens = {"a-x-2"}
        kube.break_watches()
        change(kube, "a", x="1")
        tool.wait_for_change("changed", "a")
    assert (tmp_path / "runs").read_text() == "run\nrun\n"
    told = json.loads((tmp_path / "info").read_text())
    assert told["kind"] == "ExecCredential" and told["spec"]["cluster"]["server"].startswith("https://127.0.0.1:")


def test_only_the_clusters_own_authority_is_trusted(kube, tmp_path):
    (tmp_path / "other").mkdir()
    certificate, _ = tls.self_signed(tmp_path / "other")
    config = json.loads(kube.kubeconfig().read_text())
    path = tmp_path / "changed"

    def ask(**cluster):
        config["clusters"][0]["cluster"] |= cluster
        path.write_text(json.dumps(config))
        return run(path, "get", "/version")

    with pytest.raises(ToolError, match="not trusted"):
        ask(**{"certificate-authority": str(certificate)})
    with pytest.raises(ToolError, match="certificate|TLS"):
        ask(**{"certificate-authority": str(kube.certificate), "server": f"https://localhost:{kube.port}"})
    assert ask(**{"tls-server-name": "127.0.0.1"})


def test_a_proxy_is_used_when_the_kubeconfig_names_one(kube, tmp_path):
    config = json.loads(kube.kubeconfig().read_text())
    with connect_proxy(f"127.0.0.1:{kube.port}") as proxy:
        config["clusters"][0]["cluster"] |= {"server": "https://k.example:6443", "proxy-url": f"http://{proxy.host}",
                                             "tls-server-name": "127.0.0.1"}  # fmt: skip
        path = tmp_path / "by-proxy"
        path.write_text(json.dumps(config))
        assert run(path, "get", "/version")
        assert [(method, path) for method, path, _ in proxy.requests] == [("CONNECT", "k.example:6443")]


# --- leases


def lease(kube, identity):
    return running(kube.kubeconfig(), "lease", "default", "leader", identity)


def test_a_leader_that_is_killed_is_followed_when_its_lease_is_over(kube):
    with lease(kube, "one") as one:
        one.wait_for_lease("acquired")
        with lease(kube, "two") as two:
            two.wait_for("who has it", lambda line: "held by 'one'" in line.get("notice", ""))
            assert one.is_held() and not two.is_held()
            one.process.kill()
            start = time.monotonic()
            two.wait_for_lease("acquired", seconds=60)
            assert 8 < time.monotonic() - start < 40
    held = kube.objects.get(kube.resource("leases"), "default", "leader")["spec"]
    assert (held["holderIdentity"], held["leaseTransitions"]) == ("two", 1)


def test_a_leader_that_stops_gives_the_lease_back(kube):
    with lease(kube, "one") as one:
        one.wait_for_lease("acquired")
        with lease(kube, "two") as two:
            two.wait_for("who has it", lambda line: "held by 'one'" in line.get("notice", ""))
            start = time.monotonic()
            one.stop()
            two.wait_for_lease("acquired")
            assert time.monotonic() - start < 12


def test_a_leader_that_cannot_renew_stops_being_one_before_another_may_begin(kube):
    with lease(kube, "one") as one:
        one.wait_for_lease("acquired")
        kube.stop()
        start = time.monotonic()
        one.wait_for_lease("lost", seconds=20)
        assert time.monotonic() - start < 14 and not one.is_held()
        kube.start()
        one.wait_for_lease("acquired", seconds=30)


# --- events


def test_the_same_event_again_becomes_a_series_and_a_flood_ends(kube):
    (about,) = create(kube, "a")
    event = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": "a", "uid": about["metadata"]["uid"],
             "action": "Test", "reason": "Tested"}  # fmt: skip
    posted = [{**event, "note": "again", "times": 40}] + [{**event, "note": f"note {i}"} for i in range(60)]
    run(kube.kubeconfig(), "events", "host", stdin=posted)
    found, _ = kube.objects.list(kube.resource("events"), "default")
    assert len(found) == 25
    (again,) = (item for item in found if item["note"] == "again")
    assert again["series"]["count"] == 40
    assert all(item["regarding"]["uid"] == about["metadata"]["uid"] and item["reportingInstance"] == "host" for item in found)
    assert kube.count("PATCH", "/events/") <= 3


def test_events_of_cluster_scoped_objects_and_of_any_text_are_sent(kube):
    event = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "action": "Test", "reason": "Tested", "note": "é" * 600}
    run(kube.kubeconfig(), "events", "host", stdin=[event])
    (found,), _ = kube.objects.list(kube.resource("events"), "default")
    assert found["note"] == "é" * 500 and "namespace" not in found["regarding"]
