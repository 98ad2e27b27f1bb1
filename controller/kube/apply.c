/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/apply.h"

#include <string.h>

#include "controller/kube/kube-internal.h"

#define CONFLICTS_MAX 8

int zp_kube_apply(struct zp_kube *kube, const struct zp_kube_apply *apply, json_t *object, json_t **out,
                  struct zp_error *err) {
        zp_autofree char *manager = zp_kube_escape(apply->field_manager);
        zp_autofree char *query = manager ? zp_format("fieldManager=%s&fieldValidation=Strict%s", manager,
                                                      apply->is_forced ? "&force=true" : "")
                                          : NULL;
        if (!query)
                return zp_error_errno(err, ENOMEM, "request");
        const struct zp_kube_request request = {
                .place = apply->place,
                .query = query,
                .method = "PATCH",
                .content_type = "application/apply-patch+yaml",
                .body = object,
                .cancel = apply->cancel,
        };
        return zp_kube_call(kube, &request, out, err);
}

/* ---- finalizers ---- */

static json_t *finalizers_of(json_t *object) {
        return json_object_get(json_object_get(object, "metadata"), "finalizers");
}

bool zp_kube_has_finalizer(json_t *object, const char *finalizer) {
        json_t *item;
        size_t i;
        json_array_foreach(finalizers_of(object), i, item) {
                const char *text = json_string_value(item);
                if (text && strcmp(text, finalizer) == 0)
                        return true;
        }
        return false;
}

enum wanted { ADD, REMOVE };

/* The list as it should be, in a patch that is refused when the object has changed since. NULL: out of memory. */
static json_t *make_patch(json_t *object, const char *finalizer, enum wanted wanted) {
        zp_auto(json_decref) json_t *list = json_array();
        json_t *item;
        size_t i;
        int failures = list ? 0 : -1;
        json_array_foreach(finalizers_of(object), i, item) {
                const char *text = json_string_value(item);
                if (wanted == ADD || !text || strcmp(text, finalizer) != 0)
                        failures += json_array_append(list, item);
        }
        if (wanted == ADD)
                failures += json_array_append_new(list, json_string(finalizer));
        if (failures < 0)
                return NULL;
        return json_pack("{s:{s:s, s:s, s:O}}", "metadata", "resourceVersion", zp_kube_resource_version(object), "uid",
                         zp_kube_uid(object), "finalizers", list);
}

/* 1: done; 0: it has changed meanwhile. */
static int patch(struct zp_kube *kube, const struct zp_kube_place *place, json_t *object, const char *finalizer,
                 enum wanted wanted, struct zp_error *err) {
        if (zp_kube_has_finalizer(object, finalizer) == (wanted == ADD))
                return 1;
        if (wanted == ADD && zp_kube_is_being_deleted(object))
                return zp_error_set(err, ESTALE, "%s '%s': is being deleted", place->resource.plural, place->name);
        zp_auto(json_decref) json_t *body = make_patch(object, finalizer, wanted);
        if (!body)
                return zp_error_errno(err, ENOMEM, "request");
        const struct zp_kube_request request = {
                .place = *place, .method = "PATCH", .content_type = "application/merge-patch+json", .body = body
        };
        int r = zp_kube_call(kube, &request, NULL, err);
        return r == 0 ? 1 : r == -EBUSY ? 0 : r;
}

static int change(struct zp_kube *kube, const struct zp_kube_place *place, const char *finalizer, json_t *object,
                  enum wanted wanted, struct zp_error *err) {
        struct zp_error ignored = { 0 };
        err = err ? err : &ignored;
        zp_auto(json_decref) json_t *current = object ? json_incref(object) : NULL;
        int r = 0;
        for (int conflicts = 0; r == 0; conflicts++) {
                if (conflicts == CONFLICTS_MAX)
                        return zp_error_set(err, EBUSY, "%s '%s': is changed all the time", place->resource.plural,
                                            place->name);
                if (conflicts > 0 || !current) {
                        if (current)
                                json_decref(zp_steal(&current));
                        zp_error_clear(err);
                        r = zp_kube_get(kube, place, &current, err);
                        if (r < 0)
                                return r;
                }
                if (object && strcmp(zp_kube_uid(object), zp_kube_uid(current)) != 0)
                        return zp_error_set(err, ENOENT, "%s '%s': another one has its name", place->resource.plural,
                                            place->name);
                r = patch(kube, place, current, finalizer, wanted, err);
        }
        return r < 0 ? r : 0;
}

int zp_kube_add_finalizer(struct zp_kube *kube, const struct zp_kube_place *place, const char *finalizer,
                          json_t *object, struct zp_error *err) {
        return change(kube, place, finalizer, object, ADD, err);
}

int zp_kube_remove_finalizer(struct zp_kube *kube, const struct zp_kube_place *place, const char *finalizer,
                             json_t *object, struct zp_error *err) {
        struct zp_error reason = { 0 };
        int r = change(kube, place, finalizer, object, REMOVE, &reason);
        if (r == -ENOENT) /* it is gone, and its finalizers */
                return 0;
        if (r < 0 && err)
                *err = reason;
        return r;
}
