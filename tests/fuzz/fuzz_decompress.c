/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a layer. The first byte chooses how the rest is cut into pieces; whole or in pieces, the
 * outcome must be the same. Gzip is compared with zlib: what zlib accepts we must accept, and give out
 * the same. Since a mutated checksum is hardly ever right, the bytes are also taken as a bare deflate
 * stream, which gets a header and the right trailer.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/bytes.h"
#include "layer/decompress.h"

#define OUTPUT_MAX (8 << 20)

struct sink {
        uint8_t *data;
        size_t size, piece;
};

static uint8_t *outputs[3];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        (void) argc;
        (void) argv;
        for (int i = 0; i < 3; i++)
                if (!(outputs[i] = malloc(OUTPUT_MAX)))
                        abort();
        return 0;
}

static int give_piece(void *context, size_t used, int is_last, uint8_t **data, size_t *size, struct zp_error *err) {
        struct sink *sink = context;
        assert(used <= sink->piece);
        sink->size += used;
        if (is_last)
                return 0;
        if (sink->piece > OUTPUT_MAX - sink->size)
                return zp_error_set(err, EFBIG, "too large");
        *data = sink->data + sink->size;
        *size = sink->piece;
        return 0;
}

static int decode(const uint8_t *data, size_t size, size_t pushed, struct sink *sink) {
        struct zp_decompress *d;
        if (zp_decompress_new(give_piece, sink, &d, NULL) < 0)
                abort();
        int ret = 0;
        for (size_t at = 0; at < size && ret == 0; at += pushed)
                ret = zp_decompress_push(d, data + at, zp_min_u64(pushed, size - at), NULL);
        if (ret == 0)
                ret = zp_decompress_finish(d, NULL);
        zp_decompress_free(d);
        return ret;
}

/* All members, as gzip(1) reads them; of bare deflate (negative `window_bits`) there is one. Returns the
 * size, or -1 when zlib refuses them or they are too large. `left`: how many bytes of `data` follow. */
static int64_t decode_with_zlib(const uint8_t *data, size_t size, int window_bits, uint8_t *out, size_t *left) {
        z_stream z = { 0 };
        if (inflateInit2(&z, window_bits) != Z_OK)
                abort();
        z.next_in = (uint8_t *) (uintptr_t) data;
        z.avail_in = (uInt) size;
        z.next_out = out;
        z.avail_out = OUTPUT_MAX;
        int ret;
        do {
                ret = inflate(&z, Z_FINISH);
        } while (ret == Z_STREAM_END && window_bits > 0 && z.avail_in > 0 && inflateReset(&z) == Z_OK);
        int64_t decoded = ret == Z_STREAM_END ? (int64_t) (OUTPUT_MAX - z.avail_out) : -1;
        *left = z.avail_in;
        inflateEnd(&z);
        return decoded;
}

static void check(const uint8_t *data, size_t size, uint8_t cut) {
        struct sink whole = { .data = outputs[0], .piece = 65536 };
        struct sink pieces = { .data = outputs[1], .piece = 1 + (size_t) (cut >> 4) * 37 };
        int ret = decode(data, size, size + 1, &whole);
        int ret_pieces = decode(data, size, 1 + (size_t) (cut & 15) * 5, &pieces);
        if (ret == -EFBIG || ret_pieces == -EFBIG)
                return;
        assert((ret == 0) == (ret_pieces == 0));
        assert(ret < 0 || (whole.size == pieces.size && memcmp(outputs[0], outputs[1], whole.size) == 0));
        if (zp_compression_of(data, size) != ZP_COMPRESSION_GZIP)
                return;
        size_t left;
        int64_t expected = decode_with_zlib(data, size, 15 + 16, outputs[2], &left);
        assert(expected < 0 || ret == 0);
        assert(expected < 0 || whole.size == (uint64_t) expected);
        assert(expected < 0 || memcmp(outputs[0], outputs[2], whole.size) == 0);
}

static void check_deflate(const uint8_t *data, size_t size, uint8_t cut) {
        static const uint8_t header[10] = { 0x1f, 0x8b, 8 };
        size_t left;
        int64_t plain = decode_with_zlib(data, size, -15, outputs[2], &left);
        if (plain < 0)
                return;
        size -= left;
        uint8_t *gzip = malloc(sizeof header + size + 8);
        memcpy(gzip, header, sizeof header);
        memcpy(gzip + sizeof header, data, size);
        zp_put_le32(gzip + sizeof header + size, (uint32_t) crc32(0, outputs[2], (uInt) plain));
        zp_put_le32(gzip + sizeof header + size + 4, (uint32_t) plain);
        check(gzip, sizeof header + size + 8, cut);
        free(gzip);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 1)
                return 0;
        check(data + 1, size - 1, data[0]);
        check_deflate(data + 1, size - 1, data[0]);
        return 0;
}
