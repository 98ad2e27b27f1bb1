/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers of docs/pack-format.md that the writer and the reader share.
 */
#ifndef ZP_PACK_INTERNAL_H
#define ZP_PACK_INTERNAL_H

#include "base/digest.h"
#include "base/limits.h"

/* Devices are whole blocks of this size, and so are frames. */
#define ZP_PACK_BLOCK_SIZE 4096

/* The index: a header, then an entry per frame. All integers are little-endian. */
#define ZP_INDEX_MAGIC UINT32_C(0x5849505a) /* "ZPIX" */
#define ZP_INDEX_VERSION 1
#define ZP_INDEX_AT_MAGIC 0
#define ZP_INDEX_AT_VERSION 4
#define ZP_INDEX_AT_FRAME_SIZE 8
#define ZP_INDEX_AT_FRAME_COUNT 12
#define ZP_INDEX_AT_DEVICE_SIZE 16
#define ZP_INDEX_AT_PACK_SIZE 24
#define ZP_INDEX_HEADER_SIZE 32
#define ZP_INDEX_ENTRY_AT_OFFSET 0
#define ZP_INDEX_ENTRY_AT_DIGEST 8
#define ZP_INDEX_ENTRY_SIZE (8 + ZP_SHA256_SIZE)

/* The seek table of zstd's seekable format 0.1.0, without checksums. */
#define ZP_SEEK_TABLE_SKIPPABLE_MAGIC UINT32_C(0x184d2a5e)
#define ZP_SEEK_TABLE_MAGIC UINT32_C(0x8f92eab1)
#define ZP_SEEK_TABLE_HEADER_SIZE 8
#define ZP_SEEK_TABLE_ENTRY_SIZE 8
#define ZP_SEEK_TABLE_FOOTER_SIZE 9

static inline uint64_t zp_seek_table_size(uint32_t frames) {
        return ZP_SEEK_TABLE_HEADER_SIZE + (uint64_t) frames * ZP_SEEK_TABLE_ENTRY_SIZE + ZP_SEEK_TABLE_FOOTER_SIZE;
}

/* Whether a pack may have frames of this size. */
static inline bool zp_pack_frame_size_ok(uint32_t size) {
        return size >= ZP_PACK_BLOCK_SIZE && size % ZP_PACK_BLOCK_SIZE == 0 && size <= ZP_LIMIT_FRAME_SIZE;
}

struct zp_pack_index;
/* Writes the seek table that belongs to an index into zp_seek_table_size() bytes. */
void zp_seek_table_fill(const struct zp_pack_index *index, uint8_t *out);

#endif
