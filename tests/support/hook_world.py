# SPDX-License-Identifier: Apache-2.0
"""zeropull-hook with what is around it: its configuration, registries that tell it, and images to push to them."""
import json
import subprocess
import threading
from contextlib import contextmanager

from . import images, oci
from .hook import IS_SANITIZED, Hook, notifications
from .registry import registry

TOKEN = "Bearer 0123456789abcdef"
ALL = "- {name: all, repositories: '**'}\n"


def config_file(work, host, rules, extra=""):
    secret = work / "secret"
    secret.write_text(TOKEN + "\n")
    path = work / "hook.yaml"
    path.write_text(
        f"""version: 1
anonymous: admin
{"limits: {memory: 0}" if IS_SANITIZED else ""}
registries:
- host: '{host}'
endpoints:
- provider: distribution
  secret-file: {secret}
{extra}
rules:
{rules}"""
    )
    return path


@contextmanager
def hook_and_registry(work):
    """Gives a function that starts a service and a registry that tells it. The rules come first: the registry's port is
    in none of them."""

    def start(rules, extra="", **options):
        config = config_file(work, "127.0.0.1:*", rules, extra)
        service = Hook(work / "state", config=config, **options).start()
        running = registry(work, extra=notifications(service.url, TOKEN))
        started.append((service, running))
        return service, running.__enter__()

    started = []
    yield start
    for service, running in started:
        running.__exit__(None, None, None)
        if service.process.poll() is None:
            service.stop()


def marked_layout(work, name, labels=None, content=b"content"):
    """An OCI layout with a one-file image; returns skopeo's name for it."""
    layout = oci.Layout(work / f"layout-{name}")
    made = images.Maker(work)
    with made.layer() as tar:
        tar.file("file", content)
    layout.add_image(name, made.layers, {"Labels": labels} if labels else {})
    return f"oci:{work / f'layout-{name}'}:{name}"


def put_image(place, tag, name, repository="app"):
    """An image that is looked at, and never fetched."""
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"name": name}},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    }).encode()  # fmt: skip
    place.repository(repository).blobs[oci.sha256(config)] = config
    manifest = {
        "schemaVersion": 2, "mediaType": oci.MANIFEST,
        "config": {"mediaType": oci.CONFIG, "digest": oci.sha256(config), "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + "2" * 64, "size": 10}],
    }  # fmt: skip
    return place.put_manifest(json.dumps(manifest).encode(), tag, repository=repository)


def referrers(registry_, repository, digest):
    """Artifacts beside an image; the registry has no referrers API, so the fallback tag tells."""
    text = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false",
         f"docker://{registry_.host}/{repository}:{digest.replace(':', '-')}"],
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    return json.loads(text)["manifests"]


def slow_in_vain(handler):
    threading.Event().wait(2.5)
    handler.answer(503)
    return True
