/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks an index and single frames against it.
 */
#include "pack/index.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "pack/pack-internal.h"

uint32_t zp_pack_packed_size_max(uint32_t frame_size) {
        return (uint32_t) ZSTD_compressBound(frame_size);
}

static const uint8_t *entry_of(const struct zp_pack_index *index, uint32_t number) {
        return index->entries + (size_t) number * ZP_INDEX_ENTRY_SIZE;
}

static uint64_t offset_of(const struct zp_pack_index *index, uint32_t number) {
        if (number == index->frame_count)
                return index->pack_size - zp_seek_table_size(index->frame_count);
        return zp_get_le64(entry_of(index, number) + ZP_INDEX_ENTRY_AT_OFFSET);
}

static int bad(const char *name, const char *what, struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "index of '%s': %s", name, what);
}

static int check_header(const struct zp_pack_index *index, size_t size, const char *name, struct zp_error *err) {
        if (!zp_pack_frame_size_ok(index->frame_size))
                return bad(name, "impossible frame size", err);
        if (index->frame_count > ZP_LIMIT_PACK_FRAMES)
                return bad(name, "too many frames", err);
        if (size != ZP_INDEX_HEADER_SIZE + (uint64_t) index->frame_count * ZP_INDEX_ENTRY_SIZE)
                return bad(name, "its size does not fit its number of frames", err);
        uint64_t device_max = (uint64_t) index->frame_count * index->frame_size;
        if (index->device_size % ZP_PACK_BLOCK_SIZE || index->device_size > device_max ||
            device_max - index->device_size >= index->frame_size)
                return bad(name, "the device's size does not fit the number of frames", err);
        if (index->pack_size < zp_seek_table_size(index->frame_count))
                return bad(name, "impossible pack size", err);
        return 0;
}

static int check_offsets(const struct zp_pack_index *index, const char *name, struct zp_error *err) {
        if (offset_of(index, 0) != 0)
                return bad(name, "the first frame is not at the start", err);
        uint64_t packed_max = zp_pack_packed_size_max(index->frame_size);
        for (uint32_t i = 0; i < index->frame_count; i++) {
                uint64_t start = offset_of(index, i), end = offset_of(index, i + 1);
                if (end <= start || end - start > packed_max)
                        return zp_error_set(err, EBADMSG, "index of '%s': impossible size of frame %u", name, i);
        }
        return 0;
}

int zp_pack_index_parse(const void *data, size_t size, const struct zp_digest *digest, const char *name,
                        struct zp_pack_index *out, struct zp_error *err) {
        if (digest) {
                struct zp_digest actual;
                zp_digest_of(data, size, &actual);
                if (!zp_digest_equal(&actual, digest))
                        return bad(name, "its SHA-256 is not the expected one", err);
        }
        struct zp_reader r = zp_reader(data, size);
        uint32_t magic = zp_read_le32(&r), version = zp_read_le32(&r);
        struct zp_pack_index index = { 0 };
        index.frame_size = zp_read_le32(&r);
        index.frame_count = zp_read_le32(&r);
        index.device_size = zp_read_le64(&r);
        index.pack_size = zp_read_le64(&r);
        index.entries = r.next;
        if (r.failed || magic != ZP_INDEX_MAGIC)
                return bad(name, "not an index", err);
        if (version != ZP_INDEX_VERSION)
                return zp_error_set(err, EBADMSG, "index of '%s': unknown version %u", name, version);
        int ret = check_header(&index, size, name, err);
        if (ret == 0)
                ret = check_offsets(&index, name, err);
        if (ret < 0)
                return ret;
        *out = index;
        return 0;
}

struct zp_pack_frame zp_pack_index_frame(const struct zp_pack_index *index, uint32_t number) {
        struct zp_pack_frame frame = {
                .packed_offset = offset_of(index, number),
                .device_offset = (uint64_t) number * index->frame_size,
        };
        frame.packed_size = (uint32_t) (offset_of(index, number + 1) - frame.packed_offset);
        frame.size = (uint32_t) zp_min_u64(index->frame_size, index->device_size - frame.device_offset);
        memcpy(frame.digest.bytes, entry_of(index, number) + ZP_INDEX_ENTRY_AT_DIGEST, ZP_SHA256_SIZE);
        return frame;
}

void zp_seek_table_fill(const struct zp_pack_index *index, uint8_t *out) {
        zp_put_le32(out, ZP_SEEK_TABLE_SKIPPABLE_MAGIC);
        zp_put_le32(out + 4, (uint32_t) (zp_seek_table_size(index->frame_count) - ZP_SEEK_TABLE_HEADER_SIZE));
        out += ZP_SEEK_TABLE_HEADER_SIZE;
        for (uint32_t i = 0; i < index->frame_count; i++, out += ZP_SEEK_TABLE_ENTRY_SIZE) {
                struct zp_pack_frame frame = zp_pack_index_frame(index, i);
                zp_put_le32(out, frame.packed_size);
                zp_put_le32(out + 4, frame.size);
        }
        zp_put_le32(out, index->frame_count);
        out[4] = 0;
        zp_put_le32(out + 5, ZP_SEEK_TABLE_MAGIC);
}

struct zp_pack_decoder {
        ZSTD_DCtx *context;
};

struct zp_pack_decoder *zp_pack_decoder_new(void) {
        struct zp_pack_decoder *decoder = calloc(1, sizeof *decoder);
        if (!decoder)
                return NULL;
        decoder->context = ZSTD_createDCtx();
        if (!decoder->context) {
                free(decoder);
                return NULL;
        }
        return decoder;
}

void zp_pack_decoder_free(struct zp_pack_decoder *decoder) {
        if (!decoder)
                return;
        ZSTD_freeDCtx(decoder->context);
        free(decoder);
}

int zp_pack_decode(struct zp_pack_decoder *decoder, const struct zp_pack_frame *frame, const void *packed, void *out,
                   const char *name, struct zp_error *err) {
        unsigned long long at = frame->packed_offset;
        struct zp_digest actual;
        zp_digest_of(packed, frame->packed_size, &actual);
        if (!zp_digest_equal(&actual, &frame->digest))
                return zp_error_set(err, EBADMSG, "'%s': frame at byte %llu: SHA-256 differs from the index", name, at);
        /* The magic: libzstd may also know the formats before 0.8, whose decoders nobody looks after. */
        if (frame->packed_size < 4 || zp_get_le32(packed) != ZSTD_MAGICNUMBER ||
            ZSTD_getFrameContentSize(packed, frame->packed_size) != frame->size ||
            ZSTD_findFrameCompressedSize(packed, frame->packed_size) != frame->packed_size)
                return zp_error_set(err, EBADMSG, "'%s': frame at byte %llu: not one zstd frame of %u bytes", name, at,
                                    frame->size);
        size_t size = ZSTD_decompressDCtx(decoder->context, out, frame->size, packed, frame->packed_size);
        if (ZSTD_isError(size))
                return zp_error_set(err, EBADMSG, "'%s': frame at byte %llu: %s", name, at, ZSTD_getErrorName(size));
        if (size != frame->size)
                return zp_error_set(err, EBADMSG, "'%s': frame at byte %llu: %zu bytes instead of %u", name, at, size,
                                    frame->size);
        return 0;
}
