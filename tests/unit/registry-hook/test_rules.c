/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry-hook/rules.h"

static const char text[] = "version: 1\n"
                           "registries: [{host: r.example}]\n"
                           "rules:\n"
                           "- {name: none, action: skip, repositories: 'r.example/tmp/**'}\n"
                           "- {name: small, action: skip, repositories: 'r.example/**', platforms: linux/s390x}\n"
                           "- name: release\n"
                           "  repositories: r.example/acme/*\n"
                           "  tags: ['v*']\n"
                           "  exclude: {tags: '*-rc*', repositories: r.example/acme/secret}\n"
                           "  platforms: [linux/amd64, linux/arm64]\n"
                           "  min-size: 1K\n"
                           "- name: marked\n"
                           "  repositories: r.example/**\n"
                           "  labels: {snapshot: 'yes'}\n"
                           "  annotations: {team: 'a*'}\n";

static struct hook_config *config;

static int load(void **state) {
        (void) state;
        return hook_config_parse(text, sizeof text - 1, "hook.yaml", &config, NULL);
}

static int unload(void **state) {
        (void) state;
        hook_config_drop(config);
        return 0;
}

static const char *find(struct hook_facts facts) {
        facts.host = "r.example";
        if (!facts.platform)
                facts.platform = "linux/amd64";
        const struct hook_rule *rule = hook_rules_find(config, &facts, NULL);
        return rule ? rule->name : "";
}

static void the_first_rule_that_fits_decides(void **state) {
        (void) state;
        assert_string_equal(find((struct hook_facts){ .repository = "acme/web", .tag = "v1", .size = 5000 }),
                            "release");
        assert_string_equal(find((struct hook_facts){ .repository = "tmp/a/b", .tag = "v1", .size = 5000 }), "none");
        assert_string_equal(find((struct hook_facts){ .repository = "acme/web", .tag = "v1", .size = 1023 }), "");
        assert_string_equal(find((struct hook_facts){ .repository = "acme/web", .tag = "v1-rc1", .size = 5000 }), "");
        assert_string_equal(find((struct hook_facts){ .repository = "acme/web", .tag = "", .size = 5000 }), "");
        assert_string_equal(find((struct hook_facts){ .repository = "acme/secret", .tag = "v1", .size = 5000 }), "");
}

static void a_platform_without_a_variant_takes_every_variant(void **state) {
        (void) state;
        struct hook_facts facts = { .repository = "acme/web", .tag = "v1", .size = 5000 };
        facts.platform = "linux/arm64/v8";
        assert_string_equal(find(facts), "release");
        facts.platform = "linux/arm";
        assert_string_equal(find(facts), "");
        facts.platform = "linux/amd64p32";
        assert_string_equal(find(facts), "");
}

static void labels_and_annotations_must_all_hold(void **state) {
        (void) state;
        struct hook_facts facts = { .repository = "x", .tag = "" };
        json_t *labels = json_pack("{s:s}", "snapshot", "yes"), *other = json_pack("{s:s}", "snapshot", "no");
        json_t *team = json_pack("{s:s}", "team", "abc"), *number = json_pack("{s:i}", "team", 1);
        facts.labels = labels;
        assert_string_equal(find(facts), "");
        facts.annotations = team;
        assert_string_equal(find(facts), "marked");
        facts.annotations = number;
        assert_string_equal(find(facts), "");
        facts.index_annotations = team; /* the index speaks for what is below it */
        assert_string_equal(find(facts), "marked");
        facts.labels = other;
        assert_string_equal(find(facts), "");
        json_decref(labels);
        json_decref(other);
        json_decref(team);
        json_decref(number);
}

static void names_that_nothing_would_build_need_not_be_looked_at(void **state) {
        (void) state;
        assert_false(hook_rules_may_build(config, "r.example", "tmp/x", "v1"));
        assert_true(hook_rules_may_build(config, "r.example", "acme/web", "v1"));
        assert_false(hook_rules_may_build(config, "other.example", "acme/web", "v1"));
        assert_true(hook_rules_want_platform(config, "r.example", "acme/web", "v1", "linux/s390x")); /* by 'marked' */
}

static void the_decision_is_explained_rule_by_rule(void **state) {
        (void) state;
        struct hook_facts facts = {
                .host = "r.example", .repository = "acme/web", .tag = "v1-rc1", .platform = "linux/amd64", .size = 5000
        };
        zp_autobuffer struct zp_buffer why = { 0 };
        assert_null(hook_rules_find(config, &facts, &why));
        assert_string_equal(why.data, "hook.yaml:4: rule 'none': 'r.example/acme/web' is none of its repositories\n"
                                      "hook.yaml:5: rule 'small': platform linux/amd64 is none of its platforms\n"
                                      "hook.yaml:6: rule 'release': tag 'v1-rc1' is excluded by '*-rc*'\n"
                                      "hook.yaml:12: rule 'marked': label snapshot is absent, not 'yes'\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_first_rule_that_fits_decides),
                cmocka_unit_test(a_platform_without_a_variant_takes_every_variant),
                cmocka_unit_test(labels_and_annotations_must_all_hold),
                cmocka_unit_test(names_that_nothing_would_build_need_not_be_looked_at),
                cmocka_unit_test(the_decision_is_explained_rule_by_rule),
        };
        return cmocka_run_group_tests(tests, load, unload);
}
