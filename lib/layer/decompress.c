/* SPDX-License-Identifier: Apache-2.0
 *
 * One decoder per kind, each a loop: see that there is room in the caller's buffer, decode into it, until
 * the input is used up and nothing is left inside the decoder.
 */
#include "layer/decompress.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/bytes.h"

/* RFC 8878 asks decoders to support at least 8 MiB; 128 MiB is what the zstd program accepts unless told
 * otherwise. This is also the memory one layer can make us take. */
#define ZSTD_WINDOW_LOG_MAX 27
/* ISA-L counts in 32 bits. */
#define PART_MAX (UINT32_C(1) << 30)

enum gzip_state {
        GZIP_BETWEEN, /* before a member */
        GZIP_HEADER,
        GZIP_BODY, /* and trailer */
};

struct gzip {
        enum gzip_state state;
        bool had_member;
        struct isal_gzip_header header;
        struct inflate_state inflate;
};

struct zp_decompress {
        zp_decompress_output output;
        void *context;
        uint8_t *buffer; /* the caller's */
        size_t size, used;
        bool is_known; /* `kind` is */
        enum zp_compression kind;
        int failure; /* 0, or what the call that failed has returned */
        uint8_t head[ZP_COMPRESSION_HEAD_SIZE];
        size_t head_size;
        struct gzip *gzip;
        ZSTD_DCtx *zstd;
        bool is_inside_frame; /* of zstd */
        uint8_t magic[4];     /* of the frame that begins */
        size_t magic_size;
};

static bool starts_with(const uint8_t *head, size_t size, const void *magic, size_t magic_size) {
        return size >= magic_size && memcmp(head, magic, magic_size) == 0;
}

enum zp_compression zp_compression_of(const void *head, size_t size) {
        if (starts_with(head, size, "\x1f\x8b\x08", 3))
                return ZP_COMPRESSION_GZIP;
        if (size >= 4 && zp_get_le32(head) == ZSTD_MAGICNUMBER)
                return ZP_COMPRESSION_ZSTD;
        /* As containerd: a skippable frame is one with its size. */
        if (size >= 8 && (zp_get_le32(head) & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START)
                return ZP_COMPRESSION_ZSTD;
        return ZP_COMPRESSION_NONE;
}

/* bzip2 needs all of the head, to be told from a tar whose first name begins with "BZh". */
static const char *unsupported(const uint8_t *head, size_t size) {
        if (starts_with(head, size, "\xfd\x37\x7a\x58\x5a\x00", 6))
                return "xz";
        /* The level is in between; then a block's magic, or that of the end. */
        if (size >= ZP_COMPRESSION_HEAD_SIZE && memcmp(head, "BZh", 3) == 0 &&
            (memcmp(head + 4, "\x31\x41\x59\x26\x53\x59", 6) == 0 ||
             memcmp(head + 4, "\x17\x72\x45\x38\x50\x90", 6) == 0))
                return "bzip2";
        return NULL;
}

static int ensure_room(struct zp_decompress *d, struct zp_error *err) {
        if (d->used < d->size)
                return 0;
        int ret = d->output(d->context, d->used, 0, &d->buffer, &d->size, err);
        d->used = 0;
        if (ret < 0) {
                d->size = 0;
                return ret;
        }
        if (d->size == 0)
                return zp_error_set(err, EINVAL, "decompress: no room for the output");
        return 0;
}

static int push_plain(struct zp_decompress *d, const uint8_t *data, size_t size, struct zp_error *err) {
        while (size > 0) {
                int ret = ensure_room(d, err);
                if (ret < 0)
                        return ret;
                size_t part = zp_min_u64(size, d->size - d->used);
                memcpy(d->buffer + d->used, data, part);
                d->used += part;
                data += part;
                size -= part;
        }
        return 0;
}

static int start_gzip(struct zp_decompress *d, struct zp_error *err) {
        d->gzip = calloc(1, sizeof *d->gzip);
        if (!d->gzip)
                return zp_error_errno(err, ENOMEM, "gzip");
        isal_inflate_init(&d->gzip->inflate);
        return 0;
}

static int gzip_failed(int code, struct zp_error *err) {
        switch (code) {
        case ISAL_INCORRECT_CHECKSUM:
                return zp_error_set(err, EBADMSG, "gzip: checksum or length does not match the contents");
        case ISAL_INVALID_WRAPPER:
        case ISAL_UNSUPPORTED_METHOD:
                return zp_error_set(err, EBADMSG, "gzip: bad header");
        default:
                return zp_error_set(err, EBADMSG, "gzip: the compressed data is damaged");
        }
}

/* Returns 1 when the header is read, 0 when it needs more input. The header is read here and not inside
 * isal_inflate(), which forgets the flags when a header comes in pieces. */
static int read_gzip_header(struct gzip *gzip, struct zp_error *err) {
        if (gzip->state == GZIP_BETWEEN) {
                isal_inflate_reset(&gzip->inflate);
                gzip->inflate.crc_flag = ISAL_GZIP;
                isal_gzip_header_init(&gzip->header);
                gzip->state = GZIP_HEADER;
        }
        int code = isal_read_gzip_header(&gzip->inflate, &gzip->header);
        if (code == ISAL_END_INPUT)
                return 0;
        if (code != ISAL_DECOMP_OK && gzip->had_member)
                return zp_error_set(err, EBADMSG, "gzip: bytes after the end that are no gzip");
        if (code != ISAL_DECOMP_OK)
                return gzip_failed(code, err);
        gzip->state = GZIP_BODY;
        return 1;
}

/* Returns 1 while there may be more to decode, 0 when all input is used up. */
static int inflate_some(struct zp_decompress *d, struct zp_error *err) {
        struct inflate_state *inflate = &d->gzip->inflate;
        int ret = ensure_room(d, err);
        if (ret < 0)
                return ret;
        uint32_t room = (uint32_t) zp_min_u64(d->size - d->used, PART_MAX);
        inflate->next_out = d->buffer + d->used;
        inflate->avail_out = room;
        int code = isal_inflate(inflate);
        d->used += room - inflate->avail_out;
        if (code != ISAL_DECOMP_OK)
                return gzip_failed(code, err);
        if (inflate->block_state == ISAL_BLOCK_FINISH) {
                d->gzip->state = GZIP_BETWEEN;
                d->gzip->had_member = true;
                return inflate->avail_in > 0;
        }
        if (inflate->avail_out == 0)
                return 1;
        return inflate->avail_in > 0 ? gzip_failed(ISAL_INVALID_BLOCK, err) : 0;
}

static int push_gzip(struct zp_decompress *d, const uint8_t *data, size_t size, struct zp_error *err) {
        struct gzip *gzip = d->gzip;
        while (size > 0) {
                uint32_t part = (uint32_t) zp_min_u64(size, PART_MAX);
                gzip->inflate.next_in = (uint8_t *) data;
                gzip->inflate.avail_in = part;
                int ret = 1;
                while (ret > 0) {
                        if (gzip->state != GZIP_BODY)
                                ret = read_gzip_header(gzip, err);
                        if (ret > 0)
                                ret = inflate_some(d, err);
                }
                if (ret < 0)
                        return ret;
                data += part;
                size -= part;
        }
        return 0;
}

static int start_zstd(struct zp_decompress *d, struct zp_error *err) {
        d->zstd = ZSTD_createDCtx();
        if (!d->zstd)
                return zp_error_errno(err, ENOMEM, "zstd");
        ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
        return 0;
}

static int zstd_failed(size_t code, struct zp_error *err) {
        switch (ZSTD_getErrorCode(code)) {
        case ZSTD_error_memory_allocation:
                return zp_error_errno(err, ENOMEM, "zstd");
        case ZSTD_error_frameParameter_windowTooLarge:
                return zp_error_set(err, ENOTSUP, "zstd: needs a window larger than %u MiB",
                                    (1U << ZSTD_WINDOW_LOG_MAX) >> 20);
        default:
                return zp_error_set(err, EBADMSG, "zstd: %s", ZSTD_getErrorName(code));
        }
}

/* Decodes until the input is used up or the frame is complete. */
static int decode_frame(struct zp_decompress *d, ZSTD_inBuffer *in, struct zp_error *err) {
        size_t left;
        do {
                int ret = ensure_room(d, err);
                if (ret < 0)
                        return ret;
                ZSTD_outBuffer out = { d->buffer, d->size, d->used };
                left = ZSTD_decompressStream(d->zstd, &out, in);
                d->used = out.pos;
                if (ZSTD_isError(left))
                        return zstd_failed(left, err);
        } while (left > 0 && (in->pos < in->size || d->used == d->size));
        d->is_inside_frame = left > 0;
        return 0;
}

/* Collects the four bytes a frame begins with, and has a look before libzstd does: that may also know the
 * formats before 0.8, which no image has and whose decoders nobody looks after. */
static int begin_frame(struct zp_decompress *d, ZSTD_inBuffer *in, struct zp_error *err) {
        size_t part = zp_min_u64(in->size - in->pos, sizeof d->magic - d->magic_size);
        memcpy(d->magic + d->magic_size, (const uint8_t *) in->src + in->pos, part);
        d->magic_size += part;
        in->pos += part;
        if (d->magic_size < sizeof d->magic)
                return 0;
        uint32_t magic = zp_get_le32(d->magic);
        if (magic != ZSTD_MAGICNUMBER && (magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
                return zp_error_set(err, EBADMSG, "zstd: bytes after the end that are no zstd");
        d->magic_size = 0;
        ZSTD_inBuffer magic_in = { d->magic, sizeof d->magic, 0 };
        return decode_frame(d, &magic_in, err);
}

static int push_zstd(struct zp_decompress *d, const uint8_t *data, size_t size, struct zp_error *err) {
        ZSTD_inBuffer in = { data, size, 0 };
        int ret = 0;
        while (ret == 0 && in.pos < in.size)
                ret = d->is_inside_frame ? decode_frame(d, &in, err) : begin_frame(d, &in, err);
        return ret;
}

static int push_known(struct zp_decompress *d, const uint8_t *data, size_t size, struct zp_error *err) {
        if (size == 0)
                return 0;
        switch (d->kind) {
        case ZP_COMPRESSION_GZIP:
                return push_gzip(d, data, size, err);
        case ZP_COMPRESSION_ZSTD:
                return push_zstd(d, data, size, err);
        default:
                return push_plain(d, data, size, err);
        }
}

/* Decides by the first bytes, and decodes them. */
static int start(struct zp_decompress *d, struct zp_error *err) {
        const char *what = unsupported(d->head, d->head_size);
        if (what)
                return zp_error_set(err, ENOTSUP, "compressed with %s; only gzip and zstd are supported", what);
        d->kind = zp_compression_of(d->head, d->head_size);
        d->is_known = true;
        int ret = 0;
        if (d->kind == ZP_COMPRESSION_GZIP)
                ret = start_gzip(d, err);
        else if (d->kind == ZP_COMPRESSION_ZSTD)
                ret = start_zstd(d, err);
        return ret < 0 ? ret : push_known(d, d->head, d->head_size, err);
}

static int push(struct zp_decompress *d, const uint8_t *data, size_t size, struct zp_error *err) {
        if (!d->is_known) {
                size_t part = zp_min_u64(size, ZP_COMPRESSION_HEAD_SIZE - d->head_size);
                memcpy(d->head + d->head_size, data, part);
                d->head_size += part;
                if (d->head_size < ZP_COMPRESSION_HEAD_SIZE)
                        return 0;
                int ret = start(d, err);
                if (ret < 0)
                        return ret;
                data += part;
                size -= part;
        }
        return push_known(d, data, size, err);
}

static int finish(struct zp_decompress *d, struct zp_error *err) {
        if (!d->is_known) {
                int ret = start(d, err);
                if (ret < 0)
                        return ret;
        }
        if (d->gzip && d->gzip->state != GZIP_BETWEEN)
                return zp_error_set(err, EBADMSG, "gzip: ends too early");
        if (d->zstd && (d->is_inside_frame || d->magic_size > 0))
                return zp_error_set(err, EBADMSG, "zstd: ends too early");
        uint8_t *data = NULL;
        size_t size = 0;
        return d->output(d->context, d->used, 1, &data, &size, err);
}

int zp_decompress_new(zp_decompress_output output, void *context, struct zp_decompress **out, struct zp_error *err) {
        struct zp_decompress *d = calloc(1, sizeof *d);
        if (!d)
                return zp_error_errno(err, ENOMEM, "decompress");
        d->output = output;
        d->context = context;
        *out = d;
        return 0;
}

void zp_decompress_free(struct zp_decompress *d) {
        if (!d)
                return;
        ZSTD_freeDCtx(d->zstd);
        free(d->gzip);
        free(d);
}

int zp_decompress_push(struct zp_decompress *d, const void *data, size_t size, struct zp_error *err) {
        if (d->failure)
                return zp_error_set(err, -d->failure, "decompress: failed before");
        d->failure = size > 0 ? push(d, data, size, err) : 0;
        return d->failure;
}

int zp_decompress_finish(struct zp_decompress *d, struct zp_error *err) {
        if (d->failure)
                return zp_error_set(err, -d->failure, "decompress: failed before");
        d->failure = finish(d, err);
        return d->failure;
}
