# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes on one node: etcd, API server (TLS, RBAC, node authorizer), controllers, and with a containerd also
scheduler and kubelet. Run it inside kubernetes_node.private_network(): it has fixed ports."""
import json
import os
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from .containerd import unmount_below
from .kubernetes_node import ADDRESS

API = "https://127.0.0.1:6443"
NODE = "node1"
START_SECONDS = 120
_SANS = "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"


class KubernetesError(Exception):
    """kubectl failed, or a part of the cluster did; the text is what it printed."""


class _Keys:
    """A certificate authority and those it vouches for."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        self._make("ca", "/CN=test-ca")

    def _make(self, name, subject, *options):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        command += ["-subj", subject, "-keyout", self.key(name), "-out", self.certificate(name), *options]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)

    def certificate(self, name):
        return self.directory / f"{name}.crt"

    def key(self, name):
        return self.directory / f"{name}.key"

    def make(self, name, subject):
        extensions = ("basicConstraints=critical,CA:FALSE", "extendedKeyUsage=clientAuth,serverAuth", f"subjectAltName={_SANS}")
        self._make(name, subject, "-CA", self.certificate("ca"), "-CAkey", self.key("ca"),
                   *[word for extension in extensions for word in ("-addext", extension)])  # fmt: skip

    def kubeconfig(self, name, subject):
        """The file with which a new user comes to the API server."""
        self.make(name, subject)
        user = {"client-certificate": str(self.certificate(name)), "client-key": str(self.key(name))}
        cluster = {"server": API, "certificate-authority": str(self.certificate("ca"))}
        path = self.directory / f"{name}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        }))  # fmt: skip
        return path


class Cluster:
    """`programs`: where the commands are. `node`: a running CriContainerd for pods; without one there is a control plane
    only. `image_service`: the socket of another CRI image service than the containerd's. `api_options`: more of the API
    server's."""

    def __init__(self, directory, programs, node=None, image_service=None, api_options=()):
        self.directory, self.programs, self.node = Path(directory), Path(programs), node
        self.api_options = api_options
        self.image_service = image_service or (node and node.socket)
        self.logs = self.directory / "log"
        self.processes = {}
        self.kubeconfig = None

    def _run(self, name, *command):
        with open(self.logs / name, "ab") as log:
            self.processes[name] = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def log(self, name):
        return (self.logs / name).read_text(errors="replace")

    def wait_for(self, what, is_so, seconds=START_SECONDS):
        """Asks until it is so; fails with the ends of the logs when a part died, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not is_so():
            died = [name for name, process in self.processes.items() if process.poll() is not None]
            if died or time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-1500:]}" for name in died or self.processes)
                raise KubernetesError(f"no {what}; died: {died}\n{logs}")
            time.sleep(0.1)

    # --- the client

    def kubectl(self, *arguments, stdin=None, timeout=120):
        """Runs kubectl; returns what it printed or raises KubernetesError."""
        result = self.run_kubectl(*arguments, stdin=stdin, timeout=timeout)
        if result.returncode != 0:
            raise KubernetesError(f"kubectl {arguments}: {result.stdout}{result.stderr}")
        return result.stdout

    def run_kubectl(self, *arguments, stdin=None, timeout=120):
        """The same, with what it said and whether it succeeded, as subprocess has it."""
        command = [self.programs / "kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        return subprocess.run(command, input=stdin or "", capture_output=True, text=True, timeout=timeout)

    def is_true(self, *arguments):
        """Whether kubectl succeeds; what it says it does not matter."""
        return self.run_kubectl(*arguments).returncode == 0

    def apply(self, *objects):
        self.kubectl("create", "-f", "-", stdin="".join(map(json.dumps, objects)))

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    # --- the control plane

    def _start_etcd(self):
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        self._run("etcd", "etcd", "--data-dir", self.directory / "etcd", "--unsafe-no-fsync",
                  "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                  "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")  # fmt: skip
        return client

    def _start_api_server(self, etcd, keys):
        self._api = (etcd, keys)
        api, admin = (keys.certificate("api"), keys.key("api")), (keys.certificate("admin"), keys.key("admin"))
        self._run("kube-apiserver", self.programs / "kube-apiserver", f"--etcd-servers={etcd}", "--secure-port=6443",
                  "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
                  f"--tls-cert-file={api[0]}", f"--tls-private-key-file={api[1]}",
                  f"--client-ca-file={keys.certificate('ca')}", "--authorization-mode=Node,RBAC", "--allow-privileged",
                  "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
                  f"--service-account-key-file={api[0]}", f"--service-account-signing-key-file={api[1]}",
                  f"--kubelet-client-certificate={admin[0]}", f"--kubelet-client-key={admin[1]}",
                  "--kubelet-preferred-address-types=InternalIP", *self.api_options)  # fmt: skip
        self.wait_for("API server", lambda: self.is_true("get", "--raw", "/readyz"))

    def restart_api_server(self, meanwhile=lambda: None):
        """It is away until `meanwhile` has returned, and then ready again."""
        process = self.processes["kube-apiserver"]
        process.kill()
        process.wait()
        meanwhile()
        self._start_api_server(*self._api)

    def forget_history(self):
        """Compacts etcd: from here on, what happened before is not to be had."""

        def ask(path, body):
            etcd, _ = self._api
            request = urllib.request.Request(f"{etcd}/v3/kv/{path}", json.dumps(body).encode())
            return json.load(urllib.request.urlopen(request))

        ask("compaction", {"revision": ask("range", {"key": "AA=="})["header"]["revision"], "physical": True})

    def _start_controllers(self, keys):
        kubeconfig = keys.kubeconfig("controllers", "/CN=system:kube-controller-manager")
        self._run("kube-controller-manager", self.programs / "kube-controller-manager", f"--kubeconfig={kubeconfig}",
                  "--use-service-account-credentials", f"--service-account-private-key-file={keys.key('api')}",
                  f"--root-ca-file={keys.certificate('ca')}", "--leader-elect=false", "--bind-address=127.0.0.1")  # fmt: skip
        self.wait_for("service accounts", lambda: self.is_true("get", "serviceaccount", "default"))

    # --- the node

    def _kubelet_configuration(self, keys):
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(keys.certificate("ca"))}},
            "tlsCertFile": str(keys.certificate("api")), "tlsPrivateKeyFile": str(keys.key("api")),
            "containerRuntimeEndpoint": f"unix://{self.node.socket}", "imageServiceEndpoint": f"unix://{self.image_service}",
            # as little of the machine's as possible
            "cgroupDriver": "cgroupfs", "cgroupsPerQOS": False, "enforceNodeAllocatable": [], "makeIPTablesUtilChains": False,
            "podLogsDir": str(self.directory / "pods"), "volumePluginDir": str(self.directory / "volume-plugins"),
            "resolvConf": "", "failSwapOn": False, "failCgroupV1": False, "localStorageCapacityIsolation": False,
            # tests remove images themselves, however full the disk is
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
            "imageGCHighThresholdPercent": 100,
            # many pods at once
            "registryPullQPS": 0, "eventRecordQPS": 0, "maxPods": 500,
        }  # fmt: skip

    def _start_node(self, keys):
        kubeconfig = keys.kubeconfig("scheduler", "/CN=system:kube-scheduler")
        self._run("kube-scheduler", self.programs / "kube-scheduler", f"--kubeconfig={kubeconfig}",
                  "--leader-elect=false", "--bind-address=127.0.0.1")  # fmt: skip
        configuration = self.directory / "kubelet.json"
        configuration.write_text(json.dumps(self._kubelet_configuration(keys)))
        kubeconfig = keys.kubeconfig("kubelet", f"/O=system:nodes/CN=system:node:{NODE}")
        self._run("kubelet", self.programs / "kubelet", f"--config={configuration}", f"--kubeconfig={kubeconfig}",
                  f"--hostname-override={NODE}", f"--node-ip={ADDRESS}", f"--root-dir={self.directory / 'kubelet'}",
                  f"--cert-dir={self.directory / 'kubelet-keys'}")  # fmt: skip
        self.wait_for("node", lambda: self.is_true("get", "node", NODE))
        self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", f"--timeout={START_SECONDS}s")

    def start(self):
        self.logs.mkdir(parents=True)
        keys = _Keys(self.directory / "keys")
        keys.make("api", "/CN=kube-apiserver")
        self.kubeconfig = keys.kubeconfig("admin", "/O=system:masters/CN=admin")
        etcd = self._start_etcd()
        self._start_api_server(etcd, keys)
        self._start_controllers(keys)
        if self.node:
            self._start_node(keys)
        return self

    def stop(self):
        """The kubelet takes pods away as long as it can be told; then everything ends, the API server after its clients."""
        if self.node and "kubelet" in self.processes:
            self.run_kubectl("delete", "pods", "--all", "--all-namespaces", "--grace-period=1", "--timeout=60s")
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        unmount_below(self.directory)
        # one directory of the machine's the kubelet insists on
        for link in Path("/var/log/containers").glob("*.log"):
            if str(link.readlink()).startswith(f"{self.directory}/"):
                link.unlink()


@contextmanager
def cluster(directory, programs, node=None, image_service=None, api_options=()):
    """A running Cluster, all of it below `directory`."""
    running = Cluster(directory, programs, node, image_service, api_options)
    try:
        yield running.start()
    finally:
        running.stop()
