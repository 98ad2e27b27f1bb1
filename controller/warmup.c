/* SPDX-License-Identifier: Apache-2.0
 *
 * The planner at work: what it knows, kept by reflectors and its caller, and a thread that decides and writes.
 */
#include "controller/warmup.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "controller/kube/apply.h"
#include "controller/kube/reflector.h"
#include "controller/model/names.h"
#include "controller/warmup-plan.h"
#include "controller/warmup-roles.h"

/* Nodes report often; what comes within this time is decided about at once. */
#define GATHER_MS 200
#define RETRY_MS 5000

struct warmup {
        struct warmup_options options;
        struct zp_cancel cancel;
        struct zp_kube_reflector *node_reflector, *cache_reflector;
        pthread_t thread;
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t news;
        struct warmup_world world;
        json_t *counts; /* as they were told last */
        json_t *roles;  /* the planner's thread's alone: of warmup-roles.h */
        bool has_roles; /* the planner's thread's alone: the cluster's are among `roles` */
        bool has_objects, has_nodes, has_caches;
        bool is_changed, is_ending;
};

static const struct zp_kube_resource nodes = { "v1", "nodes" };
static const struct zp_kube_resource caches = { CTL_API_VERSION, "nodesnapshotcaches" };
static const struct zp_kube_resource snapshots = { CTL_API_VERSION, "imagesnapshots" };
static const struct zp_kube_resource roles = { "rbac.authorization.k8s.io/v1", "roles" };
static const struct zp_kube_resource bindings = { "rbac.authorization.k8s.io/v1", "rolebindings" };

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "warm-up");
}

static void complain(struct warmup *w, const struct zp_error *err) {
        if (err->code != ECANCELED)
                w->options.log(w->options.context, err->message);
}

static const char *text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

/* ---- what is known ---- */

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
                complain(w, &err);
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
                complain(context, reason);
}

int warmup_put(struct warmup *w, json_t *object, struct zp_error *err) {
        char key[CTL_KEY_SIZE];
        json_t *reduced;
        int r = warmup_reduce_object(object, &reduced, err);
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

static struct warmup_counts counts_of(json_t *sums) {
        return (struct warmup_counts){ (unsigned) json_integer_value(json_array_get(sums, 0)),
                                       (unsigned) json_integer_value(json_array_get(sums, 1)),
                                       (unsigned) json_integer_value(json_array_get(sums, 2)) };
}

struct warmup_counts warmup_look(struct warmup *w, const char *namespace, const char *name) {
        char key[CTL_KEY_SIZE];
        snprintf(key, sizeof key, "%s/%s", namespace, name);
        pthread_mutex_lock(&w->lock);
        struct warmup_counts counts = counts_of(json_object_get(w->counts, key));
        pthread_mutex_unlock(&w->lock);
        return counts;
}

/* ---- writing ---- */

/* The node owns its cache: with it, the cluster removes it. */
static json_t *cache_object(const char *name, const char *uid, json_t *images) {
        return json_pack("{s:s, s:s, s:{s:s, s:{s:s}, s:[{s:s, s:s, s:s, s:s}]}, s:{s:O}}", "apiVersion",
                         CTL_API_VERSION, "kind", "NodeSnapshotCache", "metadata", "name", name, "labels",
                         "app.kubernetes.io/name", "zeropull", "ownerReferences", "apiVersion", "v1", "kind", "Node",
                         "name", name, "uid", uid, "spec", "images", images);
}

static int apply(struct warmup *w, struct zp_kube_resource resource, const char *namespace, json_t *object,
                 struct zp_error *err) {
        struct zp_kube_apply apply = {
                .place = { .resource = resource, .namespace = namespace, .name = zp_kube_name(object) },
                .field_manager = WARMUP_FIELD_MANAGER,
                .is_forced = true
        };
        return object ? zp_kube_apply(w->options.client, &apply, object, NULL, err) : no_memory(err);
}

static int write_caches(struct warmup *w, json_t *changes, json_t *known_nodes) {
        const char *name;
        json_t *images;
        int r = 0;
        json_object_foreach(changes, name, images) {
                struct zp_error err = { 0 };
                if (zp_cancelled(&w->cancel))
                        break;
                zp_auto(json_decref) json_t *object =
                        cache_object(name, text(json_object_get(known_nodes, name), "uid"), images);
                int one = apply(w, caches, NULL, object, &err);
                if (one < 0)
                        complain(w, &err);
                r = one < 0 ? one : r;
        }
        return r;
}

/* What a Role and its binding have in common: a name that is the object's alone, and that the object owns it. */
static json_t *owned(json_t *object, const char *kind) {
        zp_autofree char *name = zp_format(WARMUP_ROLE_PREFIX "%s", text(object, "uid"));
        return name ? json_pack("{s:s, s:s, s:{s:s, s:O, s:{s:s}, s:[{s:s, s:O, s:O, s:O}]}}", "apiVersion",
                                roles.api_version, "kind", kind, "metadata", "name", name, "namespace",
                                json_object_get(object, "namespace"), "labels", "app.kubernetes.io/name", "zeropull",
                                "ownerReferences", "apiVersion", CTL_API_VERSION, "kind",
                                json_object_get(object, "kind"), "name", json_object_get(object, "name"), "uid",
                                json_object_get(object, "uid"))
                    : NULL;
}

static json_t *role_object(json_t *object) {
        json_t *names = json_array(), *secret, *role = owned(object, "Role"), *rules = json_array();
        size_t i;
        json_array_foreach(json_object_get(object, "secrets"), i, secret) {
                json_array_append(names, json_object_get(secret, "name"));
        }
        /* a rule without names would be one for all */
        if (json_array_size(names) > 0)
                json_array_append_new(rules, json_pack("{s:[s], s:[s], s:O, s:[s]}", "apiGroups", "", "resources",
                                                       "secrets", "resourceNames", names, "verbs", "get"));
        json_decref(names);
        if (json_object_set_new(role, "rules", rules) < 0) {
                json_decref(role);
                return NULL;
        }
        return role;
}

static json_t *binding_object(const struct warmup *w, json_t *object) {
        json_t *binding = owned(object, "RoleBinding");
        zp_autofree char *role = zp_format(WARMUP_ROLE_PREFIX "%s", text(object, "uid"));
        json_t *more = role ? json_pack("{s:{s:s, s:s, s:s}, s:[{s:s, s:s, s:s}]}", "roleRef", "apiGroup",
                                        "rbac.authorization.k8s.io", "kind", "Role", "name", role, "subjects", "kind",
                                        "ServiceAccount", "namespace", w->options.agent_namespace, "name",
                                        w->options.agent_account)
                            : NULL;
        int r = more ? json_object_update(binding, more) : -1;
        json_decref(more);
        if (r == 0)
                return binding;
        json_decref(binding);
        return NULL;
}

/* 1: it is; 0: its Role goes with it. */
static int is_there(struct warmup *w, json_t *object, struct zp_error *err) {
        zp_auto(json_decref) json_t *owner = NULL;
        struct zp_kube_place place = { .resource = snapshots,
                                       .namespace = text(object, "namespace"),
                                       .name = text(object, "name") };
        int r = zp_kube_get(w->options.client, &place, &owner, err);
        if (r == -ENOENT) {
                zp_error_clear(err);
                return 0;
        }
        return r < 0 ? r : strcmp(zp_kube_uid(owner), text(object, "uid")) == 0 && !zp_kube_is_being_deleted(owner);
}

static int write_role(struct warmup *w, json_t *object, struct zp_error *err) {
        if (json_array_size(json_object_get(object, "secrets")) == 0) {
                int r = is_there(w, object, err);
                zp_auto(json_decref) json_t *empty = r == 1 ? role_object(object) : NULL;
                return r == 1 ? apply(w, roles, text(object, "namespace"), empty, err) : r;
        }
        zp_auto(json_decref) json_t *role = role_object(object), *binding = binding_object(w, object);
        int r = apply(w, roles, text(object, "namespace"), role, err);
        return r < 0 ? r : apply(w, bindings, text(object, "namespace"), binding, err);
}

static int take_in_role(void *context, json_t *role, struct zp_error *err) {
        struct warmup *w = context;
        return warmup_roles_found(w->roles, role) ? 0 : no_memory(err);
}

/* What earlier leaders have written. Who may not list Roles may not have written any. */
static int find_roles(struct warmup *w, struct zp_error *err) {
        const struct zp_kube_place all = { .resource = roles };
        int r = w->has_roles
                        ? 0
                        : zp_kube_list(w->options.client, &all, "labelSelector=app.kubernetes.io%2Fname%3Dzeropull",
                                       take_in_role, w, NULL, err);
        w->has_roles = r == 0 || r == -EPERM;
        return w->has_roles ? 0 : r;
}

/* Before the caches, so that an agent that is told of an image may read its secrets. A failure is no reason to warm no
 * other image: the agent says what it may not read. */
static int write_roles(struct warmup *w, json_t *objects) {
        zp_auto(json_decref) json_t *due = NULL;
        struct zp_error err = { 0 };
        const char *uid;
        json_t *role;
        int r = find_roles(w, &err);
        if (r == 0)
                r = warmup_roles_due(w->roles, objects, &due, &err);
        if (r < 0)
                complain(w, &err);
        json_object_foreach(due, uid, role) {
                zp_error_clear(&err);
                int one = write_role(w, role, &err);
                if (one < 0) {
                        zp_error_wrap(&err, "%s/%s: let the nodes read its pull secrets", text(role, "namespace"),
                                      text(role, "name"));
                        complain(w, &err);
                }
                r = warmup_roles_done(w->roles, role, one) ? one : r;
        }
        return r;
}

static void tell_counts(struct warmup *w, json_t *before, json_t *now) {
        const char *key;
        json_t *sums;
        json_object_foreach(now, key, sums) {
                const char *slash = strchr(key, '/');
                if (json_equal(json_object_get(before, key), sums) || !slash)
                        continue;
                struct warmup_counts counts = counts_of(sums);
                zp_autofree char *namespace = strndup(key, (size_t) (slash - key));
                if (namespace)
                        w->options.changed(w->options.context, namespace, slash + 1, &counts);
        }
}

/* ---- the thread ---- */

/* Waits for `ms`, or until it ends. Caller holds the lock. */
static void pause_for(struct warmup *w, unsigned ms) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += ms / 1000;
        until.tv_nsec += (long) (ms % 1000) * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        while (!w->is_ending && pthread_cond_timedwait(&w->news, &w->lock, &until) != ETIMEDOUT)
                continue;
}

/* Decides with the lock held, writes without. False: something is to be tried again. */
static bool plan_once(struct warmup *w) {
        zp_auto(json_decref) json_t *changes = NULL, *counts = NULL;
        struct zp_error err = { 0 };
        w->is_changed = false;
        int r = warmup_decide(&w->world, &changes, &counts, &err);
        zp_auto(json_decref) json_t *objects = json_deep_copy(w->world.objects);
        zp_auto(json_decref) json_t *known_nodes = json_deep_copy(w->world.nodes);
        zp_auto(json_decref) json_t *before = w->counts;
        if (r == 0)
                w->counts = json_incref(counts);
        else
                before = NULL;
        pthread_mutex_unlock(&w->lock);
        if (r < 0)
                complain(w, &err);
        if (r == 0) {
                int of_roles = write_roles(w, objects);
                r = write_caches(w, changes, known_nodes);
                r = r < 0 ? r : of_roles;
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
                        pthread_cond_wait(&w->news, &w->lock);
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

static int watch(struct warmup *w, struct zp_kube_resource resource,
                 void (*changed)(void *, enum zp_kube_change, const struct zp_kube_key *, json_t *),
                 void (*synced)(void *), struct zp_kube_reflector **out, struct zp_error *err) {
        struct zp_kube_reflector_options options = { .kube = w->options.client,
                                                     .place = { .resource = resource },
                                                     .watcher = { changed, synced, troubled, w },
                                                     .cancel = &w->cancel };
        return zp_kube_reflector_start(&options, out, err);
}

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
        json_decref(w->roles);
        free(w);
}

static struct warmup *new_planner(const struct warmup_options *options) {
        struct warmup *w = calloc(1, sizeof *w);
        pthread_condattr_t clock;
        if (!w)
                return NULL;
        w->options = *options;
        pthread_mutex_init(&w->lock, NULL);
        pthread_condattr_init(&clock);
        pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
        pthread_cond_init(&w->news, &clock);
        pthread_condattr_destroy(&clock);
        w->world = (struct warmup_world){ json_object(), json_object(), json_object() };
        w->counts = json_object();
        w->roles = json_object();
        return w;
}

int warmup_start(const struct warmup_options *options, struct warmup **out, struct zp_error *err) {
        struct warmup *w = new_planner(options);
        if (!w)
                return no_memory(err);
        int r = watch(w, nodes, node_changed, nodes_synced, &w->node_reflector, err);
        if (r == 0)
                r = watch(w, caches, cache_changed, caches_synced, &w->cache_reflector, err);
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
