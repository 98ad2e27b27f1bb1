# SPDX-License-Identifier: Apache-2.0
"""The builds of zeropull-hook: tried again, cancelled, with the settings of their registries, and hostile ones alone."""
import signal
from pathlib import Path

import pytest
from support import tls
from support.hook import FAKE_BUILDER, IS_SANITIZED, fake_builder, hook, until
from support.hook_world import ALL, config_file, marked_layout, put_image
from support.memory_registry import memory_registry
from support.registry import registry


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
