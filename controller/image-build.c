/* SPDX-License-Identifier: Apache-2.0
 *
 * From an image's digest to its snapshot: whether it is there already, and the build where it is not.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "controller/run.h"

/* After a build that failed: doubled each time, and so many in all. */
#define BACKOFF_FIRST_S 300
#define BACKOFF_LAST_S 21600
#define ATTEMPTS_MAX 8

/* It runs: it counts, also when the object that it began for has gone. */
static void hold_slot(struct ctl_run *run, const struct ctl_image *image) {
        char slot[CTL_SLOT_SIZE];
        if (ctl_executor_of_build(image->build_id)->is_bounded)
                ctl_slots_hold(run->world->slots, ctl_run_slot(run, image->build_id, slot), run->key);
}

static void give_slot(struct ctl_run *run, const struct ctl_image *image) {
        char slot[CTL_SLOT_SIZE];
        if (image->build_id[0])
                ctl_slots_give(run->world->slots, ctl_run_slot(run, image->build_id, slot), run->key);
}

static void ready(struct ctl_image *image, const char *snapshot, int64_t size) {
        snprintf(image->snapshot_digest, sizeof image->snapshot_digest, "%s", snapshot);
        image->size = size;
        image->next_attempt = 0;
        ctl_run_stand(image, CTL_READY, "", "");
}

/* 1: it is published, and now ready; 0: it is not. A registry that does not say is no reason not to build, unless it
 * was us who did not wait. */
static int find_published(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        char snapshot[ZP_DIGEST_TEXT_SIZE] = "";
        struct ctl_images images;
        struct zp_error ignored = { 0 };
        zp_autofree char *remote = NULL;
        int r = ctl_run_images(run, &images, err);
        if (r < 0)
                return r;
        if (ctl_images_remote(&run->snapshot->spec, image->image, &remote, &ignored) < 0 ||
            ctl_images_published(&images, remote, image->digest, snapshot, &ignored) < 0 || !snapshot[0])
                return zp_check_cancel(run->world->cancel, err);
        ready(image, snapshot, strcmp(snapshot, image->snapshot_digest) == 0 ? image->size : 0);
        return 1;
}

static int64_t backoff(int attempts) {
        int64_t wait = BACKOFF_FIRST_S;
        for (int i = 1; i < attempts && wait < BACKOFF_LAST_S; i++)
                wait *= 2;
        return wait < BACKOFF_LAST_S ? wait : BACKOFF_LAST_S;
}

static void failed(struct ctl_run *run, struct ctl_image *image, const struct ctl_build *build) {
        image->attempts++;
        bool is_final = build->state == CTL_BUILD_REFUSED || image->attempts >= ATTEMPTS_MAX;
        ctl_run_stand(image, CTL_FAILED, build->reason, build->message);
        ctl_run_later(run, image, is_final ? 0 : backoff(image->attempts));
        atomic_fetch_add(&run->world->counters.builds_failed, 1);
        ctl_run_tell(run, true, build->reason, "%s (%s): %s%s", image->image, image->platform, build->message,
                     is_final ? "" : "; it will be tried again");
}

static int done(struct ctl_run *run, struct ctl_image *image, const struct ctl_build *build, struct zp_error *err) {
        static const struct ctl_build lost = { .state = CTL_BUILD_FAILED,
                                               .reason = "ResultMissing",
                                               .message = "the build ended well, but nothing tells of its snapshot" };
        image->last_build = run->now;
        if (build->snapshot[0]) {
                ready(image, build->snapshot, build->size);
        } else { /* the pod is gone already */
                int r = find_published(run, image, err);
                if (r < 0)
                        return r;
                if (r == 0) {
                        failed(run, image, &lost);
                        return 0;
                }
        }
        atomic_fetch_add(&run->world->counters.builds_done, 1);
        ctl_run_tell(run, false, "SnapshotReady", "%s (%s): snapshot %s", image->image, image->platform,
                     image->snapshot_digest);
        return 0;
}

/* Takes over how the build stands. */
static int take(struct ctl_run *run, struct ctl_image *image, const struct ctl_build *build, struct zp_error *err) {
        snprintf(image->build_id, sizeof image->build_id, "%s", build->id);
        if (build->state == CTL_BUILD_QUEUED || build->state == CTL_BUILD_RUNNING) {
                ctl_run_stand(image, build->state == CTL_BUILD_QUEUED ? CTL_QUEUED : CTL_BUILDING, build->reason,
                              build->message);
                image->progress = build->progress;
                hold_slot(run, image);
                ctl_run_wake_at(run, run->now + CTL_POLL_S);
                return 0;
        }
        give_slot(run, image);
        if (build->state == CTL_BUILD_DONE)
                return done(run, image, build, err);
        if (build->state != CTL_BUILD_GONE) {
                failed(run, image, build);
                return 0;
        }
        /* what its tag names is asked again: that may be why. Again and again is no better than failing */
        image->build_id[0] = image->source_digest[0] = '\0';
        ctl_run_stand(image, CTL_RESOLVING, build->reason, build->message);
        ctl_run_later(run, image, image->attempts ? backoff(image->attempts) : CTL_POLL_S / 2);
        image->attempts++;
        return 0;
}

static int not_started(struct ctl_run *run, struct ctl_image *image, int error, const struct zp_error *why,
                       struct zp_error *err) {
        if (error == -ECANCELED || zp_cancelled(run->world->cancel))
                return zp_error_set(err, ECANCELED, "interrupted");
        bool is_refused = error == -EINVAL || error == -EPERM || error == -ENOENT || error == -EACCES;
        bool was_known = strcmp(image->reason, is_refused ? "BuildNotStarted" : "ExecutorUnavailable") == 0;
        char message[CTL_MESSAGE_SIZE];
        give_slot(run, image);
        image->build_id[0] = '\0';
        snprintf(message, sizeof message, "%.500s", why->message);
        ctl_run_stand(image, is_refused ? CTL_FAILED : CTL_PENDING,
                      is_refused ? "BuildNotStarted" : "ExecutorUnavailable", message);
        /* an API server that has just started refuses everybody until it has read who may what */
        ctl_run_later(run, image, is_refused && was_known ? CTL_ABSENT_S : CTL_UNAVAILABLE_S);
        if (!was_known)
                ctl_run_tell(run, true, image->reason, "%s (%s): %s", image->image, image->platform, message);
        return 0;
}

/* False: it has to wait for its turn. */
static bool take_turn(struct ctl_run *run, struct ctl_image *image, const struct ctl_order *order) {
        char slot[CTL_SLOT_SIZE];
        if (!run->executor->is_bounded)
                return true;
        run->executor->name_build(order, image->build_id);
        if (ctl_slots_take(run->world->slots, ctl_run_slot(run, image->build_id, slot), run->key,
                           run->snapshot->spec.priority))
                return true;
        image->build_id[0] = '\0';
        ctl_run_stand(image, CTL_QUEUED, "WaitingForTurn", "as many builds run as may, in all or of this namespace");
        image->next_attempt = 0;
        return false;
}

int ctl_run_start(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        const struct ctl_order order = { run->snapshot, image };
        struct ctl_build build;
        struct zp_error why = { 0 };
        /* whether it is signed, and with this key, a builder finds out */
        int r = run->snapshot->spec.signing_secret ? 0 : find_published(run, image, err);
        if (r == 1) {
                atomic_fetch_add(&run->world->counters.found, 1);
                ctl_run_tell(run, false, "SnapshotFound", "%s (%s): snapshot %s is there", image->image,
                             image->platform, image->snapshot_digest);
        }
        if (r != 0)
                return r < 0 ? r : 0;
        if (!take_turn(run, image, &order))
                return 0;
        if (!run->world->may_write(run->world->context))
                return zp_error_set(err, ECANCELED, "not the leader any more");
        r = run->executor->start(&run->world->executors, &order, &build, &why);
        if (r < 0)
                return not_started(run, image, r, &why, err);
        atomic_fetch_add(&run->world->counters.builds_started, build.was_there ? 0 : 1);
        image->next_attempt = 0;
        ctl_run_tell(run, false, "BuildStarted", "%s (%s): %s is built by %s %s", image->image, image->platform,
                     image->digest, run->executor->name, build.id);
        return take(run, image, &build, err);
}

int ctl_run_look(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        const struct ctl_order order = { run->snapshot, image };
        const struct ctl_executor *executor = ctl_executor_of_build(image->build_id);
        struct ctl_build build;
        struct zp_error why = { 0 };
        const char *objection = executor->objection(&run->world->executors, &run->snapshot->spec);
        int r = objection ? zp_error_set(&why, ENOTSUP, "%s", objection)
                          : executor->look(&run->world->executors, &order, &build, &why);
        if (r == 0)
                return take(run, image, &build, err);
        if (zp_cancelled(run->world->cancel))
                return zp_error_set(err, ECANCELED, "interrupted");
        /* it may well go on meanwhile */
        snprintf(image->reason, sizeof image->reason, "ExecutorUnavailable");
        snprintf(image->message, sizeof image->message, "%.500s", why.message);
        ctl_run_wake_at(run, run->now + CTL_UNAVAILABLE_S);
        return 0;
}
