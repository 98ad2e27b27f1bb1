/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "controller/kube/apply.h"
#include "controller/model/time.h"
#include "controller/warmup-internal.h"
#include "controller/warmup-roles.h"

static const struct zp_kube_resource caches = { CTL_API_VERSION, "nodesnapshotcaches" };
static const struct zp_kube_resource snapshots = { CTL_API_VERSION, "imagesnapshots" };
static const struct zp_kube_resource roles = { "rbac.authorization.k8s.io/v1", "roles" };
static const struct zp_kube_resource bindings = { "rbac.authorization.k8s.io/v1", "rolebindings" };

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "warm-up");
}

/* The node owns its cache: with it, the cluster removes it. */
static json_t *cache_object(const char *name, const char *uid, json_t *images) {
        return json_pack("{s:s, s:s, s:{s:s, s:{s:s}, s:[{s:s, s:s, s:s, s:s}]}, s:{s:O}}", "apiVersion",
                         CTL_API_VERSION, "kind", "NodeSnapshotCache", "metadata", "name", name, "labels",
                         "app.kubernetes.io/name", "zeropull", "ownerReferences", "apiVersion", "v1", "kind", "Node",
                         "name", name, "uid", uid, "spec", "images", images);
}

/* What was decided may be out of date: another leader has decided since. */
static bool is_over(const struct warmup *w) {
        return zp_cancelled(&w->cancel) || !w->options.may_write(w->options.context);
}

static int apply(struct warmup *w, struct zp_kube_resource resource, const char *namespace, json_t *object,
                 struct zp_error *err) {
        struct zp_kube_apply apply = {
                .place = { .resource = resource, .namespace = namespace, .name = zp_kube_name(object) },
                .field_manager = WARMUP_FIELD_MANAGER,
                .is_forced = true,
                .cancel = &w->cancel
        };
        if (!object)
                return no_memory(err);
        if (is_over(w))
                return zp_error_set(err, ECANCELED, "not the leader any more");
        return zp_kube_apply(w->options.client, &apply, object, NULL, err);
}

int warmup_write_caches(struct warmup *w, json_t *changes, json_t *known_nodes) {
        const char *name;
        json_t *images;
        int r = 0;
        json_object_foreach(changes, name, images) {
                struct zp_error err = { 0 };
                if (is_over(w))
                        return -ECANCELED;
                zp_auto(json_decref) json_t *object =
                        cache_object(name, warmup_text(json_object_get(known_nodes, name), "uid"), images);
                int one = apply(w, caches, NULL, object, &err);
                if (one < 0)
                        warmup_complain(w, &err);
                r = one < 0 ? one : r;
        }
        return r;
}

/* ---- who may read pull secrets ---- */

/* What a Role and its binding have in common: a name that is the object's alone, and that the object owns it. */
static json_t *owned(json_t *object, const char *kind) {
        zp_autofree char *name = zp_format(WARMUP_ROLE_PREFIX "%s", warmup_text(object, "uid"));
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
        zp_autofree char *role = zp_format(WARMUP_ROLE_PREFIX "%s", warmup_text(object, "uid"));
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
        const struct zp_kube_request request = { .place = { .resource = snapshots,
                                                            .namespace = warmup_text(object, "namespace"),
                                                            .name = warmup_text(object, "name") },
                                                 .cancel = &w->cancel };
        int r = zp_kube_call(w->options.client, &request, &owner, err);
        if (r == -ENOENT) {
                zp_error_clear(err);
                return 0;
        }
        return r < 0 ? r
                     : strcmp(zp_kube_uid(owner), warmup_text(object, "uid")) == 0 && !zp_kube_is_being_deleted(owner);
}

static int write_role(struct warmup *w, json_t *object, struct zp_error *err) {
        if (json_array_size(json_object_get(object, "secrets")) == 0) {
                int r = is_there(w, object, err);
                zp_auto(json_decref) json_t *empty = r == 1 ? role_object(object) : NULL;
                return r == 1 ? apply(w, roles, warmup_text(object, "namespace"), empty, err) : r;
        }
        zp_auto(json_decref) json_t *role = role_object(object), *binding = binding_object(w, object);
        int r = apply(w, roles, warmup_text(object, "namespace"), role, err);
        return r < 0 ? r : apply(w, bindings, warmup_text(object, "namespace"), binding, err);
}

static int take_in_role(void *context, json_t *role, struct zp_error *err) {
        struct warmup *w = context;
        if (zp_cancelled(&w->cancel))
                return zp_error_set(err, ECANCELED, "interrupted");
        return warmup_roles_found(w->roles, role) ? 0 : no_memory(err);
}

/* What earlier leaders have written. Who may not list Roles may write some all the same, and asks again later. */
static int find_roles(struct warmup *w, struct zp_error *err) {
        const struct zp_kube_place all = { .resource = roles };
        int64_t now = ctl_now();
        if (w->has_roles || now < w->roles_again)
                return 0;
        int r = zp_kube_list(w->options.client, &all, "labelSelector=app.kubernetes.io%2Fname%3Dzeropull", take_in_role,
                             w, NULL, err);
        w->has_roles = r == 0;
        if (r != -EPERM)
                return r;
        zp_error_clear(err);
        w->roles_pause = warmup_roles_pause(w->roles_pause);
        w->roles_again = now + w->roles_pause;
        return 0;
}

/* Remembers why the object's nodes may not read its secrets (NULL: they may, or it has none), and tells when that is
 * news. */
static void note_refusal(struct warmup *w, const char *key, const char *why) {
        const char *slash = strchr(key, '/');
        pthread_mutex_lock(&w->lock);
        bool is_news = strcmp(warmup_text(w->refused, key), why ? why : "") != 0;
        if (why)
                json_object_set_new(w->refused, key, json_string(why));
        else
                json_object_del(w->refused, key);
        pthread_mutex_unlock(&w->lock);
        zp_autofree char *namespace = is_news && slash ? strndup(key, (size_t) (slash - key)) : NULL;
        if (is_news && why)
                w->options.log(w->options.context, why);
        if (namespace)
                w->options.changed(w->options.context, namespace, slash + 1);
}

/* Of objects that are gone, or want no secrets any more. */
static void forget_refusals(struct warmup *w, json_t *objects) {
        zp_auto(json_decref) json_t *refused = json_copy(w->refused); /* only this thread changes it */
        const char *key;
        json_t *why;
        json_object_foreach(refused, key, why) {
                if (json_array_size(json_object_get(json_object_get(objects, key), "secrets")) == 0)
                        note_refusal(w, key, NULL);
        }
}

/* Writes one, and says how it went. True: it has to be tried again soon. */
static bool bring_about(struct warmup *w, json_t *role, int *result) {
        struct zp_error err = { 0 };
        zp_autofree char *key = zp_format("%s/%s", warmup_text(role, "namespace"), warmup_text(role, "name"));
        *result = key ? write_role(w, role, &err) : no_memory(&err);
        if (*result < 0)
                zp_error_wrap(&err, "%s: let the nodes read its pull secrets", key ? key : "");
        if (*result < 0 && *result != -EPERM)
                warmup_complain(w, &err);
        else if (json_array_size(json_object_get(role, "secrets")) > 0)
                note_refusal(w, key, *result < 0 ? err.message : NULL);
        return warmup_roles_done(w->roles, role, *result, ctl_now());
}

/* Before the caches, so that an agent that is told of an image may read its secrets. A failure is no reason to warm no
 * other image: the agent says what it may not read. */
int warmup_write_roles(struct warmup *w, json_t *objects) {
        zp_auto(json_decref) json_t *due = NULL;
        struct zp_error err = { 0 };
        const char *uid;
        json_t *role;
        int r = find_roles(w, &err), one;
        if (r == 0)
                r = warmup_roles_due(w->roles, objects, ctl_now(), &due, &err);
        if (r < 0)
                warmup_complain(w, &err);
        forget_refusals(w, objects);
        json_object_foreach(due, uid, role) {
                if (is_over(w))
                        return -ECANCELED;
                if (bring_about(w, role, &one))
                        r = one;
        }
        return r;
}
