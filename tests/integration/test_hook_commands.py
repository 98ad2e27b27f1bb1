# SPDX-License-Identifier: Apache-2.0
"""zeropull-hook as a command: its configuration checked, explained and read again, `trigger`, `--standalone`."""
import json
import signal
import subprocess

import pytest
from support import images
from support.hook import HOOK, fake_builder, until
from support.hook_world import ALL, config_file, marked_layout
from support.registry import registry


def test_rules_test_explains_and_check_config_names_the_line(work):
    with registry(work) as place:
        place.push(marked_layout(work, "a", {"x": "1"}), "app", "v1")
        config = config_file(work, place.host, "- {name: r, repositories: '**', tags: 'v*', labels: {x: '2'}}\n" + ALL)
        result = subprocess.run(
            [HOOK, "--config", config, "rules", "test", f"{place.host}/app:v1"], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "rule 'r': label x is 1, not '2'" in result.stdout and "rule 'all': builds it" in result.stdout
    config.write_text("version: 1\nregistries: [{host: a.example}]\nrules:\n- {name: a, repositories: '**', tag: x}\n")
    result = subprocess.run([HOOK, "--config", config, "check-config"], capture_output=True, text=True)
    assert result.returncode == 1 and f"{config}:4: rule: 'tag' is not known" in result.stderr
    config.write_text("version: 1\nregistries: [{host: a.example}]\nrules:\n- {name: a, repositories: '**', sign-key: absent.pem}\n")
    result = subprocess.run([HOOK, "--config", config, "check-config"], capture_output=True, text=True)
    assert result.returncode == 1 and f"{config}:4: sign-key: " in result.stderr and "absent.pem" in result.stderr


def test_reload_takes_new_rules_and_keeps_the_old_when_the_new_are_bad(pair, work):
    service, place = pair("- {name: none, repositories: '*/nothing'}\n", builder=fake_builder(work))
    place.push(marked_layout(work, "a"), "app", "1")
    text = service.config.read_text()
    service.config.write_text("version: 1\nrules: nonsense\n")
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "the old configuration stays in force" in service.said(), 30)
    service.config.write_text(text.replace("*/nothing", "**"))
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "was read again" in service.said(), 30)
    place.push(marked_layout(work, "b", content=b"b"), "app", "2")
    until(lambda: service.snapshots(), 30, service.said)
    assert len(service.builds()) == 1


def test_trigger_waits_and_tells_by_its_exit_code(pair, work):
    service, place = pair("- {name: a, repositories: '*/app'}\n")
    absent = service.command("trigger", f"{place.host}/app:none", "--timeout", "30")
    assert absent.returncode == 3 and "app:none: gone: " in absent.stderr
    _, asked = service.request("/v1/builds", {"reference": "127.0.0.1:1/app:1"})
    until(lambda: service.get(f"/v1/decisions/{asked['event']}")["text"], 30, service.said)
    away = service.command("trigger", "127.0.0.1:1/app:1", "--timeout", "3")
    assert away.returncode == 1 and "not decided yet: " in away.stderr and "not decided in time: " in away.stderr
    place.push(images.source("busybox"), "app", "1")
    place.push(images.source("busybox"), "other", "1")
    done = service.command("trigger", "--url", f"{service.url}/", f"{place.host}/app:1")
    assert done.returncode == 0 and json.loads(done.stdout)[0]["state"] == "done", done.stderr
    assert service.command("trigger", f"{place.host}/other:1").returncode == 4
    assert service.command("trigger", "127.0.0.2.example/x").returncode == 1
    assert service.command("trigger", "no such name").returncode == 2


@pytest.mark.parametrize("named", [True, False], ids=["named-builder", "own-builder"])
def test_standalone_prints_the_lines_for_the_registry(named, work):
    """Its builder is the one of the build tree, when it lies there and no other is named."""
    builder = ["--builder", fake_builder(work)] if named else []
    process = subprocess.Popen(
        [HOOK, "--standalone", "--listen", "127.0.0.1:0", "--state", work / "state", *builder],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    lines = [process.stdout.readline() for _ in range(4)]
    process.terminate()
    assert process.wait(20) == 0
    assert lines[1] == "notifications:\n" and lines[2] == "  endpoints:\n"
    refused = subprocess.run([HOOK, "--standalone", "--listen", "0.0.0.0:0"], capture_output=True, text=True)
    assert refused.returncode == 1 and "loopback only" in refused.stderr
    both = subprocess.run([HOOK, "--standalone", "--config", "/dev/null"], capture_output=True, text=True)
    assert both.returncode == 2 and "--standalone is without a configuration" in both.stderr
