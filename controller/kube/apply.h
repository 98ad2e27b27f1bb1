/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes that several controllers may do to one object without undoing each other's: server-side apply, finalizers.
 * Errors as client.h says. https://kubernetes.io/docs/reference/using-api/server-side-apply/
 */
#ifndef KUBE_APPLY_H
#define KUBE_APPLY_H

#include "controller/kube/client.h"

struct zp_kube_apply {
        struct zp_kube_place place;     /* name given; subresource "status" for a status */
        const char *field_manager;      /* "zeropull-controller" */
        bool is_forced;                 /* take fields from other managers; else -EBUSY names them */
        const struct zp_cancel *cancel; /* beside the client's; NULL */
};

/* Makes the object's fields of `object` so, and takes away those that this manager had applied before and that are no
 * longer in it; creates the object where there is none (not for a status: -ENOENT). `object` needs apiVersion, kind and
 * metadata.name, is borrowed, and holds only what this manager decides: no managedFields, no resourceVersion (but to
 * insist on a version: -EBUSY). `out` may be NULL. */
int zp_kube_apply(struct zp_kube *kube, const struct zp_kube_apply *apply, json_t *object, json_t **out,
                  struct zp_error *err);

/* Adds or takes away one finalizer, whatever others do to the list meanwhile: starts from `object` (as last seen, or
 * NULL: asks for it) and reads it again on conflicts, at most eight times (then -EBUSY). Having it, or not having it,
 * already is success. When `object` was given, another one that took its name since is not touched: -ENOENT (adding).
 * Adding to an object that is being deleted: -ESTALE. Taking away from one that is gone is success. */
int zp_kube_add_finalizer(struct zp_kube *kube, const struct zp_kube_place *place, const char *finalizer,
                          json_t *object, struct zp_error *err);
int zp_kube_remove_finalizer(struct zp_kube *kube, const struct zp_kube_place *place, const char *finalizer,
                             json_t *object, struct zp_error *err);
/* Whether the object has it. */
bool zp_kube_has_finalizer(json_t *object, const char *finalizer);

#endif
