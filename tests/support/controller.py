# SPDX-License-Identifier: Apache-2.0
"""zeropull-controller, as a test runs it; and what stands for nodes where there is a control plane only."""
import base64
import gzip
import hashlib
import http.client
import io
import json
import re
import select
import signal
import subprocess
import tarfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from .kubernetes_api import ApiError, KubernetesApi
from .programs import BUILD, ZEROPULL

CONTROLLER = BUILD / "controller" / "zeropull-controller"
SECONDS = 90
AWAY = OSError, http.client.HTTPException  # what a request to an API server that goes away ends with


def until(condition, seconds=SECONDS, explain=lambda: ""):
    """Asks again until it holds."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, explain()
        select.select([], [], [], 0.05)
    return result


class Controller:
    def __init__(self, directory, kubeconfig, config, *options):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = self.directory / "log"
        configuration = self.directory / "controller.yaml"
        configuration.write_text(json.dumps({"version": 1, **config}))
        self.command = [CONTROLLER, "--kubeconfig", kubeconfig, "--config", configuration, "--metrics", "127.0.0.1:0", *options]
        self.process = self.port = None

    def start(self):
        start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(list(map(str, self.command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        found = until(lambda: re.search(r"metrics at port (\d+)", self._said_since(start)) or not self.is_running(), 20, self.said)
        assert self.is_running(), self.said()
        self.port = int(found[1])
        return self

    def _said_since(self, start):
        return self.log.read_bytes()[start:].decode(errors="replace")

    def said(self):
        return self._said_since(0)[-4000:]

    def is_running(self):
        return self.process.poll() is None

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name):
        return int(re.search(rf"^zeropull_controller_{name} (\d+)$", self.get("/metrics")[1], re.MULTILINE)[1])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.said()
        assert not any(mark in self._said_since(0) for mark in ("Sanitizer", "runtime error:")), self.said()


@contextmanager
def controller(directory, kubeconfig, config, *options):
    running = Controller(directory, kubeconfig, config, *options).start()
    try:
        yield running
        running.stop()
    finally:
        if running.is_running():
            running.kill()


class PlayedNode:
    """Plays the kubelet for the pods of builds: runs what they say with the program under test, in a directory, or answers
    as that would; and reports as a kubelet does. A thread of its own."""

    def __init__(self, cluster, directory):
        self.api, self.directory = KubernetesApi(cluster), Path(directory)
        self.is_real = True  # else it only says that it has built
        self.is_held = False  # pods stay as they are
        self.left = None  # so many more pods are run; None: all
        self.is_busy = False  # what runs goes on
        self.exit_code, self.says = 0, ""  # of builds that are not real
        self.ran = []  # (namespace, Job, image as in the command)
        self._done, self._ending = set(), threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def _play(self):
        while not self._ending.wait(0.05):
            if self.is_held:
                continue
            try:
                for pod in self.api.list("/api/v1/pods", labelSelector="app.kubernetes.io/component=build"):
                    if self.left != 0 and pod["metadata"]["uid"] not in self._done and not pod["metadata"].get("deletionTimestamp"):
                        self._run(pod)
            except (ApiError, *AWAY):  # the pod is gone, or the API server for a moment
                continue

    def _report(self, pod, phase, state):
        meta = pod["metadata"]
        status = {"phase": phase, "containerStatuses": [
            {"name": "build", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}]}  # fmt: skip
        while not self._ending.is_set():
            try:
                return self.api.merge(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status", {"status": status})
            except ApiError as error:
                if error.status < 500:
                    raise
            except AWAY:
                pass
            self._ending.wait(0.1)

    def _run(self, pod):
        meta, command = pod["metadata"], pod["spec"]["containers"][0]["command"]
        self._done.add(meta["uid"])
        if self.left is not None:
            self.left -= 1
        self.ran.append((meta["namespace"], meta["labels"]["job-name"], command[-1]))
        self._report(pod, "Running", {"running": {}})
        while self.is_busy and not self._ending.wait(0.05):
            pass
        code, message = self._build(pod, command) if self.is_real else self._pretend(command)
        ended = {"exitCode": code, "message": message, "finishedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:00Z"}
        self._report(pod, "Failed" if code else "Succeeded", {"terminated": ended})

    def _pretend(self, command):
        if self.exit_code:
            return self.exit_code, self.says
        return 0, json.dumps({"snapshot": snapshot_of(command[-1].partition("@")[2]), "snapshotSize": 42})

    def _secret(self, pod, path):
        """What is mounted at a path, as a file."""
        name = next(m["name"] for m in pod["spec"]["containers"][0]["volumeMounts"] if path.startswith(m["mountPath"] + "/"))
        source = next(v for v in pod["spec"]["volumes"] if v["name"] == name)["secret"]
        secret = self.api.find(f"/api/v1/namespaces/{pod['metadata']['namespace']}/secrets/{source['secretName']}")
        out = self.directory / f"{pod['metadata']['uid']}-{name}" / Path(path).name
        key = next(item["key"] for item in source["items"] if item["path"] == out.name)
        if key not in (secret or {}).get("data", {}) and source.get("optional"):
            return out
        out.parent.mkdir(exist_ok=True)
        out.write_bytes(base64.b64decode(secret["data"][key]))
        return out

    def _build(self, pod, command):
        result = self.directory / pod["metadata"]["uid"]
        arguments = []
        for word in command[1:]:
            option, _, value = word.partition("=")
            if option == "--store":
                word = f"--store={self.directory / 'store'}"
            elif option == "--result-file":
                word = f"--result-file={result}"
            elif option in ("--auth-file", "--sign-key"):
                word = f"{option}=" + ":".join(path and str(self._secret(pod, path)) for path in value.split(":"))
            arguments.append(word)
        ran = subprocess.run([ZEROPULL, *arguments], capture_output=True, text=True, timeout=SECONDS)
        return ran.returncode, result.read_text() if ran.returncode == 0 else ran.stderr[-2000:]

    def stop(self):
        self._ending.set()
        self._thread.join()


@contextmanager
def played_node(cluster, directory):
    Path(directory).mkdir(parents=True, exist_ok=True)
    node = PlayedNode(cluster, directory)
    try:
        yield node
    finally:
        node.stop()


# --- images without weight


def snapshot_of(digest):
    """What a build that is not real says it has published."""
    return "sha256:" + hashlib.sha256(digest.encode()).hexdigest()


def _request(url, data=None, method=None, **headers):
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()}, method=method)
    return urllib.request.urlopen(request, timeout=30)


def _put_blob(server, repository, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with _request(f"{server.url}/v2/{repository}/blobs/uploads/", b"", "POST") as answer:
        place = answer.headers["Location"]
    place += ("&" if "?" in place else "?") + f"digest={digest}"
    _request(place, data, "PUT", Content_Type="application/octet-stream").close()
    return {"digest": digest, "size": len(data)}


def push_tiny(server, repository, tag="latest", salt="", is_image=True):
    """An image with one small file, for linux/amd64; another `salt` gives another one. Or what only looks like one. Returns
    its digest."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"), io.BytesIO())
    layer = _put_blob(server, repository, gzip.compress(raw.getvalue(), mtime=0))
    diff_id = "sha256:" + hashlib.sha256(raw.getvalue()).hexdigest()
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"salt": salt}},
              "rootfs": {"type": "layers", "diff_ids": [diff_id]}}  # fmt: skip
    kind = "application/vnd.oci.image."
    manifest = {
        "schemaVersion": 2, "mediaType": f"{kind}manifest.v1+json",
        "config": {"mediaType": f"{kind}config.v1+json" if is_image else "application/vnd.test.chart.v1+json", **_put_blob(server, repository, json.dumps(config).encode())},
        "layers": [{"mediaType": f"{kind}layer.v1.tar+gzip", **layer}],
    }  # fmt: skip
    data = json.dumps(manifest).encode()
    _request(f"{server.url}/v2/{repository}/manifests/{tag}", data, "PUT", Content_Type=manifest["mediaType"]).close()
    return "sha256:" + hashlib.sha256(data).hexdigest()
