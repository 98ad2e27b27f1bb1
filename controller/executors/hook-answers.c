/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/executors/hook-answers.h"

#include <stdio.h>
#include <string.h>

#include "controller/executors/tasks.h"

static const char *text_of(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

static void take_digest(const char *text, char out[ZP_DIGEST_TEXT_SIZE]) {
        struct zp_digest digest;
        if (zp_digest_parse(text, &digest, NULL) == 0)
                zp_digest_text(&digest, out);
}

static void take_result(json_t *build, struct ctl_build *out) {
        json_t *result = json_object_get(build, "result");
        json_int_t size = json_integer_value(json_object_get(result, "snapshotSize"));
        take_digest(text_of(result, "snapshot"), out->snapshot);
        out->size = size > 0 ? (int64_t) size : 0;
}

bool ctl_hook_read_build(json_t *build, const char *digest, struct ctl_build *out) {
        static const struct {
                const char *text;
                enum ctl_build_state state;
                const char *reason;
        } states[] = {
                { "queued", CTL_BUILD_QUEUED, "Queued" },
                { "running", CTL_BUILD_RUNNING, "Building" },
                { "done", CTL_BUILD_DONE, "" },
                { "failed", CTL_BUILD_FAILED, "BuildFailed" },
                { "cancelled", CTL_BUILD_FAILED,
                  "BuildCancelled" }, /* by a person, whom we do not contradict at once */
                { "superseded", CTL_BUILD_GONE, "BuildSuperseded" },
        };
        const char *state = text_of(build, "state"), *reason = text_of(build, "reason");
        size_t i = 0, count = sizeof states / sizeof *states;
        if (strcmp(text_of(build, "digest"), digest) != 0)
                return false;
        while (i < count && strcmp(states[i].text, state) != 0)
                i++;
        out->state = i < count ? states[i].state : CTL_BUILD_QUEUED;
        out->progress = out->state == CTL_BUILD_RUNNING ? ctl_tasks_percent(json_object_get(build, "tasks")) : -1;
        snprintf(out->reason, sizeof out->reason, "%s", i < count ? states[i].reason : "Queued");
        const char *progress = text_of(build, "progress");
        snprintf(out->message, sizeof out->message, "%.500s", *progress ? progress : reason);
        if (out->state == CTL_BUILD_DONE) {
                out->message[0] = '\0';
                take_result(build, out);
        } else if (out->state == CTL_BUILD_QUEUED && *reason) {
                snprintf(out->message, sizeof out->message, "to be tried again: %.460s", reason);
        }
        return true;
}

void ctl_hook_read_refusal(json_t *decision, struct ctl_build *out) {
        static const struct {
                const char *problem;
                enum ctl_build_state state;
                const char *reason, *message;
        } problems[] = {
                { "absent", CTL_BUILD_FAILED, "ImageNotFound", "the hook does not find it" },
                { "", CTL_BUILD_REFUSED, "NotMarked", "the hook's rules do not build it" },
                /* "failed", and what a newer hook says */
                { NULL, CTL_BUILD_FAILED, "BuildFailed", "the hook could not look at it" },
        };
        const char *problem = text_of(decision, "problem");
        size_t i = 0;
        while (problems[i].problem && strcmp(problems[i].problem, problem) != 0)
                i++;
        out->state = problems[i].state;
        snprintf(out->reason, sizeof out->reason, "%s", problems[i].reason);
        snprintf(out->message, sizeof out->message, "%s: %.450s", problems[i].message, text_of(decision, "text"));
}

bool ctl_hook_read_snapshots(json_t *answer, const char *digest, struct ctl_build *out) {
        json_t *entry;
        size_t i;
        json_array_foreach(json_object_get(answer, "snapshots"), i, entry) {
                if (strcmp(text_of(entry, "digest"), digest) != 0)
                        continue;
                json_int_t size = json_integer_value(json_object_get(entry, "snapshotSize"));
                out->state = CTL_BUILD_DONE;
                out->size = size > 0 ? (int64_t) size : 0;
                out->reason[0] = out->message[0] = '\0';
                take_digest(text_of(entry, "artifact"), out->snapshot);
                return true;
        }
        return false;
}
