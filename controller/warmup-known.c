/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "controller/warmup-internal.h"

static const struct zp_kube_resource nodes = { "v1", "nodes" };
static const struct zp_kube_resource caches = { CTL_API_VERSION, "nodesnapshotcaches" };

/* Caller holds the lock. `value` is taken; NULL: away with it. */
static void set(struct warmup *w, json_t *map, const char *key, json_t *value) {
        json_t *before = json_object_get(map, key);
        if (value ? json_equal(before, value) : !before) {
                json_decref(value);
                return;
        }
        if (value)
                json_object_set_new(map, key, value);
        else
                json_object_del(map, key);
        w->is_changed = true;
        pthread_cond_signal(&w->news);
}

static void put(struct warmup *w, json_t *map, const char *key, json_t *value) {
        pthread_mutex_lock(&w->lock);
        set(w, map, key, value);
        pthread_mutex_unlock(&w->lock);
}

typedef int (*reducer)(json_t *object, json_t **out, struct zp_error *err);

static void take_in(struct warmup *w, json_t *map, reducer reduce, enum zp_kube_change change,
                    const struct zp_kube_key *key, json_t *object) {
        json_t *reduced = NULL;
        struct zp_error err = { 0 };
        if (change != ZP_KUBE_DELETED && reduce(object, &reduced, &err) < 0)
                warmup_complain(w, &err);
        put(w, map, key->name, reduced);
}

static void node_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *key, json_t *object) {
        struct warmup *w = context;
        take_in(w, w->world.nodes, warmup_reduce_node, change, key, object);
}

static void cache_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *key, json_t *object) {
        struct warmup *w = context;
        take_in(w, w->world.caches, warmup_reduce_cache, change, key, object);
}

static void mark(struct warmup *w, bool *flag) {
        pthread_mutex_lock(&w->lock);
        *flag = w->is_changed = true;
        pthread_cond_signal(&w->news);
        pthread_mutex_unlock(&w->lock);
}

static void nodes_synced(void *context) {
        struct warmup *w = context;
        mark(w, &w->has_nodes);
}

static void caches_synced(void *context) {
        struct warmup *w = context;
        mark(w, &w->has_caches);
}

void warmup_synced(struct warmup *w) {
        mark(w, &w->has_objects);
}

static void troubled(void *context, const struct zp_error *reason, unsigned failures, unsigned retry_ms) {
        (void) retry_ms;
        if (failures == 1)
                warmup_complain(context, reason);
}

int warmup_put(struct warmup *w, json_t *object, struct zp_error *err) {
        char key[CTL_KEY_SIZE];
        json_t *reduced;
        int r = warmup_reduce_object(&w->options, object, &reduced, err);
        if (r < 0)
                return r;
        snprintf(key, sizeof key, "%s/%s", zp_kube_namespace(object), zp_kube_name(object));
        put(w, w->world.objects, key, reduced);
        return 0;
}

void warmup_drop(struct warmup *w, const char *namespace, const char *name) {
        char key[CTL_KEY_SIZE];
        snprintf(key, sizeof key, "%s/%s", namespace, name);
        put(w, w->world.objects, key, NULL);
}

struct warmup_counts warmup_counts_of(json_t *sums) {
        return (struct warmup_counts){ (unsigned) json_integer_value(json_array_get(sums, 0)),
                                       (unsigned) json_integer_value(json_array_get(sums, 1)),
                                       (unsigned) json_integer_value(json_array_get(sums, 2)) };
}

struct warmup_counts warmup_look(struct warmup *w, const char *namespace, const char *name, char *trouble,
                                 size_t size) {
        char key[CTL_KEY_SIZE];
        snprintf(key, sizeof key, "%s/%s", namespace, name);
        pthread_mutex_lock(&w->lock);
        struct warmup_counts counts = warmup_counts_of(json_object_get(w->counts, key));
        snprintf(trouble, size, "%s", warmup_text(w->refused, key));
        pthread_mutex_unlock(&w->lock);
        return counts;
}

static int watch(struct warmup *w, struct zp_kube_resource resource,
                 void (*changed)(void *, enum zp_kube_change, const struct zp_kube_key *, json_t *),
                 void (*synced)(void *), struct zp_kube_reflector **out, struct zp_error *err) {
        struct zp_kube_reflector_options options = { .kube = w->options.client,
                                                     .place = { .resource = resource },
                                                     .watcher = { changed, synced, troubled, w },
                                                     .cancel = &w->cancel };
        return zp_kube_reflector_start(&options, out, err);
}

int warmup_watch(struct warmup *w, struct zp_error *err) {
        int r = watch(w, nodes, node_changed, nodes_synced, &w->node_reflector, err);
        return r < 0 ? r : watch(w, caches, cache_changed, caches_synced, &w->cache_reflector, err);
}
