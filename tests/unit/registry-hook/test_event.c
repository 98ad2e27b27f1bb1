/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry-hook/event.h"

#define DIGEST "sha256:3502f07603bde8876f45e574a2a9223718aea3d69c23f7e767845c80d095ea63"

static void parts_are_taken_over_and_hosts_brought_to_one_form(void **state) {
        (void) state;
        struct hook_events events = { 0 };
        struct zp_error err = { 0 };
        struct hook_event_text text = {
                HOOK_PUSH, "https://Registry.Example:5000/", "acme/web", "v1", DIGEST, "type", "id-1", "docker/17"
        };
        assert_int_equal(hook_events_add(&events, &text, &err), 0);
        const struct hook_event *event = &events.items[0];
        char digest[ZP_DIGEST_TEXT_SIZE];
        assert_string_equal(event->host, "registry.example:5000");
        assert_string_equal(event->repository, "acme/web");
        assert_string_equal(event->tag, "v1");
        assert_true(event->has_digest);
        assert_string_equal(zp_digest_text(&event->digest, digest), DIGEST);
        assert_string_equal(event->media_type, "type");
        assert_string_equal(event->id, "id-1");
        assert_string_equal(event->agent, "docker/17");
        hook_events_clear(&events);
}

static void docker_hub_names_get_their_library(void **state) {
        (void) state;
        struct hook_events events = { 0 };
        struct hook_event_text text = { .host = "docker.io", .repository = "alpine", .tag = "3" };
        assert_int_equal(hook_events_add(&events, &text, NULL), 0);
        assert_string_equal(events.items[0].repository, "library/alpine");
        hook_events_clear(&events);
}

/* And a tag's is a push: it joins what a registry tells of the same tag. */
static void a_reference_with_a_digest_is_a_wish_for_that(void **state) {
        (void) state;
        struct hook_events events = { 0 };
        assert_int_equal(hook_events_add_reference(&events, "docker://r.example/a:1@" DIGEST, NULL), 0);
        assert_int_equal(hook_events_add_reference(&events, "r.example/a:1", NULL), 0);
        assert_int_equal(events.items[0].kind, HOOK_WISH);
        assert_true(events.items[0].has_digest);
        assert_string_equal(events.items[0].tag, "");
        assert_int_equal(events.items[1].kind, HOOK_PUSH);
        assert_string_equal(events.items[1].tag, "1");
        hook_events_clear(&events);
}

static void malformed_parts_are_refused_and_named(void **state) {
        (void) state;
        static const struct {
                struct hook_event_text text;
                const char *message;
        } cases[] = {
                { { .host = NULL, .repository = "a", .tag = "1" }, "names no registry" },
                { { .host = "https:///", .repository = "a", .tag = "1" }, "names no registry" },
                { { .host = "r.example/x", .repository = "a", .tag = "1" }, "not a registry's host" },
                { { .host = "user@r.example", .repository = "a", .tag = "1" }, "" },
                { { .host = "r.example", .repository = "", .tag = "1" }, "not a repository" },
                { { .host = "r.example", .repository = "a/../b", .tag = "1" }, "" },
                { { .host = "r.example", .repository = "a:1", .tag = "1" }, "not a repository" },
                { { .host = "r.example", .repository = "a", .tag = "1 2" }, "" },
                { { .host = "r.example", .repository = "a", .tag = "1@" DIGEST }, "not a tag" },
                { { .host = "r.example", .repository = "a", .digest = "sha256:12" }, "" },
                { { .host = "r.example", .repository = "a" }, "neither tag nor digest" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct hook_events events = { 0 };
                struct zp_error err = { 0 };
                assert_int_equal(hook_events_add(&events, &cases[i].text, &err), -EBADMSG);
                assert_non_null(strstr(err.message, cases[i].message));
                assert_int_equal(events.count, 0);
                hook_events_clear(&events);
        }
}

static void a_host_that_no_reference_can_name_is_told_from_a_malformed_one(void **state) {
        (void) state;
        struct hook_events events = { 0 };
        struct hook_event_text text = { .host = "vm", .repository = "a", .tag = "1" };
        struct zp_error err = { 0 };
        assert_int_equal(hook_events_add(&events, &text, &err), -EHOSTUNREACH);
        assert_non_null(strstr(err.message, "no dot, no port"));
        assert_int_equal(events.count, 0);
        hook_events_clear(&events);
}

static void a_deletion_may_name_the_repository_alone(void **state) {
        (void) state;
        struct hook_events events = { 0 };
        struct hook_event_text text = { .kind = HOOK_DELETE, .host = "r.example", .repository = "a" };
        assert_int_equal(hook_events_add(&events, &text, NULL), 0);
        hook_events_clear(&events);
}

static void long_ids_stay_distinct_and_long_agents_are_cut(void **state) {
        (void) state;
        struct hook_events events = { 0 };
        char id[2][400], agent[400];
        memset(id, 'x', sizeof id);
        memset(agent, 'y', sizeof agent);
        id[0][399] = id[1][399] = agent[399] = '\0';
        id[1][398] = 'z';
        for (size_t i = 0; i < 2; i++) {
                struct hook_event_text text = {
                        .host = "r.example", .repository = "a", .tag = "1", .id = id[i], .agent = agent
                };
                assert_int_equal(hook_events_add(&events, &text, NULL), 0);
        }
        assert_string_not_equal(events.items[0].id, events.items[1].id);
        assert_int_equal(strlen(events.items[0].agent), HOOK_AGENT_SIZE - 1);
        hook_events_clear(&events);
}

static void there_is_an_end_to_how_many_one_notification_tells(void **state) {
        (void) state;
        struct hook_events events = { 0 };
        struct hook_event_text text = { .host = "r.example", .repository = "a", .tag = "1" };
        for (int i = 0; i < HOOK_EVENTS_MAX; i++)
                assert_int_equal(hook_events_add(&events, &text, NULL), 0);
        assert_int_equal(hook_events_add(&events, &text, NULL), -E2BIG);
        assert_int_equal(events.count, HOOK_EVENTS_MAX);
        hook_events_clear(&events);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parts_are_taken_over_and_hosts_brought_to_one_form),
                cmocka_unit_test(docker_hub_names_get_their_library),
                cmocka_unit_test(a_reference_with_a_digest_is_a_wish_for_that),
                cmocka_unit_test(malformed_parts_are_refused_and_named),
                cmocka_unit_test(a_host_that_no_reference_can_name_is_told_from_a_malformed_one),
                cmocka_unit_test(a_deletion_may_name_the_repository_alone),
                cmocka_unit_test(long_ids_stay_distinct_and_long_agents_are_cut),
                cmocka_unit_test(there_is_an_end_to_how_many_one_notification_tells),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
