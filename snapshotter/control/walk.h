/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks a directory tree of any depth with a few open files: containers make trees deeper than a path may be long, and
 * change them meanwhile. No symbolic link is followed, no other file system entered.
 */
#ifndef SNAP_WALK_H
#define SNAP_WALK_H

#include <sys/stat.h>

#include "base/cancel.h"
#include "base/error.h"
#include "snapshotter/control/info.h"

struct snap_walker {
        /* For each entry, and for the root itself (as "."), before what is in it. `dir_fd` is where it lies. */
        int (*enter)(void *context, int dir_fd, const char *name, const struct stat *st, struct zp_error *err);
        /* For each directory but the root, after what is in it. May be NULL. */
        int (*leave)(void *context, int dir_fd, const char *name, struct zp_error *err);
        void *context;
        const struct zp_cancel *cancel;
};

/* What disappears meanwhile, or is moved away, is left out. */
int snap_walk(int dir_fd, const char *name, const struct snap_walker *walker, struct zp_error *err);

/* What a tree takes on disk; a file with several names counts once. */
int snap_disk_usage(int dir_fd, const char *name, const struct zp_cancel *cancel, struct snap_usage *out,
                    struct zp_error *err);

/* Removes a tree. Goes on after the first thing that cannot be removed, which is what is told. */
int snap_remove_tree(int dir_fd, const char *name, const struct zp_cancel *cancel, struct zp_error *err);

#endif
