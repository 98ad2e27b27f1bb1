/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks for snapshots of an image while the image itself is still being resolved: a pull then takes no round trip more.
 */
#ifndef ZP_SHIP_LOOK_H
#define ZP_SHIP_LOOK_H

#include "ship/pull.h"

struct zp_look;

/* Begins to look in a thread of its own: which artifacts there are, then, of the newest, its manifest and at the same
 * time what `check` (NULL: none) says of it. NULL: no memory, or no thread. The arguments outlive it. */
struct zp_look *zp_look_begin(struct zp_remote *remote, const struct zp_digest *subject, zp_pull_check check,
                              void *context);

struct zp_looked {
        struct zp_digest subject;
        struct zp_remote_artifact *artifacts; /* newest last */
        size_t count;
        int find_result;
        struct zp_error find_error;
        /* of the newest, if there is one */
        char *manifest;
        int manifest_result, check_result;
        struct zp_error manifest_error, check_error;
};

/* Waits for the end; *out is the look's own. */
const struct zp_looked *zp_look_end(struct zp_look *look);
/* Waits for the end as well. `look` may be NULL. */
void zp_look_free(struct zp_look *look);

#endif
