# SPDX-License-Identifier: Apache-2.0
"""zeropull-hook with a real registry that notifies it: a push of a marked image ends in a published snapshot."""
import json

from support import images, oci
from support.hook import until
from support.hook_world import ALL, marked_layout, referrers
from support.zeropull import Zeropull


def test_push_of_a_marked_image_publishes_its_snapshot_with_no_other_command(pair, work):
    service, place = pair("- {name: web, repositories: '*/acme/*', labels: {snapshot: 'yes'}}\n")
    place.push(marked_layout(work, "marked", {"snapshot": "yes"}), "acme/web", "1")
    place.push(marked_layout(work, "plain", content=b"other"), "acme/plain", "1")
    place.push(marked_layout(work, "elsewhere", {"snapshot": "yes"}), "other/web", "1")
    until(lambda: service.snapshots(), 60, service.said)
    service.settle()
    (snapshot,) = service.snapshots()
    assert snapshot["repository"] == f"{place.host}/acme/web" and snapshot["tags"] == "1"
    (artifact,) = referrers(place, "acme/web", snapshot["digest"])
    assert artifact["digest"] == snapshot["artifact"]
    assert len(service.builds()) == 1


def test_the_snapshot_can_be_pulled_and_used(pair, work):
    service, place = pair(ALL)
    place.push(images.source("busybox"), "app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    elsewhere = Zeropull(work / "elsewhere")
    elsewhere.ok("pull", "--complete", f"docker://{place.host}/app:1")
    assert " busybox\n" in elsewhere.ok("ls", "--recursive", f"docker://{place.host}/app:1")


def test_who_knows_a_layers_diff_id_does_not_get_the_layer(pair, work):
    service, place = pair(ALL)
    place.push(marked_layout(work, "private", content=b"nobody else's"), "victim/app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    victim = oci.Layout(work / "layout-private").layers("private")[0]
    layout = oci.Layout(work / "layout-claim")
    layout.add_image("claim", [layout.add_raw_layer(b"no layer at all", diff_id=victim.diff_id)])
    place.push(f"oci:{layout.directory}:claim", "mallory/app", "1")
    until(lambda: len(service.builds()) == 2, 60, service.said)
    service.settle()
    assert [snapshot["repository"] for snapshot in service.snapshots()] == [f"{place.host}/victim/app"]
    assert sorted(build["state"] for build in service.builds()) == ["done", "failed"]
    assert victim.diff_id in service.said()


def test_unchanged_tag_builds_nothing_and_its_own_pushes_neither(pair, work):
    service, place = pair(ALL)
    image = marked_layout(work, "a")
    place.push(image, "app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    place.push(image, "app", "1")
    place.push(image, "app", "again")
    until(lambda: "again" in service.snapshots()[0]["tags"], 30, service.said)
    service.settle()
    assert [build["state"] for build in service.builds()] == ["done"]
    assert "sha256-" not in service.said()


def test_multi_arch_push_builds_each_wanted_platform_once(pair, work):
    service, place = pair("- {name: two, repositories: '**', platforms: [linux/amd64, linux/arm64]}\n")
    layout = oci.Layout(work / "multi")
    entries = []
    for architecture in ("amd64", "arm64", "s390x"):
        (work / architecture).mkdir()
        made = images.Maker(work / architecture)
        with made.layer() as tar:
            tar.file("file", architecture.encode())
        digest = layout.add_image(
            architecture, made.layers, change_config=lambda config, a=architecture: config.update(architecture=a)
        )
        size = (layout.blobs / digest.removeprefix("sha256:")).stat().st_size
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": oci.MANIFEST, "digest": digest, "size": size, "platform": platform})
    index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}
    layout.tag_manifest("multi", json.dumps(index).encode(), oci.INDEX)
    place.push(f"oci:{work / 'multi'}:multi", "app", "1")
    until(lambda: len(service.snapshots()) == 2, 60, service.said)
    service.settle()
    assert sorted(build["platform"] for build in service.builds()) == ["linux/amd64", "linux/arm64"]


def test_second_version_rests_on_the_first_and_is_laid_out_by_what_nodes_reported(pair, work):
    service, place = pair(ALL)
    place.push(images.source("busybox"), "app", "1")
    until(lambda: service.snapshots(), 60, service.said)
    status, answer = service.request(
        f"/v1/profiles?repository={place.host}/app", raw=b"/bin/busybox\t0\t8192\n/new\n",
        headers={"Content-Type": "text/plain"},
    )  # fmt: skip
    assert status == 200, answer
    layout = oci.Layout(work / "second")
    made = images.Maker(work)
    made.layers += oci.Layout(images.layout("busybox")).layers("busybox")
    with made.layer() as tar:
        tar.file("new", b"new" * 5000)
    layout.add_image("second", made.layers, {})
    place.push(f"oci:{work / 'second'}:second", "app", "2")
    until(lambda: len(service.snapshots()) == 2, 60, service.said)
    newer, older = service.snapshots()
    build = service.get(f"/v1/builds/{newer['build']}")
    assert "of the base" in build["log"] and build["result"]["bytesSent"] < 20000, build
    lists = (work / "state" / "store" / "images").glob("*/prefetch.json")
    lists = [json.loads(path.read_text()) for path in lists if (path.parent / "profile").exists()]
    assert len(lists) == 1 and lists[0]["ranges"] and "guess" not in lists[0]
    assert list((work / "state" / "profiles").iterdir()) == []
