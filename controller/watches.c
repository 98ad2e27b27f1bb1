/* SPDX-License-Identifier: Apache-2.0
 *
 * What the API server tells: it goes into the caches, and its key into the queue.
 */
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "controller/log.h"
#include "controller/parts.h"

/* Until a ClusterImageSnapshot looks at what has changed around it: pods come in numbers. */
#define CLUSTER_DELAY_MS 1000

static const struct zp_kube_resource snapshots = { CTL_API_VERSION, CTL_SNAPSHOT_PLURAL };
static const struct zp_kube_resource clusters = { CTL_API_VERSION, CTL_CLUSTER_PLURAL };
static const struct zp_kube_resource jobs = { "batch/v1", "jobs" }, pods = { "v1", "pods" };

static void troubled(void *context, const struct zp_error *reason, unsigned failures, unsigned retry_ms) {
        (void) context;
        ctl_log(CTL_LOG_WARNING, "watching: %s; again in %u.%u s (%u in a row)", reason->message, retry_ms / 1000,
                retry_ms % 1000 / 100, failures);
}

static void lost_memory(const struct zp_error *err) {
        ctl_log(CTL_LOG_ERROR, "%s", err->message);
}

/* Who does not lead looks at nothing: what is there when he begins to, ctl_work_begin() finds in the caches. */
static void look_at(struct ctl_controller *c, const char *key, uint64_t delay_ms) {
        if (atomic_load(&c->is_leader))
                ctl_queue_add_after(c->world.queue, key, delay_ms);
}

static json_t *metadata_of(json_t *object) {
        return json_object_get(object, "metadata");
}

/* ---- ImageSnapshots ---- */

static void wake_maker(struct ctl_controller *c, json_t *object) {
        char key[CTL_KEY_SIZE];
        const char *maker =
                json_string_value(json_object_get(json_object_get(metadata_of(object), "labels"), CTL_MADE_BY_LABEL));
        if (maker)
                look_at(c, ctl_key("", maker, key), CLUSTER_DELAY_MS);
}

static void snapshot_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *where,
                             json_t *object) {
        struct ctl_controller *c = context;
        struct zp_error err = { 0 };
        char key[CTL_KEY_SIZE];
        ctl_key(where->namespace, where->name, key);
        /* of one that was found missing, what is known of it says who made it */
        zp_auto(json_decref) json_t *last = object ? json_incref(object) : ctl_cache_get(c->world.snapshots, key);
        if (last)
                wake_maker(c, last);
        if (change == ZP_KUBE_DELETED) {
                ctl_cache_remove(c->world.snapshots, key, where->uid);
                look_at(c, key, 0);
                ctl_work_warm_up(c, where->namespace, where->name, NULL);
                return;
        }
        int r = ctl_cache_put(c->world.snapshots, key, object, &err);
        if (r < 0)
                lost_memory(&err);
        if (r != 0)
                look_at(c, key, 0);
        ctl_work_warm_up(c, where->namespace, where->name, zp_kube_is_being_deleted(object) ? NULL : object);
}

/* ---- ClusterImageSnapshots, and the pods they look at ---- */

static void cluster_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *where,
                            json_t *object) {
        struct ctl_controller *c = context;
        struct zp_error err = { 0 };
        char key[CTL_KEY_SIZE];
        ctl_key("", where->name, key);
        if (change == ZP_KUBE_DELETED) {
                ctl_cache_remove(c->world.clusters, key, where->uid);
                return;
        }
        int r = ctl_cache_put(c->world.clusters, key, object, &err);
        if (r < 0)
                lost_memory(&err);
        if (r != 0)
                look_at(c, key, 0);
        ctl_controller_wake(c);
}

static void wake_cluster(void *context, const char *key) {
        struct ctl_controller *c = context;
        look_at(c, key, CLUSTER_DELAY_MS);
}

static void pod_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *where, json_t *object) {
        struct ctl_controller *c = context;
        struct zp_error err = { 0 };
        char key[CTL_KEY_SIZE];
        ctl_key(where->namespace, where->name, key);
        int r = change == ZP_KUBE_DELETED ? ctl_usage_remove(c->world.usage, key)
                                          : ctl_usage_put(c->world.usage, key, object, &err);
        if (r < 0)
                lost_memory(&err);
        else if (r > 0)
                ctl_cache_each(c->world.clusters, wake_cluster, c);
}

/* ---- Jobs ---- */

static void job_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *where, json_t *object) {
        struct ctl_controller *c = context;
        json_t *owners = json_object_get(metadata_of(object), "ownerReferences"), *owner;
        char key[CTL_KEY_SIZE];
        size_t i;
        (void) change;
        json_array_foreach(owners, i, owner) {
                const char *kind = json_string_value(json_object_get(owner, "kind"));
                const char *name = json_string_value(json_object_get(owner, "name"));
                if (kind && name && strcmp(kind, CTL_SNAPSHOT_KIND) == 0 && strlen(name) < CTL_NAME_SIZE)
                        look_at(c, ctl_key(where->namespace, name, key), 0);
        }
}

/* ---- */

static void set_synced(struct ctl_controller *c, atomic_bool *flag) {
        atomic_store(flag, true);
        ctl_controller_wake(c);
}

static void snapshots_synced(void *context) {
        struct ctl_controller *c = context;
        set_synced(c, &c->is_synced);
}

static void clusters_synced(void *context) {
        struct ctl_controller *c = context;
        set_synced(c, &c->are_clusters_synced);
}

static void jobs_synced(void *context) {
        struct ctl_controller *c = context;
        set_synced(c, &c->are_jobs_synced);
}

static void pods_synced(void *context) {
        struct ctl_controller *c = context;
        ctl_usage_set_whole(c->world.usage);
        ctl_cache_each(c->world.clusters, wake_cluster, c);
}

bool ctl_watches_are_synced(struct ctl_controller *c) {
        return atomic_load(&c->is_synced) && atomic_load(&c->are_clusters_synced) && atomic_load(&c->are_jobs_synced);
}

static int watch(struct ctl_controller *c, const struct zp_kube_resource *resource, const char *query,
                 const struct zp_kube_watcher *watcher, struct zp_kube_reflector **out, struct zp_error *err) {
        struct zp_kube_reflector_options options = { .kube = c->world.kube,
                                                     .place = { .resource = *resource,
                                                                .namespace = c->options->namespace },
                                                     .query = query,
                                                     .watcher = *watcher };
        options.watcher.troubled = troubled;
        options.watcher.context = c;
        return zp_kube_reflector_start(&options, out, err);
}

int ctl_watches_start(struct ctl_controller *c, struct zp_error *err) {
        int r = watch(c, &snapshots, NULL,
                      &(struct zp_kube_watcher){ .changed = snapshot_changed, .synced = snapshots_synced },
                      &c->snapshots, err);
        if (r == 0 && c->config->job.image)
                r = watch(c, &jobs,
                          "labelSelector=app.kubernetes.io%2Fname%3Dzeropull%2Capp.kubernetes.io%2Fcomponent%3Dbuild",
                          &(struct zp_kube_watcher){ .changed = job_changed, .synced = jobs_synced }, &c->jobs, err);
        else
                atomic_store(&c->are_jobs_synced, true);
        if (r == 0 && !c->options->namespace) /* they are the whole cluster's */
                r = watch(c, &clusters, NULL,
                          &(struct zp_kube_watcher){ .changed = cluster_changed, .synced = clusters_synced },
                          &c->clusters, err);
        else
                atomic_store(&c->are_clusters_synced, true);
        return r;
}

int ctl_watches_start_pods(struct ctl_controller *c, struct zp_error *err) {
        if (c->pods || ctl_cache_size(c->world.clusters) == 0)
                return 0;
        return watch(c, &pods, NULL, &(struct zp_kube_watcher){ .changed = pod_changed, .synced = pods_synced },
                     &c->pods, err);
}

void ctl_watches_stop(struct ctl_controller *c) {
        struct zp_kube_reflector *all[] = { c->snapshots, c->clusters, c->jobs, c->pods };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
                if (all[i])
                        zp_kube_reflector_stop(all[i]);
}
