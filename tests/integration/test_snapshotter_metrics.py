# SPDX-License-Identifier: Apache-2.0
"""What the snapshotter tells those who watch it; and that a call somebody gave up leaves nothing."""
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from support import prometheus
from support.fault_proxy import fault_proxy
from support.listening import deaf
from support.snapshots_api import MESSAGES
from support.snapshotter import snapshotter, stopped

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
P = "zeropull_snapshotter_"
SETTINGS = ["metrics: 127.0.0.1:0", "registry_timeout_s: 3"]


def url(daemon):
    (port,) = re.findall(r"address=127.0.0.1:0 port=(\d+)", daemon.log()[daemon.logged :])[-1:]
    return f"http://127.0.0.1:{port}"


def metrics(daemon):
    return prometheus.fetch(url(daemon) + "/metrics")


def metrics_of_all(daemon):
    """None: the data plane did not answer within half a second."""
    now = metrics(daemon)
    return now if now.get(P + "data_plane_up") == 1 else None


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)
    return value


def target(host):
    return {
        "containerd.io/snapshot.ref": "sha256:" + "1" * 64,
        "containerd.io/snapshot/cri.image-ref": f"{host}/web:latest",
        "containerd.io/snapshot/cri.manifest-digest": "sha256:" + "2" * 64,
    }


def test_calls_are_counted_by_method_and_code(daemon, api):
    for i in range(3):
        api.prepare(f"k{i}")
    with pytest.raises(grpc.RpcError):
        api.prepare("k0")
    with pytest.raises(grpc.RpcError):
        api.stat("none")
    now = until(lambda: metrics_of_all(daemon))
    assert now.get(P + "grpc_requests_total", method="Prepare", code="OK") == 3
    assert now.get(P + "grpc_requests_total", method="Prepare", code="ALREADY_EXISTS") == 1
    assert now.get(P + "grpc_requests_total", method="Stat", code="NOT_FOUND") == 1
    assert now.get(P + "grpc_requests_total", method="Commit", code="OK") == 0
    assert now.get(P + "grpc_request_seconds_count", method="Prepare") == 4
    assert now.get(P + "snapshots", kind="active") == 3
    assert now.get(P + "build_info", version=daemon_version()) == 1
    assert now.types[P + "device_read_seconds"] == "histogram"


def daemon_version():
    import subprocess

    from support.snapshotter import SNAPSHOTTER

    return subprocess.run([SNAPSHOTTER, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


def test_images_are_counted_by_reason(daemon, api):
    with deaf() as registry:
        api.prepare("k", labels=target(registry.host))
    now = metrics(daemon)
    assert now.get(P + "images_not_accelerated_total", reason="timeout") == 1
    assert now.get(P + "images_not_accelerated_total", reason="no_snapshot") == 0
    assert now.get(P + "image_decision_seconds_count") == 1
    (line,) = [line for line in daemon.log().splitlines() if "not accelerated" in line]
    said = re.search(r" level=warn part=control .* image=\S+/web:latest manifest=sha256:2+ reason=.* took_ms=(\d+)$", line)
    assert 3000 <= int(said[1]) < 25000


def test_a_registry_that_only_fails_is_said_to_fail(daemon, api):
    """Not to be late: no attempt is waited for that could not be in time."""

    def fail(handler):
        handler.answer(500)
        return True

    with fault_proxy("http://nobody.invalid") as registry:
        registry.inject("", *[fail] * 20)
        api.prepare("k", labels=target(registry.host))
    now = metrics(daemon)
    assert now.get(P + "images_not_accelerated_total", reason="timeout") == 0
    assert now.get(P + "images_not_accelerated_total", reason="other") == 1
    (line,) = [line for line in daemon.log().splitlines() if "not accelerated" in line]
    said = re.search(r"image=(\S+)/web:latest .* reason=\"(.*)\" took_ms=(\d+)$", line)
    assert f"{said[1]}/web" in said[2] and "the server answered 500" in said[2] and int(said[3]) < 3000


def test_clients_that_are_gone_take_no_place(daemon):
    host, port = url(daemon).removeprefix("http://").split(":")
    for _ in range(200):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    with urllib.request.urlopen(url(daemon) + "/healthz", timeout=8) as answer:
        assert answer.read() == b"ok\n"


@pytest.mark.parametrize("what", ["", "metadata.db"])
def test_a_root_that_is_gone_is_not_healthy(daemon, what):
    there, aside = daemon.root / what, daemon.root.parent / "aside"
    there.rename(aside)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url(daemon) + "/healthz")
    assert refused.value.code == 503 and b"root directory" in refused.value.read()
    aside.rename(there)
    with urllib.request.urlopen(url(daemon) + "/healthz") as answer:
        assert answer.read() == b"ok\n"


def test_other_questions_are_refused(daemon):
    with urllib.request.urlopen(url(daemon) + "/healthz") as answer:
        assert answer.read() == b"ok\n"
    for path, method, status in [("/", "GET", 404), ("/metrics", "POST", 405), ("/metrics/x", "GET", 404)]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url(daemon) + path, method=method, data=b"x" if method == "POST" else None))
        assert refused.value.code == status


def test_a_data_plane_that_does_not_answer_holds_nobody_up(daemon):
    """Stopped, it keeps its requests, so whoever asked cannot even be killed."""
    with stopped(daemon.data_plane()):
        for _ in range(3):
            start = time.monotonic()
            now = metrics(daemon)
            assert now.get(P + "data_plane_up") == 0
            assert now.get(P + "device_reads_total") is None
            assert time.monotonic() - start < 20
    until(lambda: metrics_of_all(daemon))


def test_restarts_of_the_data_plane_are_counted(daemon):
    until(lambda: metrics(daemon).get(P + "data_plane_starts_total") == 1)
    os.kill(daemon.data_plane(), signal.SIGKILL)
    until(lambda: metrics(daemon).get(P + "data_plane_starts_total") == 2)


def test_a_taken_port_costs_the_metrics_alone(work):
    with deaf() as registry:
        (work / "config.yaml").write_text(f"version: 1\nmetrics: {registry.host}\n")
        with snapshotter(work, "--config", work / "config.yaml") as running:
            client = running.client()
            client.prepare("k")
            client.close()
            assert 'level=error part=control msg="no metrics"' in running.log()


def test_without_the_setting_nobody_listens(work):
    with snapshotter(work) as running:
        assert "metrics" not in running.log()


def test_an_ordinary_stop_is_no_warning(work):
    with snapshotter(work) as running:
        pass
    assert "level=warn" not in running.log() and "level=error" not in running.log()
    assert "part=supervisor" in running.log() and "part=control" in running.log()


@pytest.mark.parametrize("way, code", [("deadline", "DEADLINE_EXCEEDED"), ("cancel", "CANCELLED")])
def test_a_prepare_that_was_given_up_leaves_no_snapshot(daemon, api, way, code):
    api.names()  # it is connected
    with deaf() as registry:
        request = MESSAGES["PrepareSnapshotRequest"](key="given/up", labels=target(registry.host))
        future = api.stub("Prepare").future(request, timeout=2 if way == "deadline" else 60)
        if way == "cancel":
            until(lambda: "image=" in daemon.log() or accepted(registry.host))
            future.cancel()
        else:
            with pytest.raises(grpc.RpcError) as error:
                future.result()
            assert error.value.code().name == code
        until(lambda: metrics(daemon).get(P + "grpc_requests_total", method="Prepare", code=code) == 1)
    assert api.names() == [] and daemon.directories() == []
    api.prepare("given/up")  # the key is free


def accepted(host):
    """Somebody has connected to it: /proc/net/tcp has the connection."""
    port = "%04X" % int(host.split(":")[1])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(":" + port) and line.split()[3] == "01" for line in lines)
