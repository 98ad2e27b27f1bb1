# SPDX-License-Identifier: Apache-2.0
"""Registries that zeropull-hook polls for pushes that nobody told of."""
import threading

from support.hook import fake_builder, hook, until
from support.hook_world import ALL, config_file, marked_layout, put_image, slow_in_vain
from support.memory_registry import memory_registry
from support.registry import registry


def test_reconcile_finds_pushes_that_nobody_told_of(work):
    with registry(work) as place:
        place.push(marked_layout(work, "a"), "app", "1")
        place.push(marked_layout(work, "b", content=b"b"), "team/web", "2")
        config = config_file(work, place.host, ALL)
        config.write_text(
            config.read_text().replace(
                f"- host: '{place.host}'", f"- host: '{place.host}'\n  reconcile: {{every: 1h, catalog: true}}"
            )
        )
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: len(service.snapshots()) == 2, 30, service.said)
            place.push(marked_layout(work, "c", content=b"c"), "app", "1")  # the tag moves
            assert service.request("/v1/upkeep", method="POST", raw=b"")[0] == 202
            until(lambda: len(service.snapshots()) == 3, 30, service.said)
            service.settle()
            assert service.request("/v1/upkeep", method="POST", raw=b"")[0] == 202
            until(lambda: service.said().count("0 name something new") >= 1, 30, service.said)
            assert len(service.builds()) == 3


def test_a_registry_that_is_slow_in_vain_is_left_to_the_next_poll(work):
    with memory_registry() as slow, memory_registry() as other:
        slow.inject("/tags/list", *[slow_in_vain] * 100)
        put_image(other, "1", "image", "app")
        config = config_file(work, slow.host, ALL)
        polls = f"\n  reconcile: {{repositories: [a, b, c]}}\n- host: '{other.host}'\n  reconcile: {{repositories: [app]}}"
        config.write_text(config.read_text().replace(f"- host: '{slow.host}'", f"- host: '{slow.host}'{polls}"))
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: service.snapshots(), 60, service.said)
            assert len({request.path.split("?")[0] for request in slow.seen("/tags/list")}) == 2


def test_a_repository_that_is_slow_in_vain_keeps_no_others_from_being_polled(work):
    with memory_registry() as place:
        place.inject("/v2/a/tags/list", *[slow_in_vain] * 100)
        for repository in "bc":
            put_image(place, "1", repository, repository)
        config = config_file(work, place.host, ALL)
        polls = "\n  reconcile: {repositories: [a, b, c]}"
        config.write_text(config.read_text().replace(f"- host: '{place.host}'", f"- host: '{place.host}'{polls}"))
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: {s["repository"].rpartition("/")[2] for s in service.snapshots()} == {"b", "c"}, 60, service.said)
            until(lambda: place.seen("/v2/a/tags/list"), 30, service.said)


def test_long_lists_that_end_in_an_error_are_not_slow(work):
    def slow_page(handler):
        threading.Event().wait(2.5)
        link = f'<{handler.path}&last=1>; rel="next"'
        handler.answer(200, b'{"tags": ["1"]}', [("Link", link)])
        return True

    def refuse(handler):
        handler.error(403, "DENIED", "no")
        return True

    with memory_registry() as place:
        place.inject("last=1", *[refuse] * 100)
        place.inject("/tags/list", *[slow_page] * 100)
        config = config_file(work, place.host, ALL)
        polls = "\n  reconcile: {repositories: [a, b, c]}"
        config.write_text(config.read_text().replace(f"- host: '{place.host}'", f"- host: '{place.host}'{polls}"))
        with hook(work / "state", config=config, builder=fake_builder(work)) as service:
            until(lambda: "tags of 3 repositories" in service.said(), 60, service.said)
            assert service.said().count("DENIED") >= 3
