/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns the entries of a layer's tar into the layer's tree, with the semantics of containerd unpacking
 * that layer into an overlayfs upper directory (docs/layer-semantics.md, case by case).
 */
#ifndef ZP_LAYER_APPLY_H
#define ZP_LAYER_APPLY_H

#include "layer/tar.h"
#include "layer/tree.h"

/* Stores the content of one regular file: pulls all of it with zp_tar_data(tar), and fills inode->data or
 * inode->extents (allocated with zp_tree_alloc). inode->size is set already. Not called for empty files. `path` is the
 * entry's, clean (zp_path_clean), symbolic links in it not followed. */
typedef int (*zp_apply_store)(void *context, const char *path, struct zp_tar *tar, struct zp_tree *tree,
                              struct zp_inode *inode, struct zp_error *err);

struct zp_apply_stats {
        uint64_t entries;    /* tar entries applied */
        uint64_t file_bytes; /* sum of the regular files' sizes */
};

/* Reads the whole archive. On error the message starts with "entry '<path>': " where one is to blame.
 * -EBADMSG: malformed or refused as ambiguous; -E2BIG: past a limit. *out is the caller's. */
int zp_layer_apply(struct zp_tar *tar, zp_apply_store store, void *context, struct zp_tree **out,
                   struct zp_apply_stats *stats, struct zp_error *err);

#endif
