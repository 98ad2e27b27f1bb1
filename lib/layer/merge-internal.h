/* SPDX-License-Identifier: Apache-2.0
 *
 * The first half of the merge: what directories have from the layers below. Private to the merge.
 */
#ifndef ZP_LAYER_MERGE_INTERNAL_H
#define ZP_LAYER_MERGE_INTERNAL_H

#include <sys/stat.h>

#include "layer/tree.h"

struct heir; /* inherit.c's */

/* What one layer has at a path. */
struct zp_merge_member {
        const struct zp_dentry *name;
        const struct heir *parent; /* of the directory it is in; NULL: that has none */
        struct heir *heir;         /* of itself */
        uint16_t layer;
        uint16_t first_device; /* what its device 0 becomes */
};

/* The names in the directories of one path, of all layers: by name, and the same name by layer, highest first.
 * malloc'ed, the caller's. Members that are not directories have none. NULL: out of memory. */
struct zp_merge_member *zp_merge_children(const struct zp_merge_member *members, size_t count, size_t *total,
                                          struct zp_error *err);
/* How many of the members, from the first on, have the first one's name. */
size_t zp_merge_same_name(const struct zp_merge_member *members, size_t count);

/* Gives directories that were implied the attributes that containerd gives them when it unpacks their layer over
 * the ones below, and clears every other inode's scratch. Layers are lowest first, `roots` are their root
 * directories, highest first. What has to be made up lies in the memory of `out`. Takes time in proportion to the
 * trees. Errors as zp_tree_merge; the message names layer and directory. */
int zp_merge_inherit(struct zp_tree *const *layers, size_t count, struct zp_merge_member *roots, struct zp_tree *out,
                     struct zp_error *err);

/* Where an inode's mode, owner, time and xattrs are: a directory's scratch says so after zp_merge_inherit. */
static inline const struct zp_inode *zp_merge_attributes(const struct zp_inode *inode) {
        return S_ISDIR(inode->mode) && inode->scratch ? (const struct zp_inode *) (uintptr_t) inode->scratch : inode;
}

#endif
