/* SPDX-License-Identifier: Apache-2.0
 *
 * One image of an ImageSnapshot, from its name to its snapshot:
 *
 *     Pending ─▶ (resolved) ─▶ Queued ─▶ Building ─▶ Ready ─▶ (Track: the tag has moved) ─▶ Pending
 *        ▲                        │          │
 *        └──────── Failed ◀───────┴──────────┘      and again later, unless that would be of no use
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/log.h"
#include "controller/run.h"

/* Until what is not there, or may not be read, is asked for again. */
#define ABSENT_S 300
/* Until a registry or executor that does not answer is asked again. */
#define UNAVAILABLE_S 30
/* How often a build is looked at that tells nobody of its progress. */
#define POLL_S 10
/* Between two looks at an object with many images. */
#define PAUSE_S 1
/* After a build that failed: doubled each time, and so many in all. */
#define BACKOFF_FIRST_S 300
#define BACKOFF_LAST_S 21600
#define ATTEMPTS_MAX 8

static void stand(struct ctl_image *image, enum ctl_phase phase, const char *reason, const char *message) {
        image->phase = phase;
        image->progress = -1;
        snprintf(image->reason, sizeof image->reason, "%s", reason);
        snprintf(image->message, sizeof image->message, "%s", message);
}

static void later(struct ctl_run *run, struct ctl_image *image, int64_t seconds) {
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
        ctl_run_wake_at(run, run->now + (run->has_turn ? PAUSE_S : POLL_S));
        return false;
}

/* ---- what the name stands for ---- */

static const char *reason_of(int error) {
        switch (error) {
        case -ENOENT:
                return "ImageNotFound";
        case -EACCES:
                return "AccessDenied";
        case -ENOTSUP:
                return "NotAnImage";
        case -EINVAL:
                return "InvalidName";
        default:
                return "RegistryUnavailable";
        }
}

static void not_resolved(struct ctl_run *run, struct ctl_image *image, int error, const struct zp_error *why) {
        char message[CTL_MESSAGE_SIZE];
        const char *problem = run->secrets.problem, *reason = reason_of(error), *text = why->message;
        /* which image it is, stands beside it */
        if (strncmp(text, "docker://", 9) == 0 && strstr(text, ": "))
                text = strstr(text, ": ") + 2;
        bool was_known = strcmp(image->reason, reason) == 0;
        snprintf(message, sizeof message, "%.250s%s%.200s%s", text, error == -EACCES && *problem ? " (" : "",
                 error == -EACCES ? problem : "", error == -EACCES && *problem ? ")" : "");
        bool is_passing = strcmp(reason, "RegistryUnavailable") == 0;
        image->digest[0] = '\0';
        stand(image, is_passing ? CTL_PENDING : CTL_FAILED, reason, message);
        later(run, image, error == -ENOTSUP || error == -EINVAL ? 0 : is_passing ? UNAVAILABLE_S : ABSENT_S);
        if (!was_known)
                ctl_run_tell(run, true, reason, "%s (%s): %s", image->image, image->platform, message);
}

/* What a tag names is asked first: should it move meanwhile, the next look sees that. */
static int ask(struct ctl_run *run, const struct ctl_images *images, const struct ctl_image *image, char *source,
               char *digest, struct zp_error *err) {
        int r = run->snapshot->spec.is_tracking ? ctl_images_head(images, image->image, source, err) : 0;
        atomic_fetch_add(&run->world->counters.checks, 1);
        if (r == 0 && source[0] && strcmp(source, image->source_digest) == 0 && image->digest[0]) {
                strcpy(digest, image->digest);
                return 0;
        }
        return r < 0 ? r : ctl_images_resolve(images, image->image, image->platform, digest, err);
}

/* 0: the digest is known. 1: it is not, and the image says why. */
static int resolve(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        char source[ZP_DIGEST_TEXT_SIZE] = "", digest[ZP_DIGEST_TEXT_SIZE] = "";
        struct ctl_images images;
        struct zp_error why = { 0 };
        int r = ctl_run_images(run, &images, err);
        if (r < 0)
                return r;
        r = ask(run, &images, image, source, digest, &why);
        if (r < 0) {
                if (zp_cancelled(run->world->cancel))
                        return zp_error_set(err, ECANCELED, "interrupted");
                not_resolved(run, image, r, &why);
                return 1;
        }
        image->last_check = run->now;
        atomic_fetch_add(&run->world->counters.resolved, 1);
        strcpy(image->source_digest, source);
        if (strcmp(image->digest, digest) != 0) {
                strcpy(image->digest, digest);
                image->snapshot_digest[0] = image->build_id[0] = '\0';
                image->size = 0;
                image->attempts = 0;
        }
        return 0;
}

/* ---- building ---- */

/* It runs: it counts, also when the object that it began for has gone. */
static void hold_slot(struct ctl_run *run, const struct ctl_image *image) {
        char slot[CTL_SLOT_SIZE];
        if (ctl_executor_of_build(image->build_id)->is_bounded)
                ctl_slots_hold(run->world->slots, ctl_run_slot(run, image->build_id, slot), run->key);
}

static void give_slot(struct ctl_run *run, const struct ctl_image *image) {
        char slot[CTL_SLOT_SIZE];
        if (image->build_id[0])
                ctl_slots_give(run->world->slots, ctl_run_slot(run, image->build_id, slot));
}

static void ready(struct ctl_image *image, const char *snapshot, int64_t size) {
        snprintf(image->snapshot_digest, sizeof image->snapshot_digest, "%s", snapshot);
        image->size = size;
        image->next_attempt = 0;
        stand(image, CTL_READY, "", "");
}

/* 1: it is published, and now ready; 0: it is not. A registry that does not say is no reason not to build. */
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
                return 0;
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
        stand(image, CTL_FAILED, build->reason, build->message);
        later(run, image, is_final ? 0 : backoff(image->attempts));
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
                stand(image, build->state == CTL_BUILD_QUEUED ? CTL_QUEUED : CTL_BUILDING, build->reason,
                      build->message);
                image->progress = build->progress;
                hold_slot(run, image);
                ctl_run_wake_at(run, run->now + POLL_S);
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
        stand(image, CTL_RESOLVING, build->reason, build->message);
        later(run, image, image->attempts ? backoff(image->attempts) : POLL_S / 2);
        image->attempts++;
        return 0;
}

static int not_started(struct ctl_run *run, struct ctl_image *image, int error, const struct zp_error *why) {
        bool is_refused = error == -EINVAL || error == -EPERM || error == -ENOENT || error == -EACCES;
        bool was_known = strcmp(image->reason, is_refused ? "BuildNotStarted" : "ExecutorUnavailable") == 0;
        char message[CTL_MESSAGE_SIZE];
        give_slot(run, image);
        image->build_id[0] = '\0';
        snprintf(message, sizeof message, "%.500s", why->message);
        stand(image, is_refused ? CTL_FAILED : CTL_PENDING, is_refused ? "BuildNotStarted" : "ExecutorUnavailable",
              message);
        later(run, image, is_refused ? ABSENT_S : UNAVAILABLE_S);
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
        stand(image, CTL_QUEUED, "WaitingForTurn", "as many builds run as may, in all or of this namespace");
        image->next_attempt = 0;
        return false;
}

static int start(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
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
                return not_started(run, image, r, &why);
        atomic_fetch_add(&run->world->counters.builds_started, 1);
        image->next_attempt = 0;
        ctl_run_tell(run, false, "BuildStarted", "%s (%s): %s is built by %s %s", image->image, image->platform,
                     image->digest, run->executor->name, build.id);
        return take(run, image, &build, err);
}

static int look(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
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
        ctl_run_wake_at(run, run->now + UNAVAILABLE_S);
        return 0;
}

/* ---- tracking ---- */

/* What is there stays, whatever comes of looking. */
static int check(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        struct ctl_image fresh = *image;
        int r = resolve(run, &fresh, err);
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
                        stand(image, CTL_READY, "", "");
                return 0;
        }
        ctl_run_tell(run, false, "TagMoved", "%s (%s): from %s to %s", image->image, image->platform, image->digest,
                     fresh.digest);
        *image = fresh;
        stand(image, CTL_PENDING, "TagMoved", "");
        image->next_attempt = 0;
        return start(run, image, err);
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
        stand(image, CTL_PENDING, "", "");
}

/* After a change of spec: what was built as it says now, stays. */
static void look_at_spec_again(struct ctl_run *run, struct ctl_image *image) {
        const struct ctl_order order = { run->snapshot, image };
        char id[CTL_BUILD_ID_SIZE];
        run->executor->name_build(&order, id);
        try_again(image);
        if (image->phase == CTL_EXPIRED || (image->phase == CTL_READY && strcmp(id, image->build_id) != 0)) {
                stand(image, CTL_PENDING, "", "");
        } else if (image->build_id[0] && id[0] && strcmp(id, image->build_id) != 0) {
                struct zp_error ignored = { 0 };
                ctl_run_cancel(run, image, &ignored);
                stand(image, CTL_PENDING, "", "");
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
                        return spend(run) ? look(run, image, err) : 0;
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
        int r = is_known ? 0 : resolve(run, image, err);
        return r == 0 ? start(run, image, err) : r < 0 ? r : 0;
}
