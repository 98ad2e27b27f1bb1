/* SPDX-License-Identifier: Apache-2.0
 *
 * What is mounted where, as the kernel tells this process.
 */
#ifndef ZP_MOUNT_TABLE_H
#define ZP_MOUNT_TABLE_H

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

struct zp_mount {
        const char *point;  /* absolute, without symbolic links */
        const char *type;   /* "erofs" */
        const char *source; /* as given when it was mounted */
};

struct zp_mount_table {
        struct zp_mount *mounts; /* a later one lies above an earlier one */
        size_t count;
        char *text; /* they point into it */
};

int zp_mount_table_read(struct zp_mount_table **out, struct zp_error *err);
void zp_mount_table_free(struct zp_mount_table *table);
ZP_DEFINE_AUTO(struct zp_mount_table, zp_mount_table_free);

/* The topmost mount whose root is `directory`, written as in `point`; NULL: it is no mount point. */
const struct zp_mount *zp_mount_table_find(const struct zp_mount_table *table, const char *directory);

#endif
