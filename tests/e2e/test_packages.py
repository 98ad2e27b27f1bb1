# SPDX-License-Identifier: Apache-2.0
"""The Debian packages in a Debian of their own, with its systemd and containerd: installed, upgraded under a running container,
removed, purged. The tests are one story, told in this order. ZP_PACKAGES=source builds the packages from the source, in a
Debian that has nothing but what they say they need. Needs root."""
import json
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import debian_system, images, packages
from support.programs import SOURCE
from support.registry import registry
from support.zeropull import Zeropull
from test_node_kill import LOAD, expected_files, is_fine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a system of its own needs root")

OLDER = "0.0.9"
SERVICES = ["zeropull-snapshotter", "zeropull-hook"]
IN_A_CLUSTER = {"zeropull-controller": "controller.kubeconfig", "zeropull-node": "node.kubeconfig"}
PROGRAMS = {  # name: (package, file)
    "zeropull": ("zeropull", "usr/bin/zeropull"),
    "zeropull-snapshotter": ("zeropull-snapshotter", "usr/sbin/zeropull-snapshotter"),
    "zeropull-hook": ("zeropull-hook", "usr/bin/zeropull-hook"),
    "zeropull-controller": ("zeropull-controller", "usr/bin/zeropull-controller"),
    "zeropull-node": ("zeropull-controller", "usr/sbin/zeropull-node"),
}
KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: zeropull-system}}]
current-context: c
"""
SETTINGS = {"zeropull-snapshotter": "etc/zeropull/snapshotter.yaml", "zeropull-hook": "etc/zeropull/hook.yaml"}
FOLLOW_ADMIN = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]


def changelog_version():
    return re.search(r"\((.*)\)", (SOURCE / "deploy" / "debian" / "changelog").read_text())[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """{name: file}; the directory has the .changes, too."""
    output = tmp_path_factory.mktemp("packages") / "made"
    if os.environ.get("ZP_PACKAGES") == "source":
        packages.of_the_source(output)
    else:
        packages.of_the_build(output)
    return {name: output / f"{name}_{changelog_version()}_amd64.deb" for name in packages.NAMES}


@pytest.fixture(scope="module")
def older(tmp_path_factory, built):
    """The same as an older version, with other settings by default."""
    output = tmp_path_factory.mktemp("older")

    def change(tree):
        for path in (tree / "etc").glob("zeropull/*"):
            path.write_text(path.read_text() + f"# of {OLDER}\n")

    return {name: packages.with_version(file, OLDER, output / f"{name}_{OLDER}_amd64.deb", change) for name, file in built.items()}


class Machine:
    """The system, and what is installed in it."""

    def __init__(self, system, built, older):
        self.system, self.run, self.out, self.root = system, system.run, system.out, system.root
        self.new, self.old = ([f"/packages/{file.name}" for file in files.values()] for files in (built, older))

    def install(self, files, *options, **how):
        return self.system.apt("install", *options, *files, **how)

    def is_active(self, service):
        return self.run("systemctl", "is-active", service, check=False).stdout.strip() == "active"

    def main_pid(self, service):
        return int(self.out("systemctl", "show", "--property=MainPID", "--value", service))

    def paths(self):
        """Every path of the system's own files that has to do with us."""
        found = self.out("find", "/", "-xdev", "-path", "/packages", "-prune", "-o", "-name", "*zeropull*", "-print")
        return sorted(found.split())


@pytest.fixture(scope="module")
def machine(built, older):
    files = [*built.values(), *older.values()]

    def prepare(root, apt):
        (root / "packages").mkdir()
        for file in files:
            shutil.copy(file, root / "packages")
        apt("install", "--download-only", *(f"/packages/{file.name}" for file in built.values()))

    with debian_system.system(prepare) as system:
        yield Machine(system, built, older)


@pytest.fixture(scope="module")
def installed(machine):
    """With the older version."""
    machine.install(machine.old)
    return machine


def in_network(machine, work, program):
    """A program of this machine that has the system's network, as a program to be started."""
    path = work / f"{program}-in-there"
    path.write_text(f'#!/bin/sh\nexec nsenter --target={machine.system.pid} --net {program} "$@"\n')
    path.chmod(0o755)
    return path


@contextmanager
def published(machine, work):
    """The name of an image that a registry in the system has, with its snapshot."""
    with registry(work) as server:
        server.push(images.source("python"), "python")
        Zeropull(work / "builder").ok("build", "--push", server.reference("python"))
    with registry(work, program=in_network(machine, work, "docker-registry")) as server:
        yield server.reference("python").removeprefix("docker://")


class Container:
    """A container that reads its files cold, in every way, until told to stop."""

    WAYS = ("read", "map", "exec")

    def __init__(self, machine, image, name):
        self.machine, self.name = machine, name
        self.share = machine.root / f"share-{name}"
        self.share.mkdir()
        shutil.copy(LOAD, self.share / "load.py")
        (self.share / "expected").write_text("".join(f"{digest}  {path}\n" for path, digest in expected_files("python").items()))
        mount = f"type=bind,src=/share-{name},dst=/share,options=rbind:ro"
        self.ctr("run", "--detach", "--snapshotter", "zeropull", "--mount", mount, image, name, "/bin/sh", "-c", "sleep 100000")

    def ctr(self, *arguments):
        return self.machine.out("ctr", *arguments)

    def __enter__(self):
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


def use_the_example(machine):
    """containerd's settings, as the package has them."""
    machine.run("sh", "-c", "cat /usr/share/doc/zeropull-snapshotter/examples/containerd-1.toml >>/etc/containerd/config.toml")
    machine.run("systemctl", "restart", "containerd")


@pytest.fixture(scope="module")
def container(installed, tmp_path_factory):
    """Of an image of which no layer was downloaded, with the older version of the packages."""
    use_the_example(installed)
    with published(installed, tmp_path_factory.mktemp("registry")) as image:
        installed.run("zeropull", "rpull", image)
        made = Container(installed, image, "web")
        made.image = image
        yield made


def test_lintian_has_nothing_to_say(built):
    (changes,) = built["zeropull"].parent.glob("*.changes")
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", changes]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_each_program_has_its_man_page_and_the_version_of_its_package(installed, built):
    for name, (package, path) in PROGRAMS.items():
        assert changelog_version() in installed.out(f"/{path}", "--version")
        contents = subprocess.run(["dpkg-deb", "-c", built[package]], stdout=subprocess.PIPE, text=True, check=True).stdout
        assert re.search(rf" \./{path}$", contents, re.MULTILINE)
        assert re.search(rf"man/man[18]/{name}\.[18]\.gz$", contents, re.MULTILINE), contents


def test_settings_are_the_admins(installed):
    for name, path in SETTINGS.items():
        assert f"/{path} " in installed.out("dpkg-query", "--show", "--showformat=${Conffiles}\n", name)
        status = (installed.root / path).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o644)


def test_all_runs_after_the_installation(installed):
    for service in [*SERVICES, *IN_A_CLUSTER]:
        assert installed.is_active(service) == (service in SERVICES), installed.run("journalctl", "--no-pager", "--unit", service).stdout
        assert installed.out("systemctl", "is-enabled", service) == "enabled"
    assert installed.run("systemctl", "--failed", "--quiet", check=False).stdout == ""
    installed.run("systemd-analyze", "verify", "--man=no", *(f"/lib/systemd/system/{service}.service" for service in [*SERVICES, *IN_A_CLUSTER]))
    assert json.loads(installed.out("zeropull", "status", "--json"))


def test_the_hook_is_a_user_of_its_own(installed):
    pid = installed.main_pid("zeropull-hook")
    status = Path(f"/proc/{installed.system.pid}/root/proc/{pid}/status").read_text()
    user = installed.out("id", "--user", "zeropull-hook")
    assert re.search(rf"^Uid:\t{user}\t", status, re.MULTILINE) and user != "0"
    state = installed.out("stat", "--format=%U %a", "/var/lib/zeropull-hook")
    assert state == "zeropull-hook 700"


def await_reads_by_the_installed_program(machine, before):
    """Who serves device files is what was installed last, and containers read from it. `before`: the processes of before."""

    def is_new():
        workers = children_of(machine, machine.main_pid("zeropull-snapshotter"))
        if len(workers) != 2 or before & set(workers):
            return False
        counters = machine.out("cat", "/var/lib/zeropull-snapshotter/devices/statistics")
        return int(re.search(r"^reads +(\d+)$", counters, re.MULTILINE)[1]) > 10

    deadline = time.monotonic() + 60
    while not is_new():
        assert time.monotonic() < deadline, machine.run("journalctl", "--no-pager", "--unit", "zeropull-snapshotter").stdout
        time.sleep(0.05)


def children_of(machine, pid):
    return machine.out("cat", f"/proc/{pid}/task/{pid}/children").split()


@pytest.mark.parametrize("service", IN_A_CLUSTER)
def test_what_belongs_to_a_cluster_runs_once_it_is_told_of_one(installed, service):
    kubeconfig = installed.root / "etc/zeropull" / IN_A_CLUSTER[service]
    kubeconfig.write_text(KUBECONFIG)
    installed.run("systemctl", "start", service)
    pid = installed.main_pid(service)
    assert installed.out("cat", f"/proc/{pid}/comm") == service[:15]
    installed.run("systemctl", "stop", service)
    kubeconfig.unlink()


def test_an_upgrade_is_not_noticed_by_a_running_container(container, installed):
    supervisor = installed.main_pid("zeropull-snapshotter")
    workers = set(children_of(installed, supervisor))
    hook = installed.root / SETTINGS["zeropull-hook"]
    hook.write_text(hook.read_text() + "# of the admin\n")
    with container as load:
        installed.install(installed.new, *FOLLOW_ADMIN)
        await_reads_by_the_installed_program(installed, workers)
    assert installed.main_pid("zeropull-snapshotter") == supervisor
    assert installed.out("readlink", f"/proc/{supervisor}/exe") == "/usr/sbin/zeropull-snapshotter"
    assert load.begun == ["begun\n"] * len(load.WAYS)
    assert [line for line in load.lines if not is_fine(line)] == []
    assert sum(line.startswith("done ") for line in load.lines) == len(load.WAYS)
    assert "# of the admin" in hook.read_text()
    assert OLDER not in (installed.root / SETTINGS["zeropull-snapshotter"]).read_text()
    assert all(installed.is_active(service) for service in SERVICES)


def test_removal_is_refused_while_containers_run(container, installed):
    result = installed.system.apt("remove", "zeropull-snapshotter", check=False)
    assert result.returncode != 0 and "1 container(s) have their files from it" in result.stdout
    assert installed.is_active("zeropull-snapshotter")
    with container as load:
        pass
    assert [line for line in load.lines if not is_fine(line)] == []


def test_what_containers_have_outlives_a_purge(container, installed):
    installed.run("systemctl", "stop", "zeropull-snapshotter")
    result = installed.system.apt("purge", "zeropull-snapshotter")
    assert "containers have files from /var/lib/zeropull-snapshotter, and it stays" in result.stdout
    assert (installed.root / "var/lib/zeropull-snapshotter/metadata.db").exists()
    container.remove()
    installed.install(installed.new)
    assert installed.is_active("zeropull-snapshotter")
    again = Container(installed, container.image, "again")
    again.remove()


def test_removed_and_purged_they_leave_nothing(container, installed):
    installed.run("ctr", "images", "remove", "--sync", container.image)
    installed.system.apt("remove", *packages.NAMES)
    assert installed.run("systemctl", "--failed", "--quiet", check=False).stdout == ""
    assert all((installed.root / path).exists() for path in SETTINGS.values())
    installed.run("dpkg", "--purge", *packages.NAMES)
    assert installed.paths() == []
    assert "zeropull" not in installed.out("cat", "/proc/mounts")
