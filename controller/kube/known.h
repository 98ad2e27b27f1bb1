/* SPDX-License-Identifier: Apache-2.0
 *
 * The objects of a collection that a reflector has told of: key, uid and version of each, about 200 bytes.
 */
#ifndef KUBE_KNOWN_H
#define KUBE_KNOWN_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

struct zp_kube_known_object {
        struct zp_kube_known_object *next;
        uint64_t hash;
        unsigned mark;                             /* of the list that it was last seen in: the owner's */
        const char *name, *uid, *resource_version; /* in `namespace`'s bytes */
        char namespace[];
};

/* A zeroed one is empty. One thread. */
struct zp_kube_known {
        struct zp_kube_known_object **buckets;
        size_t bucket_count, count; /* a power of two, or 0 */
};

struct zp_kube_known_object *zp_kube_known_find(const struct zp_kube_known *known, const char *namespace,
                                                const char *name);
/* Adds it, or takes the place of the one with that key. NULL: out of memory, and nothing has changed. */
struct zp_kube_known_object *zp_kube_known_put(struct zp_kube_known *known, const char *namespace, const char *name,
                                               const char *uid, const char *resource_version);
/* Takes it out; free(3) it. */
void zp_kube_known_take(struct zp_kube_known *known, struct zp_kube_known_object *object);
/* Takes out one that does not have the mark; NULL: no more. *bucket begins with 0 and is where to go on. */
struct zp_kube_known_object *zp_kube_known_take_unmarked(struct zp_kube_known *known, unsigned mark, size_t *bucket);
void zp_kube_known_clear(struct zp_kube_known *known);

#endif
