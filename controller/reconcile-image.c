/* SPDX-License-Identifier: Apache-2.0
 *
 * One image of an ImageSnapshot, from its name to its snapshot:
 *
 *     Pending ─▶ (resolved) ─▶ Queued ─▶ Building ─▶ Ready ─▶ (Track: the tag has moved) ─▶ Pending
 *        ▲                        │          │
 *        └──────── Failed ◀───────┴──────────┘      and again later, unless that would be of no use
 */
#include <stdio.h>
#include <string.h>

#include "controller/run.h"

/* Between two looks at an object with many images. */
#define PAUSE_S 1

void ctl_run_stand(struct ctl_image *image, enum ctl_phase phase, const char *reason, const char *message) {
        image->phase = phase;
        image->progress = -1;
        snprintf(image->reason, sizeof image->reason, "%s", reason);
        snprintf(image->message, sizeof image->message, "%s", message);
}

void ctl_run_later(struct ctl_run *run, struct ctl_image *image, int64_t seconds) {
        image->next_attempt = seconds ? run->now + seconds : 0;
        if (seconds)
                ctl_run_wake_at(run, image->next_attempt);
}

/* One after the other, and none a second time while others wait for their first. */
static bool spend(struct ctl_run *run) {
        if (run->has_turn && run->budget > 0) {
                run->budget--;
                return true;
        }
        run->is_spent |= run->has_turn;
        ctl_run_wake_at(run, run->now + (run->has_turn ? PAUSE_S : CTL_POLL_S));
        return false;
}

/* ---- tracking ---- */

/* What is there stays, whatever comes of looking. */
static int check(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        struct ctl_image fresh = *image;
        int r = ctl_run_resolve(run, &fresh, err);
        if (r < 0)
                return r;
        if (r == 1) {
                if (image->phase == CTL_READY) {
                        snprintf(image->reason, sizeof image->reason, "CheckFailed");
                        memcpy(image->message, fresh.message, sizeof image->message);
                }
                return 0;
        }
        if (strcmp(fresh.digest, image->digest) == 0) {
                strcpy(image->source_digest, fresh.source_digest);
                if (image->phase == CTL_READY)
                        ctl_run_stand(image, CTL_READY, "", "");
                return 0;
        }
        ctl_run_tell(run, false, "TagMoved", "%s (%s): from %s to %s", image->image, image->platform, image->digest,
                     fresh.digest);
        *image = fresh;
        ctl_run_stand(image, CTL_PENDING, "TagMoved", "");
        image->next_attempt = 0;
        return ctl_run_start(run, image, err);
}

static bool is_due(struct ctl_run *run) {
        const struct ctl_spec *spec = &run->snapshot->spec;
        return spec->is_tracking && run->has_turn &&
               ctl_cache_noted(run->world->snapshots, run->key, CTL_NOTE_CHECKED) + spec->interval_s <= run->round;
}

/* ---- */

static void try_again(struct ctl_image *image) {
        image->next_attempt = 0;
        if (image->phase != CTL_FAILED)
                return;
        image->attempts = 0;
        ctl_run_stand(image, CTL_PENDING, "", "");
}

/* Whether what it waits for is what the spec asks for now. */
static bool keeps_build(const struct ctl_run *run, const struct ctl_image *image) {
        const struct ctl_order order = { run->snapshot, image };
        char id[CTL_BUILD_ID_SIZE];
        run->executor->name_build(&order, id);
        return !image->build_id[0] || !id[0] || strcmp(id, image->build_id) == 0;
}

/* After a change of spec: what was built as it says now, stays. */
static void look_at_spec_again(struct ctl_run *run, struct ctl_image *image) {
        const struct ctl_order order = { run->snapshot, image };
        char id[CTL_BUILD_ID_SIZE];
        run->executor->name_build(&order, id);
        try_again(image);
        if (image->phase == CTL_EXPIRED || (image->phase == CTL_READY && strcmp(id, image->build_id) != 0)) {
                ctl_run_stand(image, CTL_PENDING, "", "");
        } else if (!keeps_build(run, image)) {
                struct zp_error ignored = { 0 };
                ctl_run_cancel(run, image, keeps_build, &ignored);
                ctl_run_stand(image, CTL_PENDING, "", "");
        }
}

int ctl_run_image(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        if (run->has_new_spec)
                look_at_spec_again(run, image);
        else if (run->is_retry)
                try_again(image);
        bool is_waiting = image->next_attempt > run->now;
        if (is_waiting)
                ctl_run_wake_at(run, image->next_attempt);
        switch (image->phase) {
        case CTL_READY:
                return is_due(run) && spend(run) ? check(run, image, err) : 0;
        case CTL_FAILED:
                if (is_due(run) && image->digest[0] && (is_waiting || !image->next_attempt))
                        return spend(run) ? check(run, image, err) : 0;
                if (is_waiting || !image->next_attempt)
                        return 0;
                break;
        case CTL_QUEUED:
        case CTL_BUILDING:
                if (image->build_id[0])
                        return spend(run) ? ctl_run_look(run, image, err) : 0;
                break;
        case CTL_EXPIRED:
                return 0;
        default:
                if (is_waiting)
                        return 0;
        }
        if (!spend(run))
                return 0;
        bool is_known = image->digest[0] && image->phase != CTL_RESOLVING;
        int r = is_known ? 0 : ctl_run_resolve(run, image, err);
        return r == 0 ? ctl_run_start(run, image, err) : r < 0 ? r : 0;
}
