/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/model/cluster-snapshot.h"
#include "controller/model/snapshot.h"
#include "oci/json.h"

#define META "\"metadata\": {\"name\": \"n\", \"namespace\": \"ns\", \"uid\": \"u\", \"generation\": 3}"

static json_t *load(const char *text) {
        json_error_t why;
        json_t *json = json_loads(text, 0, &why);
        if (!json)
                fail_msg("%s: %s", text, why.text);
        return json;
}

static int parse(const char *text, struct ctl_snapshot *out, struct zp_error *err) {
        json_t *json = load(text);
        int r = ctl_snapshot_parse(json, out, err);
        json_decref(json);
        return r;
}

static void a_whole_object_is_read(void **state) {
        (void) state;
        struct ctl_snapshot s;
        assert_int_equal(
                parse("{\"metadata\": {\"name\": \"n\", \"namespace\": \"ns\", \"uid\": \"u\", \"generation\": 3,"
                      " \"creationTimestamp\": \"2026-01-02T03:04:05Z\", \"finalizers\": [\"x\", "
                      "\"zeropull.dev/cleanup\"],"
                      " \"annotations\": {\"zeropull.dev/retry\": \"7\"}},"
                      " \"spec\": {\"images\": [\"a\", \"b:1\"], \"platforms\": [\"linux/arm64\"],"
                      " \"pullSecrets\": [{\"name\": \"s\"}], \"serviceAccountName\": \"sa\", \"mode\": \"Track\","
                      " \"interval\": \"10m\", \"ttl\": \"2h\", \"deletionPolicy\": \"Delete\", \"target\": \"r.io/x\","
                      " \"signing\": {\"secretName\": \"k\"}, \"base\": {\"policy\": \"None\"}, \"priority\": 7,"
                      " \"executor\": \"Job\", \"warmUp\": {}}}",
                      &s, NULL),
                0);
        assert_string_equal(s.namespace, "ns");
        assert_int_equal(s.created, 1767323045);
        assert_true(s.has_finalizer && s.spec.is_tracking && s.spec.removes_snapshots && s.spec.has_no_base);
        assert_string_equal(s.retry, "7");
        assert_int_equal(s.spec.image_count, 2);
        assert_string_equal(s.spec.images[1], "b:1");
        assert_string_equal(s.spec.pull_secrets[0], "s");
        assert_int_equal(s.spec.interval_s, 600);
        assert_int_equal(s.spec.ttl_s, 7200);
        assert_string_equal(s.spec.signing_secret, "k");
        assert_int_equal(s.spec.priority, 7);
        assert_int_equal(s.spec.executor, CTL_EXECUTOR_JOB);
        assert_true(s.spec.has_warm_up);
        ctl_snapshot_clear(&s);
}

static void what_a_laxer_schema_let_in_is_refused_with_its_field(void **state) {
        (void) state;
        static const struct {
                const char *spec, *reason;
        } cases[] = {
                { "{}", "images" },
                { "{\"images\": []}", "images" },
                { "{\"images\": \"a\"}", "images" },
                { "{\"images\": [1]}", "images[0]" },
                { "{\"images\": [\"\"]}", "images[0]" },
                { "{\"images\": [\"a\"], \"mode\": \"Twice\"}", "mode" },
                { "{\"images\": [\"a\"], \"interval\": \"5x\"}", "interval" },
                { "{\"images\": [\"a\"], \"ttl\": 5}", "ttl" },
                { "{\"images\": [\"a\"], \"pullSecrets\": [\"s\"]}", "pullSecrets[0]" },
                { "{\"images\": [\"a\"], \"signing\": {}}", "signing" },
                { "{\"images\": [\"a\"], \"executor\": \"Me\"}", "executor" },
                { "{\"images\": [\"a\"], \"base\": {\"policy\": \"x\"}}", "policy" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[512];
                struct zp_error err = { 0 };
                struct ctl_snapshot s;
                snprintf(text, sizeof text, "{" META ", \"spec\": %s}", cases[i].spec);
                int r = parse(text, &s, &err);
                if (r != -EBADMSG || !strstr(err.message, cases[i].reason))
                        fail_msg("%s: %d %s", cases[i].spec, r, err.message);
                assert_string_equal(s.name, "n"); /* so that its status can say so */
                ctl_snapshot_clear(&s);
        }
        struct ctl_snapshot s;
        assert_int_equal(parse("{" META "}", &s, NULL), -EBADMSG);
        ctl_snapshot_clear(&s);
        assert_int_equal(parse("{\"spec\": {\"images\": [\"a\"]}}", &s, NULL), -EBADMSG);
        ctl_snapshot_clear(&s);
}

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const char whole_status[] =
        "{\"observedGeneration\": 3, \"observedRetry\": \"7\", \"desired\": 2, \"ready\": 1, \"failed\": 1, "
        "\"conditions\":"
        " [{\"type\": \"Ready\", \"status\": \"False\", \"observedGeneration\": 3, \"lastTransitionTime\":"
        " \"2026-01-02T03:04:05Z\", \"reason\": \"BuildFailed\", \"message\": \"m\"}], \"images\": [{\"image\": \"a\","
        " \"platform\": \"linux/amd64\", \"phase\": \"Ready\", \"digest\": \"" DIGEST_A
        "\", \"snapshotDigest\": \"" DIGEST_B
        "\", \"sizeBytes\": 5, \"buildID\": \"zeropull-1\", \"lastBuildTime\": \"2026-01-02T03:04:05Z\"}, {\"image\":"
        " \"b\", \"platform\": \"linux/amd64\", \"phase\": \"Failed\", \"reason\": \"BuildFailed\", \"message\": \"m\","
        " \"attempts\": 2, \"nextAttemptTime\": \"2026-01-02T03:04:06Z\", \"progressPercent\": 4}]}";

static void a_status_is_read_as_it_was_written(void **state) {
        (void) state;
        struct ctl_status status;
        json_t *json = load(whole_status);
        assert_int_equal(ctl_status_parse(json, &status, NULL), 0);
        json_t *again = ctl_status_json(&status);
        if (!json_equal(json, again))
                fail_msg("%s", json_dumps(again, 0));
        json_decref(again);
        json_decref(json);
        ctl_status_clear(&status);
}

static void a_status_of_others_is_found_out_again(void **state) {
        (void) state;
        static const char *const texts[] = {
                "{}",
                "[]",
                "5",
                "{\"images\": 5}",
                "{\"images\": [5, {}, {\"image\": \"a\", \"platform\": \"p\", \"phase\": \"?\"}]}",
                "{\"conditions\": [{\"type\": \"Ready\"}, 7]}",
        };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct ctl_status status;
                json_t *json = json_loads(texts[i], JSON_DECODE_ANY, NULL);
                assert_int_equal(ctl_status_parse(json, &status, NULL), 0);
                assert_int_equal(status.image_count, 0);
                json_decref(json);
                ctl_status_clear(&status);
        }
        struct ctl_status status;
        json_t *json = load(
                "{\"images\": [{\"image\": \"a\", \"platform\": \"p\", \"phase\": \"Ready\", \"digest\": \"sha256:x\","
                " \"sizeBytes\": -1, \"attempts\": \"many\"}]}");
        assert_int_equal(ctl_status_parse(json, &status, NULL), 0);
        assert_string_equal(status.images[0].digest, "");
        assert_int_equal(status.images[0].size, 0);
        json_decref(json);
        ctl_status_clear(&status);
}

static void what_is_known_of_an_image_stays_when_others_come_and_go(void **state) {
        (void) state;
        struct ctl_status status;
        json_t *json = load(whole_status);
        assert_int_equal(ctl_status_parse(json, &status, NULL), 0);
        json_decref(json);
        static const char *const images[] = { "c", "a" }, *const platforms[] = { "linux/amd64", "linux/arm64" };
        assert_true(ctl_status_align(&status, images, 2, platforms, 2));
        assert_int_equal(status.image_count, 4);
        assert_string_equal(status.images[0].image, "c");
        assert_int_equal(status.images[0].phase, CTL_PENDING);
        assert_string_equal(status.images[2].snapshot_digest, DIGEST_B);
        assert_string_equal(status.images[3].platform, "linux/arm64");
        assert_int_equal(status.images[3].phase, CTL_PENDING);
        ctl_status_clear(&status);
}

static void stand(struct ctl_image *image, enum ctl_phase phase, const char *reason) {
        image->phase = phase;
        snprintf(image->reason, sizeof image->reason, "%s", reason);
        snprintf(image->message, sizeof image->message, "%s", reason[0] ? "because" : "");
        snprintf(image->digest, sizeof image->digest, "%s", phase == CTL_PENDING ? "" : DIGEST_A);
}

/* "é" is two bytes: every second length cuts one in half. */
static void a_text_cut_inside_a_character_can_be_written(void **state) {
        (void) state;
        static const char *const images[] = { "a" }, *const platforms[] = { "p" };
        struct ctl_status status = { .observed_retry = "r\xc3" };
        assert_true(ctl_status_align(&status, images, 1, platforms, 1));
        snprintf(status.images[0].message, sizeof status.images[0].message, "caf\xc3");
        ctl_condition_set(&status.conditions[CTL_CONDITION_READY], 'F', "x\xff", "\xe2\x82", 1, 1);
        json_t *json = ctl_status_json(&status);
        assert_non_null(json);
        json_t *image = json_array_get(json_object_get(json, "images"), 0);
        json_t *condition = json_array_get(json_object_get(json, "conditions"), 0);
        assert_string_equal(json_string_value(json_object_get(json, "observedRetry")), "r?");
        assert_string_equal(json_string_value(json_object_get(image, "message")), "caf?");
        assert_string_equal(json_string_value(json_object_get(condition, "reason")), "x?");
        assert_string_equal(json_string_value(json_object_get(condition, "message")), "??");
        json_decref(json);
        ctl_status_clear(&status);
}

static void nodes_are_warm_or_the_condition_says_what_keeps_them(void **state) {
        static const struct {
                struct ctl_counts nodes;
                const char *trouble, *reason;
                char status;
        } cases[] = {
                { { 2, 2, 0 }, "", "Warmed", 'T' },
                { { 2, 2, 0 }, "no right", "Warmed", 'T' }, /* it was not needed */
                { { 2, 1, 0 }, "no right", "PullSecretsForbidden", 'F' },
                { { 2, 0, 1 }, "", "Failed", 'F' },
                { { 2, 1, 0 }, "", "Warming", 'F' },
                { { 0, 0, 0 }, "", "Warming", 'F' },
        };
        struct ctl_status status = { 0 };
        const struct ctl_condition *c = &status.conditions[CTL_CONDITION_WARMED_UP];
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                ctl_status_judge_warm_up(&status, &cases[i].nodes, cases[i].trouble, 3, 7);
                assert_int_equal(c->status, cases[i].status);
                assert_string_equal(c->reason, cases[i].reason);
                assert_int_equal(strstr(c->message, "no right") != NULL, cases[i].trouble[0] && cases[i].status == 'F');
        }
        ctl_status_judge_warm_up(&status, NULL, "", 3, 7);
        assert_int_equal(c->status, 0);
}

static void conditions_say_why_it_is_not_ready(void **state) {
        (void) state;
        static const struct {
                enum ctl_phase first, second;
                const char *first_reason;
                char ready, progressing, resolved, degraded;
                const char *reason, *message;
        } cases[] = {
                { CTL_READY, CTL_READY, "", 'T', 'F', 'T', 'F', "SnapshotsReady", "all 2 snapshots are there" },
                { CTL_PENDING, CTL_READY, "", 'F', 'T', 'U', 'F', "Pending", "1 of 2 ready; Pending: a (p)" },
                { CTL_PENDING, CTL_READY, "RegistryUnavailable", 'F', 'T', 'F', 'F', "RegistryUnavailable",
                  "1 of 2 ready; Pending: a (p): because" },
                { CTL_BUILDING, CTL_QUEUED, "Building", 'F', 'T', 'T', 'F', "Queued", "0 of 2 ready; Queued: b (p)" },
                { CTL_FAILED, CTL_BUILDING, "BuildFailed", 'F', 'T', 'T', 'T', "BuildFailed",
                  "0 of 2 ready; Failed: a (p): because" },
                { CTL_FAILED, CTL_READY, "BuildFailed", 'F', 'F', 'T', 'T', "BuildFailed",
                  "1 of 2 ready; Failed: a (p): because" },
                { CTL_READY, CTL_READY, "CheckFailed", 'T', 'F', 'T', 'T', "SnapshotsReady",
                  "all 2 snapshots are there" },
                { CTL_EXPIRED, CTL_EXPIRED, "Expired", 'F', 'F', 'T', 'F', "Expired",
                  "0 of 2 ready; Expired: a (p): because; and 1 more" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct ctl_status status = { 0 };
                static const char *const images[] = { "a", "b" }, *const platforms[] = { "p" };
                assert_true(ctl_status_align(&status, images, 2, platforms, 1));
                stand(&status.images[0], cases[i].first, cases[i].first_reason);
                stand(&status.images[1], cases[i].second, "");
                ctl_status_judge(&status, 4, NULL, NULL, 1000);
                const struct ctl_condition *c = status.conditions;
                char found[] = { c[0].status, c[1].status, c[2].status, c[3].status, '\0' };
                char wanted[] = { cases[i].ready, cases[i].progressing, cases[i].resolved, cases[i].degraded, '\0' };
                if (strcmp(found, wanted) != 0 || strcmp(c[0].reason, cases[i].reason) != 0 ||
                    strcmp(c[0].message, cases[i].message) != 0)
                        fail_msg("%zu: %s %s '%s'", i, found, c[0].reason, c[0].message);
                ctl_status_clear(&status);
        }
}

static void the_time_of_a_condition_changes_with_its_status_only(void **state) {
        (void) state;
        struct ctl_condition c = { 0 };
        ctl_condition_set(&c, 'F', "A", "m", 1, 100);
        ctl_condition_set(&c, 'F', "B", "n", 2, 200);
        assert_int_equal(c.last_transition, 100);
        assert_string_equal(c.reason, "B");
        ctl_condition_set(&c, 'T', "C", "o", 2, 300);
        assert_int_equal(c.last_transition, 300);
}

static void rules_choose_by_namespace_repository_and_tag(void **state) {
        (void) state;
        json_t *json = load("{\"metadata\": {\"name\": \"c\", \"uid\": \"u\"}, \"spec\": {\"namespaces\": [\"team-*\"],"
                            " \"repositories\": [\"r.io/**\", \"docker.io/library/*\"], \"tags\": [\"v*\", \"latest\"],"
                            " \"exclude\": {\"namespaces\": [\"team-x\"], \"repositories\": [\"r.io/scratch/*\"],"
                            " \"tags\": [\"*-debug\"]}, \"unusedTTL\": \"1h\"}}");
        struct ctl_cluster cluster;
        assert_int_equal(ctl_cluster_parse(json, &cluster, NULL), 0);
        assert_int_equal(cluster.unused_s, 3600);
        static const struct {
                const char *namespace, *image;
                bool is_wanted;
        } cases[] = {
                { "team-a", "r.io/a/b:v1", true },
                { "team-a", "nginx", true },
                { "team-a", "nginx:latest", true },
                { "other", "nginx", false },
                { "team-x", "nginx", false },
                { "team-a", "r.io/scratch/b:v1", false },
                { "team-a", "r.io/a/b:1", false },
                { "team-a", "r.io/a/b:v1-debug", false },
                { "team-a", "r.io/a/b@" DIGEST_A, false },
                { "team-a", "quay.io/a/b:v1", false },
                { "team-a", "r.io/a/B: v1", false },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                if (ctl_cluster_wants(&cluster, cases[i].namespace, cases[i].image) != cases[i].is_wanted)
                        fail_msg("%s %s", cases[i].namespace, cases[i].image);
        ctl_cluster_clear(&cluster);
        json_decref(json);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_whole_object_is_read),
                cmocka_unit_test(what_a_laxer_schema_let_in_is_refused_with_its_field),
                cmocka_unit_test(a_status_is_read_as_it_was_written),
                cmocka_unit_test(a_status_of_others_is_found_out_again),
                cmocka_unit_test(what_is_known_of_an_image_stays_when_others_come_and_go),
                cmocka_unit_test(a_text_cut_inside_a_character_can_be_written),
                cmocka_unit_test(nodes_are_warm_or_the_condition_says_what_keeps_them),
                cmocka_unit_test(conditions_say_why_it_is_not_ready),
                cmocka_unit_test(the_time_of_a_condition_changes_with_its_status_only),
                cmocka_unit_test(rules_choose_by_namespace_repository_and_tag),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
