/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/siphash.h"

#define BUCKETS_FIRST 64

static uint64_t hash_of(const char *namespace, const char *name) {
        struct zp_siphash_key key = zp_siphash_process_key();
        return zp_siphash(key, namespace, strlen(namespace)) * 3 + zp_siphash(key, name, strlen(name));
}

static struct zp_kube_known_object **bucket_of(const struct zp_kube_known *known, uint64_t hash) {
        return &known->buckets[hash & (known->bucket_count - 1)];
}

struct zp_kube_known_object *zp_kube_known_find(const struct zp_kube_known *known, const char *namespace,
                                                const char *name) {
        if (known->bucket_count == 0)
                return NULL;
        uint64_t hash = hash_of(namespace, name);
        struct zp_kube_known_object *object = *bucket_of(known, hash);
        while (object &&
               (object->hash != hash || strcmp(object->name, name) != 0 || strcmp(object->namespace, namespace) != 0))
                object = object->next;
        return object;
}

/* Makes room for one more. */
static bool grow(struct zp_kube_known *known) {
        if (known->count < known->bucket_count)
                return true;
        size_t count = known->bucket_count ? known->bucket_count * 2 : BUCKETS_FIRST;
        struct zp_kube_known larger = { .buckets = calloc(count, sizeof *larger.buckets), .bucket_count = count };
        if (!larger.buckets)
                return false;
        for (size_t i = 0; i < known->bucket_count; i++)
                for (struct zp_kube_known_object *object = known->buckets[i], *next; object; object = next) {
                        struct zp_kube_known_object **bucket = bucket_of(&larger, object->hash);
                        next = object->next;
                        object->next = *bucket;
                        *bucket = object;
                }
        free(known->buckets);
        known->buckets = larger.buckets;
        known->bucket_count = count;
        return true;
}

static struct zp_kube_known_object *make(const char *namespace, const char *name, const char *uid,
                                         const char *resource_version) {
        const char *texts[] = { namespace, name, uid, resource_version };
        size_t size = 0, at[4];
        for (size_t i = 0; i < 4; i++) {
                at[i] = size;
                size += strlen(texts[i]) + 1;
        }
        struct zp_kube_known_object *object = calloc(1, sizeof *object + size);
        if (!object)
                return NULL;
        for (size_t i = 0; i < 4; i++)
                strcpy(object->namespace + at[i], texts[i]);
        object->name = object->namespace + at[1];
        object->uid = object->namespace + at[2];
        object->resource_version = object->namespace + at[3];
        object->hash = hash_of(namespace, name);
        return object;
}

struct zp_kube_known_object *zp_kube_known_put(struct zp_kube_known *known, const char *namespace, const char *name,
                                               const char *uid, const char *resource_version) {
        struct zp_kube_known_object *object = make(namespace, name, uid, resource_version);
        if (!object || !grow(known)) {
                free(object);
                return NULL;
        }
        struct zp_kube_known_object *old = zp_kube_known_find(known, namespace, name);
        if (old) {
                zp_kube_known_take(known, old);
                free(old);
        }
        struct zp_kube_known_object **bucket = bucket_of(known, object->hash);
        object->next = *bucket;
        *bucket = object;
        known->count++;
        return object;
}

void zp_kube_known_take(struct zp_kube_known *known, struct zp_kube_known_object *object) {
        struct zp_kube_known_object **link = bucket_of(known, object->hash);
        while (*link != object)
                link = &(*link)->next;
        *link = object->next;
        known->count--;
}

struct zp_kube_known_object *zp_kube_known_take_unmarked(struct zp_kube_known *known, unsigned mark, size_t *bucket) {
        for (; *bucket < known->bucket_count; (*bucket)++)
                for (struct zp_kube_known_object *object = known->buckets[*bucket]; object; object = object->next)
                        if (object->mark != mark) {
                                zp_kube_known_take(known, object);
                                return object;
                        }
        return NULL;
}

void zp_kube_known_clear(struct zp_kube_known *known) {
        for (size_t i = 0; i < known->bucket_count; i++)
                while (known->buckets[i]) {
                        struct zp_kube_known_object *object = known->buckets[i];
                        known->buckets[i] = object->next;
                        free(object);
                }
        free(known->buckets);
        *known = (struct zp_kube_known){ 0 };
}
