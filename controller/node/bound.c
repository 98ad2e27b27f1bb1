/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/bound.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/condition.h"
#include "controller/kube/client.h"
#include "oci/json.h"
#include "snapshotter/keychain/keychain.h"

struct node_bound {
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t news;
        bool is_synced;
        json_t *pods; /* uid to {images: {name: true}, secrets: [{namespace, name}]} */
};

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "pods");
}

int node_bound_new(struct node_bound **out, struct zp_error *err) {
        struct node_bound *bound = calloc(1, sizeof *bound);
        if (!bound || !(bound->pods = json_object())) {
                free(bound);
                return no_memory(err);
        }
        pthread_mutex_init(&bound->lock, NULL);
        zp_condition_init(&bound->news);
        *out = bound;
        return 0;
}

void node_bound_free(struct node_bound *bound) {
        if (!bound)
                return;
        pthread_cond_destroy(&bound->news);
        pthread_mutex_destroy(&bound->lock);
        json_decref(bound->pods);
        free(bound);
}

/* ---- what a pod says ---- */

static const char *text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

/* What is no reference nobody pulls. */
static int add_images(json_t *spec, const char *list, json_t *images) {
        json_t *container;
        size_t i;
        int r = 0;
        json_array_foreach(json_object_get(spec, list), i, container) {
                zp_autofree char *name = NULL;
                if (r == 0 && snap_keychain_normal_name(text(container, "image"), &name, NULL) == 0)
                        r = json_object_set_new(images, name, json_true());
        }
        return r;
}

static json_t *images_of(json_t *spec) {
        static const char *const lists[] = { "initContainers", "containers", "ephemeralContainers" };
        json_t *images = json_object();
        for (size_t i = 0; images && i < sizeof lists / sizeof *lists; i++)
                if (add_images(spec, lists[i], images) < 0) {
                        json_decref(images);
                        return NULL;
                }
        return images;
}

static json_t *secrets_of(json_t *pod) {
        json_t *named = json_object_get(json_object_get(pod, "spec"), "imagePullSecrets"), *item,
               *secrets = json_array();
        size_t i;
        json_array_foreach(named, i, item) {
                json_t *secret =
                        json_pack("{s:s, s:s}", "namespace", zp_kube_namespace(pod), "name", text(item, "name"));
                if (json_array_append_new(secrets, secret) < 0) {
                        json_decref(secrets);
                        return NULL;
                }
        }
        return secrets;
}

static bool has_ended(json_t *pod) {
        const char *phase = text(json_object_get(pod, "status"), "phase");
        return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
}

int node_bound_put(struct node_bound *bound, json_t *pod, struct zp_error *err) {
        const char *uid = zp_kube_uid(pod);
        if (has_ended(pod)) {
                node_bound_drop(bound, uid);
                return 0;
        }
        json_t *known =
                json_pack("{s:o, s:o}", "images", images_of(json_object_get(pod, "spec")), "secrets", secrets_of(pod));
        pthread_mutex_lock(&bound->lock);
        int r = json_object_set_new(bound->pods, uid, known);
        pthread_cond_broadcast(&bound->news);
        pthread_mutex_unlock(&bound->lock);
        return r < 0 ? no_memory(err) : 0;
}

void node_bound_drop(struct node_bound *bound, const char *uid) {
        pthread_mutex_lock(&bound->lock);
        json_object_del(bound->pods, uid);
        pthread_mutex_unlock(&bound->lock);
}

/* ---- since when it is known ---- */

void node_bound_synced(struct node_bound *bound) {
        pthread_mutex_lock(&bound->lock);
        bound->is_synced = true;
        pthread_cond_broadcast(&bound->news);
        pthread_mutex_unlock(&bound->lock);
}

int node_bound_await(struct node_bound *bound, unsigned wait_ms, struct zp_error *err) {
        uint64_t until_ms = zp_monotonic_ms() + wait_ms;
        pthread_mutex_lock(&bound->lock);
        while (!bound->is_synced && zp_condition_wait_until(&bound->news, &bound->lock, until_ms))
                continue;
        bool is_synced = bound->is_synced;
        pthread_mutex_unlock(&bound->lock);
        return is_synced ? 0 : zp_error_set(err, EAGAIN, "the API server has not listed the node's pods yet");
}

/* ---- who names an image ---- */

static bool has_value(json_t *list, json_t *value) {
        json_t *item;
        size_t i;
        json_array_foreach(list, i, item) {
                if (json_equal(item, value))
                        return true;
        }
        return false;
}

/* Caller holds the lock. Adds to `out`. */
static int collect(struct node_bound *bound, const char *image, json_t *out) {
        const char *uid;
        json_t *pod;
        json_object_foreach(bound->pods, uid, pod) {
                json_t *secrets = json_object_get(pod, "secrets");
                if (!json_object_get(json_object_get(pod, "images"), image) || has_value(out, secrets))
                        continue;
                if (json_array_append_new(out, json_deep_copy(secrets)) < 0)
                        return -1;
        }
        return 0;
}

int node_bound_find(struct node_bound *bound, const char *image, unsigned wait_ms, json_t **out, struct zp_error *err) {
        json_t *found = json_array();
        uint64_t until_ms = zp_monotonic_ms() + wait_ms;
        pthread_mutex_lock(&bound->lock);
        int r = found ? collect(bound, image, found) : -1;
        while (r == 0 && json_array_size(found) == 0 && zp_condition_wait_until(&bound->news, &bound->lock, until_ms))
                r = collect(bound, image, found);
        pthread_mutex_unlock(&bound->lock);
        if (r < 0) {
                json_decref(found);
                return no_memory(err);
        }
        *out = found;
        return 0;
}
