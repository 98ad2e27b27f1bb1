/* SPDX-License-Identifier: Apache-2.0
 *
 * From the phases of an ImageSnapshot's images to its conditions: the answer to "why is it not ready?".
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "controller/model/status.h"

void ctl_condition_set(struct ctl_condition *condition, char status, const char *reason, const char *message,
                       int64_t generation, int64_t now) {
        if (condition->status != status || !condition->last_transition)
                condition->last_transition = now;
        condition->status = status;
        condition->observed_generation = generation;
        snprintf(condition->reason, sizeof condition->reason, "%s", reason);
        snprintf(condition->message, sizeof condition->message, "%s", message);
}

/* What there is of each kind, and the first of each. */
struct tally {
        unsigned counts[CTL_EXPIRED + 1];
        const struct ctl_image *first[CTL_EXPIRED + 1];
        unsigned unresolved, doubtful;
        const struct ctl_image *first_unresolved, *first_doubtful;
};

static struct tally tally(const struct ctl_status *status) {
        struct tally t = { 0 };
        for (size_t i = 0; i < status->image_count; i++) {
                const struct ctl_image *image = &status->images[i];
                if (t.counts[image->phase]++ == 0)
                        t.first[image->phase] = image;
                if (!image->digest[0] && t.unresolved++ == 0)
                        t.first_unresolved = image;
                if (image->phase == CTL_READY && image->reason[0] && t.doubtful++ == 0)
                        t.first_doubtful = image;
        }
        return t;
}

/* "docker.io/x:1 (linux/amd64): …, and 3 more" */
static void describe(const struct ctl_image *image, unsigned more, char *out, size_t size) {
        char others[32] = "";
        if (more > 0)
                snprintf(others, sizeof others, "; and %u more", more);
        snprintf(out, size, "%.300s (%s)%s%s%s", image->image, image->platform, image->message[0] ? ": " : "",
                 image->message, others);
}

static void judge_ready(struct ctl_condition *c, const struct tally *t, size_t count, int64_t generation, int64_t now) {
        static const enum ctl_phase worst_first[] = { CTL_EXPIRED,   CTL_FAILED, CTL_PENDING,
                                                      CTL_RESOLVING, CTL_QUEUED, CTL_BUILDING };
        char message[CTL_CONDITION_MESSAGE_SIZE], what[CTL_CONDITION_MESSAGE_SIZE - 64];
        for (size_t i = 0; i < sizeof worst_first / sizeof *worst_first; i++) {
                enum ctl_phase phase = worst_first[i];
                const struct ctl_image *image = t->first[phase];
                if (!image)
                        continue;
                describe(image, t->counts[phase] - 1, what, sizeof what);
                snprintf(message, sizeof message, "%u of %zu ready; %s: %s", t->counts[CTL_READY], count,
                         ctl_phase_text(phase), what);
                ctl_condition_set(c, 'F', image->reason[0] ? image->reason : ctl_phase_text(phase), message, generation,
                                  now);
                return;
        }
        snprintf(message, sizeof message, count == 1 ? "the snapshot is there" : "all %zu snapshots are there", count);
        ctl_condition_set(c, 'T', "SnapshotsReady", message, generation, now);
}

static void judge_progressing(struct ctl_condition *c, const struct tally *t, int64_t generation, int64_t now) {
        char message[CTL_CONDITION_MESSAGE_SIZE];
        unsigned asking = t->counts[CTL_PENDING] + t->counts[CTL_RESOLVING];
        unsigned queued = t->counts[CTL_QUEUED], building = t->counts[CTL_BUILDING];
        if (asking + queued + building > 0) {
                snprintf(message, sizeof message, "%u to be resolved, %u queued, %u building", asking, queued,
                         building);
                ctl_condition_set(c, 'T',
                                  building ? "Building"
                                  : queued ? "Queued"
                                           : "Resolving",
                                  message, generation, now);
        } else if (t->counts[CTL_FAILED] > 0) {
                ctl_condition_set(c, 'F', "Failed", "nothing is under way", generation, now);
        } else {
                ctl_condition_set(c, 'F', "Done", "nothing is left to do", generation, now);
        }
}

static void judge_resolved(struct ctl_condition *c, const struct tally *t, int64_t generation, int64_t now) {
        char message[CTL_CONDITION_MESSAGE_SIZE];
        if (t->unresolved == 0) {
                ctl_condition_set(c, 'T', "Resolved", "it is known what every image is", generation, now);
                return;
        }
        const struct ctl_image *image = t->first_unresolved;
        describe(image, t->unresolved - 1, message, sizeof message);
        ctl_condition_set(c, image->reason[0] ? 'F' : 'U', image->reason[0] ? image->reason : "Resolving", message,
                          generation, now);
}

static void judge_degraded(struct ctl_condition *c, const struct tally *t, int64_t generation, int64_t now) {
        char message[CTL_CONDITION_MESSAGE_SIZE];
        const struct ctl_image *image = t->first[CTL_FAILED] ? t->first[CTL_FAILED] : t->first_doubtful;
        if (!image) {
                ctl_condition_set(c, 'F', "AsExpected", "", generation, now);
                return;
        }
        describe(image, t->counts[CTL_FAILED] + t->doubtful - 1, message, sizeof message);
        ctl_condition_set(c, 'T', image->reason[0] ? image->reason : "Failed", message, generation, now);
}

void ctl_status_judge(struct ctl_status *status, int64_t generation, const char *trouble_reason, const char *trouble,
                      int64_t now) {
        struct ctl_condition *c = status->conditions;
        struct tally t = tally(status);
        status->observed_generation = generation;
        judge_ready(&c[CTL_CONDITION_READY], &t, status->image_count, generation, now);
        judge_progressing(&c[CTL_CONDITION_PROGRESSING], &t, generation, now);
        judge_resolved(&c[CTL_CONDITION_RESOLVED], &t, generation, now);
        judge_degraded(&c[CTL_CONDITION_DEGRADED], &t, generation, now);
        if (!trouble)
                return;
        ctl_condition_set(&c[CTL_CONDITION_READY], 'F', trouble_reason, trouble, generation, now);
        ctl_condition_set(&c[CTL_CONDITION_PROGRESSING], 'F', trouble_reason, trouble, generation, now);
        ctl_condition_set(&c[CTL_CONDITION_DEGRADED], 'T', trouble_reason, trouble, generation, now);
}

void ctl_status_judge_warm_up(struct ctl_status *status, const struct ctl_counts *nodes, const char *trouble,
                              int64_t generation, int64_t now) {
        struct ctl_condition *c = &status->conditions[CTL_CONDITION_WARMED_UP];
        char message[CTL_CONDITION_MESSAGE_SIZE];
        if (!nodes) {
                *c = (struct ctl_condition){ 0 };
                return;
        }
        bool is_warm = nodes->desired > 0 && nodes->ready == nodes->desired;
        snprintf(message, sizeof message, "%u of %u are on their nodes, %u failed%s%.700s", nodes->ready,
                 nodes->desired, nodes->failed, trouble[0] && !is_warm ? "; " : "", is_warm ? "" : trouble);
        ctl_condition_set(c, is_warm ? 'T' : 'F',
                          is_warm             ? "Warmed"
                          : trouble[0]        ? "PullSecretsForbidden"
                          : nodes->failed > 0 ? "Failed"
                                              : "Warming",
                          message, generation, now);
}
