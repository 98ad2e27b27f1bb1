/* SPDX-License-Identifier: Apache-2.0
 *
 * When an object goes, or its time is over: builds that nobody else wants end, snapshots that nobody else names are
 * removed where it says so, and neither keeps it for longer than is configured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/kube/apply.h"
#include "controller/run.h"

/* How long to wait until it is tried again. */
#define AGAIN_S 5

/* Whether another object has it in its status. True when that cannot be told. */
static bool is_named_elsewhere(const struct ctl_run *run, const char *text) {
        char quoted[CTL_BUILD_ID_SIZE + 2];
        snprintf(quoted, sizeof quoted, "\"%s\"", text);
        char **keys = ctl_cache_mentioning(run->world->snapshots, quoted, run->key);
        bool is_named = !keys || keys[0];
        ctl_cache_keys_free(keys);
        return is_named;
}

/* Whether the other image, of an object in that namespace, waits for the build of this one. What several namespaces
 * share they may know by different names, as do two tags of one object. */
static bool waits_for_build(const struct ctl_run *run, const struct ctl_image *image, const struct ctl_image *other,
                            const char *namespace) {
        const struct ctl_executor *executor = ctl_executor_of_build(image->build_id);
        if ((other->phase != CTL_QUEUED && other->phase != CTL_BUILDING) || !other->build_id[0] ||
            ctl_executor_of_build(other->build_id) != executor || strcmp(other->digest, image->digest) != 0)
                return false;
        return executor->is_shared ||
               (strcmp(namespace, run->snapshot->namespace) == 0 && strcmp(other->build_id, image->build_id) == 0);
}

typedef bool stays_function(const struct ctl_run *run, const struct ctl_image *image);

/* Whether another image of this object does that stays, another tag of the same. */
static bool is_wanted_here(const struct ctl_run *run, const struct ctl_image *image, stays_function *stays) {
        const struct ctl_status *status = &run->snapshot->status;
        for (size_t i = 0; stays && i < status->image_count; i++) {
                const struct ctl_image *other = &status->images[i];
                if (other != image && stays(run, other) && waits_for_build(run, image, other, run->snapshot->namespace))
                        return true;
        }
        return false;
}

/* Whether one of the object of that key does. */
static bool waits_for(const struct ctl_run *run, const char *key, const struct ctl_image *image) {
        zp_auto(json_decref) json_t *object = ctl_cache_get(run->world->snapshots, key);
        ctl_autosnapshot struct ctl_snapshot other = { 0 };
        struct zp_error ignored = { 0 }; /* of its status we see what there is */
        if (object)
                ctl_snapshot_parse(object, &other, &ignored);
        for (size_t i = 0; i < other.status.image_count; i++)
                if (waits_for_build(run, image, &other.status.images[i], other.namespace))
                        return true;
        return false;
}

/* Whether any other object does. True when that cannot be told. */
static bool is_wanted_elsewhere(const struct ctl_run *run, const struct ctl_image *image) {
        char quoted[ZP_DIGEST_TEXT_SIZE + 2];
        snprintf(quoted, sizeof quoted, "\"%s\"", image->digest);
        char **keys = ctl_cache_mentioning(run->world->snapshots, quoted, run->key);
        bool is_wanted = !keys;
        for (char **key = keys; key && *key && !is_wanted; key++)
                is_wanted = waits_for(run, *key, image);
        ctl_cache_keys_free(keys);
        return is_wanted;
}

/* Takes over which build it has become. 1: it goes on; 0: it is over. */
static int settle(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        const struct ctl_order order = { run->snapshot, image };
        const struct ctl_executor *executor = ctl_executor_of_build(image->build_id);
        struct ctl_build build;
        if (!executor->settle)
                return 1;
        int r = executor->settle(&run->world->executors, &order, &build, err);
        if (r < 0)
                return r;
        snprintf(image->build_id, sizeof image->build_id, "%s", build.id);
        return build.state == CTL_BUILD_QUEUED || build.state == CTL_BUILD_RUNNING;
}

int ctl_run_cancel(struct ctl_run *run, struct ctl_image *image, stays_function *stays, struct zp_error *err) {
        const struct ctl_order order = { run->snapshot, image };
        char slot[CTL_SLOT_SIZE];
        if (!image->build_id[0] || (image->phase != CTL_QUEUED && image->phase != CTL_BUILDING))
                return 0;
        int r = settle(run, image, err);
        if (r < 0)
                return r;
        ctl_run_slot(run, image->build_id, slot);
        if (r == 1 && is_wanted_here(run, image, stays)) {
                image->build_id[0] = '\0'; /* its slot is the object's as before */
                return 0;
        }
        if (r == 1 && is_wanted_elsewhere(run, image)) {
                ctl_slots_leave(run->world->slots, slot, run->key);
        } else {
                if (r == 1)
                        r = ctl_executor_of_build(image->build_id)->cancel(&run->world->executors, &order, err);
                if (r < 0)
                        return r;
                ctl_slots_give(run->world->slots, slot, run->key);
        }
        image->build_id[0] = '\0';
        return 0;
}

int ctl_run_cancel_all(struct ctl_run *run, struct zp_error *err) {
        static const char *const none[] = { NULL };
        struct ctl_status *status = &run->snapshot->status;
        int result = 0;
        for (size_t i = 0; i < status->image_count; i++) {
                struct ctl_image *image = &status->images[i];
                struct zp_error why = { 0 };
                int r = ctl_run_cancel(run, image, NULL, &why);
                if (r < 0 && result == 0) {
                        *err = why;
                        result = r;
                }
                if (r == 0 && (image->phase == CTL_QUEUED || image->phase == CTL_BUILDING))
                        ctl_run_stand(image, CTL_PENDING, "", "");
        }
        if (result == 0)
                ctl_slots_keep_only(run->world->slots, run->key, none);
        return result;
}

static int withdraw(struct ctl_run *run, const struct ctl_image *image, struct zp_error *err) {
        struct ctl_images images;
        zp_autofree char *remote = NULL;
        if (!image->snapshot_digest[0] || !image->digest[0] || is_named_elsewhere(run, image->snapshot_digest))
                return 0;
        int r = ctl_run_images(run, &images, err);
        if (r == 0)
                r = ctl_images_remote(&run->snapshot->spec, image->image, &remote, err);
        if (r == 0)
                r = ctl_images_withdraw(&images, remote, image->digest, image->snapshot_digest, err);
        return r;
}

int ctl_run_withdraw(struct ctl_run *run, struct zp_error *err) {
        const struct ctl_status *status = &run->snapshot->status;
        int result = 0;
        for (size_t i = 0; i < status->image_count; i++) {
                struct zp_error why = { 0 };
                int r = withdraw(run, &status->images[i], &why);
                if (r < 0 && result == 0) {
                        *err = why;
                        result = r;
                }
        }
        return result;
}

/* Whether what failed is tried again: for as long as is configured since it failed first, after `since`. Only this
 * process knows when that was: its successor begins anew. */
static bool has_time_left(const struct ctl_run *run, int64_t since) {
        int64_t first = ctl_cache_noted(run->world->snapshots, run->key, CTL_NOTE_UNCLEAN);
        if (!first || first < since)
                ctl_cache_note(run->world->snapshots, run->key, CTL_NOTE_UNCLEAN, first = run->now);
        return run->now < first + run->world->config->cleanup_s;
}

/* Another is the leader by now, or this process ends: the trouble is neither the object's nor its executor's. */
static bool is_interrupted(const struct ctl_run *run, int error) {
        return error == -ECANCELED || (error < 0 && zp_cancelled(run->world->cancel));
}

/* What is not decided yet is so in a moment, and no trouble when it is found for the first time. */
static bool is_trouble(const struct ctl_run *run, int error) {
        return error != -EINPROGRESS || ctl_cache_noted(run->world->snapshots, run->key, CTL_NOTE_UNCLEAN);
}

/* ---- the end of its time ---- */

/* Something is left to remove. What was given up is, when somebody asks to try again. */
static bool is_to_expire(const struct ctl_run *run) {
        const struct ctl_status *status = &run->snapshot->status;
        bool is_asked = run->is_retry || ctl_cache_noted(run->world->snapshots, run->key, CTL_NOTE_UNCLEAN);
        for (size_t i = 0; i < status->image_count; i++) {
                const struct ctl_image *image = &status->images[i];
                if (image->phase != CTL_EXPIRED || (is_asked && image->snapshot_digest[0]))
                        return true;
        }
        return false;
}

static void expire_images(struct ctl_status *status, const struct zp_error *trouble) {
        for (size_t i = 0; i < status->image_count; i++) {
                struct ctl_image *image = &status->images[i];
                image->phase = CTL_EXPIRED;
                image->next_attempt = 0;
                image->progress = -1;
                snprintf(image->reason, sizeof image->reason, "Expired");
                if (trouble) {
                        snprintf(image->message, sizeof image->message, "not removed: %.480s", trouble->message);
                        continue;
                }
                snprintf(image->message, sizeof image->message, "its time (ttl) is over");
                image->snapshot_digest[0] = '\0';
        }
}

int ctl_run_expire(struct ctl_run *run, struct zp_error *err) {
        static const char *const none[] = { NULL };
        struct zp_error why = { 0 };
        if (run->is_retry) /* its time begins anew */
                ctl_cache_note(run->world->snapshots, run->key, CTL_NOTE_UNCLEAN, 0);
        if (!is_to_expire(run))
                return ctl_run_judge(run, NULL, NULL, err);
        int r = ctl_run_cancel_all(run, &why);
        if (r == 0)
                r = ctl_run_withdraw(run, &why);
        if (is_interrupted(run, r))
                return zp_error_set(err, ECANCELED, "interrupted");
        bool is_told = is_trouble(run, r);
        if (r < 0 && has_time_left(run, 0)) {
                if (is_told)
                        ctl_run_tell(run, true, "CleanupFailed", "its snapshots are not removed yet: %s", why.message);
                ctl_run_wake_at(run, run->now + AGAIN_S);
                return ctl_run_judge(run, NULL, NULL, err);
        }
        ctl_cache_note(run->world->snapshots, run->key, CTL_NOTE_UNCLEAN, 0);
        ctl_slots_keep_only(run->world->slots, run->key, none);
        expire_images(&run->snapshot->status, r < 0 ? &why : NULL);
        ctl_run_tell(run, r < 0, "Expired", r < 0 ? "its snapshots could not be removed: %s" : "%s",
                     r < 0 ? why.message : "its snapshots were removed");
        return ctl_run_judge(run, NULL, NULL, err);
}

/* ---- the end of the object ---- */

static int clean_up(struct ctl_run *run, struct zp_error *err) {
        int r = ctl_run_cancel_all(run, err);
        if (r == 0 && run->snapshot->spec.removes_snapshots)
                r = ctl_run_withdraw(run, err);
        return r;
}

int ctl_run_delete(struct ctl_run *run, struct zp_error *err) {
        static const char *const none[] = { NULL };
        const struct ctl_snapshot *snapshot = run->snapshot;
        const struct zp_kube_place place = { .resource = { CTL_API_VERSION, CTL_SNAPSHOT_PLURAL },
                                             .namespace = snapshot->namespace,
                                             .name = snapshot->name };
        struct zp_error why = { 0 };
        if (!snapshot->has_finalizer)
                return 0;
        int r = clean_up(run, &why);
        if (is_interrupted(run, r))
                return zp_error_set(err, ECANCELED, "interrupted");
        bool is_told = is_trouble(run, r);
        if (r < 0 && has_time_left(run, snapshot->deleted)) {
                if (is_told)
                        ctl_run_tell(run, true, "CleanupFailed", "%s; it is tried for %lld s", why.message,
                                     (long long) run->world->config->cleanup_s);
                ctl_run_wake_at(run, run->now + AGAIN_S);
                return 0;
        }
        if (r < 0)
                ctl_run_tell(run, true, "CleanupAbandoned", "not cleaned up: %s", why.message);
        ctl_slots_keep_only(run->world->slots, run->key, none);
        if (!run->world->may_write(run->world->context))
                return zp_error_set(err, ECANCELED, "not the leader any more");
        r = zp_kube_remove_finalizer(run->world->kube, &place, CTL_FINALIZER, snapshot->object, err);
        return r == -ENOENT ? 0 : r;
}
