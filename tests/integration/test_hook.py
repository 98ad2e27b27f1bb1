# SPDX-License-Identifier: Apache-2.0
"""zeropull-hook with a real registry that notifies it: a push of a marked image ends in a published snapshot."""
import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support import hook as hook_support
from support import images, oci, tls
from support.hook import FAKE_BUILDER, HOOK, IS_SANITIZED, fake_builder, hook, notifications, until
from support.memory_registry import memory_registry
from support.programs import SOURCE
from support.registry import registry
from support.zeropull import Zeropull

TOKEN = "Bearer 0123456789abcdef"


def config_file(work, host, rules, extra=""):
    secret = work / "secret"
    secret.write_text(TOKEN + "\n")
    path = work / "hook.yaml"
    path.write_text(
        f"""version: 1
anonymous: admin
{"limits: {memory: 0}" if IS_SANITIZED else ""}
registries:
- host: '{host}'
endpoints:
- provider: distribution
  secret-file: {secret}
{extra}
rules:
{rules}"""
    )
    return path


@pytest.fixture
def pair(work):
    """A service and a registry that tells it. The rules come first: the registry's port is in none of them."""

    def start(rules, extra="", **options):
        config = config_file(work, "127.0.0.1:*", rules, extra)
        service = hook_support.Hook(work / "state", config=config, **options).start()
        running = registry(work, extra=notifications(service.url, TOKEN))
        started.append((service, running))
        return service, running.__enter__()

    started = []
    yield start
    for service, running in started:
        running.__exit__(None, None, None)
        if service.process.poll() is None:
            service.stop()


def marked_layout(work, name, labels=None, content=b"content"):
    """An OCI layout with a one-file image; returns skopeo's name for it."""
    layout = oci.Layout(work / f"layout-{name}")
    made = images.Maker(work)
    with made.layer() as tar:
        tar.file("file", content)
    layout.add_image(name, made.layers, {"Labels": labels} if labels else {})
    return f"oci:{work / f'layout-{name}'}:{name}"


def referrers(registry_, repository, digest):
    """Artifacts beside an image; the registry has no referrers API, so the fallback tag tells."""
    text = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false",
         f"docker://{registry_.host}/{repository}:{digest.replace(':', '-')}"],
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    return json.loads(text)["manifests"]


ALL = "- {name: all, repositories: '**'}\n"


def test_push_of_a_marked_image_publishes_its_snapshot_with_no_other_command(pair, work):
    service, place = pair("- {name: web, repositories: '*/acme/*', labels: {snapshot: 'yes'}}\n")
    place.push(marked_layout(work, "marked", {"snapshot": "yes"}), "acme/web", "1")
    place.push(marked_layout(work, "plain", content=b"other"), "acme/plain", "1")
    place.push(marked_layout(work, "elsewhere", {"snapshot": "yes"}), "other/web", "1")
    until(lambda: service.snapshots(), 60, service.said)
    service.settle()
    (snapshot,) = service.snapshots()
    assert snapshot["repository"] == f"{place.host}/acme/web" and snapshot["tags"] == "1"
    (artifact,) = referrers(place, "acme/web", snapshot["digest"])
    assert artifact["digest"] == snapshot["artifact"]
    assert len(service.builds()) == 1


def test_the_snapshot_can_be_pulled_and_used(pair, work):
    service, place = pair(ALL)
    place.push(images.source("busybox"), "app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    elsewhere = Zeropull(work / "elsewhere")
    elsewhere.ok("pull", "--complete", f"docker://{place.host}/app:1")
    assert " busybox\n" in elsewhere.ok("ls", "--recursive", f"docker://{place.host}/app:1")


def test_who_knows_a_layers_diff_id_does_not_get_the_layer(pair, work):
    service, place = pair(ALL)
    place.push(marked_layout(work, "private", content=b"nobody else's"), "victim/app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    victim = oci.Layout(work / "layout-private").layers("private")[0]
    layout = oci.Layout(work / "layout-claim")
    layout.add_image("claim", [layout.add_raw_layer(b"no layer at all", diff_id=victim.diff_id)])
    place.push(f"oci:{layout.directory}:claim", "mallory/app", "1")
    until(lambda: len(service.builds()) == 2, 60, service.said)
    service.settle()
    assert [snapshot["repository"] for snapshot in service.snapshots()] == [f"{place.host}/victim/app"]
    assert sorted(build["state"] for build in service.builds()) == ["done", "failed"]
    assert victim.diff_id in service.said()


def test_unchanged_tag_builds_nothing_and_its_own_pushes_neither(pair, work):
    service, place = pair(ALL)
    image = marked_layout(work, "a")
    place.push(image, "app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    place.push(image, "app", "1")
    place.push(image, "app", "again")
    until(lambda: "again" in service.snapshots()[0]["tags"], 30, service.said)
    service.settle()
    assert [build["state"] for build in service.builds()] == ["done"]
    assert "sha256-" not in service.said()


def test_multi_arch_push_builds_each_wanted_platform_once(pair, work):
    service, place = pair("- {name: two, repositories: '**', platforms: [linux/amd64, linux/arm64]}\n")
    layout = oci.Layout(work / "multi")
    entries = []
    for architecture in ("amd64", "arm64", "s390x"):
        (work / architecture).mkdir()
        made = images.Maker(work / architecture)
        with made.layer() as tar:
            tar.file("file", architecture.encode())
        digest = layout.add_image(
            architecture, made.layers, change_config=lambda config, a=architecture: config.update(architecture=a)
        )
        size = (layout.blobs / digest.removeprefix("sha256:")).stat().st_size
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": oci.MANIFEST, "digest": digest, "size": size, "platform": platform})
    index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}
    layout.tag_manifest("multi", json.dumps(index).encode(), oci.INDEX)
    place.push(f"oci:{work / 'multi'}:multi", "app", "1")
    until(lambda: len(service.snapshots()) == 2, 60, service.said)
    service.settle()
    assert sorted(build["platform"] for build in service.builds()) == ["linux/amd64", "linux/arm64"]


def test_rules_test_explains_and_check_config_names_the_line(work):
    with registry(work) as place:
        place.push(marked_layout(work, "a", {"x": "1"}), "app", "v1")
        config = config_file(work, place.host, "- {name: r, repositories: '**', tags: 'v*', labels: {x: '2'}}\n" + ALL)
        result = subprocess.run(
            [HOOK, "--config", config, "rules", "test", f"{place.host}/app:v1"], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "rule 'r': label x is 1, not '2'" in result.stdout and "rule 'all': builds it" in result.stdout
    config.write_text("version: 1\nregistries: [{host: a.example}]\nrules:\n- {name: a, repositories: '**', tag: x}\n")
    result = subprocess.run([HOOK, "--config", config, "check-config"], capture_output=True, text=True)
    assert result.returncode == 1 and f"{config}:4: rule: 'tag' is not known" in result.stderr
    config.write_text("version: 1\nregistries: [{host: a.example}]\nrules:\n- {name: a, repositories: '**', sign-key: absent.pem}\n")
    result = subprocess.run([HOOK, "--config", config, "check-config"], capture_output=True, text=True)
    assert result.returncode == 1 and f"{config}:4: sign-key: " in result.stderr and "absent.pem" in result.stderr


def test_reload_takes_new_rules_and_keeps_the_old_when_the_new_are_bad(pair, work):
    service, place = pair("- {name: none, repositories: '*/nothing'}\n", builder=fake_builder(work))
    place.push(marked_layout(work, "a"), "app", "1")
    text = service.config.read_text()
    service.config.write_text("version: 1\nrules: nonsense\n")
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "the old configuration stays in force" in service.said(), 30)
    service.config.write_text(text.replace("*/nothing", "**"))
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "was read again" in service.said(), 30)
    place.push(marked_layout(work, "b", content=b"b"), "app", "2")
    until(lambda: service.snapshots(), 30, service.said)
    assert len(service.builds()) == 1


def test_trigger_waits_and_tells_by_its_exit_code(pair, work):
    service, place = pair("- {name: a, repositories: '*/app'}\n")
    absent = service.command("trigger", f"{place.host}/app:none", "--timeout", "30")
    assert absent.returncode == 3 and "app:none: gone: " in absent.stderr
    _, asked = service.request("/v1/builds", {"reference": "127.0.0.1:1/app:1"})
    until(lambda: service.get(f"/v1/decisions/{asked['event']}")["text"], 30, service.said)
    away = service.command("trigger", "127.0.0.1:1/app:1", "--timeout", "3")
    assert away.returncode == 1 and "not decided yet: " in away.stderr and "not decided in time: " in away.stderr
    place.push(images.source("busybox"), "app", "1")
    place.push(images.source("busybox"), "other", "1")
    done = service.command("trigger", "--url", f"{service.url}/", f"{place.host}/app:1")
    assert done.returncode == 0 and json.loads(done.stdout)[0]["state"] == "done", done.stderr
    assert service.command("trigger", f"{place.host}/other:1").returncode == 4
    assert service.command("trigger", "127.0.0.2.example/x").returncode == 1
    assert service.command("trigger", "no such name").returncode == 2


def test_a_failing_build_says_why_and_can_be_tried_again(pair, work):
    builder = fake_builder(work, "#!/bin/sh\necho 'zeropull: build x: layer 1: malformed' >&2\nexit 4\n")
    service, place = pair(ALL, builder=builder)
    place.push(marked_layout(work, "a"), "app", "1")
    (build,) = until(lambda: service.builds(state="failed"), 30, service.said)
    assert build["reason"] == "build x: layer 1: malformed"
    assert "malformed" in service.get(f"/v1/builds/{build['id']}")["log"]
    fake_builder(work)
    status, answer = service.request(f"/v1/builds/{build['id']}/retry", method="POST", raw=b"")
    assert status == 200, answer
    until(lambda: service.snapshots(), 30, service.said)


def test_a_running_build_can_be_cancelled(pair, work):
    builder = fake_builder(work, "#!/bin/sh\ntrap 'exit 1' TERM\necho waiting >&2\nwhile :; do sleep 0.1; done\n")
    service, place = pair(ALL, builder=builder)
    place.push(marked_layout(work, "a"), "app", "1")
    (build,) = until(lambda: [b for b in service.builds(state="running") if "progress" in b], 30, service.said)
    assert build["progress"] == "waiting"
    assert service.request(f"/v1/builds/{build['id']}/cancel", method="POST", raw=b"")[0] == 200
    until(lambda: service.builds(state="cancelled"), 30, service.said)


def test_a_builder_cannot_cancel_what_a_push_asked_for_first(pair, work):
    (work / "ci").write_text("the-token-of-the-ci\n")
    builder = fake_builder(work, "#!/bin/sh\ntrap 'exit 1' TERM\necho waiting >&2\nwhile :; do sleep 0.1; done\n")
    service, place = pair(ALL, f"tokens:\n- {{name: ci, role: builder, file: {work / 'ci'}}}", builder=builder)
    place.push(marked_layout(work, "a"), "app", "1")
    (build,) = until(lambda: service.builds(state="running"), 30, service.said)
    service.token = "the-token-of-the-ci"
    assert service.request("/v1/builds", {"reference": f"{place.host}/app:1"})[0] == 202
    until(lambda: service.builds()[0]["requestedBy"] == "distribution, ci", 30, service.said)
    status, answer = service.request(f"/v1/builds/{build['id']}/cancel", method="POST", raw=b"")
    assert (status, answer["error"]) == (409, f"build {build['id']} stays: it was not 'ci' alone who asked for it")
    assert (service.builds()[0]["state"], service.builds()[0]["may"]) == ("running", [])
    service.token = None
    assert service.builds()[0]["may"] == ["cancel"]
    assert service.request(f"/v1/builds/{build['id']}/cancel", method="POST", raw=b"")[0] == 200
    until(lambda: service.builds(state="cancelled"), 30, service.said)


def test_a_wishs_auths_come_after_the_registrys_own_and_do_not_outlive_a_crash(work):
    own = work / "own.json"
    own.write_text('{"auths": {}}')
    builder = fake_builder(work, '#!/bin/sh\necho "$@" >&2\nexit 4\n')
    with registry(work) as place:
        place.push(marked_layout(work, "a"), "app", "1")
        config = config_file(work, "127.0.0.1:*", ALL)
        config.write_text(config.read_text().replace("'127.0.0.1:*'\n", f"'127.0.0.1:*'\n  auth-file: {own}\n"))
        left = work / "state" / "auths" / "99"
        left.parent.mkdir(parents=True)
        left.write_text("secret")
        with hook(work / "state", config=config, builder=builder) as service:
            assert not left.exists()
            wish = {"reference": f"{place.host}/app:1", "auths": {"other.example": {"auth": "bWU6c2VjcmV0"}}}
            assert service.request("/v1/builds", wish)[0] == 202
            (build,) = until(lambda: service.builds(state="failed"), 30, service.said)
            arguments = service.get(f"/v1/builds/{build['id']}")["log"].split()
            assert f"--auth-file={own}:{service.state}/auths/{build['id']}" in arguments


HOSTILE = """#!/usr/bin/python3
import ctypes, errno, os, signal, socket, sys

def attempt(name, work):
    try:
        work()
        result = "done"
    except OSError as error:
        result = errno.errorcode[error.errno]
    except MemoryError:
        result = "ENOMEM"
    print(name, result, file=sys.stderr)

def mount():
    if ctypes.CDLL(None, use_errno=True).mount(b"none", b"/tmp", b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), "mount")

store = sys.argv[sys.argv.index("--store") + 1]
attempt("memory", lambda: bytearray(1 << 30))
attempt("large-file", lambda: os.truncate(os.open(store + "/large", os.O_CREAT | os.O_WRONLY), 2 << 20))
attempt("database", lambda: open("@STATE@/hook.db", "r+b"))
attempt("profiles", lambda: open("@STATE@/pwned", "wb"))
attempt("etc", lambda: open("/etc/zeropull-test-pwned", "wb"))
attempt("service", lambda: os.kill(@SERVICE@, signal.SIGKILL))
attempt("mount", mount)
attempt("serve", lambda: socket.create_server(("127.0.0.1", 0)))
attempt("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("device", lambda: os.mknod(store + "/device", 0o60600, 0x700))
for _ in range(100):  # to stay when it ends
    if not os.fork():
        os.setsid()
        signal.pause()
for _ in range(100000):
    sys.stderr.write("flood " * 20 + "\\n")
sys.exit(1)
"""


@pytest.mark.skipif(IS_SANITIZED, reason="without limits on memory")
def test_hostile_builds_fail_alone(pair, work):
    """Whatever a build that was taken over tries, the service goes on, its files are whole, and nothing is left behind."""
    builder = fake_builder(work)
    service, place = pair(ALL, extra="limits: {memory: 512M, file-size: 1M}", builder=builder)
    text = HOSTILE.replace("@STATE@", str(work / "state")).replace("@SERVICE@", str(service.process.pid))
    fake_builder(work, text)
    place.push(marked_layout(work, "a"), "app", "1")
    until(lambda: [b for b in service.builds() if b.get("attempts")], 120, service.said)
    build = service.get("/v1/builds/1")
    said = dict(line.split(" ", 1) for line in build["log"].splitlines()[:10])
    expected = {
        "memory": "ENOMEM", "large-file": "EFBIG", "database": "EROFS", "profiles": "EROFS", "etc": "EROFS",
        "service": "ESRCH", "mount": "EPERM", "serve": "EPERM", "packets": "EAFNOSUPPORT", "device": "EPERM",
    }  # fmt: skip
    assert said == expected
    assert len(build["log"]) <= 65536 and service.get("/v1/status")["queued"] == 1
    assert [pid for pid, line in command_lines() if str(builder) in line and pid != service.process.pid] == []
    fake_builder(work)
    place.push(marked_layout(work, "b", content=b"b"), "app", "2")
    until(lambda: service.snapshots(), 30, service.said)


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            pass  # it has ended meanwhile


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


@pytest.mark.parametrize("named", [True, False], ids=["named-builder", "own-builder"])
def test_standalone_prints_the_lines_for_the_registry(named, work):
    """Its builder is the one of the build tree, when it lies there and no other is named."""
    builder = ["--builder", fake_builder(work)] if named else []
    process = subprocess.Popen(
        [HOOK, "--standalone", "--listen", "127.0.0.1:0", "--state", work / "state", *builder],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    lines = [process.stdout.readline() for _ in range(4)]
    process.terminate()
    assert process.wait(20) == 0
    assert lines[1] == "notifications:\n" and lines[2] == "  endpoints:\n"
    refused = subprocess.run([HOOK, "--standalone", "--listen", "0.0.0.0:0"], capture_output=True, text=True)
    assert refused.returncode == 1 and "loopback only" in refused.stderr
    both = subprocess.run([HOOK, "--standalone", "--config", "/dev/null"], capture_output=True, text=True)
    assert both.returncode == 2 and "--standalone is without a configuration" in both.stderr


def test_reconcile_finds_pushes_that_nobody_told_of(work):
    with registry(work) as place:
        place.push(marked_layout(work, "a"), "app", "1")
        place.push(marked_layout(work, "b", content=b"b"), "team/web", "2")
        config = config_file(work, place.host, ALL)
        config.write_text(
            config.read_text().replace(
                f"- host: '{place.host}'", f"- host: '{place.host}'\n  reconcile: {{every: 1h, catalog: true}}"
            )
        )
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: len(service.snapshots()) == 2, 30, service.said)
            place.push(marked_layout(work, "c", content=b"c"), "app", "1")  # the tag moves
            assert service.request("/v1/upkeep", method="POST", raw=b"")[0] == 202
            until(lambda: len(service.snapshots()) == 3, 30, service.said)
            service.settle()
            assert service.request("/v1/upkeep", method="POST", raw=b"")[0] == 202
            until(lambda: service.said().count("0 name something new") >= 1, 30, service.said)
            assert len(service.builds()) == 3


def slow_in_vain(handler):
    threading.Event().wait(2.5)
    handler.answer(503)
    return True


def test_a_registry_that_is_slow_in_vain_is_left_to_the_next_poll(work):
    with memory_registry() as slow, memory_registry() as other:
        slow.inject("/tags/list", *[slow_in_vain] * 100)
        put_image(other, "1", "image", "app")
        config = config_file(work, slow.host, ALL)
        polls = f"\n  reconcile: {{repositories: [a, b, c]}}\n- host: '{other.host}'\n  reconcile: {{repositories: [app]}}"
        config.write_text(config.read_text().replace(f"- host: '{slow.host}'", f"- host: '{slow.host}'{polls}"))
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: service.snapshots(), 60, service.said)
            assert len({request.path.split("?")[0] for request in slow.seen("/tags/list")}) == 2


def test_a_repository_that_is_slow_in_vain_keeps_no_others_from_being_polled(work):
    with memory_registry() as place:
        place.inject("/v2/a/tags/list", *[slow_in_vain] * 100)
        for repository in "bc":
            put_image(place, "1", repository, repository)
        config = config_file(work, place.host, ALL)
        polls = "\n  reconcile: {repositories: [a, b, c]}"
        config.write_text(config.read_text().replace(f"- host: '{place.host}'", f"- host: '{place.host}'{polls}"))
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: {s["repository"].rpartition("/")[2] for s in service.snapshots()} == {"b", "c"}, 60, service.said)
            until(lambda: place.seen("/v2/a/tags/list"), 30, service.said)


def test_long_lists_that_end_in_an_error_are_not_slow(work):
    def slow_page(handler):
        threading.Event().wait(2.5)
        link = f'<{handler.path}&last=1>; rel="next"'
        handler.answer(200, b'{"tags": ["1"]}', [("Link", link)])
        return True

    def refuse(handler):
        handler.error(403, "DENIED", "no")
        return True

    with memory_registry() as place:
        place.inject("last=1", *[refuse] * 100)
        place.inject("/tags/list", *[slow_page] * 100)
        config = config_file(work, place.host, ALL)
        polls = "\n  reconcile: {repositories: [a, b, c]}"
        config.write_text(config.read_text().replace(f"- host: '{place.host}'", f"- host: '{place.host}'{polls}"))
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: "tags of 3 repositories" in service.said(), 60, service.said)
            assert service.said().count("DENIED") >= 3


def test_retention_removes_what_no_tag_names_after_a_dry_run(pair, work):
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s, deleted: 1s, dry-run: true}}\n"
    service, place = pair(rule)
    for name in ("a", "b"):
        place.push(marked_layout(work, name, content=name.encode()), "app", "latest")
        until(lambda n=name: len(service.snapshots()) == 1 + (n == "b"), 60, service.said)
        service.settle()
    old, new = sorted(service.snapshots(), key=lambda s: s["published"])
    assert (old["tags"], new["tags"]) == ("", "latest")
    assert service.get("/v1/retention")["toRemove"] == []  # nothing was surveyed yet
    service.request("/v1/upkeep", method="POST", raw=b"")
    (candidate,) = until(lambda: service.get("/v1/retention")["toRemove"], 30, service.said)
    assert candidate["artifact"] == old["artifact"] and candidate["reason"] == "no tag names its image"
    service.request("/v1/upkeep", method="POST", raw=b"")
    until(lambda: "1 snapshots stay because of 'dry-run'" in service.said(), 30, service.said)
    assert len(service.snapshots()) == 2 and service.get("/v1/retention")["toRemove"] == [candidate]
    assert candidate["dryRun"] and len(referrers(place, "app", old["digest"])) == 1
    service.config.write_text(service.config.read_text().replace(", dry-run: true", ""))
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.get("/v1/retention")["toRemove"] == [{**candidate, "dryRun": False}], 30, service.said)
    service.request("/v1/upkeep", method="POST", raw=b"")
    until(lambda: f"@{old['digest']} was removed" in service.said(), 30, service.said)
    assert service.snapshots() == [new] and referrers(place, "app", old["digest"]) == []
    assert [entry["digest"] for entry in referrers(place, "app", new["digest"])] == [new["artifact"]]


def put_image(place, tag, name, repository="app"):
    """An image that is looked at, and never fetched."""
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"name": name}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    }).encode()  # fmt: skip
    place.repository(repository).blobs[oci.sha256(config)] = config
    manifest = {
        "schemaVersion": 2, "mediaType": oci.MANIFEST,
        "config": {"mediaType": oci.CONFIG, "digest": oci.sha256(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + "2" * 64, "size": 10}],
    }  # fmt: skip
    return place.put_manifest(json.dumps(manifest).encode(), tag, repository=repository)


def test_a_registry_that_is_slow_in_vain_is_left_to_the_next_survey(work):
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s, deleted: 1d, dry-run: true}}\n"
    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, rule), builder=fake_builder(work)) as service,
    ):
        doomed = make_superseded(service, place, 2)

        def asked_in_a_survey(pattern):
            """Which images, when the registry is slow with those."""
            over = lambda: service.said().count("stay because of 'dry-run'")  # noqa: E731
            before, seen = over(), len(place.seen("^HEAD"))
            place.inject(pattern, *[slow_in_vain] * 10)
            service.request("/v1/upkeep", method="POST", raw=b"")
            until(lambda: over() > before, 60, service.said)
            return {request.path for request in place.seen("^HEAD")[seen:]}

        assert len(asked_in_a_survey(f"^HEAD.*{doomed[0]}")) == 3
        assert len(asked_in_a_survey("^HEAD")) == 2


def test_what_a_registry_does_not_delete_can_still_be_found(work):
    """Deletion is off where the registry's configuration does not allow it."""
    kept = {"storage": {"filesystem": {"rootdirectory": str(work / "registry")}}}
    rule = "- {name: r, repositories: '**', retention: {superseded: 1s, deleted: 1s}}\n"
    with registry(work, extra=kept) as place, hook(work / "state", config=config_file(work, "127.0.0.1:*", rule)) as service:
        for name in ("a", "b"):
            place.push(marked_layout(work, name, content=name.encode()), "app", "latest")
            service.request("/v1/builds", {"reference": f"{place.host}/app:latest"})
            service.settle()
        old = min(service.snapshots(), key=lambda s: s["published"])
        until(lambda: service.request("/v1/upkeep", method="POST", raw=b"") and "does not allow deletion" in service.said(), 30)
        until(lambda: len(service.snapshots()) == 2, 30, service.said)  # once it is not being tried again
        assert [entry["digest"] for entry in referrers(place, "app", old["digest"])] == [old["artifact"]]


def test_a_tag_that_is_rolled_back_while_retention_asks_keeps_its_snapshot(work):
    """Its image has no tag when the survey begins, and the tag again before the registry has answered."""
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s, deleted: 1d}}\n"
    is_asked, go_on, is_over = threading.Event(), threading.Event(), threading.Event()

    def hold(_):
        is_asked.set()
        go_on.wait(60)

    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, rule), builder=fake_builder(work)) as service,
    ):
        upkeep = lambda: service.request("/v1/upkeep", method="POST", raw=b"")  # noqa: E731
        tags = lambda: {s["digest"]: s["tags"] for s in service.snapshots()}  # noqa: E731
        push = lambda: service.request("/v1/builds", {"reference": f"{place.host}/app:latest"})  # noqa: E731
        old = put_image(place, "latest", "old")
        push()
        until(lambda: tags() == {old: "latest"}, 30, service.said)
        new = put_image(place, "latest", "new")
        push()
        until(lambda: tags() == {old: "", new: "latest"}, 30, service.said)
        upkeep()
        until(lambda: [s["digest"] for s in service.get("/v1/retention")["toRemove"]] == [old], 30, service.said)
        place.inject("^HEAD /v2/app/manifests/", hold, lambda _: False, lambda _: is_over.set())
        upkeep()
        assert is_asked.wait(30)
        place.repository("app").tags["latest"] = old
        push()
        until(lambda: tags() == {old: "latest", new: ""}, 30, service.said)
        go_on.set()
        upkeep()  # the first one is over when this asks
        assert is_over.wait(30)
        assert place.seen("^DELETE") == [] and old in tags()


def make_superseded(service, place, count, repository="app"):
    """Publishes so many images that no tag names, and one that `latest` does. The digests of those that are to go, in
    the order in which they will."""
    mine = lambda snapshots: [s for s in snapshots if s["repository"].rpartition("/")[2] == repository]  # noqa: E731
    for number in range(count + 1):
        digest = put_image(place, "latest", f"{repository}{number}", repository)
        service.request("/v1/builds", {"reference": f"{place.host}/{repository}:latest"})
        until(lambda d=digest: [s["digest"] for s in mine(service.snapshots()) if s["tags"]] == [d], 30, service.said)
    service.request("/v1/upkeep", method="POST", raw=b"")
    doomed = lambda: [s["digest"] for s in mine(service.get("/v1/retention")["toRemove"])]  # noqa: E731
    return until(lambda: len(doomed()) == count and doomed(), 30, service.said)


def test_a_registry_that_is_slow_in_vain_is_left_to_the_next_removal(work):
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s, dry-run: true}}\n"
    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, rule), builder=fake_builder(work)) as service,
    ):
        for repository in ("app", "other", "third"):  # of one registry
            make_superseded(service, place, 2, repository)
        service.config.write_text(service.config.read_text().replace(", dry-run: true", ""))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "was read again" in service.said(), 30)
        assert len(service.get("/v1/retention")["toRemove"]) == 6
        place.inject("^(DELETE|HEAD)", *[slow_in_vain] * 100)
        service.request("/v1/upkeep", method="POST", raw=b"")
        until(lambda: "upkeep: " in service.said(), 60, service.said)
        assert len(place.seen("^DELETE")) == 2


def test_two_snapshots_of_which_a_registry_never_says_whether_they_are_there_keep_no_others(work):
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s, dry-run: true}}\n"
    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, rule), builder=fake_builder(work)) as service,
    ):
        for repository in ("other", "app"):  # of one registry
            make_superseded(service, place, 2, repository)
        place.inject("^(DELETE|HEAD) /v2/app/", *[slow_in_vain] * 100)
        service.config.write_text(service.config.read_text().replace(", dry-run: true", ""))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "was read again" in service.said(), 30)
        removed = lambda: service.said().count(" was removed: ")  # noqa: E731
        until(lambda: service.request("/v1/upkeep", method="POST", raw=b"") and removed() == 2, 60, service.said)


def test_what_is_wanted_again_while_another_snapshot_is_removed_stays(work):
    """One has a tag again, and one is being built again, by the time it would be their turn."""
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s, deleted: 1d}}\n"
    is_asked, go_on, is_next_survey = threading.Event(), threading.Event(), threading.Event()

    def hold(_):
        is_asked.set()
        go_on.wait(60)

    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, rule), builder=fake_builder(work)) as service,
    ):
        upkeep = lambda: service.request("/v1/upkeep", method="POST", raw=b"")  # noqa: E731
        first, tagged, built = make_superseded(service, place, 3)
        fake_builder(work, "#!/bin/sh\ntrap 'exit 1' TERM\nwhile :; do sleep 0.1; done\n")
        place.inject("^DELETE", hold)
        upkeep()
        assert is_asked.wait(30)
        place.repository("app").tags["again"] = tagged
        for wish in ({"reference": f"{place.host}/app:again"}, {"reference": f"{place.host}/app@{built}", "force": True}):
            assert service.request("/v1/builds", wish)[0] == 202
        until(lambda: [b["digest"] for b in service.builds(state="running")] == [built], 30, service.said)
        until(lambda: {s["digest"]: s["tags"] for s in service.snapshots()}[tagged] == "again", 30, service.said)
        place.inject("^HEAD", lambda _: is_next_survey.set())
        upkeep()
        go_on.set()
        assert is_next_survey.wait(30)
        assert len(place.seen("^DELETE")) == 1
        assert first not in (left := {s["digest"] for s in service.snapshots()}) and {tagged, built} < left


def test_a_build_that_waits_for_a_removal_does_not_wait_for_the_next_one(work):
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s}}\n"
    is_asked, go_on = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def hold(which):
        is_asked[which].set()
        go_on[which].wait(60)

    with (
        memory_registry() as place,
        hook(work / "state", config=config_file(work, place.host, rule), builder=fake_builder(work)) as service,
    ):
        first, second = make_superseded(service, place, 2)
        place.inject("^DELETE", lambda _: hold(0), lambda _: hold(1))
        service.request("/v1/upkeep", method="POST", raw=b"")
        assert is_asked[0].wait(30)
        place.repository("app").tags["again"] = first
        assert service.request("/v1/builds", {"reference": f"{place.host}/app:again"})[0] == 202
        until(lambda: [b["digest"] for b in service.builds(state="queued")] == [first], 30, service.said)
        go_on[0].set()
        assert is_asked[1].wait(30)
        there = lambda: {s["digest"] for s in service.snapshots()}  # noqa: E731
        left = until(lambda: first in (found := there()) and found, 30, service.said)
        assert second not in left  # the registry has not answered, nor has it been given up
        go_on[1].set()


def test_an_image_is_gone_when_no_repository_that_wanted_its_snapshot_has_it(work):
    with memory_registry() as place:
        retention = f"target: 'docker://{place.host}/snapshots', retention: {{deleted: 1s, dry-run: true}}"
        config = config_file(work, place.host, f"- {{name: r, repositories: '*/*', {retention}}}\n")
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            upkeep = lambda: service.request("/v1/upkeep", method="POST", raw=b"")  # noqa: E731
            doomed = lambda: {s["digest"] for s in service.get("/v1/retention")["toRemove"]}  # noqa: E731
            for repository, name in (("dev", "shared"), ("prod", "shared"), ("dev", "other")):
                put_image(place, name, name, repository)
                service.request("/v1/builds", {"reference": f"{place.host}/{repository}:{name}"})
                until(lambda r=repository, n=name: f"{r}:{n}: marked by" in service.said(), 30, service.said)
            service.settle()
            shared, other = (place.repository("dev").tags[name] for name in ("shared", "other"))
            assert {s["digest"] for s in service.snapshots()} == {shared, other}
            place.repository("dev").manifests.clear()
            upkeep()
            until(lambda: doomed() == {other}, 30, service.said)
            upkeep()
            until(lambda: len(place.seen(f"^HEAD /v2/prod/manifests/{shared}")) == 2, 30, service.said)
            assert doomed() == {other}
            place.repository("prod").manifests.clear()
            upkeep()
            until(lambda: doomed() == {shared, other}, 30, service.said)


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


def test_a_target_on_another_registry_is_reached_as_its_entry_says(work):
    """The credentials of both are the builder's. Of other settings one build has one."""
    for name in ("image.json", "target.json"):
        (work / name).write_text('{"auths": {}}')
    builder = fake_builder(work, '#!/bin/sh\necho "$@" >&2\nexit 4\n')
    with memory_registry() as place:
        config = config_file(work, place.host, "- {name: r, repositories: '**', target: 'docker://t.example/snapshots'}\n")
        entries = (
            f"- host: '{place.host}'\n  auth-file: {work / 'image.json'}\n"
            f"- host: t.example\n  auth-file: {work / 'target.json'}\n"
        )
        config.write_text(config.read_text().replace(f"- host: '{place.host}'\n", entries))
        with hook(work / "state", config=config, builder=builder) as service:
            put_image(place, "1", "app")
            assert service.request("/v1/builds", {"reference": f"{place.host}/app:1"})[0] == 202
            (build,) = until(lambda: service.builds(state="failed"), 30, service.said)
            arguments = service.get(f"/v1/builds/{build['id']}")["log"].split()
            assert f"--auth-file={work / 'target.json'}:{work / 'image.json'}" in arguments
            authority, _ = tls.self_signed(work)
            entry = f"- host: t.example\n  ca-file: {authority}\n"
            config.write_text(config.read_text().replace("- host: t.example\n", entry))
            service.process.send_signal(signal.SIGHUP)
            until(lambda: "was read again" in service.said(), 30)
            assert service.request(f"/v1/builds/{build['id']}/retry", method="POST", raw=b"")[0] == 200
            until(lambda: "two values of 'ca-file'" in service.builds()[0].get("reason", ""), 30, service.said)


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


def test_no_limit_of_time_is_no_limit(work):
    builder = fake_builder(work, FAKE_BUILDER.replace("#!/bin/sh\n", "#!/bin/sh\nsleep 1.5\n"))  # a clock's second is passed
    config = config_file(work, "127.0.0.1:*", ALL)
    text = config.read_text().replace("limits: {memory: 0}\n", "")
    config.write_text(text + "limits: {memory: 0, time: 0}\n")
    with memory_registry() as place, hook(work / "state", config=config, builder=builder) as service:
        put_image(place, "1", "app")
        service.request("/v1/builds", {"reference": f"{place.host}/app:1"})
        until(lambda: service.builds() and "finished" in service.builds()[0], 30, service.said)
        assert service.builds()[0]["state"] == "done", service.builds()


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


def test_second_version_rests_on_the_first_and_is_laid_out_by_what_nodes_reported(pair, work):
    service, place = pair(ALL)
    place.push(images.source("busybox"), "app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    status, answer = service.request(
        f"/v1/profiles?repository={place.host}/app", raw=b"/bin/busybox\t0\t8192\n/new\n",
        headers={"Content-Type": "text/plain"},
    )  # fmt: skip
    assert status == 200, answer
    layout = oci.Layout(work / "second")
    made = images.Maker(work)
    made.layers += oci.Layout(images.layout("busybox")).layers("busybox")
    with made.layer() as tar:
        tar.file("new", b"new" * 5000)
    layout.add_image("second", made.layers, {})
    place.push(f"oci:{work / 'second'}:second", "app", "2")
    until(lambda: len(service.snapshots()) == 2, 60, service.said)
    newer, older = service.snapshots()
    build = service.get(f"/v1/builds/{newer['build']}")
    assert "of the base" in build["log"] and build["result"]["bytesSent"] < 20000, build
    lists = (work / "state" / "store" / "images").glob("*/prefetch.json")
    lists = [json.loads(path.read_text()) for path in lists if (path.parent / "profile").exists()]
    assert len(lists) == 1 and lists[0]["ranges"] and "guess" not in lists[0]
    assert list((work / "state" / "profiles").iterdir()) == []


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
