# SPDX-License-Identifier: Apache-2.0
"""Many pods at once on a real node, and what of it is whose."""
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from support import debian, images, oci
from support.containerd import unmount_below
from support.kubernetes import cluster
from support.kubernetes_api import KubernetesApi
from support.kubernetes_node import CriContainerd
from support.kubernetes_programs import CNI
from support.snapshotter import snapshotter
from support.zeropull import Zeropull

from .nodes import Failed, drop_caches

PODS = "/api/v1/namespaces/default/pods"
SLEEP = ["sleep", "1000000"]
PATIENCE_S = 300
METRICS = "127.0.0.1:1338"  # in a network of our own
AT_ONCE = 4
# What the kubelet and containerd do for one pod after the other, as they count it themselves.
_OPERATIONS = ["run_podsandbox", "pull_image", "create_container", "start_container"]


def publish(server, work, name):
    """The image of the pods, the one of sandboxes, and one with whose start the node's programs get into memory; each with
    its snapshot. Returns what pods call them."""
    layout, builder = oci.Layout(Path(work) / "pause"), Zeropull(Path(work) / "builder")
    busybox = oci.Layout(images.layout("busybox")).layers("busybox")
    layout.add_image("pause", busybox, {"Cmd": SLEEP})
    sources = {"pause": f"oci:{layout.directory}:pause", "programs": images.source("busybox"), "subject": images.source(name)}
    for repository, source in sources.items():
        server.push(source, repository)
        builder.ok("build", "--push", server.reference(repository), timeout=1200)
    shutil.rmtree(builder.store)
    return {repository: f"{server.host}/{repository}:latest" for repository in sources}


class Ready(threading.Thread):
    """Notes when each pod becomes Ready. Follows a watch, which costs the API server next to nothing."""

    def __init__(self, kube, version):
        super().__init__(daemon=True)
        self.at = {}
        self.news = threading.Condition()
        command = [kube.programs / "kubectl", "--kubeconfig", kube.kubeconfig, "get", "--raw", f"{PODS}?watch=1&resourceVersion={version}"]
        self._watch = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
        self.start()

    def run(self):
        for line in self._watch.stdout:
            pod = json.loads(line)["object"]
            conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", [])}
            if conditions.get("Ready") == "True":
                with self.news:
                    self.at.setdefault(pod["metadata"]["name"], time.time())
                    self.news.notify()

    def wait(self, count):
        with self.news:
            if not self.news.wait_for(lambda: len(self.at) >= count, PATIENCE_S):
                raise Failed(f"{len(self.at)} of {count} pods are ready after {PATIENCE_S} s")

    def end(self):
        self._watch.kill()
        self._watch.wait()
        self.join()
        self._watch.stdout.close()


# --- whose time it is


def _ticks(pid):
    """Its own, and those of its children that have ended; none of a process that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0, 0
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def _all_ticks(pids):
    """The same of all of them together."""
    return [sum(ticks) for ticks in zip((0, 0), *map(_ticks, pids))]


def _machine():
    """(ticks that processors worked, all of their ticks)"""
    times = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    idle = times[3] + times[4]
    return sum(times) - idle, sum(times)


class Node:
    """`names`: what publish() returned."""

    def __init__(self, directory, kubernetes, programs, tool, names):
        self.directory, self.names, self.tool = Path(directory), names, tool
        self.kubernetes, self.programs = kubernetes, programs
        self.daemon = None

    def start(self, stack):
        if self.tool == "zeropull":
            self.daemon = stack.enter_context(snapshotter(self.directory))
        (self.directory / "containerd").mkdir()
        self.containerd = CriContainerd(self.directory / "containerd", self.names["pause"], self.programs, self.daemon,
                                        {"metrics": {"address": METRICS}})  # fmt: skip
        stack.callback(self.containerd.stop)
        self.containerd.start()
        self.kube = stack.enter_context(cluster(self.directory / "cluster", self.kubernetes, self.containerd))
        self.api = KubernetesApi(self.kube)
        return self

    # --- pods

    def _pod(self, name, image, command, host_network):
        return {"metadata": {"name": name}, "spec": {
            "containers": [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}],
            "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False, "enableServiceLinks": False,
            "hostNetwork": host_network}}  # fmt: skip

    def _first_output(self, start):
        """When each container since then has first written something, by containerd's log."""
        logs = [log.read_text() for log in (self.directory / "cluster" / "pods").glob("default_*/c/0.log")]
        moments = [datetime.fromisoformat(log.split(" ", 1)[0]).timestamp() - start for log in logs if log]
        return sorted(moment for moment in moments if moment > 0)  # those of before may be there for a minute

    def run(self, count, image, command, host_network=False):
        """Creates so many pods at once, waits until they are ready, and takes them away. Figures."""
        ready = Ready(self.kube, self.api.get(PODS)["metadata"]["resourceVersion"])
        counters = self._counters()
        start = time.time()
        for number in range(count):
            self.api.create(PODS, self._pod(f"p{number}", image, command, host_network))
        created = time.time() - start
        ready.wait(count)
        counters = {name: value - counters[name] for name, value in self._counters().items()}
        at = sorted(moment - start for moment in ready.at.values())
        ready.end()
        outputs = self._outputs(start, count) if command is not SLEEP else []
        self.clear()
        return {"created": created, "first": at[0], "half": at[count // 2], "all": at[-1], "outputs": outputs[-1:], **counters}

    def _outputs(self, start, count):
        deadline = time.monotonic() + PATIENCE_S
        while len(found := self._first_output(start)) < count:
            if time.monotonic() > deadline:
                raise Failed(f"{len(found)} of {count} containers have written something")
            time.sleep(0.2)
        return found

    def clear(self):
        self.kube.kubectl("delete", "pods", "--all", "--wait", f"--timeout={PATIENCE_S}s", timeout=PATIENCE_S)

    def warm_programs(self):
        """Afterwards only what runs containers is in memory."""
        drop_caches()
        self.run(1, self.names["programs"], SLEEP)

    # --- figures

    def _shims(self):
        """One for each pod."""
        mark = b"-address\0%s\0" % str(self.containerd.socket).encode()
        return [comm.parent.name for comm in Path("/proc").glob("[0-9]*/comm") if comm.read_text().startswith("containerd-shim")
                and mark in (comm.parent / "cmdline").read_bytes()]  # fmt: skip

    def _ticks(self):
        """{who: processor time}; whatever else works meanwhile is the containers themselves. runc is what shims wait for, and
        what containerd does: CNI's plugins and programs that start shims."""
        found = {}
        for who, pids in self._processes().items():
            found[who], children = _all_ticks(pids)
            if who == "containerd":
                found["CNI, starting shims"] = children
        found["shims"], found["runc"] = _all_ticks(self._shims())
        return found

    def _processes(self):
        part = {name: process.pid for name, process in self.kube.processes.items()}
        own = {"kubelet": [part.pop("kubelet")], "containerd": [self.containerd.process.pid], "control plane": list(part.values())}
        if self.daemon:
            pid = self.daemon.process.pid
            own["zeropull-snapshotter"] = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        return own

    def _counters(self):
        busy, total = _machine()
        ticks = {f"cpu {who}": value for who, value in self._ticks().items()}
        ticks |= {"cpu all": busy, "cpu possible": total}
        seconds = {name: value / os.sysconf("SC_CLK_TCK") for name, value in ticks.items()}
        kubelet = self.kube.kubectl("get", "--raw", "/api/v1/nodes/node1/proxy/metrics")
        containerd = urllib.request.urlopen(f"http://{METRICS}/v1/metrics").read().decode()
        sums = {f"kubelet {name}": _sum(kubelet, "kubelet_runtime_operations_duration_seconds_sum", f'operation_type="{name}"')
                for name in _OPERATIONS}  # fmt: skip
        return seconds | sums | {"CNI": _sum(containerd, "containerd_cri_network_plugin_operations_duration_seconds_seconds_sum",
                                             'operation_type="set_up_pod"')}  # fmt: skip


def _sum(text, name, label):
    """0: it has not been counted yet."""
    found = re.search(rf"^{name}{{[^}}]*{re.escape(label)}[^}}]*}} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextmanager
def node(kubernetes, programs, tool, names):
    """A node that has nothing, with a cluster of its own, and whose programs are in memory."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(dir=debian.CACHE / "tmp", prefix="pods-"))
        stack.callback(subprocess.run, ["rm", "-rf", "--one-file-system", directory], check=True)
        stack.callback(unmount_below, directory)
        made = Node(directory, kubernetes, programs, tool, names).start(stack)
        made.warm_programs()
        yield made


def program(name):
    """What a pod does: what the image is for, and then nothing."""
    return ["sh", "-c", f"{shlex.join(images.config(name)['Cmd'])} && exec {shlex.join(SLEEP)}"]


# --- CNI alone


def _plug(directory, name, what):
    """An interface into a network namespace, or out of it, as containerd has it done."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.97.0.0/16"}]], "dataDir": str(directory / "cni-alone")}
    network = {"cniVersion": "0.4.0", "name": "alone", "type": "ptp", "ipMasq": False, "ipam": ipam}
    environment = {**os.environ, "CNI_COMMAND": what, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}", "CNI_IFNAME": "eth0",
                   "CNI_PATH": str(CNI)}  # fmt: skip
    subprocess.run([CNI / "ptp"], input=json.dumps(network).encode(), env=environment, check=True, stdout=subprocess.DEVNULL)


def _add(directory, name):
    subprocess.run(["ip", "netns", "add", name], check=True)
    _plug(directory, name, "ADD")


def _delete(directory, name):
    try:
        _plug(directory, name, "DEL")
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def cni_alone(directory, count):
    """Seconds for so many network namespaces with an interface each, with nothing else in the way."""
    names = [f"zp-{os.getpid()}-{number}" for number in range(count)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        start = time.monotonic()
        list(pool.map(lambda name: _add(directory, name), names))
        seconds = time.monotonic() - start
        list(pool.map(lambda name: _delete(directory, name), names))
    return seconds
