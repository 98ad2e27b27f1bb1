/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists that a registry gives in pages: its repositories, a repository's tags.
 */
#ifndef HOOK_LISTING_H
#define HOOK_LISTING_H

#include "oci/registry.h"

/* Of one list. */
#define HOOK_LISTING_MAX 100000

struct hook_listing {
        char **names;
        size_t count;
};
/* "tags/list" of the registry's repository. -ENOENT: there is none. */
int hook_list_tags(struct zp_registry *registry, struct hook_listing *out, struct zp_error *err);
/* The registry's catalog; `registry` is any of its repositories. */
int hook_list_repositories(struct zp_registry *registry, struct hook_listing *out, struct zp_error *err);
void hook_listing_clear(struct hook_listing *listing);

#endif
