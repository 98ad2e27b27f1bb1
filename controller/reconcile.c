/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/reconcile.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"
#include "base/utf8.h"
#include "controller/kube/apply.h"
#include "controller/model/time.h"
#include "controller/run.h"

/* Images that may cost requests in one look, so that status is written now and then. */
#define BUDGET 32

/* ---- for all parts of a look ---- */

void ctl_run_wake_at(struct ctl_run *run, int64_t time) {
        if (!run->wake || time < run->wake)
                run->wake = time;
}

void ctl_run_tell(struct ctl_run *run, bool is_warning, const char *reason, const char *format, ...) {
        char note[1024];
        va_list args;
        va_start(args, format);
        vsnprintf(note, sizeof note, format, args);
        va_end(args);
        zp_utf8_mend(note); /* it may have been cut inside a character */
        const struct zp_kube_event event = { .api_version = CTL_API_VERSION,
                                             .kind = CTL_SNAPSHOT_KIND,
                                             .namespace = run->snapshot->namespace,
                                             .name = run->snapshot->name,
                                             .uid = run->snapshot->uid,
                                             .is_warning = is_warning,
                                             .action = "Reconcile",
                                             .reason = reason,
                                             .note = note };
        zp_kube_events_post(run->world->events, &event);
}

char *ctl_run_slot(const struct ctl_run *run, const char *build_id, char slot[CTL_SLOT_SIZE]) {
        snprintf(slot, CTL_SLOT_SIZE, "%s/%s", run->snapshot->namespace, build_id);
        return slot;
}

int ctl_run_images(struct ctl_run *run, struct ctl_images *out, struct zp_error *err) {
        if (!run->is_loaded) {
                int r = ctl_secrets_load(run->world->kube, run->snapshot, &run->secrets, err);
                if (r < 0)
                        return r;
                run->is_loaded = true;
        }
        *out = (struct ctl_images){ run->world->config, &run->secrets, run->world->learned, run->world->cancel };
        return 0;
}

/* ---- status ---- */

static struct zp_kube_place place_of(const struct ctl_snapshot *snapshot, const char *subresource) {
        return (struct zp_kube_place){ .resource = { CTL_API_VERSION, CTL_SNAPSHOT_PLURAL },
                                       .namespace = snapshot->namespace,
                                       .name = snapshot->name,
                                       .subresource = subresource };
}

/* The status with what the nodes say; as long as that is not known, with what was known before. NULL: no memory. */
static json_t *status_now(struct ctl_run *run, json_t *observed) {
        struct ctl_world *world = run->world;
        struct ctl_snapshot *snapshot = run->snapshot;
        struct ctl_counts counts;
        char trouble[CTL_CONDITION_MESSAGE_SIZE] = "";
        bool has_warm_up = snapshot->spec.has_warm_up;
        bool is_known =
                has_warm_up && world->warm_up(world->context, snapshot->namespace, snapshot->name, &counts, trouble);
        if (is_known || !has_warm_up)
                ctl_status_judge_warm_up(&snapshot->status, has_warm_up ? &counts : NULL, trouble, snapshot->generation,
                                         run->now);
        zp_auto(json_decref) json_t *status = ctl_status_json(&snapshot->status);
        zp_auto(json_decref) json_t *warm_up =
                is_known ? ctl_counts_json(&counts) : json_incref(json_object_get(observed, "warmUp"));
        bool is_done = status && (warm_up || !is_known);
        if (is_done && has_warm_up && warm_up)
                is_done = json_object_set(status, "warmUp", warm_up) == 0;
        return is_done ? zp_steal(&status) : NULL;
}

/* Writes the status when it differs from what the API server has. */
static int write_status(struct ctl_run *run, struct zp_error *err) {
        struct ctl_snapshot *snapshot = run->snapshot;
        struct ctl_world *world = run->world;
        json_t *observed = json_object_get(snapshot->object, "status");
        zp_auto(json_decref) json_t *status = status_now(run, observed), *written = NULL;
        if (!status)
                return zp_error_errno(err, ENOMEM, "status");
        if (json_equal(status, observed))
                return 0;
        if (!world->may_write(world->context))
                return zp_error_set(err, ECANCELED, "not the leader any more");
        zp_auto(json_decref) json_t *object =
                json_pack("{s:s, s:s, s:{s:s, s:s, s:s}, s:O}", "apiVersion", CTL_API_VERSION, "kind",
                          CTL_SNAPSHOT_KIND, "metadata", "name", snapshot->name, "namespace", snapshot->namespace,
                          "uid", snapshot->uid, "status", status);
        if (!object)
                return zp_error_errno(err, ENOMEM, "status");
        const struct zp_kube_apply apply = { place_of(snapshot, "status"), CTL_FIELD_MANAGER, true };
        int r = zp_kube_apply(world->kube, &apply, object, &written, err);
        if (r == -ENOENT || r == -EBUSY) /* gone meanwhile, or another of that name has come */
                return 0;
        atomic_fetch_add(&world->counters.status_writes, 1);
        if (r == 0)
                r = ctl_cache_put(world->snapshots, run->key, written, err);
        /* changed by others meanwhile: the watch will tell nothing that is newer than what came back */
        if (r >= 0 && zp_kube_generation(written) != snapshot->generation)
                ctl_queue_add(world->queue, run->key);
        return r < 0 ? r : 0;
}

int ctl_run_judge(struct ctl_run *run, const char *reason, const char *trouble, struct zp_error *err) {
        ctl_status_judge(&run->snapshot->status, run->snapshot->generation, reason, trouble, run->now);
        return write_status(run, err);
}

/* ---- what is not wanted any more ---- */

static const char *const *platforms_of(const struct ctl_run *run, size_t *count) {
        const struct ctl_spec *spec = &run->snapshot->spec;
        const struct ctl_config *config = run->world->config;
        *count = spec->platform_count ? spec->platform_count : config->platform_count;
        return spec->platform_count ? spec->platforms : config->platforms;
}

static bool is_wanted(const struct ctl_run *run, const struct ctl_image *image) {
        const struct ctl_spec *spec = &run->snapshot->spec;
        size_t platform_count;
        const char *const *platforms = platforms_of(run, &platform_count);
        bool has_image = false, has_platform = false;
        for (size_t i = 0; i < spec->image_count; i++)
                has_image |= strcmp(spec->images[i], image->image) == 0;
        for (size_t i = 0; i < platform_count; i++)
                has_platform |= strcmp(platforms[i], image->platform) == 0;
        return has_image && has_platform;
}

static bool align(struct ctl_run *run) {
        const struct ctl_spec *spec = &run->snapshot->spec;
        struct ctl_status *status = &run->snapshot->status;
        size_t platform_count;
        const char *const *platforms = platforms_of(run, &platform_count);
        for (size_t i = 0; i < status->image_count; i++) {
                struct zp_error ignored = { 0 }; /* then it is built in vain */
                if (!is_wanted(run, &status->images[i]))
                        ctl_run_cancel(run, &status->images[i], is_wanted, &ignored);
        }
        return ctl_status_align(status, spec->images, spec->image_count, platforms, platform_count);
}

/* Slots of builds that this object does not wait for (any more). */
static void tidy_slots(struct ctl_run *run) {
        const struct ctl_status *status = &run->snapshot->status;
        zp_autofree char(*slots)[CTL_SLOT_SIZE] = calloc(status->image_count + 1, sizeof *slots);
        zp_autofree const char **kept = calloc(status->image_count + 1, sizeof *kept);
        size_t count = 0;
        if (!slots || !kept)
                return; /* the next look does it */
        for (size_t i = 0; i < status->image_count; i++) {
                struct ctl_image *image = &status->images[i];
                const struct ctl_order order = { run->snapshot, image };
                char id[CTL_BUILD_ID_SIZE];
                if (image->phase != CTL_QUEUED && image->phase != CTL_BUILDING)
                        continue;
                snprintf(id, sizeof id, "%s", image->build_id);
                if (!id[0])
                        run->executor->name_build(&order, id);
                kept[count] = ctl_run_slot(run, id, slots[count]);
                count++;
        }
        ctl_slots_keep_only(run->world->slots, run->key, kept);
}

/* ---- a look ---- */

/* When its tags were last looked at is not written each time; after a start it is spread over the interval. Who asks
 * for another try, asks for all of them. */
static void begin_tracking(struct ctl_run *run) {
        int64_t interval = run->snapshot->spec.interval_s;
        if (run->is_retry)
                ctl_cache_note(run->world->snapshots, run->key, CTL_NOTE_CHECKED, run->now - interval);
        if (ctl_cache_noted(run->world->snapshots, run->key, CTL_NOTE_CHECKED))
                return;
        uint64_t spread = zp_siphash(zp_siphash_process_key(), run->key, strlen(run->key));
        ctl_cache_note(run->world->snapshots, run->key, CTL_NOTE_CHECKED,
                       run->now - (int64_t) (spread % (uint64_t) interval));
}

static void end_tracking(struct ctl_run *run) {
        int64_t interval = run->snapshot->spec.interval_s;
        int64_t last = ctl_cache_noted(run->world->snapshots, run->key, CTL_NOTE_CHECKED);
        if (run->is_spent) /* not all of them yet */
                return;
        if (last + interval <= run->round)
                ctl_cache_note(run->world->snapshots, run->key, CTL_NOTE_CHECKED, last = run->now);
        ctl_run_wake_at(run, last + interval);
}

/* Gives each image its turn; where the budget does not suffice, the next look goes on with those that had none. */
static int take_turns(struct ctl_run *run, struct zp_error *err) {
        struct ctl_status *status = &run->snapshot->status;
        struct ctl_cache *cache = run->world->snapshots;
        size_t count = status->image_count, turns = count;
        size_t first = (size_t) ctl_cache_noted(cache, run->key, CTL_NOTE_NEXT) % (count ? count : 1);
        size_t left = (size_t) ctl_cache_noted(cache, run->key, CTL_NOTE_LEFT);
        run->round = ctl_cache_noted(cache, run->key, CTL_NOTE_ROUND);
        if (left == 0 || left > count || run->has_new_spec || run->is_retry) {
                left = count;
                run->round = run->now;
        }
        for (size_t i = 0; i < count; i++) {
                bool was_spent = run->is_spent;
                run->has_turn = i < left;
                int r = ctl_run_image(run, &status->images[(first + i) % count], err);
                if (r < 0)
                        return r;
                if (run->is_spent && !was_spent)
                        turns = i;
        }
        ctl_cache_note(cache, run->key, CTL_NOTE_NEXT, (int64_t) (run->is_spent ? (first + turns) % count : first));
        ctl_cache_note(cache, run->key, CTL_NOTE_LEFT, run->is_spent ? (int64_t) (left - turns) : 0);
        ctl_cache_note(cache, run->key, CTL_NOTE_ROUND, run->round);
        return 0;
}

static int look_at_images(struct ctl_run *run, struct zp_error *err) {
        if (run->snapshot->spec.is_tracking)
                begin_tracking(run);
        int r = take_turns(run, err);
        if (r == 0 && run->snapshot->spec.is_tracking)
                end_tracking(run);
        if (r == 0)
                tidy_slots(run);
        return r;
}

/* Nothing can be done as it says now: what it asked for before ends as well, or it would keep others from theirs. */
static int give_up(struct ctl_run *run, const char *reason, const char *trouble, struct zp_error *err) {
        struct zp_error why = { 0 };
        int r = ctl_run_cancel_all(run, &why);
        int written = r == -ECANCELED ? r : ctl_run_judge(run, reason, trouble, err);
        if (r < 0)
                *err = why;
        return r < 0 ? r : written;
}

static int look(struct ctl_run *run, struct zp_error *err) {
        struct ctl_snapshot *snapshot = run->snapshot;
        const struct zp_kube_place place = place_of(snapshot, NULL);
        bool is_first = snapshot->status.observed_generation == 0;
        char retry[CTL_REASON_SIZE];
        snprintf(retry, sizeof retry, "%s", snapshot->retry);
        zp_utf8_mend(retry); /* as it is written */
        run->has_new_spec = !is_first && snapshot->status.observed_generation != snapshot->generation;
        run->is_retry = !is_first && strcmp(retry, snapshot->status.observed_retry) != 0;
        strcpy(snapshot->status.observed_retry, retry);
        if (!align(run))
                return zp_error_errno(err, ENOMEM, "%s", run->key);
        int r = snapshot->has_finalizer
                        ? 0
                        : zp_kube_add_finalizer(run->world->kube, &place, CTL_FINALIZER, snapshot->object, err);
        if (r == -ENOENT || r == -ESTALE) /* it goes: that will be told */
                return 0;
        if (r == 0 && is_first) /* asking registries may take its time */
                r = ctl_run_judge(run, NULL, NULL, err);
        if (r < 0)
                return r;
        if (snapshot->spec.ttl_s > 0) {
                if (snapshot->created + snapshot->spec.ttl_s <= run->now)
                        return ctl_run_expire(run, err);
                ctl_run_wake_at(run, snapshot->created + snapshot->spec.ttl_s);
        }
        const char *objection = run->executor->objection(&run->world->executors, &snapshot->spec);
        if (objection)
                return give_up(run, "NotSupported", objection, err);
        r = look_at_images(run, err);
        if (r == -ECANCELED)
                return r;
        int written = ctl_run_judge(run, NULL, NULL, r < 0 ? NULL : err);
        return r < 0 ? r : written;
}

int ctl_reconcile_snapshot(struct ctl_world *world, const char *key, int64_t *wake_s, struct zp_error *err) {
        zp_auto(json_decref) json_t *object = ctl_cache_get(world->snapshots, key);
        ctl_autosnapshot struct ctl_snapshot snapshot = { 0 };
        struct zp_error malformed = { 0 };
        static const char *const none[] = { NULL };
        *wake_s = -1;
        if (!object) {
                ctl_slots_keep_only(world->slots, key, none);
                return 0;
        }
        struct ctl_run run = { .world = world, .key = key, .snapshot = &snapshot, .now = ctl_now(), .budget = BUDGET };
        int r = ctl_snapshot_parse(object, &snapshot, &malformed);
        if (r == -ENOMEM) {
                *err = malformed;
                return r;
        }
        run.executor = ctl_executor_of(world->config, &snapshot.spec);
        if (snapshot.deleted)
                r = ctl_run_delete(&run, err);
        else if (r < 0)
                r = snapshot.uid[0] ? give_up(&run, "InvalidSpec", malformed.message, err) : 0;
        else
                r = look(&run, err);
        ctl_secrets_clear(&run.secrets);
        if (r == 0 && run.wake)
                *wake_s = run.wake > run.now ? run.wake - run.now : 0;
        return r;
}
