# SPDX-License-Identifier: Apache-2.0
"""What zeropull-node says about pullers while its API server cannot be relied on: nothing, rather than that nobody pulls."""
import base64
import json
import signal
import socket
import subprocess
from contextlib import contextmanager

import pytest

from support.controller import until
from support.fake_kubernetes import fake_kubernetes
from support.programs import BUILD, ZEROPULL

NODE = BUILD / "controller" / "node" / "zeropull-node"
IMAGE = "r.example/team/web:1"
ALICE = {"username": "alice", "password": "a"}


@pytest.fixture
def kube(tmp_path):
    with fake_kubernetes(tmp_path) as kube:
        auths = {"auths": {"r.example": {"auth": base64.b64encode(b"alice:a").decode()}}}
        kube.objects.create(kube.resource("secrets"), "default", {
            "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()}})  # fmt: skip
        kube.objects.create(kube.resource("pods"), "default", {"metadata": {"name": "web"}, "spec": {
            "nodeName": "here", "containers": [{"name": "c", "image": IMAGE}], "imagePullSecrets": [{"name": "pull"}]}})  # fmt: skip
        yield kube


@contextmanager
def agent(directory, kube):
    (directory / "config.yaml").write_text(f"version: 1\nroot: {directory}/root\nagent: {directory}/agent.sock\n")
    command = [NODE, "--node", "here", "--config", directory / "config.yaml", "--kubeconfig", kube.kubeconfig(), "--zeropull", ZEROPULL,
               "--no-pod-events"]  # fmt: skip
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: (directory / "agent.sock").exists(), 30, lambda: (directory / "log").read_text())
        yield directory / "agent.sock"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (directory / "log").read_text()


def ask(path):
    """The pullers, or None when there is no answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(IMAGE.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return json.loads(answer)["pullers"] if answer else None


def test_before_the_nodes_pods_have_been_listed_there_is_no_answer(tmp_path, kube):
    fault = kube.add_fault(path="/pods", status=500, times=-1)
    with agent(tmp_path, kube) as path:
        assert ask(path) is None
        fault.left = 0
        until(lambda: ask(path) == [ALICE], 60, lambda: (tmp_path / "log").read_text())


def test_while_a_pull_secret_cannot_be_read_there_is_no_answer_and_then_there_is(tmp_path, kube):
    fault = kube.add_fault(path="/secrets/", status=500, times=-1)
    with agent(tmp_path, kube) as path:
        assert ask(path) is None
        fault.left = 0
        assert ask(path) == [ALICE]
