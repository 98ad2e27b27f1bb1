# SPDX-License-Identifier: Apache-2.0
"""Notifications of real registries, configured as docs/providers.md says, and what a provider makes of them."""
import json
import subprocess
import urllib.request

import pytest

from support import images, oci
from support.notified import receiver
from support.registry import distribution_3, registry

SECRET = "not to be guessed"


def notifications(url, secret=SECRET, **more):
    endpoint = {
        "name": "zeropull",
        "url": url,
        "headers": {"Authorization": [f"Bearer {secret}"]},
        "timeout": "5s",
        "threshold": 3,
        "backoff": "100ms",
        **more,
    }
    return {"notifications": {"events": {"includereferences": True}, "endpoints": [endpoint]}}


@pytest.fixture(scope="module", params=["docker-registry", "distribution 3"])
def program(request):
    return "docker-registry" if request.param == "docker-registry" else distribution_3()


@pytest.fixture
def notified(program, tmp_path):
    """(receiver, registry), where the registry tells the receiver everything."""
    with receiver(SECRET) as (received, url):
        with registry(tmp_path, extra=notifications(url + "/hooks/distribution"), program=program) as server:
            yield received, server


@pytest.fixture(scope="module")
def multi(tmp_path_factory):
    """An OCI layout with the index `multi` of two platforms; (source, digest of the index, those of the platforms)."""
    layout = oci.Layout(tmp_path_factory.mktemp("multi"))
    images.copy_into("busybox", layout.directory)
    layers = layout.layers("busybox")
    platforms = []
    for architecture in ("amd64", "arm64"):
        change = lambda config, name=architecture: config.update(architecture=name)  # noqa: E731
        digest = layout.add_image(architecture, layers, change_config=change)
        size = (layout.blobs / digest.removeprefix("sha256:")).stat().st_size
        platforms.append(
            {
                "mediaType": oci.MANIFEST,
                "digest": digest,
                "size": size,
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": platforms}
    digest = layout.tag_manifest("multi", json.dumps(index).encode(), oci.INDEX)
    return f"oci:{layout.directory}:multi", digest, {platform["digest"] for platform in platforms}


def test_a_push_is_one_event_with_host_tag_and_digest(notified):
    received, server = notified
    server.push(images.source("busybox"), "app/web", "1.0")
    received.wait_for(tag="1.0")
    inspected = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", server.reference("app/web", "1.0")],
        stdout=subprocess.PIPE,
        check=True,
    )
    # inspecting pulls, and what it told must have come before the next push is told
    server.push(images.source("busybox"), "app/other", "2.0")
    received.wait_for(tag="2.0")
    (event,) = received.matching(repository="app/web")
    assert event["kind"] == "push" and event["host"] == server.host and event["id"]
    assert event["digest"] == json.loads(inspected.stdout)["Digest"]
    assert event["media_type"] == oci.MANIFEST and "skopeo" in event["agent"]
    assert received.statuses() == {200, 202}  # blobs and pulls mean nothing, and stop nothing


def test_a_multi_platform_push_tells_each_platform_and_the_index(notified, multi):
    received, server = notified
    source, index, platforms = multi
    server.push(source, "app/multi", "2.0")
    received.wait_for(tag="2.0")
    assert {event["digest"] for event in received.matching(tag="")} == platforms
    (event,) = received.matching(tag="2.0")
    assert event["digest"] == index and event["media_type"] == oci.INDEX


def test_a_blob_mounted_from_another_repository_is_no_event(notified):
    received, server = notified
    first = server.push(images.source("busybox"), "app/web", "1.0")
    server.push(first, "app/copy", "1.1", "--src-tls-verify=false")
    received.wait_for(tag="1.1")
    assert sorted(event["repository"] for event in received.events()) == ["app/copy", "app/web"]
    assert received.statuses() == {200, 202}


def test_a_deletion_is_told(notified):
    received, server = notified
    server.push(images.source("busybox"), "app/web", "1.0")
    received.wait_for(tag="1.0")
    (pushed,) = received.matching(tag="1.0")
    url = f"{server.url}/v2/app/web/manifests/{pushed['digest']}"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10).close()
    received.wait_for(kind="delete")
    (deleted,) = received.matching(kind="delete")
    assert deleted["repository"] == "app/web" and deleted["host"] == server.host
    assert deleted["digest"] == pushed["digest"]


def test_the_wrong_secret_gives_no_event(program, tmp_path):
    with receiver(SECRET) as (received, url):
        extra = notifications(url + "/hooks/distribution", secret="guessed")
        with registry(tmp_path, extra=extra, program=program) as server:
            server.push(images.source("busybox"), "app/web", "1.0")
            received.wait(lambda r: len(r.results) >= 3)
        assert received.statuses() == {401} and not received.events()


def test_what_we_publish_can_be_told_from_images(notified, zeropull):
    received, server = notified
    image = server.push(images.source("busybox"), "app/web", "1.0")
    zeropull.build(image, "--plain-http")
    zeropull.ok("push", "--plain-http", image.removeprefix("docker://"))
    server.push(images.source("busybox"), "app/last", "9")
    received.wait_for(tag="9")
    ours = [event for event in received.events() if "skopeo" not in event["agent"]]
    assert ours and all(event["agent"].startswith("zeropull/") for event in ours)
