# SPDX-License-Identifier: Apache-2.0
"""The API of zeropull-hook: who may ask for what, what it answers, and what it does not take."""
import re
import socket
import time
import urllib.request

import pytest
from support.hook import fake_builder, hook, until
from support.hook_world import ALL, config_file, marked_layout, put_image
from support.memory_registry import memory_registry
from support.programs import SOURCE


def test_roles_decide_who_may_do_what(work):
    for name in ("reader", "builder", "admin"):
        (work / name).write_text(f"the-token-of-the-{name}\n")
    extra = "tokens:\n" + "".join(f"- {{name: {n}, role: {n}, file: {work / n}}}\n" for n in ("reader", "builder"))
    config = config_file(work, "127.0.0.1:*", ALL, extra)
    config.write_text(config.read_text().replace("anonymous: admin\n", ""))
    with hook(work / "state", config=config, builder=fake_builder(work)) as service:
        create = lambda: service.request("/v1/builds", {"reference": "127.0.0.1:1/x:1"})[0]  # noqa: E731
        assert service.request("/v1/builds")[0] == 401 and create() == 401
        assert service.request("/healthz") == (200, "ok\n") and service.request("/readyz")[0] == 200
        service.token = "the-token-of-the-reader"
        assert service.request("/v1/builds")[0] == 200 and create() == 403
        service.token = "the-token-of-the-builder"
        assert create() == 202
        service.token = "the-token-of-nobody"
        assert service.request("/v1/builds")[0] == 401
        service.token = "the-token-of-the-builder"
        assert service.request("/v1/builds", {"reference": "127.0.0.1:1/x:1"}, headers={"Origin": "http://evil"})[0] == 403
        assert service.request("/v1/builds", headers={"Host": "evil.example"})[0] == 403
        assert service.request("/v1/nothing")[0] == 404
        assert service.request("/v1/builds", method="DELETE")[0] == 405
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{service.url}/v1/builds", method="DELETE"))
        assert refused.value.headers["Allow"] == "GET, HEAD, POST"


def test_events_stream_tells_of_builds(pair, work):
    service, place = pair(ALL, builder=fake_builder(work))
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as stream:
        stream.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        seen = b""
        while b": watching" not in seen:
            seen += stream.recv(65536)
        place.push(marked_layout(work, "a"), "app", "1")
        while b'"state": "done"' not in seen:
            piece = stream.recv(65536)
            assert piece, seen
            seen += piece
    assert b"event: build" in seen and b"event: progress" in seen


def test_events_stream_tells_of_builds_that_are_superseded_by_what_no_rule_marks(work):
    builder = fake_builder(work, "#!/bin/sh\ntrap 'exit 1' TERM\nwhile :; do sleep 0.1; done\n")
    with memory_registry() as place:
        config = config_file(work, place.host, "- {name: r, repositories: '**', labels: {name: 'marked*'}}\n", "concurrency: 1")
        with hook(work / "state", config=config, builder=builder) as service:
            for tag in ("1", "latest"):
                put_image(place, tag, f"marked-{tag}")
                service.request("/v1/builds", {"reference": f"{place.host}/app:{tag}"})
                until(lambda t=tag: [b for b in service.builds() if b["tags"] == [t]], 30, service.said)
            (waiting,) = service.builds(state="queued")
            host, port = service.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), 30) as stream:
                stream.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                seen = b""
                while b": watching" not in seen:
                    seen += stream.recv(65536)
                put_image(place, "latest", "plain")
                service.request("/v1/builds", {"reference": f"{place.host}/app:latest"})
                deadline = time.monotonic() + 30  # a pulse ends each wait
                while b'event: build\ndata: {"id": %d}' % waiting["id"] not in seen:
                    piece = stream.recv(65536)
                    assert piece and time.monotonic() < deadline, seen
                    seen += piece
            assert service.builds(state="superseded")[0]["id"] == waiting["id"]


def test_profiles_of_nodes_are_merged_latest_first(pair, work):
    service, place = pair(ALL, builder=fake_builder(work))
    path = f"/v1/profiles?repository={place.host}/app"
    assert service.request(path)[0] == 404
    for text in ("/bin/old\t0\t4096\n/bin/both\t0\t10\n", "/bin/both\t0\t100\n"):
        status, answer = service.request(path, raw=text.encode(), headers={"Content-Type": "text/plain"})
        assert status == 200, answer
    merged = service.request(path)[1]
    assert [line.split("\t")[0].lstrip("/") for line in merged.splitlines()] == ["bin/both", "bin/old"]
    assert "\t100" in merged
    for number in range(9):  # by nodes that had the rest of the image: what they could not see is not forgotten
        assert service.request(f"{path}&partial=true", raw=b"/app/%d\t0\t1\n" % number, headers={"Content-Type": "text/plain"})[0] == 200
    merged = [line.split("\t")[0].lstrip("/") for line in service.request(path)[1].splitlines()]
    assert merged == ["bin/both", "bin/old", *(f"app/{number}" for number in range(8, 0, -1))]
    for junk in (b"/bad\tline\n", b"relative\n", b'{"a": 1}', b"\x7fELF", b""):
        assert service.request(path, raw=junk)[0] == 400
    assert service.request("/v1/profiles?repository=evil.example/x", raw=b"/a\n")[0] == 400


def test_filters_of_no_known_value_are_refused_and_not_taken_for_none(work):
    with hook(work / "state", config=config_file(work, "127.0.0.1:*", ALL), builder=fake_builder(work)) as service:
        states = ("queued", "running", "done", "failed", "cancelled", "superseded")
        assert [service.request(f"/v1/builds?state={state}")[0] for state in states] == [200] * len(states)
        for state in ("bogus", "", "don", "Done"):
            status, answer = service.request(f"/v1/builds?state={state}")
            assert (status, answer["error"]) == (400, f"state: '{state}' is none of: {', '.join(states)}")
        for value in ("1", "", "True"):
            status, answer = service.request(f"/v1/profiles?repository=127.0.0.1:1/app&partial={value}", raw=b"/a\t0\t1\n")
            assert (status, answer["error"]) == (400, f"partial: '{value}' is none of: true, false")


def test_lists_longer_than_one_answer_can_be_read_to_their_end(work):
    with hook(work / "state", config=config_file(work, "127.0.0.1:*", ALL), builder=fake_builder(work)) as service:
        for tag in "abcde":
            assert service.request("/v1/builds", {"reference": f"127.0.0.1:1/app:{tag}"})[0] == 202
        page = lambda offset: [event["tag"] for event in service.get(f"/v1/pending?limit=2&offset={offset}")["pending"]]  # noqa: E731
        assert [page(offset) for offset in (0, 2, 4, 5)] == [["a", "b"], ["c", "d"], ["e"], []]
        for bad in ("offset=", "offset=-1", "offset=x", "limit=0", "limit=1001"):
            assert service.request(f"/v1/snapshots?{bad}")[0] == 400, bad


def test_a_wish_that_is_not_understood_is_refused(work):
    with hook(work / "state", config=config_file(work, "127.0.0.1:*", ALL), builder=fake_builder(work)) as service:
        image = "127.0.0.1:1/app:1"
        for wish, problem in (
            ({"reference": image, "forced": True}, "'forced' is none of: reference, force, auths"),
            ({"reference": image, "force": "true"}, "'force' is neither true nor false"),
            ({"reference": 1}, "'reference' is not a string"),
            ({"force": True}, "'reference' is missing"),
            ({"reference": image, "auths": {"a.example": {"auth": "!!"}}}, "'auths': 'auth' is not base64"),
        ):
            status, answer = service.request("/v1/builds", wish)
            assert (status, answer["error"]) == (400, problem)
        assert service.get("/v1/status")["pending"] == 0


def test_a_hostile_body_is_refused_and_not_repeated(work):
    config = config_file(work, "127.0.0.1:*", ALL, "- {provider: generic, open: true}")
    with hook(work / "state", config=config, builder=fake_builder(work)) as service:
        ask = lambda body: service.request("/v1/builds", raw=body)  # noqa: E731
        start = b'{"reference": "127.0.0.1:1/app:1", '
        for body, problem in (
            (start + b'"auths": {"r": {"auth": "c2VjcmV0OnNlY3JldA==" "}}}', "not valid JSON"),
            (start + b'"reference": "127.0.0.1:1/app:2"}', "not valid JSON"),
            (b'{"reference": "127.0.0.1:1/app:\\u0000"}', "not valid JSON"),
            (b'{"reference": "127.0.0.1:1/app:\xff"}', "not valid JSON"),
            (start + b'"force": 1' + b"0" * 400 + b"}", "not valid JSON"),
            (b"[" * 100_000, "nested deeper than"),
            (b'{"":[' + b"0," * 2_000_000 + b"0]}", "more than"),
        ):
            status, answer = ask(body)
            assert status == 400 and problem in answer["error"] and "c2VjcmV0" not in answer["error"], answer
        assert ask(start + b" " * (9 << 20) + b"}")[0] == 413
        for name in ("é" * 200, "e" + "é" * 200):  # one of them is cut inside a character
            assert "éé" in service.request("/hooks/generic", {"image": name})[1]["error"]
        assert service.request("/hooks/%ff")[1]["error"] == "there is something, but not for this method"
        assert service.request("/hooks/%ff", {})[1]["error"] == "there is no endpoint '?'"
        assert service.get("/v1/status")["pending"] == 0


def test_openapi_document_tells_of_every_route(pair):
    service, _ = pair(ALL)
    document = service.get("/v1/openapi.json")
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routes = re.findall(r'\{ "(\w+)", "([^"]+)"', (SOURCE / "registry-hook" / "routes.c").read_text())
    served = {(method, path) for method, path in routes if not path.startswith("/page/") and path != "/"}
    assert {(method, re.sub(r"\{\w+\}", "*", path)) for method, path in told} == served
