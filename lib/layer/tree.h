/* SPDX-License-Identifier: Apache-2.0
 *
 * A file tree in memory: what one layer holds, or a whole image after the merge. Names and inodes are
 * separate, so hard links are plain.
 *
 * A layer's tree is in overlayfs form: a whiteout is a character device 0:0, an opaque directory has
 * `is_opaque`. Nothing here touches a real file system. One thread at a time per tree.
 */
#ifndef ZP_LAYER_TREE_H
#define ZP_LAYER_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Block size of layer devices and of EROFS here. */
#define ZP_BLOCK_SIZE 4096u
#define ZP_BLOCK_BITS 12u

struct zp_xattr {
        const char *name; /* whole name with its namespace, "security.capability" */
        const uint8_t *value;
        uint32_t value_size;
        struct zp_xattr *next; /* sorted by name (strcmp) */
        uint32_t scratch;      /* for whoever works on the tree at the time */
};

/* A run of blocks of a file, in file order and without gaps between runs. */
struct zp_extent {
        uint64_t block;  /* first block on the device; ZP_HOLE: reads as zeros */
        uint64_t blocks; /* length; the last extent's covers the file's end */
        uint16_t device; /* index into the tree's list of devices, chosen by who made the tree */
};
#define ZP_HOLE UINT64_MAX

struct zp_dentry;

struct zp_inode {
        uint32_t mode; /* S_IFMT bits and 07777 */
        uint32_t uid, gid;
        uint32_t nlink; /* names in the layer that holds it: what stat shows under overlayfs, even when a
                         * higher layer has removed some of them. Directories: 2 + subdirectories. */
        int64_t mtime_s;
        uint32_t mtime_ns;
        uint32_t rdev_major, rdev_minor;
        uint64_t size; /* regular files: bytes; symbolic links: length of the target; else 0 */
        struct zp_xattr *xattrs;

        /* regular file: either inline data (`data`, size bytes) or extents; symbolic link: data */
        const uint8_t *data;
        struct zp_extent *extents;
        uint32_t extent_count;

        /* directory */
        struct zp_dentry *first_child, *last_child; /* in order of insertion */
        uint32_t child_count;
        bool is_opaque;  /* hides what lower layers have in this directory */
        bool is_implied; /* no entry of its own in the layer: attributes come from below */
        /* was implied when it was made, and had its entry later: the lower directory's xattrs stay below its own */
        bool inherits_xattrs;
        uint16_t depth; /* 0: the root; at most ZP_LIMIT_DEPTH, so that walking down may recurse */

        uint32_t number;  /* 0-based, in order of creation within the tree */
        uint64_t scratch; /* for whoever works on the tree at the time (the EROFS writer's nid) */
};

struct zp_dentry {
        const char *name; /* NUL-terminated; any bytes but '/' and NUL */
        uint16_t name_size;
        struct zp_inode *inode;
        struct zp_inode *parent;
        struct zp_dentry *previous, *next; /* siblings */
        struct zp_dentry *hash_next;       /* private to tree.c */
};

struct zp_tree;

/* A tree with an empty root directory, mode 0755, 0:0, time 0, implied. NULL: out of memory. */
struct zp_tree *zp_tree_new(void);
void zp_tree_free(struct zp_tree *tree);
ZP_DEFINE_AUTO(struct zp_tree, zp_tree_free);

struct zp_inode *zp_tree_root(const struct zp_tree *tree);
/* Inodes ever created in the tree (unlinked ones count: it bounds memory). */
uint32_t zp_tree_inode_count(const struct zp_tree *tree);

/* A new inode without a name, nlink 0 (directories: 2). -E2BIG past ZP_LIMIT_LAYER_ENTRIES. */
int zp_tree_new_inode(struct zp_tree *tree, uint32_t mode, struct zp_inode **out, struct zp_error *err);

/* The entry of that name, or NULL. `name` needs no NUL. */
struct zp_dentry *zp_tree_lookup(const struct zp_tree *tree, const struct zp_inode *dir, const char *name,
                                 size_t name_size);

/* Gives `inode` a name in `dir`, which must not have that name yet; adjusts nlink (of `dir` too when a
 * directory is added; a directory has one name at most and is linked before it gets children). The name is
 * copied. -ENAMETOOLONG: the name, or a directory deeper than ZP_LIMIT_DEPTH. */
int zp_tree_link(struct zp_tree *tree, struct zp_inode *dir, const char *name, size_t name_size, struct zp_inode *inode,
                 struct zp_error *err);

/* Removes a name, and for a directory all below it; adjusts nlink. Memory is given back only with the
 * tree. */
void zp_tree_unlink(struct zp_tree *tree, struct zp_dentry *dentry);

/* Sets or replaces an xattr; keeps the list sorted. Copies name and value. */
int zp_tree_set_xattr(struct zp_tree *tree, struct zp_inode *inode, const char *name, const void *value,
                      uint32_t value_size, struct zp_error *err);
/* The same, but points to `value`, which must outlive the tree, instead of copying it. */
int zp_tree_borrow_xattr(struct zp_tree *tree, struct zp_inode *inode, const char *name, const void *value,
                         uint32_t value_size, struct zp_error *err);
/* The xattr of that name, or NULL. */
const struct zp_xattr *zp_inode_find_xattr(const struct zp_inode *inode, const char *name);

/* Memory that lives as long as the tree: link targets, inline data, extents. NULL: out of memory or
 * past ZP_LIMIT_LAYER_METADATA. */
void *zp_tree_alloc(struct zp_tree *tree, size_t size);

/* The children of `dir` sorted by name (memcmp, shorter first), child_count pointers; malloc'ed, the
 * caller's. */
int zp_tree_sorted_children(const struct zp_inode *dir, struct zp_dentry ***out, struct zp_error *err);

/* Brings the children of every directory into that order for good: afterwards first_child and next give it. */
int zp_tree_sort(struct zp_tree *tree, struct zp_error *err);

/* True for the overlayfs whiteout, a character device 0:0. */
bool zp_inode_is_whiteout(const struct zp_inode *inode);

#endif
