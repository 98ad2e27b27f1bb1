/* SPDX-License-Identifier: Apache-2.0
 *
 * An ImageSnapshot's status: what the controller writes for people and programs, and all that it remembers of its own
 * work from one run to the next.
 */
#ifndef CTL_STATUS_H
#define CTL_STATUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

/* Images times platforms. */
#define CTL_STATUS_IMAGES_MAX 1024
#define CTL_PLATFORM_SIZE 101
#define CTL_REASON_SIZE 64
#define CTL_MESSAGE_SIZE 512
#define CTL_BUILD_ID_SIZE 128
#define CTL_CONDITION_MESSAGE_SIZE 1024

enum ctl_phase {
        CTL_PENDING,   /* not looked at yet, or it could not be */
        CTL_RESOLVING, /* what the name stands for is to be asked again: its build has gone */
        CTL_QUEUED,    /* a build waits for its turn */
        CTL_BUILDING,
        CTL_READY,
        CTL_FAILED,
        CTL_EXPIRED,
};
const char *ctl_phase_text(enum ctl_phase phase);

/* One image for one platform. Times in seconds since 1970, 0: none. */
struct ctl_image {
        char *image; /* as in spec */
        char platform[CTL_PLATFORM_SIZE];
        enum ctl_phase phase;
        char digest[ZP_DIGEST_TEXT_SIZE];          /* of the manifest; "" */
        char source_digest[ZP_DIGEST_TEXT_SIZE];   /* what the tag named then: the manifest, or an index; "" */
        char snapshot_digest[ZP_DIGEST_TEXT_SIZE]; /* of the published artifact; "" */
        int64_t size;                              /* of the snapshot; 0: not known */
        int progress;                              /* percent; -1: not known */
        char reason[CTL_REASON_SIZE], message[CTL_MESSAGE_SIZE];
        char build_id[CTL_BUILD_ID_SIZE]; /* of the build under way, or the last one; "" */
        int attempts;                     /* builds of this digest that failed, or went unfinished */
        int64_t next_attempt, last_build, last_check;
};

enum ctl_condition_kind {
        CTL_CONDITION_READY,
        CTL_CONDITION_PROGRESSING,
        CTL_CONDITION_RESOLVED,
        CTL_CONDITION_DEGRADED,
        CTL_CONDITION_WARMED_UP /* where nodes are to have it */
};
#define CTL_CONDITIONS 5

struct ctl_condition {
        char status; /* 'T', 'F', 'U'; 0: not there yet */
        char reason[CTL_REASON_SIZE], message[CTL_CONDITION_MESSAGE_SIZE];
        int64_t observed_generation, last_transition;
};

struct ctl_status {
        int64_t observed_generation;          /* 0: no status yet */
        char observed_retry[CTL_REASON_SIZE]; /* the retry annotation's value, cut */
        struct ctl_image *images;
        size_t image_count;
        struct ctl_condition conditions[CTL_CONDITIONS];
};

/* Reads what was written before. What is not understood is left out: it is found out again. -ENOMEM only. */
int ctl_status_parse(json_t *json, struct ctl_status *out, struct zp_error *err);
void ctl_status_clear(struct ctl_status *status);

/* The images that there should be, in this order; what is known of one stays, others go. False: no memory. */
bool ctl_status_align(struct ctl_status *status, const char *const *images, size_t image_count,
                      const char *const *platforms, size_t platform_count);

/* Where a condition is now; the time changes only with `status`. */
void ctl_condition_set(struct ctl_condition *condition, char status, const char *reason, const char *message,
                       int64_t generation, int64_t now);
/* Counts the images and says in conditions how it stands. `trouble` (may be NULL): why nothing can be done at all. */
void ctl_status_judge(struct ctl_status *status, int64_t generation, const char *trouble_reason, const char *trouble,
                      int64_t now);

struct ctl_counts {
        unsigned desired, ready, failed;
};
/* The condition WarmedUp. NULL: no node is to have it. `trouble`: why nodes may not read its pull secrets; "". */
void ctl_status_judge_warm_up(struct ctl_status *status, const struct ctl_counts *nodes, const char *trouble,
                              int64_t generation, int64_t now);
struct ctl_counts ctl_status_counts(const struct ctl_status *status);

/* As the API has it, but for `warmUp`. NULL: no memory. */
json_t *ctl_status_json(const struct ctl_status *status);
json_t *ctl_counts_json(const struct ctl_counts *counts);
json_t *ctl_conditions_json(const struct ctl_condition *conditions);
void ctl_conditions_parse(json_t *json, struct ctl_condition *out);

#endif
