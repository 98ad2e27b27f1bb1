/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/cache.h"

#include <pthread.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controller/kube/client.h"
#include "controller/model/names.h"

struct cached {
        const char *key; /* its own copy, but for what is sought */
        char *uid, *text;
        uint64_t version; /* 0: it is no number */
        int64_t notes[CTL_NOTES];
};

struct ctl_cache {
        pthread_mutex_t lock; /* guards the rest */
        void *entries;        /* of search.h */
        size_t size;
};

static int compare(const void *a, const void *b) {
        return strcmp(((const struct cached *) a)->key, ((const struct cached *) b)->key);
}

static void entry_free(void *pointer) {
        struct cached *entry = pointer;
        free((char *) entry->key);
        free(entry->uid);
        free(entry->text);
        free(entry);
}

int ctl_cache_new(struct ctl_cache **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "cache");
        pthread_mutex_init(&(*out)->lock, NULL);
        return 0;
}

void ctl_cache_free(struct ctl_cache *cache) {
        if (!cache)
                return;
        tdestroy(cache->entries, entry_free);
        pthread_mutex_destroy(&cache->lock);
        free(cache);
}

/* ---- what is kept ---- */

static void keep_members(json_t *from, json_t *to, const char *const *names) {
        for (; *names; names++) {
                json_t *value = json_object_get(from, *names);
                if (value)
                        json_object_set(to, *names, value);
        }
}

/* Without what others have written there, managedFields above all. */
static char *text_of(json_t *object) {
        static const char *const metadata_names[] = {
                "namespace",         "name",   "uid",        "resourceVersion",   "generation",
                "creationTimestamp", "labels", "finalizers", "deletionTimestamp", NULL
        };
        static const char *const names[] = { "spec", "status", NULL }, *const annotations[] = { CTL_RETRY_ANNOTATION,
                                                                                                CTL_APPLIED_ANNOTATION,
                                                                                                NULL };
        json_t *metadata = json_object_get(object, "metadata"), *kept = json_object(), *kept_metadata = json_object();
        json_t *kept_annotations = json_object();
        keep_members(metadata, kept_metadata, metadata_names);
        keep_members(json_object_get(metadata, "annotations"), kept_annotations, annotations);
        json_object_set_new(kept_metadata, "annotations", kept_annotations);
        json_object_set_new(kept, "metadata", kept_metadata);
        keep_members(object, kept, names);
        char *text = json_dumps(kept, JSON_COMPACT);
        json_decref(kept);
        return text;
}

/* ---- with the lock ---- */

static struct cached *find(struct ctl_cache *cache, const char *key) {
        struct cached sought = { .key = key };
        struct cached **found = tfind(&sought, &cache->entries, compare);
        return found ? *found : NULL;
}

/* Decimal digits are the only form that API servers give, and they grow. */
static uint64_t version_of(json_t *object) {
        const char *text = zp_kube_resource_version(object);
        size_t digits = strspn(text, "0123456789");
        return digits > 0 && digits < 20 && !text[digits] ? strtoull(text, NULL, 10) : 0;
}

static struct cached *make(struct ctl_cache *cache, const char *key) {
        struct cached *entry = calloc(1, sizeof *entry);
        if (!entry || !(entry->key = strdup(key)) || !tsearch(entry, &cache->entries, compare)) {
                if (entry)
                        entry_free(entry);
                return NULL;
        }
        cache->size++;
        return entry;
}

static bool is_older(const struct cached *entry, const char *uid, uint64_t version) {
        return entry->uid && strcmp(entry->uid, uid) == 0 && version && version < entry->version;
}

/* ---- */

int ctl_cache_put(struct ctl_cache *cache, const char *key, json_t *object, struct zp_error *err) {
        char *text = text_of(object), *uid = strdup(zp_kube_uid(object));
        uint64_t version = version_of(object);
        bool ok = text && uid, is_news = false;
        pthread_mutex_lock(&cache->lock);
        struct cached *entry = ok ? find(cache, key) : NULL;
        if (ok && !entry)
                ok = (entry = make(cache, key)) != NULL;
        is_news = ok && !(entry->uid && strcmp(entry->uid, uid) == 0 && version && version == entry->version);
        if (is_news && !is_older(entry, uid, version)) {
                free(entry->uid);
                free(entry->text);
                entry->uid = zp_steal(&uid);
                entry->text = zp_steal(&text);
                entry->version = version;
        }
        pthread_mutex_unlock(&cache->lock);
        free(text);
        free(uid);
        return ok ? is_news : zp_error_errno(err, ENOMEM, "%s", key);
}

void ctl_cache_remove(struct ctl_cache *cache, const char *key, const char *uid) {
        pthread_mutex_lock(&cache->lock);
        struct cached *entry = find(cache, key);
        if (entry && strcmp(entry->uid, uid) == 0) {
                tdelete(entry, &cache->entries, compare);
                entry_free(entry);
                cache->size--;
        }
        pthread_mutex_unlock(&cache->lock);
}

json_t *ctl_cache_get(struct ctl_cache *cache, const char *key) {
        pthread_mutex_lock(&cache->lock);
        struct cached *entry = find(cache, key);
        json_t *object = entry ? json_loads(entry->text, 0, NULL) : NULL;
        pthread_mutex_unlock(&cache->lock);
        return object;
}

void ctl_cache_note(struct ctl_cache *cache, const char *key, enum ctl_note which, int64_t value) {
        pthread_mutex_lock(&cache->lock);
        struct cached *entry = find(cache, key);
        if (entry)
                entry->notes[which] = value;
        pthread_mutex_unlock(&cache->lock);
}

int64_t ctl_cache_noted(struct ctl_cache *cache, const char *key, enum ctl_note which) {
        pthread_mutex_lock(&cache->lock);
        struct cached *entry = find(cache, key);
        int64_t value = entry ? entry->notes[which] : 0;
        pthread_mutex_unlock(&cache->lock);
        return value;
}

size_t ctl_cache_size(struct ctl_cache *cache) {
        pthread_mutex_lock(&cache->lock);
        size_t size = cache->size;
        pthread_mutex_unlock(&cache->lock);
        return size;
}

/* ---- all of them ---- */

struct walk {
        void (*each)(void *context, const char *key);
        void *context;
        const char *text, *except;
        char **keys;
        size_t count;
        bool failed;
};

static void each_entry(const void *node, VISIT visit, void *context) {
        const struct walk *walk = context;
        if (visit == postorder || visit == leaf)
                walk->each(walk->context, (*(struct cached *const *) node)->key);
}

void ctl_cache_each(struct ctl_cache *cache, void (*each)(void *context, const char *key), void *context) {
        struct walk walk = { .each = each, .context = context };
        pthread_mutex_lock(&cache->lock);
        twalk_r(cache->entries, each_entry, &walk);
        pthread_mutex_unlock(&cache->lock);
}

static void search_entry(const void *node, VISIT visit, void *context) {
        struct walk *walk = context;
        const struct cached *entry = *(struct cached *const *) node;
        if ((visit != postorder && visit != leaf) || walk->failed || !strstr(entry->text, walk->text) ||
            strstr(entry->text, "\"deletionTimestamp\"") || strcmp(entry->key, walk->except) == 0)
                return;
        char **keys = reallocarray(walk->keys, walk->count + 2, sizeof *keys);
        if (keys) {
                walk->keys = keys;
                keys[walk->count + 1] = NULL;
                keys[walk->count] = strdup(entry->key);
        }
        if (!keys || !keys[walk->count])
                walk->failed = true;
        else
                walk->count++;
}

char **ctl_cache_mentioning(struct ctl_cache *cache, const char *text, const char *except) {
        struct walk walk = { .text = text, .except = except, .keys = calloc(1, sizeof *walk.keys) };
        if (!walk.keys)
                return NULL;
        pthread_mutex_lock(&cache->lock);
        twalk_r(cache->entries, search_entry, &walk);
        pthread_mutex_unlock(&cache->lock);
        if (!walk.failed)
                return walk.keys;
        ctl_cache_keys_free(walk.keys);
        return NULL;
}

void ctl_cache_keys_free(char **keys) {
        for (char **key = keys; keys && *key; key++)
                free(*key);
        free(keys);
}
