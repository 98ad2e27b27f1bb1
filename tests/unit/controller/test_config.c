/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/config.h"

static int parse(const char *text, struct ctl_config **out, struct zp_error *err) {
        return ctl_config_parse(text, strlen(text), "c.yaml", out, err);
}

static void everything_can_be_set(void **state) {
        (void) state;
        struct ctl_config *c = NULL;
        struct zp_error err = { 0 };
        int r = parse("version: 1\nexecutor: Hook\nplatforms: [linux/amd64, linux/arm64/v8]\nworkers: 3\n"
                      "cleanup-timeout: 30s\nlease: {namespace: n, name: l}\n"
                      "hook: {url: 'https://h', token-file: /t, ca-file: /c}\n"
                      "job:\n  image: i\n  concurrency: 4\n  namespace-concurrency: 3\n  deadline: 10m\n  keep: 2m\n  "
                      "cpu: '2'\n  memory: 1Gi\n"
                      "  store-size: 9Gi\n  ca-config-map: m\n  node-selector: {a: b, c: d}\n"
                      "registries:\n- {host: '*.io', plain-http: true}\n- {host: '**', ca-file: /x}\n"
                      "agents: {namespace: a, service-account: s, targets: [r.example/s/**, docker.io/library/x, "
                      "'*.example/s']}\n",
                      &c, &err);
        if (r < 0)
                fail_msg("%s", err.message);
        assert_int_equal(c->executor, CTL_EXECUTOR_HOOK);
        assert_int_equal(c->platform_count, 2);
        assert_int_equal(c->workers, 3);
        assert_int_equal(c->cleanup_s, 30);
        assert_string_equal(c->hook.token_file, "/t");
        assert_int_equal(c->job.concurrency, 4);
        assert_int_equal(c->job.namespace_concurrency, 3);
        assert_int_equal(c->job.deadline_s, 600);
        assert_string_equal(c->job.store_size, "9Gi");
        assert_int_equal(c->job.node_selector_count, 2);
        assert_string_equal(c->job.node_selector[1].value, "d");
        assert_true(ctl_config_registry(c, "quay.io")->plain_http);
        assert_string_equal(ctl_config_registry(c, "localhost:5000")->ca_file, "/x");
        assert_string_equal(c->agent_account, "s");
        assert_int_equal(c->target_count, 3);
        assert_string_equal(c->targets[1], "docker.io/library/x");
        ctl_config_free(c);
}

static void without_a_word_there_are_defaults(void **state) {
        (void) state;
        struct ctl_config *c = NULL;
        assert_int_equal(ctl_config_load(NULL, &c, NULL), 0);
        assert_int_equal(c->executor, CTL_EXECUTOR_JOB);
        assert_int_equal(c->platform_count, 1);
        assert_null(ctl_config_registry(c, "quay.io"));
        ctl_config_free(c);
        assert_int_equal(parse("hook: {url: 'http://h'}\n", &c, NULL), 0);
        assert_int_equal(c->executor, CTL_EXECUTOR_HOOK); /* the only one that there is */
        ctl_config_free(c);
}

static void one_namespace_gets_half_of_the_builds_where_nothing_is_said(void **state) {
        (void) state;
        static const struct {
                const char *text;
                int half;
        } cases[] = { { "{}", 5 },
                      { "job: {image: i, concurrency: 1}\n", 1 },
                      { "job: {image: i, concurrency: 7}\n", 4 } };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct ctl_config *c = NULL;
                assert_int_equal(parse(cases[i].text, &c, NULL), 0);
                assert_int_equal(c->job.namespace_concurrency, cases[i].half);
                ctl_config_free(c);
        }
}

static void what_is_not_understood_is_refused_with_its_line(void **state) {
        (void) state;
        static const char *const texts[] = {
                "",
                "job: {}\n",
                "job: {image: i, speed: 3}\n",
                "job: {image: i, concurrency: 0}\n",
                "job: {image: i, deadline: 5}\n",
                "hook: {token-file: /t}\n",
                "hook: {url: 'ftp://h'}\n",
                "executor: Me\n",
                "executor: Hook\n",
                "executor: Job\n",
                "registries: [{plain-http: true}]\n",
                "agents: {targets: ['**']}\n",
                "agents: {targets: ['**/x']}\n",
                "agents: {targets: ['*/**']}\n",
                "agents: {targets: ['*.*/x']}\n",
                "agents: {targets: ['*:5000/x']}\n",
                "agents: {targets: ['?*/x']}\n",
                "agents: {targets: ['r.example**/x']}\n",
                "agents: {targets: [r.example]}\n",
                "agents: {targets: [r.example/]}\n",
                "agents: {targets: r.example/x}\n",
                "registries: [{host: a, plain-http: perhaps}]\n",
                "platforms: [linux]\n",
                "workers: many\n",
                "version: 2\n",
                "workers: 1\nworkers: 2\n",
        };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct ctl_config *c = NULL;
                struct zp_error err = { 0 };
                if (parse(texts[i], &c, &err) != -EINVAL || strncmp(err.message, "c.yaml:", 7) != 0)
                        fail_msg("'%s': %s", texts[i], err.message);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(everything_can_be_set),
                cmocka_unit_test(without_a_word_there_are_defaults),
                cmocka_unit_test(one_namespace_gets_half_of_the_builds_where_nothing_is_said),
                cmocka_unit_test(what_is_not_understood_is_refused_with_its_line),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
