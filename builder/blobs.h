/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the blob that an image's manifest names is the layer that its config claims. Who knows a layer's diffID need
 * not have the layer: what the store holds serves an image only once its own blob was read.
 */
#ifndef ZP_BUILDER_BLOBS_H
#define ZP_BUILDER_BLOBS_H

#include "builder/build-internal.h"

/* Tells how far reading has come; may be NULL. */
typedef void (*zp_blob_progress)(void *context, uint64_t blob_bytes_read);

/* Reads what zp_blob_is_known() asks: the repository of the image, and what the base's manifest says. */
int zp_blobs_prepare(struct zp_building *b, struct zp_error *err);
/* 1: the layer's blob was read here before, from the same repository; or the base was fetched, has it, and is trusted.
 * 0: not that anybody knew. */
int zp_blob_is_known(const struct zp_building *b, uint16_t layer, struct zp_error *err);
/* Reads the blob and compares it with digest, size and diffID; keeps nothing but the knowledge. */
int zp_blob_check(struct zp_building *b, uint16_t layer, zp_blob_progress progress, void *context,
                  struct zp_error *err);
/* The layer's blob was read whole, and was the layer. */
int zp_blob_note(struct zp_building *b, uint16_t layer, struct zp_error *err);

#endif
