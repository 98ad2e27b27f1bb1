/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers as other programs compress them come out whole, and damaged ones never pass for whole. Streams
 * are made by zlib and libzstd.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "layer/decompress.h"

/* Grows; a piece at the end of `data` is given out at a time. */
struct sink {
        uint8_t *data;
        size_t size, piece, capacity;
        int last_calls;
        int fail_after; /* gives -ENOSPC from that call on; 0: never */
};

static int give_piece(void *context, size_t used, int is_last, uint8_t **data, size_t *size, struct zp_error *err) {
        struct sink *sink = context;
        sink->size += used;
        if (is_last) {
                sink->last_calls++;
                return 0;
        }
        if (sink->fail_after && --sink->fail_after == 0)
                return zp_error_set(err, ENOSPC, "sink is full");
        if (sink->size + sink->piece > sink->capacity) {
                sink->capacity = 2 * (sink->size + sink->piece);
                sink->data = realloc(sink->data, sink->capacity);
                assert_non_null(sink->data);
        }
        *data = sink->data + sink->size;
        *size = sink->piece;
        return 0;
}

struct stream {
        uint8_t *data;
        size_t size;
};

static void append(struct stream *stream, const void *data, size_t size) {
        stream->data = realloc(stream->data, stream->size + size + 1);
        assert_non_null(stream->data);
        memcpy(stream->data + stream->size, data, size);
        stream->size += size;
}

/* Compressible and not, in turn. */
static struct stream sample(size_t size) {
        struct stream stream = { malloc(size + 1), size };
        assert_non_null(stream.data);
        uint64_t state = 88172645463325252U;
        for (size_t i = 0; i < size; i++) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                uint8_t text = (uint8_t) "usr/share/doc/"[(i + (state % 9 == 0)) % 14];
                stream.data[i] = i / 20000 % 2 ? (uint8_t) state : text;
        }
        return stream;
}

static void append_gzip(struct stream *stream, const void *data, size_t size, int level, gz_header *header) {
        z_stream z = { 0 };
        assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        if (header)
                assert_int_equal(deflateSetHeader(&z, header), Z_OK);
        size_t bound = deflateBound(&z, size) + 70000;
        uint8_t *out = malloc(bound);
        z.next_in = (uint8_t *) (uintptr_t) data;
        z.avail_in = (uInt) size;
        z.next_out = out;
        z.avail_out = (uInt) bound;
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        append(stream, out, bound - z.avail_out);
        deflateEnd(&z);
        free(out);
}

static void append_zstd(struct stream *stream, const void *data, size_t size, int level) {
        size_t bound = ZSTD_compressBound(size);
        uint8_t *out = malloc(bound);
        size_t written = ZSTD_compress(out, bound, data, size, level);
        assert_false(ZSTD_isError(written));
        append(stream, out, written);
        free(out);
}

/* Returns what push or finish returned. `pushed` bytes at a time go in, `piece` at a time come out. */
static int decode(const void *data, size_t size, size_t pushed, struct sink *sink, struct zp_error *err) {
        struct zp_decompress *d;
        assert_int_equal(zp_decompress_new(give_piece, sink, &d, err), 0);
        int ret = 0;
        for (size_t at = 0; at < size && ret == 0; at += pushed) {
                size_t part = zp_min_u64(pushed, size - at);
                uint8_t *copy = malloc(part); /* so that a read past its end is seen */
                memcpy(copy, (const uint8_t *) data + at, part);
                ret = zp_decompress_push(d, copy, part, err);
                free(copy);
        }
        if (ret == 0)
                ret = zp_decompress_finish(d, err);
        else
                assert_int_equal(zp_decompress_finish(d, NULL), ret); /* a failure stays */
        zp_decompress_free(d);
        return ret;
}

static void assert_decodes(const struct stream *stream, const struct stream *plain, enum zp_compression expected) {
        static const size_t pushes[] = { 1, 7, 1000, 65536, SIZE_MAX / 2 };
        static const size_t pieces[] = { 1, 13, 4096, 40000, 1 << 20 };
        for (size_t i = 0; i < 5; i++) {
                for (size_t j = 0; j < 5; j++) {
                        if (plain->size > 20000 && (i < 2 || j < 2))
                                continue; /* slow, and small ones are done so */
                        struct sink sink = { .piece = pieces[j] };
                        struct zp_error err = { 0 };
                        assert_int_equal(decode(stream->data, stream->size, pushes[i], &sink, &err), 0);
                        assert_int_equal(zp_compression_of(stream->data, stream->size), expected);
                        assert_int_equal(sink.last_calls, 1);
                        assert_int_equal(sink.size, plain->size);
                        assert_true(plain->size == 0 || memcmp(sink.data, plain->data, plain->size) == 0);
                        free(sink.data);
                }
        }
}

static int refusal(const void *data, size_t size, struct zp_error *err) {
        int first = 0;
        for (size_t pushed = 1; pushed <= 100000; pushed *= 100000) {
                struct sink sink = { .piece = 5000 };
                int ret = decode(data, size, pushed, &sink, err);
                free(sink.data);
                if (pushed == 1)
                        first = ret;
                assert_int_equal(ret, first);
        }
        return first;
}

static void gzip_of_every_level_comes_out_whole(void **state) {
        (void) state;
        static const size_t sizes[] = { 0, 1, 300, 20000, 32768, 65536, 300000 };
        for (size_t i = 0; i < 7; i++) {
                struct stream plain = sample(sizes[i]);
                for (int level = 0; level <= 9; level += 3) {
                        struct stream stream = { 0 };
                        append_gzip(&stream, plain.data, plain.size, level, NULL);
                        assert_decodes(&stream, &plain, ZP_COMPRESSION_GZIP);
                        free(stream.data);
                }
                free(plain.data);
        }
}

static void all_gzip_members_are_read(void **state) {
        (void) state;
        struct stream plain = sample(19000), stream = { 0 };
        append_gzip(&stream, plain.data, 5000, 6, NULL);
        append_gzip(&stream, "", 0, 6, NULL);
        append_gzip(&stream, plain.data + 5000, 1, 9, NULL);
        append_gzip(&stream, plain.data + 5001, 13999, 1, NULL);
        assert_decodes(&stream, &plain, ZP_COMPRESSION_GZIP);
        free(stream.data);
        free(plain.data);
}

static void gzip_headers_with_every_field_are_read(void **state) {
        (void) state;
        struct stream plain = sample(2000);
        uint8_t extra[700];
        memset(extra, 0x5a, sizeof extra);
        for (unsigned fields = 0; fields < 16; fields++) {
                gz_header header = { .time = 1, .os = 3 };
                if (fields & 1) {
                        header.extra = extra;
                        header.extra_len = sizeof extra;
                }
                if (fields & 2)
                        header.name = (uint8_t *) (uintptr_t) "layer.tar";
                if (fields & 4)
                        header.comment = (uint8_t *) (uintptr_t) "a comment";
                header.hcrc = fields & 8;
                struct stream stream = { 0 };
                append_gzip(&stream, plain.data, 1000, 6, &header);
                append_gzip(&stream, plain.data + 1000, 1000, 6, &header);
                assert_decodes(&stream, &plain, ZP_COMPRESSION_GZIP);
                free(stream.data);
        }
        free(plain.data);
}

static void damaged_gzip_is_refused(void **state) {
        (void) state;
        struct stream plain = sample(600), stream = { 0 };
        struct zp_error err;
        append_gzip(&stream, plain.data, 600, 6, NULL);
        for (size_t size = 3; size < stream.size; size++)
                assert_int_equal(refusal(stream.data, size, &err), -EBADMSG);
        for (size_t i = 0; i < 8; i++) { /* checksum and length */
                stream.data[stream.size - 1 - i] ^= 1;
                assert_int_equal(refusal(stream.data, stream.size, &err), -EBADMSG);
                stream.data[stream.size - 1 - i] ^= 1;
        }
        for (size_t i = 10; i < stream.size - 9; i++) { /* the last byte before has bits that mean nothing */
                stream.data[i] ^= 0x20;
                assert_int_equal(refusal(stream.data, stream.size, &err), -EBADMSG);
                stream.data[i] ^= 0x20;
        }
        free(stream.data);
        free(plain.data);
}

static void bytes_after_the_last_member_are_refused(void **state) {
        (void) state;
        static const char *const tails[] = { "\0", "\0\0\0\0\0\0\0\0\0\0\0\0", "garbage at the end", "\x1f\x8b",
                                             /* zstd 0.5, a format of 2016 */
                                             "\x25\xb5\x2f\xfd\x08\xd1\xd2\xd3" };
        static const size_t sizes[] = { 1, 12, 18, 2, 8 };
        struct stream plain = sample(600);
        for (size_t i = 0; i < 5; i++) {
                struct zp_error err;
                struct stream gzip = { 0 }, zstd = { 0 };
                append_gzip(&gzip, plain.data, plain.size, 6, NULL);
                append(&gzip, tails[i], sizes[i]);
                assert_int_equal(refusal(gzip.data, gzip.size, &err), -EBADMSG);
                append_zstd(&zstd, plain.data, plain.size, 3);
                append(&zstd, tails[i], sizes[i]);
                assert_int_equal(refusal(zstd.data, zstd.size, &err), -EBADMSG);
                free(gzip.data);
                free(zstd.data);
        }
        free(plain.data);
}

static void zstd_frames_and_skippable_frames_are_read(void **state) {
        (void) state;
        struct stream plain = sample(19000);
        for (int first = 0; first < 2; first++) { /* with a skippable frame first or not */
                struct stream stream = { 0 };
                if (first)
                        append(&stream, "\x5e\x2a\x4d\x18\x03\0\0\0abc", 11);
                append_zstd(&stream, plain.data, 4096, 3);
                append(&stream, "\x50\x2a\x4d\x18\0\0\0\0", 8);
                append_zstd(&stream, "", 0, 3);
                append_zstd(&stream, plain.data + 4096, 19000 - 4096, 19);
                assert_decodes(&stream, &plain, ZP_COMPRESSION_ZSTD);
                free(stream.data);
        }
        free(plain.data);
}

static void damaged_zstd_is_refused(void **state) {
        (void) state;
        struct stream plain = sample(30000), stream = { 0 };
        struct zp_error err;
        ZSTD_CCtx *context = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        stream.data = malloc(ZSTD_compressBound(plain.size));
        stream.size = ZSTD_compress2(context, stream.data, ZSTD_compressBound(plain.size), plain.data, plain.size);
        ZSTD_freeCCtx(context);
        for (size_t size = 4; size < stream.size; size += 71)
                assert_int_equal(refusal(stream.data, size, &err), -EBADMSG);
        for (size_t i = 9; i < stream.size; i += 71) {
                stream.data[i] ^= 0x20;
                assert_int_equal(refusal(stream.data, stream.size, &err), -EBADMSG);
                stream.data[i] ^= 0x20;
        }
        free(stream.data);
        free(plain.data);
}

static void a_zstd_window_beyond_the_limit_is_refused(void **state) {
        (void) state;
        /* RFC 8878, 3.1.1.1: no single segment, window descriptor 0x90: exponent 18, 256 MiB. */
        static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x90, 0x09, 0x00, 0x00, 'a', 0 };
        struct zp_error err;
        assert_int_equal(refusal(frame, sizeof frame, &err), -ENOTSUP);
        assert_non_null(strstr(err.message, "128 MiB"));
}

static void what_is_not_compressed_passes_through(void **state) {
        (void) state;
        static const size_t sizes[] = { 0, 1, 2, 9, 10, 11, 100000 };
        for (size_t i = 0; i < 7; i++) {
                struct stream plain = sample(sizes[i]);
                assert_decodes(&plain, &plain, ZP_COMPRESSION_NONE);
                free(plain.data);
        }
        /* Tar archives whose first name looks like another format, and beginnings of magics. */
        static const char *const names[] = { "BZh9-file-name",
                                             "BZh",
                                             "\x1f\x8b",
                                             "\x28\xb5\x2f",
                                             "\x50\x2a\x4d\x18",
                                             "\xfd"
                                             "7zXZ" };
        for (size_t i = 0; i < 6; i++) {
                struct stream plain = { (uint8_t *) (uintptr_t) names[i], strlen(names[i]) };
                assert_decodes(&plain, &plain, ZP_COMPRESSION_NONE);
        }
}

static void bzip2_and_xz_are_named_in_the_refusal(void **state) {
        (void) state;
        struct zp_error err;
        static const char bzip2[] = "BZh91AY&SY\x12\x34", empty_bzip2[] = "BZh9\x17\x72\x45\x38\x50\x90\0\0\0\0";
        static const char xz[] = "\xfd"
                                 "7zXZ\0\0\x04\xe6\xd6\xb4\x46";
        assert_int_equal(refusal(bzip2, sizeof bzip2 - 1, &err), -ENOTSUP);
        assert_non_null(strstr(err.message, "bzip2"));
        assert_int_equal(refusal(empty_bzip2, sizeof empty_bzip2 - 1, &err), -ENOTSUP);
        assert_int_equal(refusal(xz, sizeof xz - 1, &err), -ENOTSUP);
        assert_non_null(strstr(err.message, "xz"));
}

static void an_error_of_the_receiver_comes_back(void **state) {
        (void) state;
        struct stream plain = sample(50000), gzip = { 0 }, zstd = { 0 };
        append_gzip(&gzip, plain.data, plain.size, 6, NULL);
        append_zstd(&zstd, plain.data, plain.size, 3);
        const struct stream *streams[] = { &plain, &gzip, &zstd };
        for (size_t i = 0; i < 3; i++) {
                struct sink sink = { .piece = 1000, .fail_after = 5 };
                struct zp_error err = { 0 };
                assert_int_equal(decode(streams[i]->data, streams[i]->size, 1000, &sink, &err), -ENOSPC);
                assert_string_equal(err.message, "sink is full");
                assert_int_equal(sink.last_calls, 0);
                free(sink.data);
        }
        free(gzip.data);
        free(zstd.data);
        free(plain.data);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(gzip_of_every_level_comes_out_whole),
                cmocka_unit_test(all_gzip_members_are_read),
                cmocka_unit_test(gzip_headers_with_every_field_are_read),
                cmocka_unit_test(damaged_gzip_is_refused),
                cmocka_unit_test(bytes_after_the_last_member_are_refused),
                cmocka_unit_test(zstd_frames_and_skippable_frames_are_read),
                cmocka_unit_test(damaged_zstd_is_refused),
                cmocka_unit_test(a_zstd_window_beyond_the_limit_is_refused),
                cmocka_unit_test(what_is_not_compressed_passes_through),
                cmocka_unit_test(bzip2_and_xz_are_named_in_the_refusal),
                cmocka_unit_test(an_error_of_the_receiver_comes_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
