/* SPDX-License-Identifier: Apache-2.0
 *
 * From a Job, its newest pod and what that says to how the build stands.
 */
#include <stdio.h>
#include <string.h>

#include "controller/executors/job-object.h"
#include "controller/executors/tasks.h"

static const char *text_of(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

static json_t *true_condition(json_t *object, const char *type) {
        json_t *conditions = json_object_get(json_object_get(object, "status"), "conditions"), *entry;
        size_t i;
        json_array_foreach(conditions, i, entry) if (strcmp(text_of(entry, "type"), type) == 0 &&
                                                     strcmp(text_of(entry, "status"), "True") == 0) return entry;
        return NULL;
}

/* Of the build's own container: others may have been put beside it, as service meshes do. */
static json_t *container_state(json_t *pod, const char *which) {
        json_t *statuses = json_object_get(json_object_get(pod, "status"), "containerStatuses"), *entry;
        size_t i;
        json_array_foreach(statuses, i, entry) if (strcmp(text_of(entry, "name"), CTL_JOB_CONTAINER) ==
                                                   0) return json_object_get(json_object_get(entry, "state"), which);
        return NULL;
}

/* Neither ASCII's nor U+0080 to U+009F are for the terminal where it is shown. */
static void blank_controls(char *text) {
        for (unsigned char *p = (unsigned char *) text; *p; p++) {
                if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
                        p[0] = p[1] = ' ';
                if (*p < 0x20 || *p == 0x7f)
                        *p = ' ';
        }
}

static void say(struct ctl_build *out, enum ctl_build_state state, const char *reason, const char *message) {
        out->state = state;
        snprintf(out->reason, sizeof out->reason, "%s", reason);
        snprintf(out->message, sizeof out->message, "%s", message);
        blank_controls(out->message);
}

/* Of the last lines of its log the one that says why: "zeropull: …". */
static void failure_of(json_t *pod, const char *otherwise, char *out, size_t size) {
        static const char mark[] = "zeropull: ";
        const char *text = text_of(container_state(pod, "terminated"), "message"), *line = NULL;
        for (const char *at = text; (at = strstr(at, mark)); at++)
                if (at == text || at[-1] == '\n')
                        line = at + strlen(mark);
        if (line)
                snprintf(out, size, "%.*s", (int) strcspn(line, "\n"), line);
        else
                snprintf(out, size, "%s", *otherwise ? otherwise : "the build's pod failed");
}

static void read_result(json_t *pod, struct ctl_build *out) {
        const char *text = text_of(container_state(pod, "terminated"), "message");
        zp_auto(json_decref) json_t *result = NULL;
        struct zp_digest digest;
        uint64_t size;
        if (zp_json_load(text, strlen(text), "result", &result, NULL) < 0)
                return;
        if (zp_json_digest(result, "snapshot", "result", &digest, NULL) == 0)
                zp_digest_text(&digest, out->snapshot);
        if (zp_json_size(result, "snapshotSize", "result", &size, NULL) == 0)
                out->size = (int64_t) size;
}

static void read_failure(json_t *failed, json_t *pod, struct ctl_build *out) {
        char message[CTL_MESSAGE_SIZE];
        const char *reason = text_of(failed, "reason");
        failure_of(pod, text_of(failed, "message"), message, sizeof message);
        if (strcmp(reason, "PodFailurePolicy") == 0)
                say(out, CTL_BUILD_REFUSED, "BuildRefused", message);
        else if (strcmp(reason, "DeadlineExceeded") == 0)
                say(out, CTL_BUILD_FAILED, "DeadlineExceeded", "the build took longer than it may");
        else
                say(out, CTL_BUILD_FAILED, "BuildFailed", message);
}

/* Why a pod does not run yet. */
static void read_pending(json_t *pod, struct ctl_build *out) {
        json_t *waiting = container_state(pod, "waiting"), *conditions, *entry;
        const char *reason = text_of(waiting, "reason");
        char message[CTL_MESSAGE_SIZE];
        size_t i;
        if (*reason && strcmp(reason, "ContainerCreating") != 0 && strcmp(reason, "PodInitializing") != 0) {
                snprintf(message, sizeof message, "the build's pod %.64s waits: %s%s%.300s",
                         text_of(json_object_get(pod, "metadata"), "name"), reason,
                         *text_of(waiting, "message") ? ": " : "", text_of(waiting, "message"));
                say(out, CTL_BUILD_QUEUED, reason, message);
                return;
        }
        conditions = json_object_get(json_object_get(pod, "status"), "conditions");
        json_array_foreach(conditions, i, entry) {
                if (strcmp(text_of(entry, "type"), "PodScheduled") != 0 ||
                    strcmp(text_of(entry, "status"), "False") != 0)
                        continue;
                snprintf(message, sizeof message, "no node takes the build's pod: %.300s", text_of(entry, "message"));
                say(out, CTL_BUILD_QUEUED, "Unschedulable", message);
                return;
        }
        say(out, CTL_BUILD_QUEUED, "PodStarting", "the build's pod is starting");
}

void ctl_job_read(json_t *job, json_t *pod, struct ctl_build *out) {
        json_t *complete = true_condition(job, "Complete"), *failed = true_condition(job, "Failed");
        out->progress = -1;
        if (complete) {
                say(out, CTL_BUILD_DONE, "", "");
                read_result(pod, out);
        } else if (failed) {
                read_failure(failed, pod, out);
        } else if (*text_of(json_object_get(job, "metadata"), "deletionTimestamp")) {
                say(out, CTL_BUILD_GONE, "BuildDeleted", "the build's Job was deleted");
        } else if (!pod) {
                say(out, CTL_BUILD_QUEUED, "JobCreated", "the build's Job has no pod yet");
        } else if (container_state(pod, "running")) {
                say(out, CTL_BUILD_RUNNING, "Building", "");
        } else if (container_state(pod, "terminated")) { /* the Job takes note of it in a moment, or begins again */
                say(out, CTL_BUILD_RUNNING, "Building", "the build's pod has ended");
        } else {
                read_pending(pod, out);
        }
}

/* ---- why it does not begin ---- */

const char *ctl_job_scheduled_at(json_t *pod) {
        return text_of(true_condition(pod, "PodScheduled"), "lastTransitionTime");
}

bool ctl_job_is_held_up(const struct ctl_build *build) {
        return build->state == CTL_BUILD_QUEUED &&
               (strcmp(build->reason, "JobCreated") == 0 || strcmp(build->reason, "PodStarting") == 0);
}

static const char *reason_of_trouble(const struct ctl_build *held_up) {
        return strcmp(held_up->reason, "JobCreated") == 0 ? "PodNotCreated" : "PodNotStarting";
}

void ctl_job_add_trouble(const char *note, struct ctl_build *out) {
        char message[CTL_MESSAGE_SIZE];
        snprintf(message, sizeof message, "%.60s: %.440s", out->message, note);
        say(out, CTL_BUILD_QUEUED, reason_of_trouble(out), message);
}

void ctl_job_keep_trouble(const struct ctl_image *before, struct ctl_build *out) {
        const char *reason = reason_of_trouble(out);
        if (strcmp(before->reason, reason) == 0)
                say(out, CTL_BUILD_QUEUED, reason, before->message);
}

void ctl_job_add_delay(const struct ctl_image *before, struct ctl_build *out) {
        if (strcmp(out->reason, "DeadlineExceeded") == 0 && before->phase == CTL_QUEUED && before->message[0] &&
            strcmp(before->reason, "ExecutorUnavailable") != 0) /* how it stood was not known */
                snprintf(out->message, sizeof out->message, "the build did not begin within its time: %.440s",
                         before->message);
}

/* ---- what it says ---- */

struct line {
        const char *text; /* NULL: there is none */
        size_t size;
};

static bool tells_of_tasks(const struct line *line) {
        static const char start[] = "{\"tasks\":";
        return line->size >= strlen(start) && memcmp(line->text, start, strlen(start)) == 0;
}

void ctl_job_read_log(const char *log, size_t size, struct ctl_build *out) {
        struct line told = { 0 }, said = { 0 };
        zp_auto(json_decref) json_t *root = NULL;
        const char *end;
        while (size > 0 && (end = memchr(log, '\n', size))) {
                const struct line line = { log, (size_t) (end - log) };
                if (tells_of_tasks(&line))
                        told = line;
                else if (line.size > 0)
                        said = line;
                size -= line.size + 1;
                log = end + 1;
        }
        if (told.text && zp_json_load(told.text, told.size, "progress", &root, NULL) == 0)
                out->progress = ctl_tasks_percent(json_object_get(root, "tasks"));
        if (said.text) {
                char message[CTL_MESSAGE_SIZE];
                snprintf(message, sizeof message, "%.*s", (int) said.size, said.text);
                say(out, CTL_BUILD_RUNNING, "Building", message);
        }
}
