/* SPDX-License-Identifier: Apache-2.0
 *
 * The planner at work: a thread that decides and writes.
 */
#include "controller/warmup-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/condition.h"
#include "controller/model/time.h"
#include "controller/warmup-roles.h"

/* Nodes report often; what comes within this time is decided about at once. */
#define GATHER_MS 200
#define RETRY_MS 5000

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "warm-up");
}

void warmup_complain(struct warmup *w, const struct zp_error *err) {
        if (err->code != ECANCELED)
                w->options.log(w->options.context, err->message);
}

const char *warmup_text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

static void tell_counts(struct warmup *w, json_t *before, json_t *now) {
        const char *key;
        json_t *sums;
        json_object_foreach(now, key, sums) {
                const char *slash = strchr(key, '/');
                if (json_equal(json_object_get(before, key), sums) || !slash)
                        continue;
                zp_autofree char *namespace = strndup(key, (size_t) (slash - key));
                if (namespace)
                        w->options.changed(w->options.context, namespace, slash + 1);
        }
}

/* ---- the thread ---- */

/* Waits for `ms`, or until it ends. Caller holds the lock. */
static void pause_for(struct warmup *w, unsigned ms) {
        uint64_t until_ms = zp_monotonic_ms() + ms;
        while (!w->is_ending && zp_condition_wait_until(&w->news, &w->lock, until_ms))
                continue;
}

/* When to look again even without news; 0: never. Service accounts tell nobody that they changed, nor do rights. */
static int64_t next_look(const struct warmup *w, int64_t now) {
        const int64_t times[] = { json_object_size(w->accounts) > 0 ? now + WARMUP_ACCOUNT_S : 0,
                                  warmup_roles_next(w->roles),
                                  json_object_size(w->world.objects) > 0 && !w->has_roles ? w->roles_again : 0 };
        int64_t next = 0;
        for (size_t i = 0; i < sizeof times / sizeof *times; i++)
                if (times[i] && (!next || times[i] < next))
                        next = times[i];
        return next;
}

/* Caller holds the lock. */
static void wait_for_news(struct warmup *w) {
        int64_t now = ctl_now(), next = next_look(w, now);
        uint64_t until_ms = zp_monotonic_ms() + (next > now ? (uint64_t) (next - now) * 1000 : 1000);
        if (!next)
                pthread_cond_wait(&w->news, &w->lock);
        else if (!zp_condition_wait_until(&w->news, &w->lock, until_ms))
                w->is_changed = true;
}

/* Decides with the lock held, reads and writes without. False: something is to be tried again. */
static bool plan_once(struct warmup *w) {
        zp_auto(json_decref) json_t *changes = NULL, *counts = NULL;
        struct zp_error err = { 0 };
        w->is_changed = false;
        zp_auto(json_decref) json_t *objects = json_deep_copy(w->world.objects);
        pthread_mutex_unlock(&w->lock);
        int of_accounts = warmup_add_accounts(w, objects);
        pthread_mutex_lock(&w->lock);
        const struct warmup_world world = { objects, w->world.nodes, w->world.caches };
        int r = warmup_decide(&world, &changes, &counts, &err);
        zp_auto(json_decref) json_t *known_nodes = json_deep_copy(w->world.nodes);
        zp_auto(json_decref) json_t *before = w->counts;
        if (r == 0)
                w->counts = json_incref(counts);
        else
                before = NULL;
        pthread_mutex_unlock(&w->lock);
        if (r < 0)
                warmup_complain(w, &err);
        if (r == 0) {
                int of_roles = warmup_write_roles(w, objects);
                r = warmup_write_caches(w, changes, known_nodes);
                r = r < 0 ? r : of_roles < 0 ? of_roles : of_accounts;
                tell_counts(w, before, counts);
        }
        pthread_mutex_lock(&w->lock);
        return r == 0;
}

static void *work(void *context) {
        struct warmup *w = context;
        pthread_mutex_lock(&w->lock);
        while (!w->is_ending) {
                if (!w->is_changed || !w->has_objects || !w->has_nodes || !w->has_caches) {
                        wait_for_news(w);
                        continue;
                }
                pause_for(w, GATHER_MS);
                if (w->is_ending || plan_once(w))
                        continue;
                pause_for(w, RETRY_MS);
                w->is_changed = true;
        }
        pthread_mutex_unlock(&w->lock);
        return NULL;
}

/* ---- its life ---- */

static void clear(struct warmup *w) {
        if (w->node_reflector)
                zp_kube_reflector_stop(w->node_reflector);
        if (w->cache_reflector)
                zp_kube_reflector_stop(w->cache_reflector);
        pthread_cond_destroy(&w->news);
        pthread_mutex_destroy(&w->lock);
        json_decref(w->world.objects);
        json_decref(w->world.nodes);
        json_decref(w->world.caches);
        json_decref(w->counts);
        json_decref(w->accounts);
        json_decref(w->roles);
        json_decref(w->refused);
        free(w);
}

static struct warmup *new_planner(const struct warmup_options *options) {
        struct warmup *w = calloc(1, sizeof *w);
        if (!w)
                return NULL;
        w->options = *options;
        w->cancel.parent = options->cancel;
        pthread_mutex_init(&w->lock, NULL);
        zp_condition_init(&w->news);
        w->world = (struct warmup_world){ json_object(), json_object(), json_object() };
        w->counts = json_object();
        w->accounts = json_object();
        w->roles = json_object();
        w->refused = json_object();
        return w;
}

int warmup_start(const struct warmup_options *options, struct warmup **out, struct zp_error *err) {
        struct warmup *w = new_planner(options);
        if (!w)
                return no_memory(err);
        int r = warmup_watch(w, err);
        if (r == 0 && (r = -pthread_create(&w->thread, NULL, work, w)) < 0)
                r = zp_error_errno(err, -r, "warm-up: a thread");
        if (r < 0) {
                clear(w);
                return r;
        }
        *out = w;
        return 0;
}

void warmup_stop(struct warmup *w) {
        atomic_store(&w->cancel.requested, true);
        pthread_mutex_lock(&w->lock);
        w->is_ending = true;
        pthread_cond_signal(&w->news);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        clear(w);
}
