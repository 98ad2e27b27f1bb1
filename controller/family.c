/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/family.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_PREFIX_MAX 200

static int compare(const void *a, const void *b) {
        return strcmp(((const struct ctl_child *) a)->key, ((const struct ctl_child *) b)->key);
}

static void leave(void *child) {
        (void) child; /* the list has it */
}

static void child_free(struct ctl_child *child) {
        free(child->image);
        free(child->service_account);
        json_decref(child->secrets);
        free(child);
}

void ctl_family_clear(struct ctl_family *family) {
        tdestroy(family->by_key, leave);
        for (size_t i = 0; i < family->count; i++)
                child_free(family->children[i]);
        free(family->children);
}

static void name_child(const struct ctl_cluster *cluster, const char *image, char name[CTL_NAME_SIZE]) {
        struct zp_digest digest;
        char hex[ZP_SHA256_HEX_SIZE];
        zp_digest_of(image, strlen(image), &digest);
        snprintf(name, CTL_NAME_SIZE, "%.*s-%.10s", NAME_PREFIX_MAX, cluster->name, zp_digest_hex(&digest, hex));
}

bool ctl_family_has(const struct ctl_family *family, const char *key) {
        struct ctl_child sought;
        snprintf(sought.key, sizeof sought.key, "%s", key);
        return tfind(&sought, &family->by_key, compare);
}

static bool make_room(struct ctl_family *family) {
        if (family->count < family->capacity)
                return true;
        size_t capacity = family->capacity ? family->capacity * 2 : 16;
        struct ctl_child **children = reallocarray(family->children, capacity, sizeof *children);
        if (!children)
                return false;
        family->children = children;
        family->capacity = capacity;
        return true;
}

/* Pods may name what no object can be named, and name it twice: an ImageSnapshot may not. */
static bool is_new_secret(json_t *secrets, const char *name) {
        static const char alphanumeric[] = "abcdefghijklmnopqrstuvwxyz0123456789";
        size_t size = strlen(name), i;
        json_t *entry;
        if (size == 0 || size >= CTL_NAME_SIZE || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.")] ||
            !strchr(alphanumeric, name[0]) || !strchr(alphanumeric, name[size - 1]))
                return false;
        json_array_foreach(secrets, i, entry) {
                if (strcmp(json_string_value(json_object_get(entry, "name")), name) == 0)
                        return false;
        }
        return true;
}

static bool fill(struct ctl_child *child, const struct ctl_user *user, const char *image) {
        child->image = strdup(image);
        child->secrets = json_array();
        if (!child->image || !child->secrets ||
            (user->service_account && !(child->service_account = strdup(user->service_account))))
                return false;
        for (size_t i = 0; i < user->pull_secret_count; i++)
                if (is_new_secret(child->secrets, user->pull_secrets[i]) &&
                    json_array_append_new(child->secrets, json_pack("{s:s}", "name", user->pull_secrets[i])) < 0)
                        return false;
        return true;
}

/* Takes `child`. */
static bool add(struct ctl_family *family, struct ctl_child *child, const struct ctl_user *user, const char *image) {
        if (child && make_room(family) && fill(child, user, image) && tsearch(child, &family->by_key, compare)) {
                family->children[family->count++] = child;
                return true;
        }
        if (child)
                child_free(child);
        return false;
}

static void add_image(struct ctl_family *family, const struct ctl_user *user, const char *image) {
        struct ctl_child child = { 0 };
        if (!ctl_cluster_wants(family->cluster, user->namespace, image))
                return;
        name_child(family->cluster, image, child.name);
        ctl_key(user->namespace, child.name, child.key);
        if (ctl_family_has(family, child.key))
                return;
        if (family->count == CTL_CHILDREN_MAX) {
                family->is_too_large = true;
                return;
        }
        snprintf(child.namespace, sizeof child.namespace, "%s", user->namespace);
        struct ctl_child *own = malloc(sizeof *own);
        if (own)
                *own = child;
        family->failed |= !add(family, own, user, image);
}

static void add_pod(void *context, const struct ctl_user *user) {
        for (size_t i = 0; i < user->image_count; i++)
                add_image(context, user, user->images[i]);
}

bool ctl_family_gather(struct ctl_family *family, const struct ctl_cluster *cluster, struct ctl_usage *usage) {
        *family = (struct ctl_family){ .cluster = cluster };
        ctl_usage_each(usage, add_pod, family);
        return !family->failed;
}
