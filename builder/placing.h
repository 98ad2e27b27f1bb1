/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the content of a layer's files lies: in its own device, in that of an earlier version (the base), in the own
 * device's hot area, or nowhere, since it is zeros. One file at a time: begin, then its extents in file order, then
 * keep.
 */
#ifndef ZP_BUILDER_PLACING_H
#define ZP_BUILDER_PLACING_H

#include "base/limits.h"
#include "layer/tree.h"
#include "pack/block-table.h"
#include "pack/writer.h"
#include "profile/profile.h"

/* A part of a base device that the base's own start-up reads: hot content may refer to such parts only, so that it
 * stays together. */
struct zp_hot_range {
        uint16_t device; /* of the table */
        uint64_t block, blocks;
};

struct zp_placing_options {
        const struct zp_block_table *base; /* NULL: no earlier version to refer to */
        const struct zp_hot_range *base_hot;
        uint32_t base_hot_count;
        const struct zp_profile *profile; /* NULL: nothing is hot */
        int hot_fd;                       /* with a profile: an empty file for reading and writing */
};

struct zp_placing;

/* `pack` and what `options` (NULL: none) points to are the caller's and outlive this. */
int zp_placing_new(struct zp_pack_writer *pack, const struct zp_placing_options *options, struct zp_placing **out,
                   struct zp_error *err);
void zp_placing_free(struct zp_placing *placing);
ZP_DEFINE_AUTO(struct zp_placing, zp_placing_free);

/* Begins a file. Returns the size of the windows in which it is to be given to zp_placing_window, each at a multiple of
 * that size; 0: the file is not to be compared with anything. */
uint64_t zp_placing_begin(struct zp_placing *placing, const char *path, uint64_t size, bool is_small);
/* Places the next window: all of it in one place. `size` bytes, > 0. */
int zp_placing_window(struct zp_placing *placing, const uint8_t *data, uint64_t size, struct zp_error *err);
/* The next `blocks` blocks of the file are a hole, or lie at `block` of the own pack, where the caller has put them. */
int zp_placing_own(struct zp_placing *placing, uint64_t block, uint64_t blocks, struct zp_error *err);
/* Gives the file's extents to the inode. */
int zp_placing_keep(struct zp_placing *placing, struct zp_tree *tree, struct zp_inode *inode, struct zp_error *err);

/* As of a pack writer: what was written since the mark is taken back. */
int zp_placing_mark(struct zp_placing *placing, struct zp_error *err);
int zp_placing_rollback(struct zp_placing *placing, struct zp_error *err);
/* As of a pack writer: what was written since the mark stays. */
void zp_placing_unmark(struct zp_placing *placing);

/* True when the profile names some file that was begun. */
bool zp_placing_is_named(const struct zp_placing *placing);
/* True when something is hot, so that zp_placing_finish needs a pack to write it to. */
bool zp_placing_has_hot(const struct zp_placing *placing);
/* After the last file. With hot content `front` is an empty pack: the hot content goes there and all of the own pack
 * behind it, and `front` is the device's pack to be finished. Then every inode's extents have their final addresses.
 * *devices: the device numbers that extents have, in order: ZP_PLACING_OWN and those of the table, only those in use.
 */
#define ZP_PLACING_OWN UINT16_MAX
#define ZP_PLACING_DEVICES_MAX (ZP_LIMIT_BASE_DEVICES + 1)
int zp_placing_finish(struct zp_placing *placing, struct zp_pack_writer *front,
                      uint16_t devices[ZP_PLACING_DEVICES_MAX], uint16_t *device_count, struct zp_error *err);

#endif
