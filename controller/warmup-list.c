/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/warmup-list.h"

#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "controller/warmup-plan.h"
#include "oci/json.h"

#define SECRETS_MAX 16
/* Of an entry's JSON, and of one of its secrets', about so much are no texts of theirs. */
#define ENTRY_REST 200
#define SECRET_REST 32

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "warm-up");
}

static const char *text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

/* ---- names ---- */

/* "r.example/web:1@sha256:…"; the digest of an index that it was named by gives way. malloc'ed; NULL: no memory. */
static char *pinned_name(json_t *image) {
        const char *name = text(image, "image");
        return zp_format("%.*s@%s", (int) strcspn(name, "@"), name, text(image, "digest"));
}

bool warmup_has_digest(json_t *image, const char *digest) {
        return strcmp(text(image, "digest"), digest) == 0;
}

char *warmup_listed_name(json_t *image, json_t *entries) {
        const char *name = text(image, "image"), *digest = text(image, "digest");
        zp_autofree char *pinned = NULL;
        if (warmup_has_digest(json_object_get(entries, name), digest) || !(pinned = pinned_name(image)) ||
            !warmup_has_digest(json_object_get(entries, pinned), digest))
                return strdup(name);
        return zp_steal(&pinned);
}

/* ---- entries ---- */

void warmup_set_from(json_t *entry, json_t *from) {
        if (json_is_string(from))
                json_object_set(entry, "from", from);
        else
                json_object_del(entry, "from");
}

static void join_secrets(json_t *entry, json_t *more) {
        json_t *secrets = json_object_get(entry, "pullSecrets"), *item;
        size_t i, j;
        if (more && !secrets)
                json_object_set_new(entry, "pullSecrets", secrets = json_array());
        json_array_foreach(more, i, item) {
                bool is_known = false;
                for (j = 0; j < json_array_size(secrets); j++)
                        is_known |= json_equal(json_array_get(secrets, j), item);
                if (!is_known && json_array_size(secrets) < SECRETS_MAX)
                        json_array_append(secrets, item);
        }
}

/* ---- the list ---- */

int warmup_list_init(struct warmup_list *list, struct zp_error *err) {
        *list = (struct warmup_list){ json_object(), json_object(), 0 };
        return list->entries && list->kept ? 0 : no_memory(err);
}

void warmup_list_clear(struct warmup_list *list) {
        json_decref(list->entries);
        json_decref(list->kept);
}

static size_t size_of_secrets(json_t *secrets) {
        json_t *secret;
        size_t size = 0, i;
        json_array_foreach(secrets, i, secret) {
                size += SECRET_REST + json_string_length(json_object_get(secret, "namespace")) +
                        json_string_length(json_object_get(secret, "name"));
        }
        return size;
}

/* Of its JSON, about. */
static size_t size_of(json_t *entry) {
        return ENTRY_REST + json_string_length(json_object_get(entry, "image")) +
               json_string_length(json_object_get(entry, "from")) +
               size_of_secrets(json_object_get(entry, "pullSecrets"));
}

static bool has_room(const struct warmup_list *list, json_t *entry) {
        return json_object_size(list->entries) < WARMUP_IMAGES_MAX &&
               list->size + size_of(entry) <= WARMUP_LIST_SIZE_MAX;
}

/* 1, or -ENOMEM. */
static int insert(struct warmup_list *list, const char *name, json_t *entry, struct zp_error *err) {
        if (json_object_set(list->entries, name, entry) < 0)
                return no_memory(err);
        list->size += size_of(entry);
        return 1;
}

/* Two objects want it: what either needs, and the digest that the younger one, `other`, names when it `is_new`, from
 * where it is. */
static void join(struct warmup_list *list, json_t *entry, json_t *other, bool is_new) {
        json_t *deadline = json_object_get(other, "deadlineSeconds"), *secrets = json_object_get(other, "pullSecrets");
        size_t before = size_of(entry);
        if (is_new) {
                json_object_set(entry, "digest", json_object_get(other, "digest"));
                warmup_set_from(entry, json_object_get(other, "from"));
        }
        if (json_is_true(json_object_get(other, "complete")))
                json_object_set_new(entry, "complete", json_true());
        if (json_integer_value(deadline) > json_integer_value(json_object_get(entry, "deadlineSeconds")))
                json_object_set(entry, "deadlineSeconds", deadline);
        if (list->size + size_of_secrets(secrets) <= WARMUP_LIST_SIZE_MAX)
                join_secrets(entry, secrets);
        list->size += size_of(entry);
        list->size -= before;
}

/* The younger object's comes under the name, and what the older one wants under its digest as well. */
static int add_beside(struct warmup_list *list, json_t *older, json_t *entry, struct zp_error *err) {
        zp_autofree char *name = strdup(text(entry, "image")), *pinned = pinned_name(older);
        zp_auto(json_decref) json_t *moved = json_copy(older);
        if (!name || !pinned || !moved || json_object_set_new(moved, "image", json_string(pinned)) < 0)
                return no_memory(err);
        json_t *known = json_object_get(list->entries, pinned);
        if (!known && (!has_room(list, entry) || strlen(pinned) > WARMUP_IMAGE_SIZE_MAX))
                return 0;
        list->size -= size_of(older);
        if (known)
                join(list, known, moved, true);
        else if (insert(list, pinned, moved, err) < 0)
                return -ENOMEM;
        return insert(list, name, entry, err);
}

int warmup_list_add(struct warmup_list *list, json_t *entry, struct zp_error *err) {
        zp_autofree char *name = warmup_listed_name(entry, list->entries);
        json_t *before = name ? json_object_get(list->entries, name) : NULL;
        if (!name)
                return no_memory(err);
        if (before && !json_object_get(list->kept, name) && !warmup_has_digest(before, text(entry, "digest")))
                return add_beside(list, before, entry, err);
        if (!before)
                return has_room(list, entry) ? insert(list, name, entry, err) : 0;
        json_object_del(list->kept, name);
        join(list, before, entry, true);
        return 1;
}

/* It has been listed by its digest: an image that another object has long had, and none that the name has moved on to.
 */
static bool was_beside(json_t *entry, json_t *there) {
        zp_autofree char *pinned = pinned_name(entry);
        return pinned && warmup_has_digest(json_object_get(there, pinned), text(entry, "digest"));
}

int warmup_list_keep(struct warmup_list *list, json_t *entry, json_t *there, struct zp_error *err) {
        const char *name = text(entry, "image");
        json_t *before = json_object_get(list->entries, name);
        if (before && warmup_has_digest(before, text(entry, "digest"))) {
                join(list, before, entry, false);
                return 0;
        }
        if (before ? !was_beside(before, there) : !has_room(list, entry))
                return 0;
        int r = before ? add_beside(list, before, entry, err) : insert(list, name, entry, err);
        if (r == 1 && json_object_set_new(list->kept, name, json_true()) < 0)
                return no_memory(err);
        return r < 0 ? r : 0;
}
