# SPDX-License-Identifier: Apache-2.0
"""Every provider's payloads sent to the service: signed and not, from elsewhere, cut, huge, again. Never a build."""
import http.client
import json
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.hook import Hook
from support.notified import TOOL
from support.payloads import CORPUS, PAYLOADS, PROVIDERS, SECRET


@pytest.fixture(scope="module")
def events():
    """The names of those that tell a push or deletion; tests/unit/registry-hook/test_providers.c says which do."""

    def status(payload):
        with open(CORPUS / payload.name, "rb") as file:
            return json.loads(subprocess.run([TOOL], stdin=file, stdout=subprocess.PIPE, check=True).stdout)["status"]

    return {payload.name for payload in PAYLOADS if status(payload) == 202}


@contextmanager
def an_empty_registry():
    """A registry that has nothing; `asked` are the paths it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.host = asked, f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def empty_registry():
    with an_empty_registry() as server:
        yield server


@pytest.fixture(scope="module")
def other_registry():
    """Nobody's but the stranger's."""
    with an_empty_registry() as server:
        yield server


def start(directory, registry_host, endpoint_host):
    (directory / "secret").write_text(SECRET + "\n")
    endpoints = "".join(
        f"- {{provider: {name}, secret-file: {directory / 'secret'}, host: '{endpoint_host}'}}\n"
        if endpoint_host or name in ("nexus", "zot")
        else f"- {{provider: {name}, secret-file: {directory / 'secret'}}}\n"
        for name in PROVIDERS
    ).replace("host: 'None'", "host: 'elsewhere.example'")
    config = directory / "hook.yaml"
    config.write_text(
        f"version: 1\nanonymous: admin\nregistries: [{{host: '{registry_host}'}}]\nendpoints:\n{endpoints}"
        "rules: [{name: all, repositories: '**'}]\n"
    )
    return Hook(directory / "state", config=config).start()


@pytest.fixture(scope="module")
def service(tmp_path_factory, empty_registry):
    """Takes what comes as being of the empty registry."""
    running = start(tmp_path_factory.mktemp("hook"), empty_registry.host, empty_registry.host)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, other_registry):
    """Takes payloads' own hosts, none of which it may ask."""
    running = start(tmp_path_factory.mktemp("stranger"), other_registry.host, None)
    yield running
    running.stop()


def post(service, path, headers, body):
    connection = http.client.HTTPConnection(service.listen, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        # refused while the body was still coming: the answer is there nevertheless
        return connection.getresponse().status
    finally:
        connection.close()


def untouched(service):
    status = service.get("/v1/status")
    return status["pending"] == status["queued"] == status["running"] == 0 and not service.builds()


def test_signed_payloads_are_taken_once_and_again_and_build_nothing_that_is_not_there(service, events):
    for _ in range(2):
        for payload in PAYLOADS:
            status = post(service, *payload.signed(), payload.body)
            # our own artifacts and their tags are known for what they are
            expected = 200 if payload.name not in events or payload.name.endswith("-own") else 202
            assert status == expected, (payload.name, status, service.said()[-1000:])
    service.settle()
    assert not service.builds()


@pytest.mark.parametrize("how", ["unsigned", "wrong secret", "signature of another body"])
def test_who_does_not_know_the_secret_is_refused(stranger, how):
    for payload in PAYLOADS:
        if how == "unsigned":
            status = post(stranger, f"/hooks/{payload.provider}", payload.headers, payload.body)
        elif how == "wrong secret":
            status = post(stranger, *payload.signed("guessed"), payload.body)
        elif payload.provider in ("github", "jfrog", "nexus"):
            status = post(stranger, *payload.signed(body=payload.body), payload.body.replace(b"1", b"2"))
        else:
            continue
        assert status == 401, payload.name
    assert untouched(stranger)


def test_events_of_registries_that_are_not_in_the_configuration_are_ignored_and_those_never_asked(
    stranger, other_registry
):
    for payload in PAYLOADS:
        status = post(stranger, *payload.signed(), payload.body)
        assert status == 200, (payload.name, status)  # what is not answered 2xx would be sent again
    assert untouched(stranger) and other_registry.asked == []


def test_what_is_cut_or_huge_is_refused(stranger):
    for payload in PAYLOADS:
        for size in {1, len(payload.body) // 2, len(payload.body) - 1}:
            body = payload.body[:size]
            assert post(stranger, *payload.signed(body=body), body) == 400, (payload.name, size)
    for provider in PROVIDERS:
        payload = next(payload for payload in PAYLOADS if payload.provider == provider)
        body = payload.body + b" " * (16 << 20)
        assert post(stranger, *payload.signed(body=body), body) == 413, provider
    assert untouched(stranger)
