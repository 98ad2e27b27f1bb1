# SPDX-License-Identifier: Apache-2.0
"""deploy/hook: the example of a configuration is understood, whole, and the unit is one systemd takes."""
import re
import shutil
import subprocess

import pytest
import yaml
from support import tls
from support.hook import HOOK
from support.programs import SOURCE, ZEROPULL

EXAMPLE = SOURCE / "deploy" / "hook" / "hook.yaml"
UNIT = SOURCE / "deploy" / "hook" / "zeropull-hook.service"


def check(path):
    return subprocess.run([HOOK, "check-config", "--config", path], capture_output=True, text=True)


def keys(value):
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def known_keys():
    """What the parser knows by name, as its tables say; the names of labels and annotations are anybody's."""
    found = set()
    for name in ("config.c", "config-entries.c", "config-rules.c"):
        source = (SOURCE / "registry-hook" / name).read_text()
        for table in re.findall(r"names\[\]\s*=\s*\{(.*?)\}", source, re.DOTALL):
            found.update(re.findall(r'"([a-z0-9-]+)"', table))
    return found


def test_the_example_is_in_order_as_it_is(work):
    (work / "hook.yaml").write_text(EXAMPLE.read_text())
    result = check(work / "hook.yaml")
    assert result.returncode == 0, result.stderr


def test_the_example_shows_every_setting_and_each_is_understood(work):
    whole = re.sub(r"^( *)#(?=\S| {2,}\S)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    whole = whole.replace("/usr/bin/zeropull", str(ZEROPULL))
    (work / "hook.yaml").write_text(whole)
    for name in ("secrets", "tls"):
        (work / name).mkdir()
    certificate, key = tls.self_signed(work)
    certificate.rename(work / "tls" / "cert.pem")
    key.rename(work / "tls" / "key.pem")
    shutil.copy(work / "tls" / "cert.pem", work / "tls" / "registry-ca.pem")
    (work / "secrets" / "registry.json").write_text('{"auths": {}}')
    (work / "google-keys.json").write_text('{"keys": [{}]}')
    for name in re.findall(r"secrets/[\w.-]+", whole):
        if not name.endswith((".json", ".key")):
            (work / name).write_text(f"a-secret-of-its-own-{name}\n")
    generate = [ZEROPULL, "key", "generate", "--passphrase-file", work / "secrets" / "release.pass"]
    subprocess.run([*generate, work / "secrets" / "release.key"], check=True, stdout=subprocess.DEVNULL)
    result = check(work / "hook.yaml")
    assert result.returncode == 0, result.stderr
    assert known_keys() - keys(yaml.safe_load(whole)) == set()
    assert len(known_keys()) > 50


def test_the_documentation_names_every_setting():
    text = (SOURCE / "docs" / "hook.md").read_text() + (SOURCE / "docs" / "providers.md").read_text()
    assert [key for key in sorted(known_keys()) if f"{key}:" not in text] == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_is_one_that_systemd_understands(work):
    unit = work / "zeropull-hook.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={HOOK}", UNIT.read_text(), flags=re.MULTILINE))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert result.returncode == 0 and "zeropull-hook.service" not in result.stderr, result.stderr


def allowed_calls(unit):
    """What its filter lets through by the sets of the systemd that is here."""
    calls, wanted = set(), []
    for line in unit.read_text().splitlines():
        if line.startswith("SystemCallFilter="):
            wanted += line.split("=", 1)[1].split()
    while wanted:
        name = wanted.pop()
        if not name.startswith("@"):
            calls.add(name)
            continue
        listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        wanted += [word for word in map(str.strip, listed.stdout.splitlines()[1:]) if word and not word.startswith("#")]
    return calls


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_s_filter_lets_a_build_be_put_into_its_sandbox():
    landlock = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
    namespaces = {"clone3", "unshare", "mount", "mount_setattr", "waitid", "pidfd_send_signal"}
    confinement = {"seccomp", "prctl", "capget", "capset", "setpriority", "prlimit64", "close_range", "statfs"}
    assert (landlock | namespaces | confinement) - allowed_calls(UNIT) == set()


def test_the_unit_does_not_forbid_what_the_sandbox_needs():
    """The comment at its head, as settings."""
    lines = [line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w+=", line)]
    settings = dict(reversed(lines))
    forbidden = {"RestrictNamespaces", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc"}
    assert forbidden & set(settings) == set()
    assert "@mount" in settings["SystemCallFilter"].split()
    assert settings["User"] == "zeropull-hook" and settings["NoNewPrivileges"] == "yes"
