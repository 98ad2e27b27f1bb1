# SPDX-License-Identifier: Apache-2.0
"""`zeropull-snapshotter --check`: what is in order is said to be, each missing thing is found, and nothing is left
behind. With the containerds that are here, and with settings that are wrong in one place each."""
import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import closing

import pytest

from support.containerd import containerd_2
from support.programs import SOURCE
from support.snapshotter import SNAPSHOTTER, Snapshotter, snapshotter
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
SHIPPED = SOURCE / "deploy" / "snapshotter"
VERSIONS = {1: "/usr/bin", 2: str(containerd_2())}


def settings(version):
    return f"version = {version + 1}\n" + (SHIPPED / f"containerd-{version}.toml").read_text()


class Check:
    def __init__(self, work, version=1, text=None, path=None, options=(), prefix=()):
        file = work / "config.toml"
        if text is not False:
            file.write_text(settings(version) if text is None else text)
        command = [*prefix, SNAPSHOTTER, "--check", "--json", "--root", work / "root",
                   "--address", "/run/zeropull/snapshotter.sock", "--containerd-config", file, *options]  # fmt: skip
        environment = {**os.environ, "PATH": (path or VERSIONS[version]) + ":" + os.environ["PATH"] if path != "" else "/nowhere"}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        self.code = result.returncode
        assert result.stderr == ""
        answer = json.loads(result.stdout)
        self.ready = answer["ready"]
        self.all = {entry["name"]: entry for entry in answer["checks"]}
        assert len(self.all) == len(answer["checks"])
        assert self.code == (0 if self.ready else 1)
        assert self.ready == all(entry["state"] != "missing" for entry in self.all.values())

    def state(self, name):
        return self.all[name]["state"] if name in self.all else None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shipped_settings_are_all_right(work, version):
    check = Check(work, version)
    assert check.ready, check.all
    states = {name: entry["state"] for name, entry in check.all.items()}
    for name in ["kernel", "rights", "erofs", "fuse", "overlayfs", "containerd", "containerd settings", "proxy plugin", "kubernetes"]:
        assert states[name] == "ok", check.all[name]
    assert states["ctr image pull"] == ("ok" if version == 2 else "note")
    assert states["daemon"] == "note"  # nobody serves
    with open("/proc/self/mounts") as mounts:
        assert str(work) not in mounts.read()
    assert sorted(path.name for path in work.iterdir()) == ["config.toml"]


@pytest.mark.parametrize("version, old, new, name, state", [
    (1, "[proxy_plugins.zeropull]", "[proxy_plugins.other]\n[x]", "proxy plugin", "missing"),
    (1, 'type = "snapshot"', 'type = "content"', "proxy plugin", "missing"),
    (2, "/run/zeropull/snapshotter.sock", "/run/elsewhere.sock", "proxy plugin", "missing"),
    (1, "disable_snapshot_annotations = false", "disable_snapshot_annotations = true", "kubernetes", "missing"),
    (1, "disable_snapshot_annotations = false", "", "kubernetes", "missing"),
    (2, "disable_snapshot_annotations = false", "disable_snapshot_annotations = true", "kubernetes", "missing"),
    (1, '  snapshotter = "zeropull"', "", "kubernetes", "note"),
    (1, "version = 2", 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]', "kubernetes", "note"),
    (2, "[[plugins", "[[plugins_", "ctr image pull", "note"),
    (2, 'enable_remote_snapshot_annotations = "true"', "", "ctr image pull", "note"),
    (1, "version = 2", "version = 2\n[", "containerd settings", "missing"),
])  # fmt: skip
def test_each_wrong_setting_is_found(work, version, old, new, name, state):
    text = settings(version)
    assert old in text
    check = Check(work, version, text.replace(old, new, 1))
    assert check.state(name) == state, check.all
    assert check.all[name]["remedy"]
    assert check.ready == (state == "note")


def test_a_policy_that_cannot_be_read_is_missing(work):
    policy, config = work / "policy.yaml", work / "c.yaml"
    config.write_text(f"version: 1\npolicy: {policy}\n")
    assert Check(work, options=["--config", config]).state("policy") == "missing"
    policy.write_text("version: 1\nrules:\n- repository: '*'\n  action: reject\n")
    assert Check(work, options=["--config", config]).state("policy") == "ok"


NAMED = {"policy": "policy.yaml", "auth_file": "auth.json", "ca_file": "ca.pem", "report_starts token": "token",
         "report_starts CA": "hook.pem", "preload": "preload"}  # fmt: skip


def name_files(work):
    """Settings that name a file or directory each; none is there."""
    (work / "c.yaml").write_text(
        f"version: 1\npolicy: {work}/policy.yaml\nauth_file: {work}/auth.json\nca_file: {work}/ca.pem\npreloads: [{work}/preload]\n"
        f"report_starts: {{url: 'http://127.0.0.1:1', token_file: {work}/token, ca_file: {work}/hook.pem}}\n"
    )
    return "--config", work / "c.yaml"


def put_files(work):
    (work / "other").mkdir()
    (work / "policy.yaml").write_text("version: 1\nrules:\n- repository: '*'\n  action: accept\n")
    (work / "auth.json").write_text('{"auths": {}}')
    for name in ("ca.pem", "token", "hook.pem"):
        (work / name).write_text("x\n")
    with snapshotter(work / "other") as daemon:
        shutil.copytree(daemon.root / "store", work / "preload")


def test_each_file_that_the_settings_name_and_is_not_there_is_missing(work):
    options = name_files(work)
    check = Check(work, options=options)
    for name, file in NAMED.items():
        assert check.state(name) == "missing" and check.all[name]["remedy"] and str(work / file) in check.all[name]["text"]
    put_files(work)
    check = Check(work, options=options)
    assert {check.state(name) for name in NAMED} == {"ok"} and check.ready, check.all


@pytest.mark.parametrize("name, spoil", [
    ("auth_file", lambda work: (work / "auth.json").write_text('{"auths": ')),
    ("auth_file", lambda work: (work / "auth.json").write_text('{"example.com": {}}')),
    ("ca_file", lambda work: ((work / "ca.pem").unlink(), (work / "ca.pem").mkdir())),
    ("report_starts token", lambda work: (work / "token").write_text("")),
    ("preload", lambda work: (work / "preload" / "zeropull.db").unlink()),
])  # fmt: skip
def test_what_the_settings_name_and_cannot_be_used_is_missing(work, name, spoil):
    put_files(work)
    spoil(work)
    check = Check(work, options=name_files(work))
    assert [found for found in NAMED if check.state(found) != "ok"] == [name] and check.state(name) == "missing"


def test_a_broken_auth_file_is_told_without_a_word_of_it(work):
    put_files(work)
    (work / "auth.json").write_text('{"auths": {"example.com": {"auth": s3cr3tw0rd}}}')
    check = Check(work, options=name_files(work))
    assert check.state("auth_file") == "missing" and "line 1" in check.all["auth_file"]["text"]
    assert "s3cr3tw0rd" not in json.dumps(check.all)


def test_an_auth_file_of_dockers_older_form_is_known_by_its_name(work):
    (work / ".dockercfg").write_text('{"example.com": {}}')
    (work / "c.yaml").write_text(f"version: 1\nauth_file: '{work}/.dockercfg'\n")
    assert Check(work, options=["--config", work / "c.yaml"]).state("auth_file") == "ok"


def test_of_several_auth_files_some_may_be_missing(work):
    put_files(work)
    (work / "c.yaml").write_text(f"version: 1\nauth_file: '{work}/none.json:{work}/auth.json:'\n")
    assert Check(work, options=["--config", work / "c.yaml"]).state("auth_file") == "ok"


def test_the_daemon_starts_without_them_and_says_once_what_is_missing(work):
    with snapshotter(work, *name_files(work)) as daemon:
        for file in NAMED.values():
            daemon.await_log(f"path={work}/{file}")
        before = daemon.control_plane()
        os.kill(before, signal.SIGKILL)
        daemon.await_other_control_plane(before)
        with closing(daemon.client()) as api:
            assert api.names() == []
        lines = [line for line in daemon.log().splitlines() if "what the settings name cannot be used" in line]
        assert len(lines) == len(NAMED) and all("level=warn" in line and "hint=" in line for line in lines)


def test_a_daemon_without_a_control_plane_is_found(work):
    """It listens all the same: what comes meanwhile waits for the next one."""
    with snapshotter(work) as daemon:
        options = ["--root", daemon.root, "--address", daemon.socket]
        control_plane = daemon.control_plane()
        os.kill(daemon.process.pid, signal.SIGSTOP)
        os.kill(control_plane, signal.SIGKILL)
        check = Check(work, options=options)
        os.kill(daemon.process.pid, signal.SIGCONT)
        daemon.await_other_control_plane(control_plane)
        assert check.state("daemon") == "missing" and "nothing answers" in check.all["daemon"]["text"], check.all["daemon"]
        assert Check(work, options=options).state("daemon") == "ok"


@pytest.mark.parametrize("name", ["", "metadata.db"])
def test_a_daemon_whose_root_directory_was_moved_away_is_found(work, name):
    with snapshotter(work) as daemon:
        options = ["--root", daemon.root, "--address", daemon.socket]
        assert Check(work, options=options).state("daemon") == "ok"
        (daemon.root / name).rename(work / "away")
        check = Check(work, options=options)
        assert check.state("daemon") == "missing" and check.all["daemon"]["remedy"], check.all["daemon"]
        assert str(daemon.root) in check.all["daemon"]["text"] and str(daemon.socket) in check.all["daemon"]["text"]
        status = Zeropull(work).run("status", "--root", daemon.root)
        assert status.returncode == 3 and ("put it back" in status.stderr) == (name == "metadata.db"), status.stderr
        (work / "away").rename(daemon.root / name)
        assert Check(work, options=options).state("daemon") == "ok"


@pytest.mark.parametrize("mode, state", [(0o755, "ok"), (0o700, "ok"), (0o775, "note"), (0o757, "note"), (0o1777, "note")])
@pytest.mark.parametrize("where", ["named", "default"])
def test_a_store_that_others_may_write_is_told(work, where, mode, state):
    (work / "c.yaml").write_text("version: 1\n" + (f"store: {work}/store\n" if where == "named" else ""))
    daemon = Snapshotter(work, "--config", work / "c.yaml")
    store = work / "store" if where == "named" else daemon.root / "store"
    store.mkdir(parents=True)
    store.chmod(mode)
    daemon.root.mkdir(mode=0o700, exist_ok=True)
    check = Check(work, options=["--root", daemon.root, "--config", work / "c.yaml"])
    assert check.state("store") == state and str(store) in check.all["store"]["text"], check.all
    with snapshotter(work, "--config", work / "c.yaml") as daemon:
        before = daemon.control_plane()
        os.kill(before, signal.SIGKILL)
        daemon.await_other_control_plane(before)
        assert daemon.log().count("others may write") == (state == "note"), daemon.log()


def test_missing_settings_are_missing(work):
    assert Check(work, text=False).state("containerd settings") == "missing"


def test_without_a_containerd_the_file_has_to_do(work):
    check = Check(work, path="")
    assert check.state("containerd") == check.state("containerd settings") == "note"
    assert check.state("proxy plugin") == check.state("kubernetes") == "ok" and check.ready


def test_a_containerd_that_is_too_old_is_found(work):
    (work / "bin").mkdir()
    (work / "bin" / "containerd").write_text("#!/bin/sh\necho containerd github.com/containerd/containerd v1.5.9 x\n")
    (work / "bin" / "containerd").chmod(0o755)
    assert Check(work, path=str(work / "bin")).state("containerd") == "missing"


def test_without_rights_that_is_what_is_missing(work):
    check = Check(work, prefix=["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
    assert check.state("rights") == "missing" and check.state("erofs") is None


def test_a_file_system_that_cannot_be_under_an_overlay_is_found(work):
    """An overlay is one when it is below another: too deep at the second level."""
    for name in ["l", "u", "w", "m", "u2", "w2", "m2"]:
        (work / name).mkdir()
    subprocess.run(["mount", "-t", "overlay", "x", "-o", f"lowerdir={work}/l,upperdir={work}/u,workdir={work}/w", work / "m"], check=True)
    try:
        (work / "m" / "root").mkdir()
        check = Check(work, options=["--root", work / "m" / "root"])
        assert check.state("overlayfs") == "missing", check.all
        assert list((work / "m" / "root").iterdir()) == []
    finally:
        subprocess.run(["umount", work / "m"], check=True)


def test_people_can_read_it(work):
    (work / "c.toml").write_text(settings(1))
    result = subprocess.run([SNAPSHOTTER, "--check", "--root", work / "root", "--containerd-config", work / "c.toml"], capture_output=True, text=True)
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and any(line.split()[:2] == ["ok", "overlayfs"] for line in lines)
    assert all(line.split()[0] in ("ok", "note", "missing", "->") for line in lines)


def test_the_shipped_settings_file_has_every_setting(work):
    """Each that the program knows, also where '#' is taken away from all but one of two that exclude each other; prose
    begins with '# '."""
    source = (SOURCE / "snapshotter/control/config.c").read_text()
    known = re.findall(r'"(\w+)"', source.split("names[COUNT] = {")[1].split("}")[0])
    shipped = (SOURCE / "deploy/snapshotter/snapshotter.yaml").read_text()
    everything = re.sub(r"^#(?! )", "", shipped, flags=re.MULTILINE)
    assert sorted(re.findall(r"^(\w+):", everything, re.MULTILINE)) == sorted(known) and len(known) >= 20
    without = [re.sub(f"^{name}:.*\n", "", everything, flags=re.MULTILINE) for name in ("agent", "image_service")]
    for text in (shipped, *without):
        (work / "config.yaml").write_text(text)
        run = subprocess.run([SNAPSHOTTER, "--test-config", "-c", work / "config.yaml"], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    page = (SOURCE / "docs/man/zeropull-snapshotter.8.scd").read_text().split("# CONFIGURATION")[1].split("\n# ")[0]
    assert all(f"{key}:" in page or f"_{key}_" in page for key in known)
