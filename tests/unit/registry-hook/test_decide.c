/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry-hook/decide.h"

#define HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void our_own_pushes_and_names_no_rule_builds_matter_to_nobody(void **state) {
        (void) state;
        static const char text[] = "version: 1\nregistries: [{host: r.example}]\n"
                                   "rules: [{name: a, repositories: 'r.example/acme/*'}]\n";
        static const struct {
                struct hook_event_text event;
                bool matters;
        } cases[] = {
                { { .host = "r.example", .repository = "acme/web", .tag = "1" }, true },
                { { .host = "r.example", .repository = "acme/web", .tag = "1", .agent = "docker/24" }, true },
                { { .host = "r.example", .repository = "acme/web", .tag = "1", .agent = "zeropull/0.1.0" }, false },
                { { .host = "r.example", .repository = "acme/web", .tag = "sha256-" HEX }, false },
                { { .host = "r.example", .repository = "acme/web", .tag = "sha256-abc" }, true },
                { { .host = "r.example",
                    .repository = "acme/web",
                    .digest = "sha256:" HEX,
                    .media_type = "application/vnd.zeropull.snapshot.v1" },
                  false },
                { { .host = "r.example", .repository = "other/web", .tag = "1" }, false },
                { { .kind = HOOK_DELETE, .host = "r.example", .repository = "other/web", .tag = "1" }, true },
        };
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        assert_int_equal(hook_config_parse(text, strlen(text), "hook.yaml", &config, NULL), 0);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct hook_events events = { 0 };
                char reason[QUEUE_REASON_SIZE];
                assert_int_equal(hook_events_add(&events, &cases[i].event, NULL), 0);
                if (hook_decide_may_matter(config, &events.items[0], reason) != cases[i].matters)
                        fail_msg("case %zu", i);
                hook_events_clear(&events);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(
                our_own_pushes_and_names_no_rule_builds_matter_to_nobody) };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
