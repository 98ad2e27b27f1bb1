/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the blob that an image's manifest names is the layer that its config claims. Who knows a layer's diffID need
 * not have the layer: what the store holds serves an image only once its own blob was read.
 */
#ifndef ZP_BUILDER_BLOBS_H
#define ZP_BUILDER_BLOBS_H

#include "store/store.h"

struct zp_building; /* builder/build-internal.h */

/* Tells how far reading has come; may be NULL. */
typedef void (*zp_blob_progress)(void *context, uint64_t blob_bytes_read);

/* Finds what zp_blob_is_known() asks: the repository of the image, and the blobs of the base. */
int zp_blobs_prepare(struct zp_building *b, struct zp_error *err);
/* For the layer of the store that would serve, b->names[layer]. 1: its blob was read here before, from the same
 * repository; or it is the base's layer, made from that blob, and none of its data is here. 0: not that anybody knew.
 */
int zp_blob_is_known(const struct zp_building *b, uint16_t layer, struct zp_error *err);
/* The same for all layers of an image in the store that would be compared with, as one in the repository of `name`. 1,
 * 0. */
int zp_blobs_are_known(struct zp_store *store, const struct zp_image_record *image, const char *name,
                       struct zp_error *err);
/* Reads the blob and compares it with digest, size and diffID; keeps nothing but the knowledge. */
int zp_blob_check(struct zp_building *b, uint16_t layer, zp_blob_progress progress, void *context,
                  struct zp_error *err);
/* The layer's blob was read whole, and was the layer. */
int zp_blob_note(struct zp_building *b, uint16_t layer, struct zp_error *err);

#endif
