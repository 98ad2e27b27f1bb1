/* SPDX-License-Identifier: Apache-2.0
 *
 * The hot area of a layer device: what a start-up profile names. While the layer streams by, such content waits in a
 * file of its own; at the end it is written in the order of first use.
 */
#ifndef ZP_BUILDER_HOT_H
#define ZP_BUILDER_HOT_H

#include "pack/writer.h"

struct zp_hot;

/* `fd`: an empty file for reading and writing; the caller's, and open as long as this. */
int zp_hot_new(int fd, struct zp_hot **out, struct zp_error *err);
void zp_hot_free(struct zp_hot *hot);
ZP_DEFINE_AUTO(struct zp_hot, zp_hot_free);

/* Keeps some content, filled up with zeros to whole blocks; `rank` says when it is first used. *block is where it
 * waits. *continues: it will lie right behind what was kept before it. */
int zp_hot_keep(struct zp_hot *hot, const void *data, uint64_t size, uint32_t rank, uint64_t *block, bool *continues,
                struct zp_error *err);
/* Blocks kept. */
uint64_t zp_hot_blocks(const struct zp_hot *hot);
/* Forgets all that was kept from that block on. */
void zp_hot_rollback(struct zp_hot *hot, uint64_t blocks);
/* Appends all in order of rank, and equal ones in the order they came in. Nothing can be kept afterwards. */
int zp_hot_write(struct zp_hot *hot, struct zp_pack_writer *pack, struct zp_error *err);
/* After that: where among all blocks a block has come that waited at `block`. */
uint64_t zp_hot_place(const struct zp_hot *hot, uint64_t block);

#endif
