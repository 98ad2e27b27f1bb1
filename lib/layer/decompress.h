/* SPDX-License-Identifier: Apache-2.0
 *
 * Streaming decompression of a layer blob: gzip (ISA-L), zstd, or plain tar, told apart by their first
 * bytes as containerd does, whatever the media type says.
 */
#ifndef ZP_LAYER_DECOMPRESS_H
#define ZP_LAYER_DECOMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum zp_compression {
        ZP_COMPRESSION_NONE,
        ZP_COMPRESSION_GZIP,
        ZP_COMPRESSION_ZSTD,
};

/* As many first bytes of a blob as it takes to tell. */
#define ZP_COMPRESSION_HEAD_SIZE 10
/* How a blob is compressed that begins with `head`, which is all of it when it is smaller than that. What cannot
 * be decompressed (xz, bzip2) counts as none here; decompressing it is an error. */
enum zp_compression zp_compression_of(const void *head, size_t size);

/* Gives a buffer to decompress into: *data and its size. Called again whenever the last one is full (or
 * at the end). `used` is how much of the previous buffer has been filled (0 at the first call); with
 * `is_last` no new buffer is wanted. Returns 0 or a negative errno, which stops everything. */
typedef int (*zp_decompress_output)(void *context, size_t used, int is_last, uint8_t **data, size_t *size,
                                    struct zp_error *err);

struct zp_decompress;

int zp_decompress_new(zp_decompress_output output, void *context, struct zp_decompress **out, struct zp_error *err);
void zp_decompress_free(struct zp_decompress *d);
ZP_DEFINE_AUTO(struct zp_decompress, zp_decompress_free);

/* Decompresses the next `size` bytes of the blob. All gzip members and zstd frames (skippable ones too)
 * are read to the end; checksums are verified; bytes after them that are neither are -EBADMSG. */
int zp_decompress_push(struct zp_decompress *d, const void *data, size_t size, struct zp_error *err);
/* The blob ends here: -EBADMSG when it ends inside a member or frame. */
int zp_decompress_finish(struct zp_decompress *d, struct zp_error *err);

#endif
