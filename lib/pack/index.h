/* SPDX-License-Identifier: Apache-2.0
 *
 * The index of a pack: where each frame lies and its SHA-256. Whoever holds a checked index can fetch any
 * frame from anywhere and know that it is right. Format: docs/pack-format.md.
 */
#ifndef ZP_PACK_INDEX_H
#define ZP_PACK_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

/* A checked view of an index file's bytes, which stay the caller's and outlive it. */
struct zp_pack_index {
        uint64_t device_size; /* uncompressed bytes; a multiple of 4096 */
        uint64_t pack_size;   /* of the whole pack file, seek table included */
        uint32_t frame_size;  /* uncompressed bytes per frame, but for the last */
        uint32_t frame_count;
        const uint8_t *entries;
};

struct zp_pack_frame {
        uint64_t packed_offset; /* in the pack */
        uint64_t device_offset;
        uint32_t packed_size;    /* at most zp_pack_packed_size_max(frame_size) */
        uint32_t size;           /* uncompressed */
        struct zp_digest digest; /* of the packed bytes */
};

/* Checks every field; when `digest` is not NULL, the bytes against it first. -EBADMSG: malformed or
 * digest differs. `name` is for the message. */
int zp_pack_index_parse(const void *data, size_t size, const struct zp_digest *digest, const char *name,
                        struct zp_pack_index *out, struct zp_error *err);
/* `number` < frame_count. */
struct zp_pack_frame zp_pack_index_frame(const struct zp_pack_index *index, uint32_t number);
/* What the frames' digests do not cover: the size of a pack that is a file, and its seek table. -EBADMSG: not as the
 * index says. */
int zp_pack_check_end(int fd, const struct zp_pack_index *index, const char *name, struct zp_error *err);
/* An upper bound of a packed frame's size: what a buffer for any frame of the pack must hold. */
uint32_t zp_pack_packed_size_max(uint32_t frame_size);

/* Checks packed frames and decompresses them. One thread at a time. */
struct zp_pack_decoder;
struct zp_pack_decoder *zp_pack_decoder_new(void); /* NULL: out of memory */
void zp_pack_decoder_free(struct zp_pack_decoder *decoder);
/* `packed` holds frame->packed_size bytes, `out` takes frame->size. The digest is checked first, then
 * that the bytes are exactly one zstd frame of just that size. -EBADMSG: not so. */
int zp_pack_decode(struct zp_pack_decoder *decoder, const struct zp_pack_frame *frame, const void *packed, void *out,
                   const char *name, struct zp_error *err);

#endif
