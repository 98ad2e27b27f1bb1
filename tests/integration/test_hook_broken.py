# SPDX-License-Identifier: Apache-2.0
"""zeropull-hook and what can never be built as it is: an image that is broken for good, a rule that is gone."""
import json
import signal

import pytest
from support import oci
from support.hook import fake_builder, hook, until
from support.memory_registry import memory_registry

LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + "2" * 64, "size": 10}
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}}
).encode()


def configuration(work, rules, limits=""):
    path = work / "hook.yaml"
    path.write_text(
        f"version: 1\nanonymous: admin\nlimits: {{memory: 0{limits}}}\n"
        f"registries: [{{host: '127.0.0.1:*', plain-http: true}}]\nrules:\n{rules}"
    )
    return path


def put(place, tag, layers=(LAYER,), config=CONFIG):
    repository = place.repository("app")
    repository.blobs[oci.sha256(config)] = config
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": oci.MANIFEST,
        "config": {"mediaType": oci.CONFIG, "digest": oci.sha256(config), "size": len(config)},
        "layers": list(layers),
    }).encode()  # fmt: skip
    digest = oci.sha256(manifest)
    repository.manifests[digest] = (oci.MANIFEST, manifest)
    repository.tags[tag] = digest
    return digest


def reload(service, rules):
    before = service.said().count("was read again")
    configuration(service.config.parent, rules)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.said().count("was read again") > before, 30, service.said)


def failed_once(work, service, place):
    """A build that waits to be tried again, by the rule 'a'."""
    digest = put(place, "1")
    service.request("/v1/builds", {"reference": f"{place.host}/app:1"})
    build = until(lambda: [b for b in service.builds(state="queued") if b.get("attempts")], 30, service.said)[0]
    assert build["rule"] == "a" and build["digest"] == digest
    assert build["may"] == ["cancel", "retry"]
    until(lambda: f"build {build['id']}: failed, trying again in 10 s: away" in service.said(), 30, service.said)
    return build


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_waits_when_its_rule_is_renamed_is_built_by_the_new_one(work, is_restarted):
    builder = fake_builder(work, "#!/bin/sh\necho 'away' >&2\nexit 1\n")
    config = configuration(work, "- {name: a, repositories: '**'}\n")
    with memory_registry() as place, hook(work / "state", config=config, builder=builder) as service:
        build = failed_once(work, service, place)
        fake_builder(work)
        if is_restarted:
            service.stop()
            configuration(work, "- {name: b, repositories: '**'}\n")
            service.start()
        else:
            reload(service, "- {name: b, repositories: '**'}\n")
        service.request(f"/v1/builds/{build['id']}/retry", method="POST", raw=b"")
        (done,) = until(lambda: service.builds(state="done"), 30, service.said)
        assert done["rule"] == "b" and done["digest"] == build["digest"] and done["tags"] == ["1"]
        (old,) = service.builds(state="superseded")
        assert old["id"] == build["id"] and old["reason"].startswith("rule 'a' is not in the configuration any more")


def test_what_waits_when_its_rule_is_gone_and_no_other_marks_it_is_not_built_and_can_be_asked_for_again(work):
    builder = fake_builder(work, "#!/bin/sh\necho 'away' >&2\nexit 1\n")
    config = configuration(work, "- {name: a, repositories: '**'}\n")
    with memory_registry() as place, hook(work / "state", config=config, builder=builder) as service:
        build = failed_once(work, service, place)
        fake_builder(work)
        reload(service, "- {name: b, repositories: '**/other'}\n")
        retry = f"/v1/builds/{build['id']}/retry"
        service.request(retry, method="POST", raw=b"")
        service.settle()
        (old,) = service.builds()
        assert old["state"] == "superseded" and "app:1: not marked" in service.said()
        reload(service, "- {name: b, repositories: '**'}\n")
        assert service.request(retry, method="POST", raw=b"")[0] == 200
        until(lambda: service.builds(state="done"), 30, service.said)


BROKEN = {
    "a layer of a negative size": ({"layers": [{**LAYER, "size": -1}]}, "layer 0: "),
    "a layer larger than any can be": ({"layers": [{**LAYER, "size": 10**18}]}, "layer 0: "),
    "more layers than there can be": ({"layers": [LAYER] * 5000}, "too many layers: 5000, at most "),
    "a config that is a list": ({"config": b"[]"}, "config"),
    "a config that is not JSON": ({"config": b"nonsense"}, "config"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_image_that_is_broken_for_good_is_decided_about_at_once(work, name):
    parts, reason = BROKEN[name]
    config = configuration(work, "- {name: a, repositories: '**'}\n")
    with memory_registry() as place, hook(work / "state", config=config, builder=fake_builder(work)) as service:
        put(place, "1", **parts)
        told = service.command("trigger", f"{place.host}/app:1", "--timeout", "20")
        assert told.returncode == 1, told.stderr
        assert "app:1: cannot be built: " in told.stderr and reason in told.stderr
        service.settle(10)
        assert "asking again later" not in service.said() and service.builds() == []


def test_a_broken_platform_of_an_index_leaves_the_others_to_be_built(work):
    config = configuration(work, "- {name: a, repositories: '**'}\n")
    with memory_registry() as place, hook(work / "state", config=config, builder=fake_builder(work)) as service:
        entries = [
            {"mediaType": oci.MANIFEST, "digest": put(place, "x", **parts), "size": 1,
             "platform": {"os": "linux", "architecture": architecture}}
            for architecture, parts in (("arm64", {"config": b"[]"}), ("amd64", {}))
        ]  # fmt: skip
        index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}).encode()
        place.repository("app").manifests[oci.sha256(index)] = (oci.INDEX, index)
        place.repository("app").tags["1"] = oci.sha256(index)
        told = service.command("trigger", f"{place.host}/app:1", "--timeout", "20")
        assert told.returncode == 1 and "linux/arm64 cannot be built: " in told.stderr, told.stderr
        (build,) = service.builds(state="done")
        assert build["platform"] == "linux/amd64"


def put_index(place, tag, entries):
    index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}).encode()
    place.repository("app").manifests[oci.sha256(index)] = (oci.INDEX, index)
    place.repository("app").tags[tag] = oci.sha256(index)
    return {"mediaType": oci.INDEX, "digest": oci.sha256(index), "size": len(index)}


def entry_of(digest, os="linux", architecture="amd64", media_type=oci.MANIFEST):
    return {"mediaType": media_type, "digest": digest, "size": 1,
            "platform": {"os": os, "architecture": architecture}}  # fmt: skip


UNMARKED = {
    "a Windows image": (
        lambda place: put(place, "1", config=CONFIG.replace(b'"linux"', b'"windows"')),
        "only images for linux are built, not for windows/amd64",
    ),
    "an index of Windows images": (
        lambda place: put_index(place, "1", [entry_of(put(place, "x"), "windows")]),
        "only images for linux are built, not for windows/amd64",
    ),
    "an index within an index": (
        lambda place: put_index(place, "1", [put_index(place, "x", [entry_of(put(place, "y"))])]),
        "an index within an index is not looked at",
    ),
    "an index within an index for a platform": (
        lambda place: put_index(
            place, "1", [entry_of(put_index(place, "x", [])["digest"], media_type=oci.INDEX)]
        ),
        "an index within an index is not looked at",
    ),
    "an index without manifests": (lambda place: put_index(place, "1", []), "the index has no manifests"),
    "an index of other platforms": (
        lambda place: put_index(place, "1", [entry_of(put(place, "x"), architecture="s390x")]),
        "no rule builds the image for linux/s390x",
    ),
    "an index whose images are not there": (
        lambda place: put_index(place, "1", [entry_of("sha256:" + "3" * 64)]),
        "the registry does not have the image for linux/amd64",
    ),
}


@pytest.mark.parametrize("name", UNMARKED)
def test_what_is_not_marked_says_why(work, name):
    make, reason = UNMARKED[name]
    config = configuration(work, "- {name: a, repositories: '**', platforms: [linux/amd64]}\n")
    with memory_registry() as place, hook(work / "state", config=config, builder=fake_builder(work)) as service:
        make(place)
        told = service.command("trigger", f"{place.host}/app:1", "--timeout", "20")
        assert told.returncode == 4 and f"app:1: not marked: {reason}\n" in told.stderr, told.stderr
        assert f"app:1: not marked: {reason}" in service.said()
        tested = service.command("rules", "test", f"{place.host}/app:1", "--config", config)
        assert tested.returncode == 4 and f"app:1: not marked: {reason}\n" in tested.stdout


def test_what_an_image_says_of_itself_stays_in_its_line(work):
    evil = "a\x1b[2J\nmarked by rule 'a'"
    config = configuration(work, "- {name: a, repositories: '**', labels: {snapshot: 'yes'}}\n")
    with memory_registry() as place, hook(work / "state", config=config, builder=fake_builder(work)) as service:
        for tag, labels, architecture in [("label", {"snapshot": evil}, "amd64"), ("platform", {}, evil)]:
            body = json.dumps({"architecture": architecture, "os": "linux", "config": {"Labels": labels},
                               "rootfs": {"type": "layers", "diff_ids": []}}).encode()  # fmt: skip
            place.repository("app").blobs[oci.sha256(body)] = body
            manifest = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "layers": [],
                        "config": {"mediaType": oci.CONFIG, "digest": oci.sha256(body), "size": len(body)}}  # fmt: skip
            place.put_manifest(json.dumps(manifest).encode(), tag, repository="app")
            for command in (["rules", "test"], ["trigger", "--timeout", "20"]):
                extra = ["--config", config] if command[0] == "rules" else []
                told = service.command(*command, f"{place.host}/app:{tag}", *extra)
                assert "not marked" in told.stdout + told.stderr
                assert "\x1b" not in told.stdout + told.stderr and "\nmarked" not in told.stdout + told.stderr


def test_a_body_that_is_json_and_no_object_is_told_so(work):
    config = configuration(work, "- {name: a, repositories: '**'}\n")
    with hook(work / "state", config=config, builder=fake_builder(work)) as service:
        assert service.request("/v1/builds", [])[1]["error"] == "the body: not a JSON object"
