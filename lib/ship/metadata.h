/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata files (layer.erofs, snapshot.erofs) as they travel: one zstd frame that tells its content's size.
 */
#ifndef ZP_SHIP_METADATA_H
#define ZP_SHIP_METADATA_H

#include "ship/artifact.h"

/* *out is malloc'ed; its digest and size go into the artifact. */
int zp_metadata_compress(const void *data, size_t size, uint8_t **out, size_t *out_size, struct zp_error *err);
/* Writes the file that a checked blob holds to `fd`, which is empty; `name` is for messages. Memory is bounded by
 * zstd's window whatever the sizes. -EBADMSG: not one frame of just the size and digest that the artifact says. */
int zp_metadata_unpack(const void *blob, size_t blob_size, const struct zp_artifact_metadata *metadata, int fd,
                       const char *name, struct zp_error *err);

/* The file is EROFS as the writer makes it, and the devices in its table are devices of the artifact, each with the
 * size said there. A layer's go into `record`. `fd` for reading; -EBADMSG, -ENOTSUP. */
int zp_metadata_check_layer(int fd, const struct zp_artifact *artifact, const struct zp_artifact_layer *layer,
                            struct zp_layer_record *record, struct zp_error *err);
int zp_metadata_check_snapshot(int fd, const struct zp_artifact *artifact, struct zp_error *err);

#endif
