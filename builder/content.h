/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts the content of a layer's regular files on its device: very small ones into the metadata, the others into
 * the pack, each distinct content once, long runs of zeros not at all.
 */
#ifndef ZP_BUILDER_CONTENT_H
#define ZP_BUILDER_CONTENT_H

#include "layer/apply.h"
#include "pack/writer.h"

/* Files up to this size lie in the metadata, which is fetched whole before a start. */
#define ZP_INLINE_FILE_MAX 512u
/* Zeros become holes in pieces of this size, so that a file has few chunks. */
#define ZP_HOLE_SIZE (1u << 20)

struct zp_content;

/* `pack` is the caller's and outlives it. */
int zp_content_new(struct zp_pack_writer *pack, struct zp_content **out, struct zp_error *err);
void zp_content_free(struct zp_content *content);
ZP_DEFINE_AUTO(struct zp_content, zp_content_free);

/* A zp_apply_store; context is the struct zp_content. */
int zp_content_store(void *context, struct zp_tar *tar, struct zp_tree *tree, struct zp_inode *inode,
                     struct zp_error *err);

#endif
