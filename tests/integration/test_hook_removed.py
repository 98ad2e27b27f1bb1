# SPDX-License-Identifier: Apache-2.0
"""zeropull-hook when its files are removed while it runs: it promises nothing that it cannot keep, and says what to do."""
import json
import shutil

import pytest
from support import oci
from support.hook import FAKE_BUILDER, IS_SANITIZED, fake_builder, hook, until
from support.memory_registry import memory_registry


def configuration(work):
    path = work / "hook.yaml"
    path.write_text(
        f"version: 1\nanonymous: admin\n{'limits: {memory: 0}' if IS_SANITIZED else ''}\n"
        "registries: [{host: '127.0.0.1:*', plain-http: true}]\n"
        "endpoints: [{provider: generic, open: true}]\nrules: [{name: a, repositories: '**'}]\n"
    )
    return path


def put(place, tag):
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "tag": tag}
    ).encode()
    repository = place.repository("app")
    repository.blobs[oci.sha256(config)] = config
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": oci.MANIFEST,
        "config": {"mediaType": oci.CONFIG, "digest": oci.sha256(config), "size": len(config)}, "layers": [],
    }).encode()  # fmt: skip
    repository.manifests[oci.sha256(manifest)] = (oci.MANIFEST, manifest)
    repository.tags[tag] = oci.sha256(manifest)
    return f"{place.host}/app:{tag}"


def remove(state):
    (state / "hook.db").unlink()


def remove_log(state):
    (state / "hook.db-wal").unlink()


def replace(state):
    shutil.copy(state / "hook.db", state / "other")
    (state / "other").rename(state / "hook.db")


def remove_all(state):
    shutil.rmtree(state)


@pytest.mark.parametrize("lose", [remove, remove_log, replace, remove_all])
def test_nothing_is_acknowledged_that_a_restart_would_lose(work, lose):
    builder = fake_builder(work, FAKE_BUILDER.replace("$store/built", str(work / "built")))
    with memory_registry() as place, hook(work / "state", config=configuration(work), builder=builder) as service:
        tell = lambda name: service.request("/hooks/generic", {"image": name})  # noqa: E731
        assert tell(put(place, "1"))[0] == 202
        service.settle(60)
        lose(work / "state")
        second = put(place, "2")
        told, asked = tell(second), service.request("/v1/builds", {"reference": second})
        for status, answer in (told, asked, service.request("/readyz")):
            assert status == 503 and "hook.db" in answer["error"] and "start zeropull-hook again" in answer["error"]
        assert "hooks/generic: '" in service.said() and "start zeropull-hook again" in service.said()
        assert service.request("/healthz")[0] == 200
        if lose is remove_all:
            return
        service.stop()
        service.start()
        assert service.request("/readyz")[0] == 200
        assert tell(second)[0] == 202
        service.settle(60)
        assert second in {f"{place.host}/app:{tag}" for build in service.builds() for tag in build["tags"]}


def test_builds_wait_for_a_store_that_is_gone_and_it_is_named(work):
    with memory_registry() as place, hook(
        work / "state", config=configuration(work), builder=fake_builder(work)
    ) as service:
        store = work / "state" / "store"
        shutil.rmtree(store)
        problem = f"store '{store}' is gone"
        status, answer = service.request("/readyz")
        assert status == 503 and problem in answer["error"] and "when it is started again" in answer["error"]
        assert service.request("/hooks/generic", {"image": put(place, "1")})[0] == 202  # the queue is there
        until(lambda: f"{problem}: " in service.said() and service.get("/v1/status")["queued"] == 1, 30, service.said)
        (build,) = service.builds()
        assert build["state"] == "queued" and not build.get("attempts")
        store.mkdir()
        assert service.request("/readyz")[0] == 200
        until(lambda: service.builds(state="done"), 30, service.said)


def test_a_build_that_fails_for_want_of_its_store_names_it_and_is_tried_again(work):
    builder = fake_builder(work, f"#!/bin/sh\nwhile [ ! -e {work}/go ]; do sleep 0.05; done\necho 'what?' >&2\nexit 3\n")
    with memory_registry() as place, hook(work / "state", config=configuration(work), builder=builder) as service:
        assert service.request("/hooks/generic", {"image": put(place, "1")})[0] == 202
        until(lambda: service.builds(state="running"), 30, service.said)
        store = work / "state" / "store"
        shutil.rmtree(store)
        (work / "go").touch()
        build = until(lambda: service.builds(state="queued"), 30, service.said)[0]
        assert f"store '{store}' is gone" in build["reason"] and build["attempts"] == 1
