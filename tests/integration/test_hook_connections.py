# SPDX-License-Identifier: Apache-2.0
"""Who talks to zeropull-hook, and how: large bodies, silent clients, crowds, TLS, a proxy in between."""
import contextlib
import json
import re
import select
import signal
import socket
import sqlite3
import subprocess
import time

import pytest
from support import tls
from support.hook import fake_builder, hook, until
from support.hook_world import ALL, TOKEN, config_file


def test_large_bodies_that_never_end_keep_out_no_usual_notification(work):
    with hook(work / "state") as service, contextlib.ExitStack() as stack:
        size = 16 << 20
        host, port = service.url.removeprefix("http://").split(":")
        large = lambda: service.request("/hooks/distribution", raw=b'{"events": []' + b" " * (size - 14) + b"}")[0]  # noqa: E731
        assert large() == 200
        for _ in range(8):
            slow = stack.enter_context(socket.create_connection((host, int(port)), 30))
            slow.sendall(f"POST /hooks/distribution HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode())
            slow.sendall(b" " * (size - 1))
        until(lambda: large() == 503, 30, service.said)
        assert "hooks/distribution: 503: too many large bodies at once" in service.said()
        assert service.request("/hooks/distribution", {"events": []})[0] == 200
        began = time.monotonic()
        stack.close()
        until(lambda: large() == 200, 30, service.said)
        lines = [line for line in service.said().splitlines() if ": http: " in line]
        assert 1 <= len(lines) <= 2 + time.monotonic() - began  # one a second, not one for each connection


@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize("path", ["/hooks/distribution", "/v1/builds", "/nothing"])
def test_a_body_of_any_size_is_read_to_its_end_and_then_refused(work, path, is_chunked):
    with hook(work / "state") as service:
        host, port = service.url.removeprefix("http://").split(":")
        piece, count = b" " * (1 << 20), 80
        length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {count << 20}"
        if path == "/nothing":
            length += "\r\nConnection: close"
        with socket.create_connection((host, int(port)), 30) as client:
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode())
            for _ in range(count):
                client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
            if is_chunked:
                client.sendall(b"0\r\n\r\n")
            head, body = client.makefile("rb").read().split(b"\r\n\r\n", 1)  # to its end: the service closes it
        status = 404 if path == "/nothing" else 413
        assert head.startswith(b"HTTP/1.1 %d " % status) and b"\r\nconnection: close" in head.lower()
        assert status == 404 or "limits: {body: " in json.loads(body)["error"]
        lines = [line for line in service.said().splitlines() if ": http: " in line or "hooks/" in line]
        assert len(lines) == (path == "/hooks/distribution"), lines
        assert all("hooks/distribution: 413: the body is larger than" in line for line in lines)
        assert service.request("/healthz")[0] == 200


def test_who_asks_before_sending_a_large_body_is_refused_at_once(work):
    with hook(work / "state") as service:
        host, port = service.url.removeprefix("http://").split(":")
        for size, answer in ((65 << 20, b"HTTP/1.1 413 "), (2, b"HTTP/1.1 100 ")):
            with socket.create_connection((host, int(port)), 30) as client:
                client.sendall(
                    "POST /hooks/distribution HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                    f"Content-Length: {size}\r\n\r\n".encode()
                )
                assert client.recv(len(answer), socket.MSG_WAITALL) == answer


def test_strangers_do_not_fill_the_log(work):
    with hook(work / "state", config=config_file(work, "127.0.0.1:*", ALL)) as service:
        began = time.monotonic()
        elsewhere = {"events": [{"action": "push", "target": {"repository": "a", "tag": "1"}, "request": {"host": "r.example"}}]}
        for _ in range(100):
            assert service.request("/hooks/distribution", elsewhere)[0] == 401
            assert service.request("/hooks/distribution", elsewhere, headers={"Authorization": TOKEN})[0] == 200
        for line in ("401 to 127.0.0.1: not authenticated", "ignored: registry r.example is not in the configuration"):
            assert 1 <= service.said().count(f"hooks/distribution: {line}") <= 2 + time.monotonic() - began
        assert "zeropull_hook_deliveries_refused_total 100\n" in service.request("/metrics")[1]


def test_many_clients_are_answered_when_all_ask_at_once(work):
    config = config_file(work, "127.0.0.1:*", ALL)
    text = config.read_text().replace("limits: {memory: 0}\n", "")
    config.write_text(text + "limits: {memory: 0, connections: 512}\n")  # so that 256 are no crowd, which is hurried
    with hook(work / "state", config=config) as service, contextlib.ExitStack() as stack:
        host, port = service.url.removeprefix("http://").split(":")
        clients = [stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(256)]
        for _ in range(3):
            service.process.send_signal(signal.SIGSTOP)
            for client in clients:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            service.process.send_signal(signal.SIGCONT)
            for client in clients:
                assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_connections_that_say_nothing_keep_nobody_out_for_long(work):
    with hook(work / "state") as service, contextlib.ExitStack() as stack:
        host, port = service.url.removeprefix("http://").split(":")
        for _ in range(400):  # as many as it takes, and more that wait for their turn
            silent = stack.enter_context(socket.socket())
            silent.setblocking(False)
            silent.connect_ex((host, int(port)))
        began = time.monotonic()
        assert service.request("/hooks/distribution", {"events": []})[0] == 200
        assert time.monotonic() - began < 20  # and not the 30 s that are given to each


def test_who_asks_whether_it_is_ready_keeps_nobody_waiting(work):
    with hook(work / "state") as service, contextlib.ExitStack() as stack:
        host, port = service.url.removeprefix("http://").split(":")
        other = sqlite3.connect(work / "state" / "hook.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        requests = lambda: int(re.search(r"_requests_total (\d+)", service.request("/metrics")[1])[1])  # noqa: E731
        counts = [requests()]
        asking = [stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(16)]
        for one in asking:
            one.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        came = lambda: counts.append(requests()) or counts[-1] - counts[0] - (len(counts) - 1)  # noqa: E731  # without its own
        until(lambda: came() == 16, 9, service.said)
        assert select.select(asking, [], [], 0)[0] == []
        other.execute("ROLLBACK")
        for one in asking:
            assert one.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_an_answer_to_head_has_no_body(work):
    with hook(work / "state") as service:
        paths = [path for path, methods in service.get("/v1/openapi.json")["paths"].items() if "get" in methods]
        host, port = service.url.removeprefix("http://").split(":")
        for path in ["/", *paths]:
            with socket.create_connection((host, int(port)), 30) as client:
                for method, last in (("HEAD", "keep-alive"), ("GET", "close")):
                    wanted = path if method == "HEAD" else "/healthz"
                    client.sendall(f"{method} {wanted} HTTP/1.1\r\nHost: localhost\r\nConnection: {last}\r\n\r\n".encode())
                answers = client.makefile("rb").read().split(b"\r\n\r\n")
                assert len(answers) == 3 and answers[1].startswith(b"HTTP/1.1 200 ") and answers[2] == b"ok\n", path


def test_a_proxy_on_this_machine_may_pass_its_own_name_or_ours(work):
    config = config_file(work, "127.0.0.1:*", ALL)
    with hook(work / "state", config=config, builder=fake_builder(work)) as service:
        config.write_text(config.read_text() + "url: https://hook.example\n")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "was read again" in service.said(), 30)

        def answers(**headers):
            look = service.request("/v1/builds", headers=headers)[0]
            return look, service.request("/v1/builds", {"reference": "127.0.0.1:1/x:1"}, headers=headers)[0]

        assert answers(Host="hook.example", Origin="https://hook.example") == (200, 202)
        assert answers(Origin="https://hook.example") == (200, 202)  # the proxy says whom it asks
        assert answers(Host="hook.example", Origin="https://evil.example") == (200, 403)
        assert answers(Origin="http://hook.example") == (200, 403)
        assert answers(Host="evil.example", Origin="https://hook.example") == (403, 403)
        assert answers(Host="evil.example", Origin="https://evil.example") == (403, 403)


def test_tls_is_spoken_and_trigger_trusts_the_given_authority(work):
    certificate, key = tls.self_signed(work)
    config = config_file(work, "127.0.0.1:*", ALL, f"tls: {{certificate: {certificate}, key: {key}}}")
    with hook(work / "state", config=config, builder=fake_builder(work)) as service:
        assert service.scheme == "https"
        answer = subprocess.run(
            ["curl", "-sS", "--cacert", certificate, service.url + "/healthz"], capture_output=True, text=True
        )
        assert answer.stdout == "ok\n", answer.stderr
        failed = service.command("trigger", "--ca-file", certificate, "--timeout", "2", "127.0.0.1:1/x:1")
        assert failed.returncode == 1 and "not decided in time" in failed.stderr, failed.stderr
