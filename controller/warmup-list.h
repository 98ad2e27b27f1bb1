/* SPDX-License-Identifier: Apache-2.0
 *
 * What one node shall have, while the planner goes through the objects from the oldest to the youngest. An entry is one
 * of NodeSnapshotCache's spec.images: objects that want the same image share one. Of objects that want different images
 * under one name the youngest has the name; what the others want is listed with its digest behind the name.
 */
#ifndef CONTROLLER_WARMUP_LIST_H
#define CONTROLLER_WARMUP_LIST_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct warmup_list {
        json_t *entries; /* name to entry */
        json_t *kept;    /* the names of those that no object has said again: they give way to one that does */
        size_t size;     /* of their JSON, about */
};

/* -ENOMEM; to be cleared in any case. */
int warmup_list_init(struct warmup_list *list, struct zp_error *err);
void warmup_list_clear(struct warmup_list *list);

bool warmup_has_digest(json_t *image, const char *digest);
/* The name by which `entries` has an image of that name and digest, or its own when they have not. malloc'ed; NULL: no
 * memory. */
char *warmup_listed_name(json_t *image, json_t *entries);
/* Where an entry's snapshot is: beside the image when `from` is no text. */
void warmup_set_from(json_t *entry, json_t *from);

/* What an object says now. 1: it is listed; 0: there is no room; -ENOMEM. The entry is nobody else's. */
int warmup_list_add(struct warmup_list *list, json_t *entry, struct zp_error *err);
/* What is there already, of an object that does not say now what it shall become. It has the name as it had before,
 * when what an older object wants has been beside it (in `there`, the entries of now, by names); else what that one
 * wants has taken its place. -ENOMEM only. */
int warmup_list_keep(struct warmup_list *list, json_t *entry, json_t *there, struct zp_error *err);

#endif
