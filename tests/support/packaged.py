# SPDX-License-Identifier: Apache-2.0
"""What is installed from packages in a Debian of its own (debian_system): services, containers, and those they talk to."""
import json
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from . import images, oci
from .fake_kubernetes import fake_kubernetes
from .hook import HookApi, notifications, until
from .registry import registry

LOAD = Path(__file__).with_name("container_load.py")


class Machine:
    """The system, and what is installed in it."""

    def __init__(self, system, built, older):
        self.system, self.run, self.out, self.root = system, system.run, system.out, system.root
        self.network = system.network
        self.new, self.old = ([f"/packages/{file.name}" for file in files.values()] for files in (built, older))

    def install(self, files, *options, **how):
        return self.system.apt("install", *options, *files, **how)

    def is_active(self, service):
        return self.run("systemctl", "is-active", service, check=False).stdout.strip() == "active"

    def main_pid(self, service):
        """0: it does not run."""
        return int(self.out("systemctl", "show", "--property=MainPID", "--value", service))

    def children(self, service):
        pid = self.main_pid(service)
        found = self.run("sh", "-c", f"cat /proc/{pid}/task/*/children", check=False)
        return found.stdout.split() if pid and found.returncode == 0 else []

    def said(self, service):
        return self.out("journalctl", "--no-pager", "--unit", service)

    def journal(self, service):
        """Its entries, as dictionaries."""
        lines = self.out("journalctl", "--no-pager", "--output=json", "--unit", service).splitlines()
        return [entry for entry in map(json.loads, lines) if entry.get("_SYSTEMD_UNIT") == f"{service}.service"]

    def paths(self):
        """Every path of the system's own files that has to do with us."""
        found = self.out("find", "/", "-xdev", "-path", "/packages", "-prune", "-o", "-name", "*zeropull*", "-print")
        return sorted(found.split())


@contextmanager
def registry_in(machine, work, **options):
    """A registry that listens in the machine's network."""
    with ExitStack() as stack:
        with machine.network():
            server = stack.enter_context(registry(work, **options))
        yield server


@contextmanager
def kubernetes_in(machine, work):
    with ExitStack() as stack:
        with machine.network():
            kube = stack.enter_context(fake_kubernetes(work))
        yield kube


class Container:
    """A container that reads its files cold, in every way, until told to stop. `files`: {path: sha256}."""

    WAYS = ("read", "map", "exec")

    def __init__(self, machine, image, name, files):
        self.machine, self.name = machine, name
        self.share = machine.root / f"share-{name}"
        self.share.mkdir()
        shutil.copy(LOAD, self.share / "load.py")
        (self.share / "expected").write_text("".join(f"{digest}  {path}\n" for path, digest in files.items()))
        mount = f"type=bind,src=/share-{name},dst=/share,options=rbind:ro"
        self.ctr("run", "--detach", "--snapshotter", "zeropull", "--mount", mount, image, name, "/bin/sh", "-c", "sleep 100000")

    def ctr(self, *arguments):
        return self.machine.out("ctr", *arguments)

    def __enter__(self):
        (self.share / "stop").unlink(missing_ok=True)
        self.readers = []
        for number, way in enumerate(self.WAYS):
            command = ["python3", "/share/load.py", way, "/share/expected", "/share/stop", str(number)]
            command = self.machine.system.enter("ctr", "tasks", "exec", "--exec-id", f"reader{number}", self.name, *command)
            self.readers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True))
        self.begun = [reader.stdout.readline() for reader in self.readers]
        return self

    def __exit__(self, *_):
        (self.share / "stop").touch()
        try:
            for reader in self.readers:
                reader.wait(timeout=120)
        finally:
            for reader in self.readers:
                reader.kill()
            self.lines = [line for reader in self.readers for line in reader.stdout.read().splitlines()]

    def remove(self):
        self.ctr("tasks", "delete", "--force", self.name)
        self.ctr("containers", "remove", self.name)


def await_reads_by_new_processes(machine, before):
    """Who serves device files was started anew, and containers read from it. `before`: the processes of before."""

    def is_new():
        workers = machine.children("zeropull-snapshotter")
        if len(workers) != 2 or before & set(workers):
            return False
        counters = machine.run("cat", "/var/lib/zeropull-snapshotter/devices/statistics", check=False).stdout.split()
        return "reads" in counters and int(counters[counters.index("reads") + 1]) > 10

    deadline = time.monotonic() + 60
    while not is_new():
        assert time.monotonic() < deadline, machine.said("zeropull-snapshotter")
        time.sleep(0.05)


class InstalledHook(HookApi):
    """zeropull-hook as its unit runs it, told of pushes by a registry in the same system. To be used in its network."""

    SECRET = "what-the-registry-and-the-hook-know"
    SETTINGS = """version: 1
anonymous: admin
endpoints:
- {{provider: distribution, secret-file: secrets/distribution}}
registries:
- {{host: '127.0.0.1:*', plain-http: true}}
rules:
- name: marked
  repositories: [{marked}]
"""
    # A build that waits until it is told to go on.
    BUILDER = "#!/bin/sh\necho waiting >&2\nwhile [ ! -e /srv/hook/go ]; do sleep 0.1; done\nexec /usr/bin/zeropull \"$@\"\n"

    def __init__(self, machine):
        super().__init__("http://127.0.0.1:8480")
        self.machine = machine
        self.place = self.tag = None
        self.settings = machine.root / "etc/zeropull/hook.yaml"
        self.go = machine.root / "srv/hook/go"

    @contextmanager
    def told_by_a_registry(self, work):
        secrets, own = self.settings.parent / "secrets", self.settings.read_text()
        secrets.mkdir()
        (secrets / "distribution").write_text(f"{self.SECRET}\n")
        self.machine.run("chgrp", "zeropull-hook", "/etc/zeropull/secrets/distribution")
        (secrets / "distribution").chmod(0o640)
        self.go.parent.mkdir()
        (self.go.parent / "build").write_text(self.BUILDER)
        (self.go.parent / "build").chmod(0o755)
        with registry_in(self.machine, work, extra=notifications(self.url, f"Bearer {self.SECRET}")) as self.place:
            yield self
        shutil.rmtree(secrets)
        shutil.rmtree(self.go.parent)
        self.settings.write_text(own)

    def configure(self, *marked, waits=False):
        text = self.SETTINGS.format(marked=", ".join(f"'127.0.0.1:*/{name}'" for name in marked))
        self.settings.write_text(text + ("builder: /srv/hook/build\n" if waits else ""))

    def push(self, work, repository, tag):
        """An image like no other."""
        made = images.Maker(work)
        with made.layer() as tar:
            tar.file("file", f"{repository} {tag}".encode())
        layout = oci.Layout(work / f"{repository}-{tag}")
        layout.add_image(tag, made.layers, {})
        self.place.push(f"oci:{layout.directory}:{tag}", repository, tag)

    def states(self):
        """{tag: state} of builds."""
        return {tag: build["state"] for build in self.builds() for tag in build["tags"]}

    def await_states(self, state, *tags):
        until(lambda: all(self.states().get(tag) == state for tag in tags), 60, self.said)

    def said(self):
        return self.machine.said("zeropull-hook")
