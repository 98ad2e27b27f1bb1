/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes the content of a layer's regular files: very small ones go into the metadata, of the others each distinct
 * content is placed once, long runs of zeros not at all.
 */
#ifndef ZP_BUILDER_CONTENT_H
#define ZP_BUILDER_CONTENT_H

#include "builder/placing.h"
#include "layer/apply.h"

/* Files up to this size lie in the metadata, which is fetched whole before a start. */
#define ZP_INLINE_FILE_MAX 512u
/* Zeros become holes in pieces of this size, so that a file has few chunks. */
#define ZP_HOLE_SIZE (1u << 20)

struct zp_content;

/* `placing` is one on `pack`; both are the caller's and outlive it. */
int zp_content_new(struct zp_pack_writer *pack, struct zp_placing *placing, struct zp_content **out,
                   struct zp_error *err);
void zp_content_free(struct zp_content *content);
ZP_DEFINE_AUTO(struct zp_content, zp_content_free);

/* A zp_apply_store; context is the struct zp_content. */
int zp_content_store(void *context, const char *path, struct zp_tar *tar, struct zp_tree *tree, struct zp_inode *inode,
                     struct zp_error *err);

#endif
