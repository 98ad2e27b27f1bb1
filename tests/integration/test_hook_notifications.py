# SPDX-License-Identifier: Apache-2.0
"""What zeropull-hook takes from a registry: whom it believes, and whose pushes wait for whom."""
import contextlib
import http.client
import json
import os
import re
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.request

import pytest
from support import oci
from support.hook import fake_builder, hook, until
from support.hook_world import ALL, TOKEN, config_file, marked_layout, put_image
from support.memory_registry import memory_registry


def test_notifications_without_the_secret_or_from_elsewhere_build_nothing(pair, work):
    service, place = pair(ALL, builder=fake_builder(work))
    event = {
        "id": "1", "action": "push",
        "target": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "1" * 64,
                   "repository": "app", "tag": "1"},
        "request": {"host": "169.254.169.254", "useragent": "curl"},
    }  # fmt: skip
    kind = {"Content-Type": "application/vnd.docker.distribution.events.v1+json"}
    post = lambda **h: service.request("/hooks/distribution", {"events": [event]}, headers={**kind, **h})[0]  # noqa: E731
    assert post() == 401
    assert post(Authorization=TOKEN + "x") == 401
    assert post(Authorization=TOKEN) == 200  # the host is not allowed: ignored
    event["request"]["host"] = "vm"
    assert post(Authorization=TOKEN) == 200  # nor is there a reference that names it
    event["request"]["host"] = place.host
    event["request"]["useragent"] = "zeropull/0.1.0"
    assert post(Authorization=TOKEN) == 200  # our own
    assert service.request("/hooks/nothing", {"events": []})[0] == 404
    big = service.request("/hooks/distribution", raw=b"x" * ((16 << 20) + 1), headers={"Authorization": TOKEN})
    assert big[0] == 413
    assert "hooks/distribution: 413: the body is larger than" in service.said()
    assert "zeropull_hook_deliveries_refused_total 3\n" in service.request("/metrics")[1]
    service.settle()
    assert service.builds() == []


def test_events_that_are_ignored_do_not_hold_up_the_registrys_others(pair, work):
    """Distribution sends whatever is not answered 2xx again, for ever, before anything else."""
    service, place = pair("- {name: r, repositories: '*/marked/*'}\n", builder=fake_builder(work))
    port = place.host.split(":")[1]
    for where, repository in ((f"localhost:{port}", "marked/a"), (place.host, "plain/b"), (place.host, "marked/c")):
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", marked_layout(work, repository[-1]),
             f"docker://{where}/{repository}:1"],
            check=True,
        )  # fmt: skip
    until(lambda: service.snapshots(), 60, service.said)
    service.settle()
    assert [build["repository"] for build in service.builds()] == ["marked/c"]
    assert f"registry localhost:{port} is not in the configuration" in service.said()


@pytest.mark.parametrize("odd", [{"Host": "a!b"}, {"Host": "&" * 900_000}, {"User-Agent": "<" * 300_000}])
def test_no_push_with_odd_headers_holds_up_the_registrys_others(pair, work, odd):
    service, place = pair(ALL, builder=fake_builder(work))
    place.push(marked_layout(work, "a"), "odd", "1")
    until(lambda: service.snapshots(), 60, service.said)
    kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    connection = http.client.HTTPConnection(place.host, timeout=30)
    connection.request("GET", "/v2/odd/manifests/1", headers=kind)
    answer = connection.getresponse()
    manifest = answer.read()
    assert answer.status == 200
    connection.close()
    headers = {"Host": place.host, "Content-Type": kind["Accept"], "Content-Length": len(manifest), **odd}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    host, port = place.host.split(":")
    with socket.create_connection((host, int(port)), 30) as pusher:
        pusher.sendall(f"PUT /v2/odd/manifests/h1 HTTP/1.1\r\n{head}\r\n".encode() + manifest)
        assert pusher.makefile("rb").readline() == b"HTTP/1.1 201 Created\r\n"
    place.push(marked_layout(work, "b", content=b"b"), "others", "1")
    until(lambda: len(service.snapshots()) >= 2, 60, service.said)
    assert "others" in [build["repository"] for build in service.builds()]
    assert ("Host" in odd) == ("hooks/distribution: ignored: " in service.said())
    assert "zeropull_hook_deliveries_refused_total 0\n" in service.request("/metrics")[1]


@pytest.mark.parametrize("annotations", [{"nul\0": "\0"}, {f"a{i}": "" for i in range(110_000)}], ids=["nul", "many"])
def test_no_annotation_of_a_layer_holds_up_the_registrys_others(pair, work, annotations):
    service, place = pair(ALL, builder=fake_builder(work))
    place.push(marked_layout(work, "a"), "odd", "1")
    until(lambda: service.snapshots(), 60, service.said)
    kind = {"Accept": "application/vnd.oci.image.manifest.v1+json", "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    url = f"{place.url}/v2/odd/manifests/"
    with urllib.request.urlopen(urllib.request.Request(url + "1", headers=kind), timeout=30) as answer:
        manifest = json.load(answer)
    manifest["layers"][0]["annotations"] = annotations
    put = urllib.request.Request(url + "2", json.dumps(manifest).encode(), kind, method="PUT")
    with urllib.request.urlopen(put, timeout=30) as answer:
        assert answer.status == 201
    place.push(marked_layout(work, "b", content=b"b"), "others", "1")
    until(lambda: "others" in [build["repository"] for build in service.builds()], 60, service.said)
    assert "zeropull_hook_deliveries_refused_total 0\n" in service.request("/metrics")[1]


def test_a_push_that_is_not_to_be_found_for_some_seconds_is_not_lost(work):
    def not_found(handler):
        handler.answer(404)  # by a proxy
        return True

    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, ALL), builder=fake_builder(work)) as service,
    ):
        event = {"action": "push", "target": {"repository": "app", "tag": "1", "digest": put_image(place, "1", "image")},
                 "request": {"host": place.host}}  # fmt: skip
        place.inject("^GET /v2/app/manifests/", *[not_found] * 4)
        assert service.request("/hooks/distribution", {"events": [event]}, headers={"Authorization": TOKEN})[0] == 202
        service.settle()
        assert [snapshot["tags"] for snapshot in service.snapshots()] == ["1"]


def test_a_registry_that_does_not_answer_keeps_no_others_pushes_waiting(pair, work):
    service, place = pair(ALL, builder=fake_builder(work))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hung, contextlib.ExitStack() as stack:
        asked = []

        def accept_all():
            with contextlib.suppress(OSError):
                while True:
                    asked.append(stack.enter_context(hung.accept()[0]))

        accepting = threading.Thread(target=accept_all, daemon=True)
        accepting.start()
        stack.callback(accepting.join)
        stack.callback(hung.shutdown, socket.SHUT_RDWR)
        for number in range(40):
            event = {"action": "push", "target": {"repository": "app", "tag": f"v{number}"},
                     "request": {"host": f"127.0.0.1:{hung.getsockname()[1]}"}}  # fmt: skip
            assert service.request("/hooks/distribution", {"events": [event]}, headers={"Authorization": TOKEN})[0] == 202
        until(lambda: len(asked) >= 4, 20, service.said)
        place.push(marked_layout(work, "a"), "app", "1")
        until(lambda: service.snapshots(), 60, service.said)

        def is_open(connection):
            connection.setblocking(False)
            try:
                while connection.recv(65536):
                    pass
            except BlockingIOError:
                return True

        assert 1 <= len([connection for connection in asked if is_open(connection)]) <= 4


def test_many_registries_that_do_not_answer_keep_half_the_threads_at_most(work):
    places, lock, running, most = [], threading.Lock(), [], []

    def slow(handler):
        with lock:
            running.append(handler)
            most.append(len(running))
        threading.Event().wait(2.5)
        with lock:
            running.remove(handler)
        handler.answer(503)
        return True

    def tell(tag):
        for place in places:
            event = {"action": "push", "target": {"repository": "app", "tag": tag}, "request": {"host": place.host}}
            assert service.request("/hooks/distribution", {"events": [event]}, headers={"Authorization": TOKEN})[0] == 202

    config = config_file(work, "127.0.0.1:*", ALL)
    with contextlib.ExitStack() as stack, hook(work / "state", config=config, builder=fake_builder(work)) as service:
        for _ in range(6):
            places.append(stack.enter_context(memory_registry()))
            places[-1].inject("/manifests/", *[slow] * 100)
        tell("1")
        are_silent = lambda: all(re.search(f"{place.host}/app: .*asking again", service.said()) for place in places)  # noqa: E731
        until(are_silent, 60, service.said)
        assert max(most) > 4
        with lock:
            most.clear()
        tell("2")
        until(lambda: all(place.seen("/manifests/2") for place in places), 60, service.said)
        assert max(most) <= 4


def test_a_registry_that_refuses_slowly_is_not_taken_for_one_that_is_silent(work):
    go_on, asked_s = threading.Event(), []

    def refuse(handler):
        threading.Event().wait(2.5)
        handler.error(403, "DENIED", "no")
        return True

    def hold(_):
        asked_s.append(time.monotonic())
        go_on.wait(60)
        return False

    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, ALL), builder=fake_builder(work)) as service,
    ):

        def tell(*repositories):
            events = [
                {"action": "push", "target": {"repository": name, "tag": "1"}, "request": {"host": place.host}} for name in repositories
            ]
            assert service.request("/hooks/distribution", {"events": events}, headers={"Authorization": TOKEN})[0] == 202

        place.inject("/private/manifests/", *[refuse] * 10)
        place.inject("/public/./manifests/1", *[hold] * 9)
        tell("private")
        until(lambda: "/private: " in service.said(), 60, service.said)
        tell("public/a", "public/b", "public/c")
        until(lambda: len(asked_s) >= 3, 60, service.said)
        go_on.set()
        assert asked_s[2] - asked_s[0] < 9  # no request is given up sooner, which would be the turn of the next


def test_news_of_what_waits_in_vain_is_looked_at_at_once(work):
    with memory_registry() as place:
        config = config_file(work, place.host, ALL, "- {provider: generic, open: true}")
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            put_image(place, "1", "app")
            place.inject("^GET /v2/app/manifests/1$", lambda handler: handler.error(403, "DENIED", "no") or True)
            tell = lambda: service.request("/hooks/generic", {"image": f"{place.host}/app:1"})  # noqa: E731
            assert tell()[1]["stored"] == 1
            until(lambda: "DENIED" in service.get("/v1/decisions/1")["text"], 30, service.said)
            with contextlib.closing(sqlite3.connect(work / "state" / "hook.db", 30)) as database, database:
                database.execute("UPDATE events SET not_before = not_before + 600000")
            assert tell()[1]["result"] == "known already"
            until(service.snapshots, 30, service.said)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.parametrize("min_free", ["1G", "0"])  # of the store: the disk is full for builds from the start, or never
def test_full_disk_refuses_events_with_503_and_loses_none_that_were_accepted(work, min_free):
    small = work / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=True)
    secret = {"Content-Type": "application/vnd.docker.distribution.events.v1+json", "Authorization": TOKEN}

    def tell(number):
        event = {
            "id": str(number), "action": "push",
            "target": {"mediaType": oci.MANIFEST, "digest": f"sha256:{number:064x}", "repository": "app",
                       "tag": f"v{number}"},
            "request": {"host": "127.0.0.1:1", "useragent": "x"},
        }  # fmt: skip
        return service.request("/hooks/distribution", {"events": [event]}, headers=secret)[0]

    config = config_file(work, "127.0.0.1:*", ALL)
    text = config.read_text().replace("limits: {memory: 0}\n", "")
    config.write_text(text + f"limits: {{memory: 0, min-free: {min_free}}}\n")
    is_full = lambda: service.get("/v1/status")["diskIsFull"]  # noqa: E731
    with hook(small / "state", config=config, builder=fake_builder(work)) as service:
        assert tell(0) == 202
        until(lambda: is_full() == (min_free == "1G"), 20, service.said)
        with open(small / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError:
                filler.truncate(filler.tell() - 65536)
        answers = []
        while 503 not in answers:
            answers.append(tell(len(answers) + 1))
            assert len(answers) < 5000
        assert set(answers) == {202, 503} and is_full()
        assert service.get("/v1/status")["pending"] == len(answers)  # with the first, without the last
        (small / "filler").unlink()
        assert service.request("/readyz")[0] == 200 and is_full() == (min_free == "1G")
        assert tell(len(answers)) == 202
        assert service.get("/v1/status")["pending"] == len(answers) + 1
        assert is_full() == (min_free == "1G")
    subprocess.run(["umount", small], check=True)
