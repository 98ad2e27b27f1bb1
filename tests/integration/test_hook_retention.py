# SPDX-License-Identifier: Apache-2.0
"""Which snapshots zeropull-hook removes from a registry, and which stay."""
import signal
import threading
from contextlib import ExitStack

import pytest

from support.hook import fake_builder, hook, until
from support.hook_world import config_file, marked_layout, put_image, referrers, slow_in_vain
from support.registry import registry


@pytest.fixture
def keeping(work, place):
    """Starts, when called with a rule's retention, a service that keeps to it, with a fake builder and the registry in
    memory."""
    with ExitStack() as stack:

        def start(retention, rule="repositories: '**'"):
            config = config_file(work, place.host, f"- {{name: r, {rule}, retention: {{{retention}}}}}\n")
            return stack.enter_context(hook(work / "state", config=config, builder=fake_builder(work)))

        yield start


class Held:
    """Put in the way of a request (place.inject), holds it until it may go on."""

    def __init__(self):
        self.is_asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _):
        self.is_asked.set()
        self.go_on.wait(60)


def upkeep(service):
    return service.request("/v1/upkeep", method="POST", raw=b"")


def end_dry_run(service):
    service.config.write_text(service.config.read_text().replace(", dry-run: true", ""))
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "was read again" in service.said(), 30)


def test_retention_removes_what_no_tag_names_after_a_dry_run(pair, work):
    rule = "- {name: r, repositories: '**', retention: {keep: 1, superseded: 1s, deleted: 1s, dry-run: true}}\n"
    service, place = pair(rule)
    for name in ("a", "b"):
        place.push(marked_layout(work, name, content=name.encode()), "app", "latest")
        until(lambda n=name: len(service.snapshots()) == 1 + (n == "b"), 60, service.said)
        service.settle()
    old, new = sorted(service.snapshots(), key=lambda s: s["published"])
    assert (old["tags"], new["tags"]) == ("", "latest")
    assert service.get("/v1/retention")["toRemove"] == []  # nothing was surveyed yet
    upkeep(service)
    (candidate,) = until(lambda: service.get("/v1/retention")["toRemove"], 30, service.said)
    assert candidate["artifact"] == old["artifact"] and candidate["reason"] == "no tag names its image"
    upkeep(service)
    until(lambda: "1 snapshots stay because of 'dry-run'" in service.said(), 30, service.said)
    assert len(service.snapshots()) == 2 and service.get("/v1/retention")["toRemove"] == [candidate]
    assert candidate["dryRun"] and len(referrers(place, "app", old["digest"])) == 1
    end_dry_run(service)
    until(lambda: service.get("/v1/retention")["toRemove"] == [{**candidate, "dryRun": False}], 30, service.said)
    upkeep(service)
    until(lambda: f"@{old['digest']} was removed" in service.said(), 30, service.said)
    assert service.snapshots() == [new] and referrers(place, "app", old["digest"]) == []
    assert [entry["digest"] for entry in referrers(place, "app", new["digest"])] == [new["artifact"]]


def test_a_registry_that_is_slow_in_vain_is_left_to_the_next_survey(place, keeping):
    service = keeping("keep: 1, superseded: 1s, deleted: 1d, dry-run: true")
    doomed = make_superseded(service, place, 2)

    def asked_in_a_survey(pattern):
        """Which images, when the registry is slow with those."""
        over = lambda: service.said().count("stay because of 'dry-run'")  # noqa: E731
        before, seen = over(), len(place.seen("^HEAD"))
        place.inject(pattern, *[slow_in_vain] * 10)
        upkeep(service)
        until(lambda: over() > before, 60, service.said)
        return {request.path for request in place.seen("^HEAD")[seen:]}

    assert len(asked_in_a_survey(f"^HEAD.*{doomed[0]}")) == 3
    assert len(asked_in_a_survey("^HEAD")) == 2


def test_what_a_registry_does_not_delete_can_still_be_found(work):
    """Deletion is off where the registry's configuration does not allow it."""
    kept = {"storage": {"filesystem": {"rootdirectory": str(work / "registry")}}}
    rule = "- {name: r, repositories: '**', retention: {superseded: 1s, deleted: 1s}}\n"
    with registry(work, extra=kept) as place, hook(work / "state", config=config_file(work, "127.0.0.1:*", rule)) as service:
        for name in ("a", "b"):
            place.push(marked_layout(work, name, content=name.encode()), "app", "latest")
            service.request("/v1/builds", {"reference": f"{place.host}/app:latest"})
            service.settle()
        old = min(service.snapshots(), key=lambda s: s["published"])
        until(lambda: upkeep(service) and "does not allow deletion" in service.said(), 30)
        until(lambda: len(service.snapshots()) == 2, 30, service.said)  # once it is not being tried again
        assert [entry["digest"] for entry in referrers(place, "app", old["digest"])] == [old["artifact"]]


def test_a_tag_that_is_rolled_back_while_retention_asks_keeps_its_snapshot(place, keeping):
    """Its image has no tag when the survey begins, and the tag again before the registry has answered."""
    service = keeping("keep: 1, superseded: 1s, deleted: 1d")
    held, is_over = Held(), threading.Event()
    tags = lambda: {s["digest"]: s["tags"] for s in service.snapshots()}  # noqa: E731
    push = lambda: service.request("/v1/builds", {"reference": f"{place.host}/app:latest"})  # noqa: E731
    old = put_image(place, "latest", "old")
    push()
    until(lambda: tags() == {old: "latest"}, 30, service.said)
    new = put_image(place, "latest", "new")
    push()
    until(lambda: tags() == {old: "", new: "latest"}, 30, service.said)
    upkeep(service)
    until(lambda: [s["digest"] for s in service.get("/v1/retention")["toRemove"]] == [old], 30, service.said)
    place.inject("^HEAD /v2/app/manifests/", held, lambda _: False, lambda _: is_over.set())
    upkeep(service)
    assert held.is_asked.wait(30)
    place.repository("app").tags["latest"] = old
    push()
    until(lambda: tags() == {old: "latest", new: ""}, 30, service.said)
    held.go_on.set()
    upkeep(service)  # the first one is over when this asks
    assert is_over.wait(30)
    assert place.seen("^DELETE") == [] and old in tags()


def make_superseded(service, place, count, repository="app"):
    """Publishes so many images that no tag names, and one that `latest` does. The digests of those that are to go, in
    the order in which they will."""
    mine = lambda snapshots: [s for s in snapshots if s["repository"].rpartition("/")[2] == repository]  # noqa: E731
    for number in range(count + 1):
        digest = put_image(place, "latest", f"{repository}{number}", repository)
        service.request("/v1/builds", {"reference": f"{place.host}/{repository}:latest"})
        until(lambda d=digest: [s["digest"] for s in mine(service.snapshots()) if s["tags"]] == [d], 30, service.said)
    upkeep(service)
    doomed = lambda: [s["digest"] for s in mine(service.get("/v1/retention")["toRemove"])]  # noqa: E731
    return until(lambda: len(doomed()) == count and doomed(), 30, service.said)


def test_a_registry_that_is_slow_in_vain_is_left_to_the_next_removal(place, keeping):
    service = keeping("keep: 1, superseded: 1s, dry-run: true")
    for repository in ("app", "other", "third"):  # of one registry
        make_superseded(service, place, 2, repository)
    end_dry_run(service)
    assert len(service.get("/v1/retention")["toRemove"]) == 6
    place.inject("^(DELETE|HEAD)", *[slow_in_vain] * 100)
    upkeep(service)
    until(lambda: "upkeep: " in service.said(), 60, service.said)
    assert len(place.seen("^DELETE")) == 2


def test_two_snapshots_of_which_a_registry_never_says_whether_they_are_there_keep_no_others(place, keeping):
    service = keeping("keep: 1, superseded: 1s, dry-run: true")
    for repository in ("other", "app"):  # of one registry
        make_superseded(service, place, 2, repository)
    place.inject("^(DELETE|HEAD) /v2/app/", *[slow_in_vain] * 100)
    end_dry_run(service)
    removed = lambda: service.said().count(" was removed: ")  # noqa: E731
    until(lambda: upkeep(service) and removed() == 2, 60, service.said)


def test_what_is_wanted_again_while_another_snapshot_is_removed_stays(work, place, keeping):
    """One has a tag again, and one is being built again, by the time it would be their turn."""
    service = keeping("keep: 1, superseded: 1s, deleted: 1d")
    held, is_next_survey = Held(), threading.Event()
    first, tagged, built = make_superseded(service, place, 3)
    fake_builder(work, "#!/bin/sh\ntrap 'exit 1' TERM\nwhile :; do sleep 0.1; done\n")
    place.inject("^DELETE", held)
    upkeep(service)
    assert held.is_asked.wait(30)
    place.repository("app").tags["again"] = tagged
    for wish in ({"reference": f"{place.host}/app:again"}, {"reference": f"{place.host}/app@{built}", "force": True}):
        assert service.request("/v1/builds", wish)[0] == 202
    until(lambda: [b["digest"] for b in service.builds(state="running")] == [built], 30, service.said)
    until(lambda: {s["digest"]: s["tags"] for s in service.snapshots()}[tagged] == "again", 30, service.said)
    place.inject("^HEAD", lambda _: is_next_survey.set())
    upkeep(service)
    held.go_on.set()
    assert is_next_survey.wait(30)
    assert len(place.seen("^DELETE")) == 1
    assert first not in (left := {s["digest"] for s in service.snapshots()}) and {tagged, built} < left


def test_a_build_that_waits_for_a_removal_does_not_wait_for_the_next_one(place, keeping):
    service = keeping("keep: 1, superseded: 1s")
    held, next_held = Held(), Held()
    first, second = make_superseded(service, place, 2)
    place.inject("^DELETE", held, next_held)
    upkeep(service)
    assert held.is_asked.wait(30)
    place.repository("app").tags["again"] = first
    assert service.request("/v1/builds", {"reference": f"{place.host}/app:again"})[0] == 202
    until(lambda: [b["digest"] for b in service.builds(state="queued")] == [first], 30, service.said)
    held.go_on.set()
    assert next_held.is_asked.wait(30)
    there = lambda: {s["digest"] for s in service.snapshots()}  # noqa: E731
    left = until(lambda: first in (found := there()) and found, 30, service.said)
    assert second not in left  # the registry has not answered, nor has it been given up
    next_held.go_on.set()


def test_an_image_is_gone_when_no_repository_that_wanted_its_snapshot_has_it(place, keeping):
    service = keeping("deleted: 1s, dry-run: true", f"repositories: '*/*', target: 'docker://{place.host}/snapshots'")
    doomed = lambda: {s["digest"] for s in service.get("/v1/retention")["toRemove"]}  # noqa: E731
    for repository, name in (("dev", "shared"), ("prod", "shared"), ("dev", "other")):
        put_image(place, name, name, repository)
        service.request("/v1/builds", {"reference": f"{place.host}/{repository}:{name}"})
        until(lambda r=repository, n=name: f"{r}:{n}: marked by" in service.said(), 30, service.said)
    service.settle()
    shared, other = (place.repository("dev").tags[name] for name in ("shared", "other"))
    assert {s["digest"] for s in service.snapshots()} == {shared, other}
    place.repository("dev").manifests.clear()
    upkeep(service)
    until(lambda: doomed() == {other}, 30, service.said)
    upkeep(service)
    until(lambda: len(place.seen(f"^HEAD /v2/prod/manifests/{shared}")) == 2, 30, service.said)
    assert doomed() == {other}
    place.repository("prod").manifests.clear()
    upkeep(service)
    until(lambda: doomed() == {shared, other}, 30, service.said)
