/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/executors/hook-answers.h"
#include "controller/executors/job-object.h"
#include "controller/executors/job-trouble.h"
#include "controller/secrets.h"

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static json_t *load(const char *text) {
        json_error_t why;
        json_t *json = json_loads(text, 0, &why);
        if (!json)
                fail_msg("%s: %s", text, why.text);
        return json;
}

#define CONDITION(type, reason)                                                                                     \
        "{\"status\": {\"conditions\": [{\"type\": \"" type "\", \"status\": \"True\", \"reason\": \"" reason "\"," \
        " \"message\": \"of the Job\"}]}}"
/* Beside the container of a service mesh. */
#define STATE(state)                                                                                                 \
        "{\"metadata\": {\"name\": \"pod\"}, \"status\": {\"containerStatuses\": [{\"name\": \"a-mesh\", \"state\":" \
        " {\"running\": {}}}, {\"name\": \"build\", \"state\": " state "}]}}"

static void jobs_and_their_pods_tell_how_a_build_stands(void **state) {
        (void) state;
        static const struct {
                const char *job, *pod; /* pod NULL: none */
                enum ctl_build_state state;
                const char *reason, *message, *snapshot;
        } cases[] = {
                { CONDITION("Complete", ""),
                  STATE("{\"terminated\": {\"message\": \"{\\\"snapshot\\\": \\\"" DIGEST_A
                        "\\\", \\\"snapshotSize\\\": 7}\"}}"),
                  CTL_BUILD_DONE, "", "", DIGEST_A },
                { CONDITION("Complete", ""), NULL, CTL_BUILD_DONE, "", "", "" },
                { CONDITION("Complete", ""), STATE("{\"terminated\": {\"message\": \"no JSON\"}}"), CTL_BUILD_DONE, "",
                  "", "" },
                { CONDITION("Failed", "PodFailurePolicy"),
                  STATE("{\"terminated\": {\"message\": \"x\\nzeropull: first\\nzeropull: build a: refused\\n  hint: "
                        "h\\n\"}}"),
                  CTL_BUILD_REFUSED, "BuildRefused", "build a: refused", "" },
                { CONDITION("Failed", "BackoffLimitExceeded"), STATE("{\"terminated\": {}}"), CTL_BUILD_FAILED,
                  "BuildFailed", "of the Job", "" },
                { CONDITION("Failed", "DeadlineExceeded"), NULL, CTL_BUILD_FAILED, "DeadlineExceeded",
                  "the build took longer than it may", "" },
                { "{}", NULL, CTL_BUILD_QUEUED, "JobCreated", "the build's Job has no pod yet", "" },
                { "{}", STATE("{\"running\": {}}"), CTL_BUILD_RUNNING, "Building", "", "" },
                { "{}", STATE("{\"terminated\": {}}"), CTL_BUILD_RUNNING, "Building", "the build's pod has ended", "" },
                { "{}", STATE("{\"waiting\": {\"reason\": \"ImagePullBackOff\", \"message\": \"no such image\"}}"),
                  CTL_BUILD_QUEUED, "ImagePullBackOff", "the build's pod pod waits: ImagePullBackOff: no such image",
                  "" },
                { "{}", STATE("{\"waiting\": {\"reason\": \"ContainerCreating\"}}"), CTL_BUILD_QUEUED, "PodStarting",
                  "the build's pod is starting", "" },
                { "{}", STATE("{\"waiting\": {\"reason\": \"PodInitializing\"}}"), CTL_BUILD_QUEUED, "PodStarting",
                  "the build's pod is starting", "" },
                { "{}",
                  "{\"status\": {\"conditions\": [{\"type\": \"PodScheduled\", \"status\": \"False\", \"message\": \"no"
                  " room\"}]}}",
                  CTL_BUILD_QUEUED, "Unschedulable", "no node takes the build's pod: no room", "" },
                { "{\"metadata\": {\"deletionTimestamp\": \"now\"}}", NULL, CTL_BUILD_GONE, "BuildDeleted",
                  "the build's Job was deleted", "" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_t *job = load(cases[i].job), *pod = cases[i].pod ? load(cases[i].pod) : NULL;
                struct ctl_build build = { 0 };
                ctl_job_read(job, pod, &build);
                if (build.state != cases[i].state || strcmp(build.reason, cases[i].reason) != 0 ||
                    strcmp(build.message, cases[i].message) != 0 || strcmp(build.snapshot, cases[i].snapshot) != 0)
                        fail_msg("%zu: %d %s '%s' %s", i, build.state, build.reason, build.message, build.snapshot);
                json_decref(job);
                json_decref(pod);
        }
}

static void a_build_that_does_not_begin_says_what_was_said_of_that(void **state) {
        (void) state;
        struct ctl_build build = { .state = CTL_BUILD_QUEUED, .reason = "JobCreated", .message = "no pod yet" };
        assert_true(ctl_job_is_held_up(&build));
        ctl_job_add_trouble("over quota\n", &build);
        assert_string_equal(build.reason, "PodNotCreated");
        assert_string_equal(build.message, "no pod yet: over quota ");
        struct ctl_image before = { .phase = CTL_QUEUED,
                                    .reason = "PodNotCreated",
                                    .message = "no pod yet: over quota" };
        build = (struct ctl_build){ .state = CTL_BUILD_QUEUED, .reason = "JobCreated", .message = "no pod yet" };
        ctl_job_keep_trouble(&before, &build);
        assert_string_equal(build.reason, "PodNotCreated");
        assert_string_equal(build.message, before.message);
        build = (struct ctl_build){ .state = CTL_BUILD_QUEUED, .reason = "PodStarting", .message = "starting" };
        ctl_job_keep_trouble(&before, &build); /* it has a pod now */
        assert_string_equal(build.message, "starting");
        struct ctl_build late = { .state = CTL_BUILD_FAILED, .reason = "DeadlineExceeded", .message = "too long" };
        assert_false(ctl_job_is_held_up(&late));
        ctl_job_add_delay(&before, &late);
        assert_string_equal(late.message, "the build did not begin within its time: no pod yet: over quota");
        assert_string_equal(late.reason, "DeadlineExceeded");
        late = (struct ctl_build){ .state = CTL_BUILD_FAILED, .reason = "DeadlineExceeded", .message = "too long" };
        before.phase = CTL_BUILDING;
        ctl_job_add_delay(&before, &late);
        assert_string_equal(late.message, "too long");
        before = (struct ctl_image){ .phase = CTL_QUEUED,
                                     .reason = "ExecutorUnavailable",
                                     .message = "jobs: timed out" };
        ctl_job_add_delay(&before, &late); /* how it stood was not known then */
        assert_string_equal(late.message, "too long");
}

#define SCHEDULED(status, at)                                                                                        \
        "{\"status\": {\"conditions\": [{\"type\": \"Ready\", \"status\": \"True\", \"lastTransitionTime\": \"2\"}," \
        " {\"type\": \"PodScheduled\", \"status\": \"" status "\", \"lastTransitionTime\": \"" at "\"}]}}"
#define AT(second) "2026-01-02T03:04:" second "Z"
#define WARNING(at, note) "{\"note\": \"" note "\", \"deprecatedLastTimestamp\": \"" at "\"}"

static void a_pod_is_scheduled_when_its_condition_became_true(void **state) {
        (void) state;
        static const struct {
                const char *pod, *at;
        } cases[] = {
                { SCHEDULED("True", AT("05")), AT("05") },
                { SCHEDULED("False", AT("05")), "" },
                { "{\"status\": {\"conditions\": [{\"type\": \"PodScheduled\", \"status\": \"True\"}]}}", "" },
                { "{}", "" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_t *pod = load(cases[i].pod);
                assert_string_equal(ctl_job_scheduled_at(pod), cases[i].at);
                json_decref(pod);
        }
}

static void a_warning_from_before_a_pod_had_its_node_is_not_the_reason_of_now(void **state) {
        (void) state;
        static const struct {
                const char *list, *since, *note;
        } cases[] = {
                { "{\"items\": [" WARNING(AT("04"), "no node") "]}", AT("05"), "" },
                { "{\"items\": [" WARNING(AT("04"), "no node") "]}", "", "no node" },
                { "{\"items\": [" WARNING(AT("05"), "no mount") "," WARNING(AT("04"), "no node") "]}", AT("05"),
                  "no mount" },
                { "{\"items\": [" WARNING(AT("06"), "new") "," WARNING(AT("05"), "old") "]}", AT("05"), "new" },
                { "{\"items\": [" WARNING(AT("05"), "old") "," WARNING(AT("06"), "new") "]}", AT("05"), "new" },
                { "{\"items\": [" WARNING(AT("06"), "") ", 7, {}]}", AT("05"), "" },
                { "{\"items\": [{\"note\": \"no node\", \"eventTime\": \"2026-01-02T03:04:04.999999Z\"}]}", AT("05"),
                  "" },
                { "{\"items\": [{\"note\": \"again\", \"eventTime\": \"2026-01-02T03:04:04.999999Z\", \"series\":"
                  " {\"lastObservedTime\": \"2026-01-02T03:04:06.000000Z\"}}]}",
                  AT("05"), "again" },
                { "{\"items\": [{\"note\": \"no mount\", \"eventTime\": \"2026-01-02T03:04:05.900000Z\"}]}", AT("05"),
                  "no mount" },
                { "{}", "", "" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char note[CTL_MESSAGE_SIZE] = "before";
                json_t *list = load(cases[i].list);
                ctl_job_read_trouble(list, cases[i].since, note);
                if (strcmp(note, cases[i].note) != 0)
                        fail_msg("%zu: '%s'", i, note);
                json_decref(list);
        }
}

#define TASK(done, total) "{\"label\":\"layer 1/2\",\"done\":" done ",\"total\":" total "}"
#define TASKS(tasks) "{\"tasks\":[" tasks "]}\n"

static void what_a_pod_says_tells_how_far_its_build_is(void **state) {
        (void) state;
        static const struct {
                const char *log;
                int progress;        /* 7: as it was */
                const char *message; /* "before": as it was */
        } cases[] = {
                { "", 7, "before" },
                { TASKS(TASK("1", "4")), 25, "before" },
                { "layer 1/2: converting\n" TASKS(TASK("1", "4")) TASKS(TASK("2", "4")), 50, "layer 1/2: converting" },
                { TASKS(TASK("1", "4")) "first\n" TASKS(TASK("30", "40") "," TASK("10", "60")) "last\n\n", 40, "last" },
                { TASKS(TASK("1", "4")) TASKS(""), -1, "before" },        /* nothing is under way */
                { TASKS(TASK("1", "4")) "{\"tasks\":[{\n", 7, "before" }, /* the last one counts */
                { TASKS("7, {}, " TASK("\"9\"", "4")), 0, "before" },
                { "{\"tasks\":7}\n{\"task\":[]}\n", -1, "{\"task\":[]}" },
                { TASKS(TASK("1", "4")) "{\"tasks\":[" TASK("2", "4") "]}", 25, "before" }, /* does not end */
                { "said\ncut in the mid", 7, "said" },
                { "\033[31mred\r\n", 7, " [31mred " },
                { "\xc2\x9b"
                  "31mred\xc2\x80\x7f\n",
                  7, "  31mred   " }, /* U+009B is as good as that */
                { "\xc2\xa0\xc3\xa9\xc2\x9f\n", 7, "\xc2\xa0\xc3\xa9  " },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct ctl_build build = { .state = CTL_BUILD_RUNNING, .progress = 7, .message = "before" };
                ctl_job_read_log(cases[i].log, strlen(cases[i].log), &build);
                if (build.state != CTL_BUILD_RUNNING || build.progress != cases[i].progress ||
                    strcmp(build.message, cases[i].message) != 0)
                        fail_msg("%zu: %d %d '%s'", i, build.state, build.progress, build.message);
        }
}

static void what_a_pod_says_is_cut_to_fit(void **state) {
        (void) state;
        static char line[2 * CTL_MESSAGE_SIZE];
        struct ctl_build build = { .state = CTL_BUILD_RUNNING };
        memset(line, 'x', sizeof line - 1);
        line[sizeof line - 1] = '\n';
        ctl_job_read_log(line, sizeof line, &build);
        assert_int_equal(strlen(build.message), CTL_MESSAGE_SIZE - 1);
        ctl_job_read_log("a\0b\n", 4, &build);
        assert_string_equal(build.message, "a");
        ctl_job_read_log(NULL, 0, &build);
        assert_string_equal(build.message, "a");
}

/* ---- the Job's name ---- */

static void name_of_image(const char *name_of_it, const char *spec, const char *digest, int attempts, const char *retry,
                          char name[CTL_JOB_NAME_SIZE]) {
        char text[512];
        struct ctl_snapshot owner;
        struct ctl_image image = { .image = (char *) name_of_it, .platform = "linux/amd64", .attempts = attempts };
        snprintf(text, sizeof text,
                 "{\"metadata\": {\"name\": \"n\", \"namespace\": \"ns\", \"uid\": \"u\", \"annotations\":"
                 " {\"zeropull.dev/retry\": \"%s\"}}, \"spec\": {\"images\": [\"r.io/a:1\"]%s}}",
                 retry, spec);
        json_t *json = load(text);
        assert_int_equal(ctl_snapshot_parse(json, &owner, NULL), 0);
        snprintf(image.digest, sizeof image.digest, "%s", digest);
        ctl_job_name(&(struct ctl_order){ &owner, &image }, name);
        ctl_snapshot_clear(&owner);
        json_decref(json);
}

static void name_of(const char *spec, const char *digest, int attempts, const char *retry,
                    char name[CTL_JOB_NAME_SIZE]) {
        name_of_image("r.io/a:1", spec, digest, attempts, retry, name);
}

static void the_tags_of_an_image_have_one_build(void **state) {
        (void) state;
        static const char *const same[] = { "r.io/a:2", "r.io/a", "r.io/a@" DIGEST_A };
        char name[CTL_JOB_NAME_SIZE], other[CTL_JOB_NAME_SIZE];
        name_of("", DIGEST_A, 0, "", name);
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
                name_of_image(same[i], "", DIGEST_A, 0, "", other);
                assert_string_equal(name, other);
        }
        name_of_image("r.io/b:1", "", DIGEST_A, 0, "", other);
        assert_string_not_equal(name, other);
        name_of_image("docker.io/library/a", "", DIGEST_A, 0, "", name);
        name_of_image("a:1", "", DIGEST_A, 0, "", other);
        assert_string_equal(name, other);
}

static void the_same_wish_has_the_same_name_and_no_other_has(void **state) {
        (void) state;
        static const struct {
                const char *spec, *digest;
                int attempts;
                const char *retry;
        } others[] = {
                { "", DIGEST_B, 0, "" },
                { "", DIGEST_A, 1, "" },
                { "", DIGEST_A, 0, "1" },
                { ", \"target\": \"r.io/t\"", DIGEST_A, 0, "" },
                { ", \"signing\": {\"secretName\": \"r.io/t\"}", DIGEST_A, 0, "" },
                { ", \"pullSecrets\": [{\"name\": \"r.io/t\"}]", DIGEST_A, 0, "" },
                { ", \"base\": {\"policy\": \"None\"}", DIGEST_A, 0, "" },
                { ", \"base\": {\"image\": \"r.io/t\"}", DIGEST_A, 0, "" },
                { ", \"serviceAccountName\": \"r.io/t\"", DIGEST_A, 0, "" },
        };
        enum { OTHERS = sizeof others / sizeof *others };
        char name[CTL_JOB_NAME_SIZE], again[CTL_JOB_NAME_SIZE], names[OTHERS][CTL_JOB_NAME_SIZE];
        name_of("", DIGEST_A, 0, "", name);
        name_of(", \"priority\": 5, \"mode\": \"Track\", \"interval\": \"1h\"", DIGEST_A, 0, "", again);
        assert_string_equal(name, again); /* what does not change the snapshot does not count */
        for (size_t i = 0; i < OTHERS; i++) {
                name_of(others[i].spec, others[i].digest, others[i].attempts, others[i].retry, names[i]);
                assert_string_not_equal(name, names[i]);
                for (size_t j = 0; j < i; j++)
                        assert_string_not_equal(names[i], names[j]);
        }
}

static void who_wants_a_job_that_is_there_becomes_an_owner_beside_its_controller(void **state) {
        (void) state;
        struct ctl_config config = { .job = { .image = "r.io/zeropull" } };
        struct ctl_secrets none = { 0 };
        struct ctl_image image = { .image = (char *) "r.io/a:1", .platform = "linux/amd64", .digest = DIGEST_A };
        struct ctl_snapshot first, second;
        json_t *a = load("{\"metadata\": {\"name\": \"a\", \"namespace\": \"ns\", \"uid\": \"u-a\"}, \"spec\":"
                         " {\"images\": [\"r.io/a:1\"]}}");
        json_t *b = load("{\"metadata\": {\"name\": \"b\", \"namespace\": \"ns\", \"uid\": \"u-b\"}, \"spec\":"
                         " {\"images\": [\"r.io/a:1\"]}}");
        assert_int_equal(ctl_snapshot_parse(a, &first, NULL), 0);
        assert_int_equal(ctl_snapshot_parse(b, &second, NULL), 0);
        json_t *job = ctl_job_object(&config, &(struct ctl_order){ &first, &image }, &none);
        json_t *share = ctl_job_share_object(&(struct ctl_order){ &second, &image }, "u-job");
        assert_true(ctl_job_is_owned_by(job, &first));
        assert_false(ctl_job_is_owned_by(job, &second));
        assert_true(ctl_job_is_owned_by(share, &second));
        json_t *of_job = json_object_get(job, "metadata"), *of_share = json_object_get(share, "metadata");
        assert_true(json_equal(json_object_get(of_job, "name"), json_object_get(of_share, "name")));
        assert_string_equal(json_string_value(json_object_get(of_share, "uid")), "u-job");
        json_t *one = json_array_get(json_object_get(of_job, "ownerReferences"), 0);
        json_t *other = json_array_get(json_object_get(of_share, "ownerReferences"), 0);
        assert_true(json_is_true(json_object_get(one, "controller")));
        assert_true(json_is_false(json_object_get(other, "controller")));
        json_decref(share);
        json_decref(job);
        ctl_snapshot_clear(&first);
        ctl_snapshot_clear(&second);
        json_decref(a);
        json_decref(b);
}

/* ---- the hook's answers ---- */

static void a_running_build_tells_how_much_of_what_is_under_way_is_done(void **state) {
        (void) state;
        static const struct {
                const char *state, *tasks;
                int progress;
        } cases[] = {
                { "running", "[]", -1 },
                { "running", "[{\"label\": \"layer 1/2\", \"done\": 1, \"total\": 4}]", 25 },
                { "running", "[{\"done\": 30, \"total\": 40}, {\"done\": 10, \"total\": 60}]", 40 },
                { "running", "[{\"done\": 5, \"total\": 0}]", -1 }, /* not known */
                { "running", "[{\"done\": 9, \"total\": 4}, {\"done\": -9, \"total\": 4}]", 50 },
                { "running",
                  "[{\"done\": 9223372036854775807, \"total\": 9223372036854775807}, 7,"
                  " {\"done\": 9223372036854775807, \"total\": 9223372036854775807}]",
                  100 },
                { "queued", "[{\"done\": 1, \"total\": 4}]", -1 },
                { "done", "[{\"done\": 1, \"total\": 4}]", -1 },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[400];
                snprintf(text, sizeof text, "{\"digest\": \"" DIGEST_A "\", \"state\": \"%s\", \"tasks\": %s}",
                         cases[i].state, cases[i].tasks);
                json_t *json = load(text);
                struct ctl_build build = { 0 };
                assert_true(ctl_hook_read_build(json, DIGEST_A, &build));
                if (build.progress != cases[i].progress)
                        fail_msg("%s: %d", text, build.progress);
                json_decref(json);
        }
}

static void the_hooks_builds_are_understood(void **state) {
        (void) state;
        static const struct {
                const char *build;
                bool is_ours;
                enum ctl_build_state state;
                const char *reason, *message;
        } cases[] = {
                { "{\"digest\": \"" DIGEST_B "\", \"state\": \"done\"}", false, 0, "", "" },
                { "{\"digest\": \"" DIGEST_A "\", \"state\": \"queued\"}", true, CTL_BUILD_QUEUED, "Queued", "" },
                { "{\"digest\": \"" DIGEST_A "\", \"state\": \"queued\", \"reason\": \"r\"}", true, CTL_BUILD_QUEUED,
                  "Queued", "to be tried again: r" },
                { "{\"digest\": \"" DIGEST_A "\", \"state\": \"running\", \"progress\": \"layer 2\"}", true,
                  CTL_BUILD_RUNNING, "Building", "layer 2" },
                { "{\"digest\": \"" DIGEST_A "\", \"state\": \"failed\", \"reason\": \"r\"}", true, CTL_BUILD_FAILED,
                  "BuildFailed", "r" },
                { "{\"digest\": \"" DIGEST_A "\", \"state\": \"superseded\", \"reason\": \"r\"}", true, CTL_BUILD_GONE,
                  "BuildSuperseded", "r" },
                { "{\"digest\": \"" DIGEST_A "\", \"state\": \"of a newer hook\"}", true, CTL_BUILD_QUEUED, "Queued",
                  "" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_t *json = load(cases[i].build);
                struct ctl_build build = { 0 };
                bool is_ours = ctl_hook_read_build(json, DIGEST_A, &build);
                if (is_ours != cases[i].is_ours || build.state != cases[i].state ||
                    strcmp(build.reason, cases[i].reason) != 0 || strcmp(build.message, cases[i].message) != 0)
                        fail_msg("%zu: %d %d %s '%s'", i, is_ours, build.state, build.reason, build.message);
                json_decref(json);
        }
        struct ctl_build build = { 0 };
        json_t *json = load("{\"digest\": \"" DIGEST_A "\", \"state\": \"done\", \"reason\": \"old\", \"result\":"
                            " {\"snapshot\": \"" DIGEST_B "\", \"snapshotSize\": 9}}");
        assert_true(ctl_hook_read_build(json, DIGEST_A, &build));
        assert_int_equal(build.state, CTL_BUILD_DONE);
        assert_string_equal(build.snapshot, DIGEST_B);
        assert_int_equal(build.size, 9);
        json_decref(json);
}

static void a_decision_that_leads_to_no_build_says_whether_to_try_again(void **state) {
        (void) state;
        static const struct {
                const char *decision;
                enum ctl_build_state state;
                const char *reason, *message;
        } cases[] = {
                { "{\"text\": \"not marked\"}", CTL_BUILD_REFUSED, "NotMarked",
                  "the hook's rules do not build it: not marked" },
                { "{\"text\": \"gone: r/a:1: 404\", \"problem\": \"absent\"}", CTL_BUILD_FAILED, "ImageNotFound",
                  "the hook does not find it: gone: r/a:1: 404" },
                { "{\"text\": \"given up: r: 503\", \"problem\": \"failed\"}", CTL_BUILD_FAILED, "BuildFailed",
                  "the hook could not look at it: given up: r: 503" },
                { "{\"problem\": \"of a newer hook\"}", CTL_BUILD_FAILED, "BuildFailed",
                  "the hook could not look at it: " },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_t *json = load(cases[i].decision);
                struct ctl_build build = { 0 };
                ctl_hook_read_refusal(json, &build);
                if (build.state != cases[i].state || strcmp(build.reason, cases[i].reason) != 0 ||
                    strcmp(build.message, cases[i].message) != 0)
                        fail_msg("%zu: %d %s '%s'", i, build.state, build.reason, build.message);
                json_decref(json);
        }
}

/* ---- pull secrets ---- */

static void secrets_of_both_types_are_read_and_nothing_but_their_auths_kept(void **state) {
        (void) state;
        /* {"auths": {"r": {"auth": "YTpi"}}, "credsStore": "x"} and {"r": {"auth": "YTpi"}} */
        static const struct {
                const char *secret, *config; /* NULL: refused */
        } cases[] = {
                { "{\"data\": {\".dockerconfigjson\":"
                  " \"eyJhdXRocyI6IHsiciI6IHsiYXV0aCI6ICJZVHBpIn19LCAiY3JlZHNTdG9yZSI6ICJ4In0=\"}}",
                  "{\"auths\":{\"r\":{\"auth\":\"YTpi\"}}}" },
                { "{\"data\": {\".dockercfg\": \"eyJyIjogeyJhdXRoIjogIllUcGkifX0=\"}}",
                  "{\"auths\":{\"r\":{\"auth\":\"YTpi\"}}}" },
                { "{\"data\": {\".dockerconfigjson\": \"e30=\"}}", NULL },
                { "{\"data\": {\".dockerconfigjson\": \"!\"}}", NULL },
                { "{\"data\": {\".dockerconfigjson\": \"\"}}", NULL },
                { "{\"data\": {\".dockerconfigjson\": \"bm8=\"}}", NULL },
                { "{\"data\": {\"tls.key\": \"e30=\"}}", NULL },
                { "{}", NULL },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_t *secret = load(cases[i].secret);
                char *config = NULL;
                int r = ctl_secret_config(secret, &config, NULL);
                if (r != (cases[i].config ? 0 : -EBADMSG) || (config && strcmp(config, cases[i].config) != 0))
                        fail_msg("%zu: %d %s", i, r, config);
                free(config);
                json_decref(secret);
        }
}

static void the_first_secret_that_knows_a_registry_counts(void **state) {
        (void) state;
        struct ctl_secrets secrets = { .names = { strdup("1"), strdup("2"), strdup("3") },
                                       .configs = { strdup("{\"auths\": {\"r\": {\"auth\": \"YTpi\"}}}"), NULL,
                                                    strdup("{\"auths\": {\"r\": {\"auth\": \"Yzpk\"}, \"s\": {\"auth\":"
                                                           " \"Yzpk\"}}}") },
                                       .count = 3 };
        struct zp_keychain keychain = ctl_secrets_keychain(&secrets);
        struct zp_credentials found;
        assert_int_equal(keychain.find(keychain.context, "r", "x", &found, NULL), 1);
        assert_string_equal(found.username, "a");
        zp_credentials_clear(&found);
        assert_int_equal(keychain.find(keychain.context, "s", "x", &found, NULL), 1);
        assert_string_equal(found.username, "c");
        zp_credentials_clear(&found);
        assert_int_equal(keychain.find(keychain.context, "t", "x", &found, NULL), 1); /* and no files of ours */
        assert_true(zp_credentials_are_empty(&found));
        json_t *merged = NULL;
        assert_int_equal(ctl_secrets_merge(&secrets, &merged, NULL), 0);
        json_t *wanted = load("{\"auths\": {\"r\": {\"auth\": \"YTpi\"}, \"s\": {\"auth\": \"Yzpk\"}}}");
        assert_true(json_equal(merged, wanted));
        json_decref(wanted);
        json_decref(merged);
        ctl_secrets_clear(&secrets);
}

static void a_pod_starts_without_its_pull_secrets_but_not_without_its_key(void **state) {
        (void) state;
        struct ctl_config config = { .job = { .image = "r.io/zeropull" } };
        struct ctl_secrets secrets = { .names = { (char *) "absent" }, .count = 1 };
        struct ctl_image image = { .image = (char *) "r.io/a:1", .platform = "linux/amd64", .digest = DIGEST_A };
        struct ctl_snapshot owner;
        json_t *json = load("{\"metadata\": {\"name\": \"n\", \"namespace\": \"ns\", \"uid\": \"u\"}, \"spec\":"
                            " {\"images\": [\"r.io/a:1\"], \"signing\": {\"secretName\": \"k\"}}}");
        assert_int_equal(ctl_snapshot_parse(json, &owner, NULL), 0);
        json_t *job = ctl_job_object(&config, &(struct ctl_order){ &owner, &image }, &secrets), *value;
        assert_non_null(job);
        char *text = json_dumps(job, JSON_COMPACT);
        /* of either type: as a list, of which what is not there is passed over */
        assert_non_null(strstr(text, "\"--auth-file=/run/pull-secrets/0/config.json:/run/pull-secrets/0/.dockercfg\""));
        assert_non_null(strstr(text, "\"items\":[{\"key\":\".dockerconfigjson\",\"path\":\"config.json\"},"
                                     "{\"key\":\".dockercfg\",\"path\":\".dockercfg\"}]"));
        json_t *volumes = json_object_get(
                json_object_get(json_object_get(json_object_get(job, "spec"), "template"), "spec"), "volumes");
        size_t i, found = 0;
        json_array_foreach(volumes, i, value) {
                json_t *secret = json_object_get(value, "secret");
                const char *name = json_string_value(json_object_get(secret, "secretName"));
                if (!name)
                        continue;
                assert_int_equal(json_is_true(json_object_get(secret, "optional")), strcmp(name, "absent") == 0);
                found++;
        }
        assert_int_equal(found, 2);
        free(text);
        json_decref(job);
        json_decref(json);
        ctl_snapshot_clear(&owner);
}

static void a_job_speaks_plain_http_to_all_its_registries_or_to_none(void **state) {
        (void) state;
        static const struct ctl_registry_entry entries[] = { { .host = "plain*.lan", .plain_http = true } };
        struct ctl_config config = { .job = { .image = "r.io/z" }, .registries = entries, .registry_count = 1 };
        struct ctl_executors all = { .config = &config };
        static const struct {
                const char *image, *target, *base;
                bool is_possible;
        } cases[] = {
                { "plain.lan/a", NULL, NULL, true },
                { "r.io/a", NULL, NULL, true },
                { "plain.lan/a", "plain2.lan/s", NULL, true },
                { "r.io/a", "other.io/s", "third.io/b:1", true },
                { "plain.lan/a", "r.io/s", NULL, false }, /* credentials would go there in clear */
                { "r.io/a", "plain.lan/s", NULL, false },
                { "plain.lan/a", NULL, "r.io/b:1", false },
                { "r.io/a", "r.io/s", "plain.lan/b:1", false },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                const struct ctl_spec spec = { .images = { cases[i].image },
                                               .image_count = 1,
                                               .target = cases[i].target,
                                               .base_image = cases[i].base };
                const char *objection = ctl_executor_job.objection(&all, &spec);
                if (cases[i].is_possible != !objection)
                        fail_msg("%zu: %s", i, objection ? objection : "no objection");
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(jobs_and_their_pods_tell_how_a_build_stands),
                cmocka_unit_test(a_build_that_does_not_begin_says_what_was_said_of_that),
                cmocka_unit_test(a_pod_is_scheduled_when_its_condition_became_true),
                cmocka_unit_test(a_warning_from_before_a_pod_had_its_node_is_not_the_reason_of_now),
                cmocka_unit_test(the_tags_of_an_image_have_one_build),
                cmocka_unit_test(what_a_pod_says_tells_how_far_its_build_is),
                cmocka_unit_test(what_a_pod_says_is_cut_to_fit),
                cmocka_unit_test(the_same_wish_has_the_same_name_and_no_other_has),
                cmocka_unit_test(a_pod_starts_without_its_pull_secrets_but_not_without_its_key),
                cmocka_unit_test(who_wants_a_job_that_is_there_becomes_an_owner_beside_its_controller),
                cmocka_unit_test(the_hooks_builds_are_understood),
                cmocka_unit_test(a_decision_that_leads_to_no_build_says_whether_to_try_again),
                cmocka_unit_test(a_running_build_tells_how_much_of_what_is_under_way_is_done),
                cmocka_unit_test(secrets_of_both_types_are_read_and_nothing_but_their_auths_kept),
                cmocka_unit_test(a_job_speaks_plain_http_to_all_its_registries_or_to_none),
                cmocka_unit_test(the_first_secret_that_knows_a_registry_counts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
