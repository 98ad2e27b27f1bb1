# SPDX-License-Identifier: Apache-2.0
"""The Debian packages in a Debian of their own, with its systemd and containerd: installed, their services at work, restarted and
killed, upgraded under a running container, removed, purged. The tests are one story, told in this order. ZP_PACKAGES=source builds the packages from the source, in a
Debian that has nothing but what they say they need. Needs root."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import debian_system, images, packages
from support.hook import until
from support.packaged import Container, InstalledHook, Machine, await_reads_by_new_processes, kubernetes_in, registry_in
from support.programs import SOURCE
from support.registry import registry
from support.zeropull import Zeropull
from test_node_kill import expected_files, is_fine

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


def use_the_example(machine):
    """containerd's settings, as the package has them."""
    machine.run("sh", "-c", "cat /usr/share/doc/zeropull-snapshotter/examples/containerd-1.toml >>/etc/containerd/config.toml")
    machine.run("systemctl", "restart", "containerd")


@pytest.fixture(scope="module")
def container(installed, tmp_path_factory):
    """Of an image of which no layer was downloaded, with the older version of the packages."""
    use_the_example(installed)
    work = tmp_path_factory.mktemp("registry")
    with registry(work) as server:
        server.push(images.source("python"), "python")
        Zeropull(work / "builder").ok("build", "--push", server.reference("python"))
    with registry_in(installed, work) as server:
        image = server.reference("python").removeprefix("docker://")
        installed.run("zeropull", "rpull", image)
        made = Container(installed, image, "web", expected_files("python"))
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
        assert installed.is_active(service) == (service in SERVICES), installed.said(service)
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


@pytest.fixture(params=IN_A_CLUSTER)
def in_a_cluster(installed, request, work):
    """A service, and the cluster of which it was told."""
    service, kubeconfig = request.param, installed.root / "etc/zeropull" / IN_A_CLUSTER[request.param]
    with kubernetes_in(installed, work) as kube:
        certificate = kubeconfig.with_suffix(".pem")
        shutil.copy(kube.certificate, certificate)
        kubeconfig.write_text(kube.kubeconfig().read_text().replace(str(kube.certificate), certificate.name))
        installed.run("systemctl", "start", service)
        yield service, kube
        installed.run("systemctl", "stop", service)
        kubeconfig.unlink()
        certificate.unlink()


def test_what_belongs_to_a_cluster_is_at_work_once_it_is_told_of_one_and_after_a_restart(in_a_cluster, installed):
    service, kube = in_a_cluster
    kind = {"zeropull-controller": "/imagesnapshots", "zeropull-node": "/nodesnapshotcaches"}[service]
    watches = lambda: kube.count("GET", kind, watch=True)  # noqa: E731
    until(watches, 30, lambda: installed.said(service))
    assert installed.out("cat", f"/proc/{installed.main_pid(service)}/comm") == service[:15]
    before = watches()
    installed.run("systemctl", "restart", service)
    until(lambda: watches() > before, 30, lambda: installed.said(service))


def assert_all_was_read(load):
    assert load.begun == ["begun\n"] * len(load.WAYS)
    assert [line for line in load.lines if not is_fine(line)] == []
    assert sum(line.startswith("done ") for line in load.lines) == len(load.WAYS)


def test_an_upgrade_is_not_noticed_by_a_running_container(container, installed):
    supervisor = installed.main_pid("zeropull-snapshotter")
    workers = set(installed.children("zeropull-snapshotter"))
    hook = installed.root / SETTINGS["zeropull-hook"]
    hook.write_text(hook.read_text() + "# of the admin\n")
    with container as load:
        installed.install(installed.new, *FOLLOW_ADMIN)
        await_reads_by_new_processes(installed, workers)
    assert installed.main_pid("zeropull-snapshotter") == supervisor
    assert installed.out("readlink", f"/proc/{supervisor}/exe") == "/usr/sbin/zeropull-snapshotter"
    assert_all_was_read(load)
    assert "# of the admin" in hook.read_text()
    assert OLDER not in (installed.root / SETTINGS["zeropull-snapshotter"]).read_text()
    assert all(installed.is_active(service) for service in SERVICES)


@pytest.mark.parametrize("how", [["restart"], ["kill", "--signal=KILL", "--kill-whom=main"]], ids=["restarted", "killed"])
def test_a_snapshotter_started_anew_is_not_noticed_by_a_running_container(container, installed, how):
    supervisor, workers = installed.main_pid("zeropull-snapshotter"), set(installed.children("zeropull-snapshotter"))
    with container as load:
        installed.run("systemctl", *how, "zeropull-snapshotter")
        await_reads_by_new_processes(installed, workers)
    assert installed.main_pid("zeropull-snapshotter") != supervisor
    assert_all_was_read(load)


@pytest.fixture(scope="class")
def hook(installed, tmp_path_factory):
    with InstalledHook(installed).told_by_a_registry(tmp_path_factory.mktemp("registry")) as told:
        yield told


@pytest.fixture
def waiting(hook, installed, work, request):
    """The hook while a build of its `tag` runs, which waits until it is told to go on."""
    hook.go.unlink(missing_ok=True)
    hook.configure("web", waits=True)
    installed.run("systemctl", "restart", "zeropull-hook")
    hook.tag = request.node.name
    with installed.network():
        hook.push(work, "web", hook.tag)
        hook.await_states("running", hook.tag)
        yield hook


class TestHookAsAService:
    def test_a_push_to_a_registry_beside_it_ends_in_a_snapshot(self, hook, installed, work):
        hook.configure("web")
        installed.run("systemctl", "restart", "zeropull-hook")
        with installed.network():
            hook.push(work, "other", "1")
            hook.push(work, "web", "1")
            until(hook.snapshots, 60, hook.said)
            hook.settle()
            assert [build["repository"] for build in hook.builds()] == ["web"]
        installed.run("zeropull", "pull", "--store", "/srv/hook/pulled", hook.place.reference("web", "1"))
        until(lambda: "build 1: done" in hook.said(), 60, hook.said)
        said = {entry["MESSAGE"]: entry["PRIORITY"] for entry in installed.journal("zeropull-hook")}
        assert said["build 1: done"] == "6"
        (listening,) = (text for text in said if text.startswith("listening on http://127.0.0.1:8480; "))
        assert "builds run in: user, mount, pid, ipc and uts namespaces, seccomp" in listening

    def test_a_reload_takes_new_rules_and_the_journal_says_what_is_wrong_with_bad_ones(self, hook, installed, work):
        pid = installed.main_pid("zeropull-hook")
        hook.configure("web", "other")
        installed.run("systemctl", "reload", "zeropull-hook")
        until(lambda: "the configuration was read again" in hook.said(), 60, hook.said)
        hook.settings.write_text("version: 1\nrule: []\n")
        installed.run("systemctl", "reload", "zeropull-hook")
        until(lambda: "the old configuration stays in force" in hook.said(), 60, hook.said)
        with installed.network():
            hook.push(work, "other", "2")
            hook.await_states("done", "2")
        (bad,) = (entry for entry in installed.journal("zeropull-hook") if "hook.yaml:2" in entry["MESSAGE"])
        assert bad["PRIORITY"] == "3" and installed.main_pid("zeropull-hook") == pid

    def test_a_build_is_confined_also_within_what_confines_the_service(self, waiting, installed):
        (build,) = until(lambda: installed.children("zeropull-hook"), 60, waiting.said)  # it runs before its process does
        service = installed.main_pid("zeropull-hook")
        status = dict(line.split(":\t", 1) for line in installed.out("cat", f"/proc/{build}/status").splitlines())
        assert status["Uid"].split()[0] == installed.out("id", "--user", "zeropull-hook")
        assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16), int(status["CapPrm"], 16)) == ("1", "2", 0, 0)
        for kind in ("user", "mnt", "pid", "ipc", "uts"):
            assert installed.out("readlink", f"/proc/{build}/ns/{kind}") != installed.out("readlink", f"/proc/{service}/ns/{kind}")
        mounts = [line.split() for line in installed.out("cat", f"/proc/{build}/mountinfo").splitlines()]
        writable = {fields[4] for fields in mounts if "rw" in fields[5].split(",")} - {"/proc"}
        assert writable == {"/var/lib/zeropull-hook/store"}
        waiting.go.touch()
        waiting.await_states("done", waiting.tag)

    def test_a_restart_in_the_middle_of_a_build_loses_nothing(self, waiting, installed):
        before = installed.children("zeropull-hook")
        installed.run("systemctl", "restart", "zeropull-hook")
        waiting.await_states("running", waiting.tag)
        assert set(installed.children("zeropull-hook")).isdisjoint(before)
        waiting.go.touch()
        waiting.await_states("done", waiting.tag)
        assert len(waiting.builds(state="done")) == len(waiting.builds())

    def test_a_killed_service_is_there_again_and_takes_up_its_build_and_what_was_pushed_meanwhile(self, waiting, installed, work):
        pid = installed.main_pid("zeropull-hook")
        installed.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "zeropull-hook")
        waiting.push(work, "web", "meanwhile")
        until(lambda: installed.is_active("zeropull-hook") and installed.main_pid("zeropull-hook") != pid, 30, waiting.said)
        waiting.await_states("running", waiting.tag, "meanwhile")
        waiting.go.touch()
        waiting.await_states("done", waiting.tag, "meanwhile")
        assert len(waiting.builds(state="done")) == len(waiting.builds())


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
    # containerd tries to reach it every few seconds, and refuses meanwhile
    until(lambda: installed.run("ctr", "snapshots", "--snapshotter", "zeropull", "list", check=False).returncode == 0, 30)
    again = Container(installed, container.image, "again", {})
    again.remove()


def test_removed_and_purged_they_leave_nothing(container, installed):
    installed.run("ctr", "images", "remove", "--sync", container.image)
    installed.system.apt("remove", *packages.NAMES)
    assert installed.run("systemctl", "--failed", "--quiet", check=False).stdout == ""
    assert all((installed.root / path).exists() for path in SETTINGS.values())
    installed.run("dpkg", "--purge", *packages.NAMES)
    assert installed.paths() == []
    assert "zeropull" not in installed.out("cat", "/proc/mounts")
