/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists that a registry gives in pages: its repositories, a repository's tags.
 */
#ifndef ZP_OCI_LISTING_H
#define ZP_OCI_LISTING_H

#include "oci/registry.h"

/* Of one list. */
#define ZP_LISTING_MAX 100000

struct zp_listing {
        char **names;
        size_t count;
        uint64_t asked_ms; /* zp_monotonic_ms(): when the registry was asked for the part that came last, or failed */
};
/* "tags/list" of the registry's repository. -ENOENT: there is none. */
int zp_list_tags(struct zp_registry *registry, struct zp_listing *out, struct zp_error *err);
/* As much of it as the registry gives in one answer, at most about 1000. */
int zp_list_first_tags(struct zp_registry *registry, struct zp_listing *out, struct zp_error *err);
/* The registry's catalog; `registry` is any of its repositories. */
int zp_list_repositories(struct zp_registry *registry, struct zp_listing *out, struct zp_error *err);
void zp_listing_clear(struct zp_listing *listing);

#endif
