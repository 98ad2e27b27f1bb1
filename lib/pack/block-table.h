/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds runs of blocks in devices of which the block maps are known.
 */
#ifndef ZP_PACK_BLOCK_TABLE_H
#define ZP_PACK_BLOCK_TABLE_H

#include "base/limits.h"
#include "pack/block-map.h"

struct zp_block_table;

/* A run of blocks on one of the table's devices, which are numbered from 0 in the order they were given in. */
struct zp_block_run {
        uint16_t device;
        uint32_t block;
};

/* `maps` (copied; the hashes they point to are not and outlive the table) are searched in their order: what lies in
 * several is found in the first. -EFBIG: more than ZP_LIMIT_BASE_DEVICES, or ZP_LIMIT_BASE_BLOCKS in all. */
int zp_block_table_new(const struct zp_block_map *maps, uint16_t count, struct zp_block_table **out,
                       struct zp_error *err);
void zp_block_table_free(struct zp_block_table *table);
ZP_DEFINE_AUTO(struct zp_block_table, zp_block_table_free);

/* Where all `count` > 0 blocks lie one behind the other on one device. `prefer` (may be NULL) is tried first. Blocks of
 * zeros are no reason to find anything: a run of nothing else is not found. One table may be used from several
 * threads at once. */
bool zp_block_table_find(const struct zp_block_table *table, const struct zp_block_hash *hashes, uint32_t count,
                         const struct zp_block_run *prefer, struct zp_block_run *out);

#endif
