/* SPDX-License-Identifier: Apache-2.0
 *
 * Where everything lies in the file that the writer makes. Whoever has a tree laid out owns its inodes' and xattrs'
 * `scratch` until it is written.
 */
#ifndef ZP_EROFS_PLAN_H
#define ZP_EROFS_PLAN_H

#include "base/bytes.h"
#include "base/limits.h"
#include "erofs/writer.h"

#define ZP_EROFS_BLOCK ((uint64_t) ZP_BLOCK_SIZE)

/* What the layout pass decides for one inode; plan.placed[inode->scratch] is its own. */
struct zp_erofs_placed {
        struct zp_inode *inode;
        struct zp_inode *parent; /* of a directory, for ".." */
        uint64_t offset;         /* in the file */
        uint64_t data_block;     /* first data block, for layouts that have some */
        uint64_t size;           /* i_size */
        uint32_t xattr_size;     /* bytes behind the inode */
        uint16_t tail_size;      /* inline bytes */
        uint8_t layout;
        uint8_t chunk_bits;
};

struct zp_erofs_plan {
        struct zp_tree *tree;
        const struct zp_erofs_options *options;
        struct zp_erofs_placed *placed;
        uint32_t count;

        struct zp_xattr **shared; /* one of each, in the order of their ids */
        uint32_t shared_count;
        uint64_t xattr_block, meta_block, data_block, total_blocks;
};

/* An xattr's `scratch` when it lies with its inode; else it is its id in the shared area. */
#define ZP_EROFS_NOT_SHARED UINT32_MAX

/* Checks, sorts and lays out; `out` is to be cleared in any case. `tree` and `options` must outlive it. -ENOTSUP,
 * -EFBIG: the tree holds what EROFS cannot; -EINVAL: it contradicts itself. */
int zp_erofs_plan_make(struct zp_tree *tree, const struct zp_erofs_options *options, struct zp_erofs_plan *out,
                       struct zp_error *err);
void zp_erofs_plan_clear(struct zp_erofs_plan *plan);
/* Of a directory or link: the blocks of its own behind all inodes. */
uint32_t zp_erofs_data_blocks(const struct zp_erofs_placed *placed);

struct zp_erofs_dir_entry {
        const char *name;
        uint16_t name_size;
        const struct zp_inode *inode;
};

/* Gives a directory's entries in the order of their names, "." and ".." among them. */
struct zp_erofs_dir {
        const struct zp_inode *self, *parent;
        const struct zp_dentry *child;
        int dots; /* of the two, how many are done */
};
struct zp_erofs_dir zp_erofs_dir_begin(const struct zp_erofs_placed *placed);
/* False: there are no more. */
bool zp_erofs_dir_next(struct zp_erofs_dir *dir, struct zp_erofs_dir_entry *out);

/* check-tree.c: whether EROFS can hold what the numbered inodes are; the error names the first name of one it cannot.
 */
int zp_erofs_check_tree(const struct zp_erofs_plan *plan, struct zp_error *err);
/* An xattr's name in two parts: the number of its namespace, and the rest, which is within `name`. -ENOTSUP. */
int zp_erofs_xattr_name(const char *name, uint8_t *index, const char **rest, struct zp_error *err);
static inline uint64_t zp_erofs_file_blocks(const struct zp_inode *inode) {
        return zp_round_up(inode->size, ZP_EROFS_BLOCK) / ZP_EROFS_BLOCK;
}

#endif
