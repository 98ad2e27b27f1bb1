# SPDX-License-Identifier: Apache-2.0
"""deploy/ci and the pipelines' line of docs/providers.md, as they are, against the service and a registry."""
import hashlib
import os
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from support import images
from support.hook import Hook, fake_builder, until
from support.programs import SOURCE
from support.registry import registry
from support.serving import serving

TOKEN = "a token of a pipeline"
EXAMPLES = SOURCE / "deploy" / "ci"
FAILING_BUILDER = "#!/bin/sh\necho 'zeropull: layer 1: damaged' >&2\nexit 4\n"  # refused: no use trying again


@pytest.fixture
def place(work):
    """A registry with the image app/web:1.0."""
    with registry(work) as running:
        running.push(images.source("busybox"), "app/web", "1.0")
        running.push(images.source("busybox"), "other/web", "1.0")
        yield running


@pytest.fixture
def service(work, place):
    """Starts a service whose rules mark app/*."""
    started = []

    def start(builder=None):
        (work / "secret").write_text(TOKEN + "\n")
        (work / "hook.yaml").write_text(
            f"""version: 1
tokens: [{{name: ci, role: builder, sha256: {hashlib.sha256(TOKEN.encode()).hexdigest()}}}]
registries: [{{host: '{place.host}'}}]
endpoints: [{{provider: generic, secret-file: {work / "secret"}}}]
rules: [{{name: app, repositories: '{place.host}/app/*'}}]
"""
        )
        builder = fake_builder(work, builder) if builder else fake_builder(work)
        running = Hook(work / "state", config=work / "hook.yaml", builder=builder)
        running.token = TOKEN
        started.append(running.start())
        return running

    yield start
    for running in started:
        running.stop()


def environment(url, token=TOKEN, **more):
    return {"PATH": os.environ["PATH"], "ZEROPULL_HOOK_URL": url, "ZEROPULL_HOOK_TOKEN": token, **more}


def snapshot(url, image, **options):
    return subprocess.run(
        [EXAMPLES / "zeropull-snapshot", image], env=environment(url, **options), timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_script_waits_for_the_snapshot(service, place):
    running = service()
    done = snapshot(running.url, f"{place.host}/app/web:1.0")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^build \d+ \(linux/amd64\): done", done.stderr, re.MULTILINE)
    (build,) = running.builds()
    assert build["state"] == "done" and build["tags"] == ["1.0"]


def test_the_script_says_why_there_is_none(service, place):
    running = service(FAILING_BUILDER)
    unmarked = snapshot(running.url, f"{place.host}/other/web:1.0")
    assert unmarked.returncode == 4 and not running.builds()
    absent = snapshot(running.url, f"{place.host}/app/web:none")
    assert absent.returncode == 3 and "app/web:none: gone" in absent.stderr
    failed = snapshot(running.url, f"{place.host}/app/web:1.0")
    assert failed.returncode == 1 and "damaged" in failed.stderr
    refused = snapshot(running.url, f"{place.host}/app/web:1.0", token="guessed")
    assert refused.returncode == 1 and "401" in refused.stderr
    elsewhere = snapshot(running.url, "elsewhere.example/app/web:1.0")
    assert elsewhere.returncode == 1 and "not in the configuration" in elsewhere.stderr


def _github():
    job = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]["image"]
    (step,) = [step for step in job["steps"] if step.get("name") == "snapshot"]
    return step["run"], ["IMAGE"]


def _gitlab():
    job = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())["snapshot"]
    return "\n".join(job["script"]), ["CI_REGISTRY_IMAGE", "CI_COMMIT_TAG"]


def _tekton():
    (step,) = yaml.safe_load((EXAMPLES / "tekton-task.yaml").read_text())["spec"]["steps"]
    return step["script"], ["IMAGE"]


@pytest.mark.parametrize("example", [_github, _gitlab, _tekton])
def test_an_example_runs_as_it_is(service, place, work, example):
    running = service()
    script, names = example()
    (work / "source" / "ci").mkdir(parents=True)
    shutil.copy2(EXAMPLES / "zeropull-snapshot", work / "source" / "ci")
    (work / "bin").mkdir()
    (work / "bin" / "apk").symlink_to("/bin/true")
    values = [f"{place.host}/app/web", "1.0"] if len(names) == 2 else [f"{place.host}/app/web:1.0"]
    env = environment(running.url, **dict(zip(names, values)))
    env["PATH"] = f"{work / 'bin'}:{env['PATH']}"
    subprocess.run(["sh", "-euc", script], cwd=work / "source", env=env, check=True, timeout=120)
    assert [build["state"] for build in running.builds()] == ["done"]


def test_the_documented_line_starts_a_build(service, place):
    running = service()
    text = (SOURCE / "docs" / "providers.md").read_text()
    line = re.search(r"^    (curl \S+ https://hook\.example/hooks/generic.*\\\n.*)$", text, re.MULTILINE)[1]
    line = line.replace("https://hook.example", running.url).replace("registry.example", place.host)
    env = {"PATH": os.environ["PATH"], "ZEROPULL_TOKEN": TOKEN}
    subprocess.run(["sh", "-c", line], env=env, check=True, timeout=60)
    until(lambda: [build["state"] for build in running.builds()] == ["done"], 60, running.said)
    wrong = subprocess.run(["sh", "-c", line], env={**env, "ZEROPULL_TOKEN": "guessed"}, timeout=60)
    assert wrong.returncode != 0


class _Undecided(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = b'{"event": 3, "decided": false, "text": "the registry does not answer"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _answer


def test_the_script_does_not_wait_for_a_decision_for_ever():
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Undecided)) as hook:
        late = snapshot(f"http://127.0.0.1:{hook.server_port}", "r.example/app/web:1.0", ZEROPULL_HOOK_DECISION_SECONDS="0")
    assert late.returncode == 1
    assert "the registry does not answer" in late.stderr and "not decided in 0 seconds; the hook goes on with event 3" in late.stderr
