/* SPDX-License-Identifier: Apache-2.0
 *
 * What the leader does, and nobody else.
 */
#include <stdio.h>
#include <string.h>

#include "controller/log.h"
#include "controller/model/time.h"
#include "controller/parts.h"

/* Until the planner of warm-ups has an overview of its own: what is known of warm-ups stays so long. */
#define WARM_UP_SETTLE_S 30
/* How long what is under way may take at the end. */
#define END_PATIENCE_S 5

/* ---- workers ---- */

static void look_at(struct ctl_controller *c, const char *key) {
        struct zp_error err = { 0 };
        int64_t wake_s = -1;
        int r = key[0] == '/' ? ctl_reconcile_cluster(&c->world, key, &wake_s, &err)
                              : ctl_reconcile_snapshot(&c->world, key, &wake_s, &err);
        atomic_fetch_add(&c->world.counters.reconciles, 1);
        if (r == -ECANCELED)
                return;
        if (r < 0) {
                atomic_fetch_add(&c->world.counters.failures, 1);
                ctl_log(CTL_LOG_WARNING, "%s: %s", key, err.message);
                ctl_queue_add_failed(c->world.queue, key);
                return;
        }
        ctl_queue_succeeded(c->world.queue, key);
        if (wake_s >= 0)
                ctl_queue_add_after(c->world.queue, key, (uint64_t) wake_s * 1000);
}

static void *work(void *context) {
        struct ctl_controller *c = context;
        char key[CTL_QUEUE_KEY_SIZE];
        while (ctl_queue_take(c->world.queue, key)) {
                look_at(c, key);
                ctl_queue_done(c->world.queue, key);
        }
        return NULL;
}

/* ---- warm-ups ---- */

static void warm_up_changed(void *context, const char *namespace, const char *name) {
        struct ctl_controller *c = context;
        char key[CTL_KEY_SIZE];
        ctl_queue_add(c->world.queue, ctl_key(namespace, name, key));
}

static void warm_up_log(void *context, const char *line) {
        (void) context;
        ctl_log(CTL_LOG_WARNING, "warm-up: %s", line);
}

void ctl_work_warm_up(struct ctl_controller *c, const char *namespace, const char *name, json_t *object) {
        struct zp_error err = { 0 };
        pthread_mutex_lock(&c->warm_up_lock);
        if (c->warm_up && object) {
                json_t *whole = json_copy(object); /* the items of a list do not say what they are */
                if (!whole || json_object_set_new(whole, "apiVersion", json_string(CTL_API_VERSION)) < 0 ||
                    json_object_set_new(whole, "kind", json_string(CTL_SNAPSHOT_KIND)) < 0 ||
                    warmup_put(c->warm_up, whole, &err) < 0)
                        ctl_log(CTL_LOG_WARNING, "warm-up of %s/%s: %s", namespace, name, err.message);
                json_decref(whole);
        } else if (c->warm_up) {
                warmup_drop(c->warm_up, namespace, name);
        }
        pthread_mutex_unlock(&c->warm_up_lock);
}

bool ctl_work_look_at_warm_up(void *context, const char *namespace, const char *name, struct ctl_counts *out,
                              char trouble[CTL_CONDITION_MESSAGE_SIZE]) {
        struct ctl_controller *c = context;
        pthread_mutex_lock(&c->warm_up_lock);
        struct warmup_counts counts = { 0 };
        trouble[0] = '\0';
        if (c->warm_up)
                counts = warmup_look(c->warm_up, namespace, name, trouble, CTL_CONDITION_MESSAGE_SIZE);
        bool is_settled = c->warm_up && atomic_load(&c->leader_since) + WARM_UP_SETTLE_S <= ctl_now();
        pthread_mutex_unlock(&c->warm_up_lock);
        *out = (struct ctl_counts){ counts.desired, counts.ready, counts.failed };
        return is_settled || counts.desired > 0;
}

/* ---- the beginning ---- */

struct keys {
        struct ctl_controller *c;
        char (*items)[CTL_KEY_SIZE];
        size_t count, capacity;
};

static void collect(void *context, const char *key) {
        struct keys *keys = context;
        if (keys->count < keys->capacity)
                snprintf(keys->items[keys->count++], CTL_KEY_SIZE, "%s", key);
}

/* Builds that run already have their slots before anybody else gets one. */
static void hold_slots(struct ctl_controller *c, const struct ctl_snapshot *snapshot) {
        char key[CTL_KEY_SIZE], slot[CTL_NAMESPACE_SIZE + CTL_BUILD_ID_SIZE];
        ctl_key(snapshot->namespace, snapshot->name, key);
        for (size_t i = 0; i < snapshot->status.image_count; i++) {
                const struct ctl_image *image = &snapshot->status.images[i];
                if ((image->phase != CTL_QUEUED && image->phase != CTL_BUILDING) || !image->build_id[0] ||
                    !ctl_executor_of_build(image->build_id)->is_bounded)
                        continue;
                snprintf(slot, sizeof slot, "%s/%s", snapshot->namespace, image->build_id);
                ctl_slots_hold(c->world.slots, slot, key);
        }
}

/* The watch tells the planner as well, perhaps in between: then what we have said is out of date, and is said anew. */
static void tell_warm_up(struct ctl_controller *c, const char *key, const struct ctl_snapshot *snapshot,
                         json_t *object) {
        zp_auto(json_decref) json_t *said = json_incref(object);
        for (;;) {
                bool is_there = said && !zp_kube_is_being_deleted(said);
                ctl_work_warm_up(c, snapshot->namespace, snapshot->name, is_there ? said : NULL);
                json_t *now = ctl_cache_get(c->world.snapshots, key);
                bool is_same = now == said || json_equal(now, said);
                json_decref(said);
                said = now;
                if (is_same)
                        return;
        }
}

static void take_over(struct ctl_controller *c, const char *key) {
        zp_auto(json_decref) json_t *object = ctl_cache_get(c->world.snapshots, key);
        ctl_autosnapshot struct ctl_snapshot snapshot = { 0 };
        struct zp_error ignored = { 0 };
        if (!object)
                return;
        if (ctl_snapshot_parse(object, &snapshot, &ignored) == 0)
                hold_slots(c, &snapshot);
        tell_warm_up(c, key, &snapshot, object);
        if (snapshot.spec.has_warm_up) /* for what the planner knows by then */
                ctl_queue_add_after(c->world.queue, key, (WARM_UP_SETTLE_S + 1) * 1000);
        ctl_queue_add(c->world.queue, key);
}

static void take_over_cluster(void *context, const char *key) {
        struct ctl_controller *c = context;
        ctl_queue_add(c->world.queue, key);
}

static int start_warm_up(struct ctl_controller *c, struct zp_error *err) {
        const char *namespace = c->config->agent_namespace;
        const struct warmup_options options = { .client = c->world.kube,
                                                .agent_namespace = namespace ? namespace
                                                                             : zp_kube_config_namespace(c->kube_config),
                                                .agent_account = c->config->agent_account,
                                                .cancel = &c->work_cancel,
                                                .may_write = c->world.may_write,
                                                .targets = c->config->targets,
                                                .target_count = c->config->target_count,
                                                .changed = warm_up_changed,
                                                .log = warm_up_log,
                                                .context = c };
        struct warmup *warm_up = NULL;
        if (c->options->namespace) /* nodes are the whole cluster's */
                return 0;
        int r = warmup_start(&options, &warm_up, err);
        pthread_mutex_lock(&c->warm_up_lock);
        c->warm_up = warm_up;
        pthread_mutex_unlock(&c->warm_up_lock);
        return r;
}

int ctl_work_begin(struct ctl_controller *c, struct zp_error *err) {
        struct keys keys = { .c = c, .capacity = ctl_cache_size(c->world.snapshots) + 64 };
        keys.items = calloc(keys.capacity, sizeof *keys.items);
        if (!keys.items)
                return zp_error_errno(err, ENOMEM, "begin");
        atomic_store(&c->leader_since, ctl_now());
        int r = start_warm_up(c, err);
        ctl_cache_each(c->world.snapshots, collect, &keys);
        for (size_t i = 0; i < keys.count && r == 0; i++)
                take_over(c, keys.items[i]);
        free(keys.items);
        ctl_cache_each(c->world.clusters, take_over_cluster, c);
        if (r == 0 && c->warm_up)
                warmup_synced(c->warm_up);
        for (; c->worker_count < (size_t) c->config->workers && r == 0; c->worker_count++) {
                int code = pthread_create(&c->workers[c->worker_count], NULL, work, c);
                if (code)
                        return zp_error_errno(err, code, "start a thread");
        }
        return r;
}

void ctl_work_end(struct ctl_controller *c) {
        struct timespec until;
        ctl_queue_close(c->world.queue);
        atomic_store(&c->work_cancel.requested, true);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += END_PATIENCE_S;
        for (size_t i = 0; i < c->worker_count; i++)
                if (pthread_timedjoin_np(c->workers[i], NULL, &until) != 0) {
                        atomic_store(&c->kube_cancel.requested, true);
                        pthread_join(c->workers[i], NULL);
                }
        pthread_mutex_lock(&c->warm_up_lock);
        struct warmup *warm_up = zp_steal(&c->warm_up);
        pthread_mutex_unlock(&c->warm_up_lock);
        if (warm_up)
                warmup_stop(warm_up);
}
