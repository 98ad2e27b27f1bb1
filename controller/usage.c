/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/usage.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* Of one pod: its texts one after the other, each with its NUL: key, namespace, service account ("": none), images,
 * pull secrets. */
struct pod {
        const char *key;
        size_t image_count, secret_count;
        char *texts;
        size_t size; /* of them all */
};

struct ctl_usage {
        pthread_mutex_t lock; /* guards the rest */
        void *pods;           /* of search.h */
        bool is_whole;
};

static int compare(const void *a, const void *b) {
        return strcmp(((const struct pod *) a)->key, ((const struct pod *) b)->key);
}

static void pod_free(void *pointer) {
        struct pod *pod = pointer;
        free(pod->texts);
        free(pod);
}

int ctl_usage_new(struct ctl_usage **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "pods");
        pthread_mutex_init(&(*out)->lock, NULL);
        return 0;
}

void ctl_usage_free(struct ctl_usage *usage) {
        if (!usage)
                return;
        tdestroy(usage->pods, pod_free);
        pthread_mutex_destroy(&usage->lock);
        free(usage);
}

/* ---- a pod ---- */

static const char *text_of(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

static bool add(struct zp_buffer *texts, const char *text) {
        return zp_buffer_append(texts, text, strlen(text) + 1);
}

/* The member of each entry, those that are fit to be a name. */
static bool add_all(struct zp_buffer *texts, json_t *list, const char *member, size_t size_max, size_t max,
                    size_t *count) {
        json_t *entry;
        size_t i;
        bool ok = true;
        json_array_foreach(list, i, entry) {
                const char *text = text_of(entry, member);
                if (!*text || strlen(text) >= size_max || *count == max)
                        continue;
                ok &= add(texts, text);
                ++*count;
        }
        return ok;
}

static struct pod *read_pod(const char *key, json_t *object) {
        json_t *spec = json_object_get(object, "spec"), *metadata = json_object_get(object, "metadata");
        struct zp_buffer texts = { 0 };
        struct pod *pod = calloc(1, sizeof *pod);
        bool ok = pod && add(&texts, key) && add(&texts, text_of(metadata, "namespace")) &&
                  add(&texts, text_of(spec, "serviceAccountName"));
        ok = ok && add_all(&texts, json_object_get(spec, "initContainers"), "image", CTL_IMAGE_SIZE,
                           CTL_USAGE_IMAGES_MAX, &pod->image_count);
        ok = ok && add_all(&texts, json_object_get(spec, "containers"), "image", CTL_IMAGE_SIZE, CTL_USAGE_IMAGES_MAX,
                           &pod->image_count);
        ok = ok && add_all(&texts, json_object_get(spec, "imagePullSecrets"), "name", CTL_NAME_SIZE,
                           CTL_PULL_SECRETS_MAX, &pod->secret_count);
        if (!ok) {
                free(pod);
                zp_buffer_clear(&texts);
                return NULL;
        }
        pod->texts = texts.data;
        pod->size = texts.size;
        pod->key = texts.data;
        return pod;
}

/* Takes it out, with the lock; NULL: there is none. */
static struct pod *take(struct ctl_usage *usage, const char *key) {
        const struct pod sought = { .key = key };
        struct pod **found = tfind(&sought, &usage->pods, compare), *pod = found ? *found : NULL;
        if (pod)
                tdelete(&sought, &usage->pods, compare);
        return pod;
}

static bool is_same(const struct pod *a, const struct pod *b) {
        if (!a || !b)
                return a == b;
        return a->image_count == b->image_count && a->secret_count == b->secret_count && a->size == b->size &&
               memcmp(a->texts, b->texts, a->size) == 0;
}

int ctl_usage_put(struct ctl_usage *usage, const char *key, json_t *object, struct zp_error *err) {
        const char *phase = text_of(json_object_get(object, "status"), "phase");
        bool is_over = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
        struct pod *pod = is_over ? NULL : read_pod(key, object);
        if (!is_over && !pod)
                return zp_error_errno(err, ENOMEM, "pod %s", key);
        pthread_mutex_lock(&usage->lock);
        struct pod *before = take(usage, key);
        bool ok = !pod || tsearch(pod, &usage->pods, compare), is_news = !is_same(before, pod);
        pthread_mutex_unlock(&usage->lock);
        if (before)
                pod_free(before);
        if (ok)
                return is_news;
        pod_free(pod);
        return zp_error_errno(err, ENOMEM, "pod %s", key);
}

int ctl_usage_remove(struct ctl_usage *usage, const char *key) {
        pthread_mutex_lock(&usage->lock);
        struct pod *before = take(usage, key);
        pthread_mutex_unlock(&usage->lock);
        if (before)
                pod_free(before);
        return before != NULL;
}

void ctl_usage_set_whole(struct ctl_usage *usage) {
        pthread_mutex_lock(&usage->lock);
        usage->is_whole = true;
        pthread_mutex_unlock(&usage->lock);
}

bool ctl_usage_is_whole(struct ctl_usage *usage) {
        pthread_mutex_lock(&usage->lock);
        bool is_whole = usage->is_whole;
        pthread_mutex_unlock(&usage->lock);
        return is_whole;
}

/* ---- all of them ---- */

struct walk {
        void (*each)(void *context, const struct ctl_user *user);
        void *context;
};

static const char *next_text(const char **at) {
        const char *text = *at;
        *at += strlen(text) + 1;
        return text;
}

static void each_pod(const void *node, VISIT visit, void *context) {
        const struct pod *pod = *(struct pod *const *) node;
        const struct walk *walk = context;
        struct ctl_user user = { .image_count = pod->image_count, .pull_secret_count = pod->secret_count };
        const char *at = pod->texts;
        if (visit != postorder && visit != leaf)
                return;
        next_text(&at);
        user.namespace = next_text(&at);
        user.service_account = next_text(&at);
        if (!*user.service_account)
                user.service_account = NULL;
        for (size_t i = 0; i < pod->image_count; i++)
                user.images[i] = next_text(&at);
        for (size_t i = 0; i < pod->secret_count; i++)
                user.pull_secrets[i] = next_text(&at);
        walk->each(walk->context, &user);
}

void ctl_usage_each(struct ctl_usage *usage, void (*each)(void *context, const struct ctl_user *user), void *context) {
        struct walk walk = { each, context };
        pthread_mutex_lock(&usage->lock);
        twalk_r(usage->pods, each_pod, &walk);
        pthread_mutex_unlock(&usage->lock);
}
