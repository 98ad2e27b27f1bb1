/* SPDX-License-Identifier: Apache-2.0
 *
 * What the reader promises: the right bytes for every range, and nothing at all that was not checked.
 */
#include "pack-fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <zstd.h>

#include "pack/index.h"
#include "pack/reader.h"

#define FRAME 16384
#define SIZE (20 * FRAME + 8192)

static struct zp_pack *open_pack(const struct packed *packed) {
        struct zp_error err = { 0 };
        struct zp_pack *pack = NULL;
        assert_int_equal(zp_pack_open(packed->fd, "test.pack", packed->index, packed->info.index_size,
                                      &packed->info.index_digest, &pack, &err),
                         0);
        return pack;
}

static struct zp_pool *new_pool(unsigned threads) {
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        assert_int_equal(zp_pool_new(threads, &pool, &err), 0);
        return pool;
}

static void every_range_reads_as_the_device(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE), *buf = malloc(SIZE);
        struct packed packed = pack_bytes(data, SIZE, FRAME, 2);
        struct zp_pack *pack = open_pack(&packed);
        struct zp_error err = { 0 };
        assert_int_equal(zp_pack_device_size(pack), SIZE);
        assert_int_equal(zp_pack_read(pack, 0, buf, SIZE, &err), 0);
        assert_memory_equal(buf, data, SIZE);
        uint64_t offset = 1;
        for (size_t size = 0; size < SIZE; size = size * 3 / 2 + 1) {
                for (int i = 0; i < 20; i++) {
                        offset = offset * 1103515245 + 12345;
                        uint64_t at = offset % (SIZE - size + 1);
                        assert_int_equal(zp_pack_read(pack, at, buf, size, &err), 0);
                        assert_memory_equal(buf, data + at, size);
                }
        }
        zp_pack_close(pack);
        packed_clear(&packed);
        free(buf);
        free(data);
}

static void reading_past_the_end_is_refused(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE), buf[16];
        struct packed packed = pack_bytes(data, SIZE, FRAME, 1);
        struct zp_pack *pack = open_pack(&packed);
        struct zp_error err = { 0 };
        assert_int_equal(zp_pack_read(pack, SIZE, buf, 0, &err), 0);
        assert_int_equal(zp_pack_read(pack, SIZE, buf, 1, &err), -ERANGE);
        assert_int_equal(zp_pack_read(pack, SIZE - 15, buf, 16, &err), -ERANGE);
        assert_int_equal(zp_pack_read(pack, UINT64_MAX, buf, 16, &err), -ERANGE);
        zp_pack_close(pack);
        packed_clear(&packed);
        free(data);
}

static void a_changed_byte_is_never_handed_out(void **state) {
        (void) state;
        size_t size = 3 * FRAME;
        uint8_t *data = sample_device(size), buf[FRAME], untouched[FRAME];
        struct packed packed = pack_bytes(data, size, FRAME, 1);
        struct zp_pack_index index;
        struct zp_error err = { 0 };
        memset(untouched, 0xA5, sizeof untouched);
        assert_int_equal(zp_pack_index_parse(packed.index, packed.info.index_size, NULL, "x", &index, &err), 0);
        struct zp_pack_frame frame = zp_pack_index_frame(&index, 1);
        for (uint32_t i = 0; i < frame.packed_size; i += 37) {
                uint8_t byte, changed;
                assert_int_equal(pread(packed.fd, &byte, 1, (off_t) (frame.packed_offset + i)), 1);
                changed = byte ^ 0x10;
                assert_int_equal(pwrite(packed.fd, &changed, 1, (off_t) (frame.packed_offset + i)), 1);
                struct zp_pack *pack = open_pack(&packed);
                for (size_t length = FRAME - 1; length <= FRAME; length++) { /* through the cache, and around it */
                        memset(buf, 0xA5, sizeof buf);
                        assert_int_equal(zp_pack_read(pack, FRAME, buf, length, &err), -EBADMSG);
                        assert_memory_equal(buf, untouched, sizeof buf);
                }
                assert_int_equal(zp_pack_read(pack, 2 * FRAME, buf, FRAME, &err), 0);
                zp_pack_close(pack);
                assert_int_equal(pwrite(packed.fd, &byte, 1, (off_t) (frame.packed_offset + i)), 1);
        }
        packed_clear(&packed);
        free(data);
}

/* An index whose digests are right may still come from an attacker. */
static void a_frame_of_another_size_is_refused(void **state) {
        (void) state;
        static const size_t sizes[] = { FRAME - 1, FRAME + 1, 0, (size_t) 1 << 20 };
        uint8_t *data = sample_device((size_t) 1 << 20), *buf = malloc(FRAME);
        for (size_t i = 0; i < 5; i++) {
                uint8_t frame[ZSTD_COMPRESSBOUND(FRAME)];
                size_t frame_size;
                if (i < 4) {
                        uint8_t *zeros = calloc(1, sizes[i] + 1);
                        frame_size = ZSTD_compress(frame, sizeof frame, zeros, sizes[i], 1);
                        free(zeros);
                } else { /* two frames that make up the size */
                        frame_size = ZSTD_compress(frame, sizeof frame, data, FRAME / 2, 1);
                        frame_size += ZSTD_compress(frame + frame_size, sizeof frame - frame_size, data, FRAME / 2, 1);
                }
                assert_false(ZSTD_isError(frame_size));
                uint8_t index[72] = "ZPIX\1";
                struct zp_digest digest;
                zp_digest_of(frame, frame_size, &digest);
                zp_put_le32(index + 8, FRAME);
                zp_put_le32(index + 12, 1);
                zp_put_le64(index + 16, FRAME);
                zp_put_le64(index + 24, frame_size + 8 + 8 + 9);
                memcpy(index + 40, digest.bytes, sizeof digest.bytes);
                int fd = temporary_file();
                assert_int_equal(pwrite(fd, frame, frame_size, 0), frame_size);
                struct zp_pack *pack;
                struct zp_error err = { 0 };
                assert_int_equal(zp_pack_open(fd, "x", index, sizeof index, NULL, &pack, &err), 0);
                assert_int_equal(zp_pack_read(pack, 0, buf, FRAME, &err), -EBADMSG);
                zp_pack_close(pack);
                close(fd);
        }
        free(buf);
        free(data);
}

static void a_malformed_index_is_refused(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE);
        struct packed packed = pack_bytes(data, SIZE, FRAME, 1);
        static const struct {
                size_t at;
                unsigned bytes;
                uint64_t value;
        } changes[] = {
                { 0, 4, 0 }, /* magic */
                { 4, 4, 2 }, /* version */
                { 8, 4, 0 }, /* frame size */
                { 8, 4, 4095 },
                { 8, 4, 8 << 20 },
                { 8, 4, 2 * FRAME }, /* does not fit the number of frames */
                { 12, 4, 20 },       /* frames */
                { 12, 4, UINT32_MAX },
                { 16, 8, SIZE - 1 }, /* device size */
                { 16, 8, SIZE + FRAME },
                { 16, 8, 20 * FRAME },
                { 16, 8, UINT64_MAX - 4095 },
                { 24, 8, 0 }, /* pack size */
                { 24, 8, 300 },
                { 24, 8, UINT64_MAX },
                { 32, 8, 1 },          /* offset of frame 0 */
                { 32 + 5 * 40, 8, 0 }, /* of frame 5: not behind frame 4 */
                { 32 + 5 * 40, 8, UINT64_MAX },
                { 32 + 20 * 40, 8, 1 << 30 },
        };
        struct zp_error err = { 0 };
        struct zp_pack *pack = NULL;
        size_t size = packed.info.index_size;
        for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
                uint8_t *index = malloc(size);
                memcpy(index, packed.index, size);
                uint64_t value = htole64(changes[i].value);
                memcpy(index + changes[i].at, &value, changes[i].bytes);
                assert_int_equal(zp_pack_open(packed.fd, "x", index, size, NULL, &pack, &err), -EBADMSG);
                assert_int_equal(zp_pack_open(packed.fd, "x", index, size, &packed.info.index_digest, &pack, &err),
                                 -EBADMSG);
                free(index);
        }
        for (size_t cut = 0; cut < size; cut++) {
                uint8_t *index = malloc(cut + 1);
                memcpy(index, packed.index, cut);
                assert_int_equal(zp_pack_open(packed.fd, "x", index, cut, NULL, &pack, &err), -EBADMSG);
                free(index);
        }
        /* A digest of a frame is known to be wrong only by the index's own. */
        packed.index[50] ^= 1;
        assert_int_equal(zp_pack_open(packed.fd, "x", packed.index, size, &packed.info.index_digest, &pack, &err),
                         -EBADMSG);
        assert_null(pack);
        packed_clear(&packed);
        free(data);
}

struct reading {
        struct zp_pack *pack;
        const uint8_t *data;
        unsigned seed;
        int failures;
};

static void *read_at_random(void *argument) {
        struct reading *reading = argument;
        uint8_t buf[5000];
        for (int i = 0; i < 500; i++) {
                uint64_t at = (uint64_t) rand_r(&reading->seed) % (SIZE - sizeof buf);
                reading->failures += zp_pack_read(reading->pack, at, buf, sizeof buf, NULL) != 0 ||
                                     memcmp(buf, reading->data + at, sizeof buf) != 0;
        }
        return NULL;
}

static void many_threads_read_one_pack(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE);
        struct packed packed = pack_bytes(data, SIZE, FRAME, 2);
        struct zp_pack *pack = open_pack(&packed);
        pthread_t threads[8];
        struct reading readings[8];
        for (unsigned i = 0; i < 8; i++) {
                readings[i] = (struct reading){ .pack = pack, .data = data, .seed = i };
                assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &readings[i]), 0);
        }
        for (unsigned i = 0; i < 8; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(readings[i].failures, 0);
        }
        zp_pack_close(pack);
        packed_clear(&packed);
        free(data);
}

static void count(void *context, uint64_t bytes) {
        *(uint64_t *) context += bytes;
}

static void extraction_restores_the_device_with_holes(void **state) {
        (void) state;
        size_t size = 100 * FRAME, offset = 3 * 4096;
        uint8_t *data = sample_device(size);
        memset(data + 10 * FRAME, 0, 60 * FRAME);
        memset(data + 99 * FRAME, 0, FRAME); /* the end is a hole as well */
        struct packed packed = pack_bytes(data, size, FRAME, 2);
        struct zp_pack *pack = open_pack(&packed);
        struct zp_pool *pool = new_pool(3);
        struct zp_error err = { 0 };
        uint64_t done = 0;
        char path[] = "/tmp/extract-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        unlink(path);
        assert_int_equal(zp_pack_extract(pack, fd, "out", offset, pool, NULL, count, &done, &err), 0);
        assert_int_equal(done, size);
        assert_int_equal(file_size(fd), offset + size);
        uint8_t *bytes = file_bytes(fd);
        assert_true(zp_is_zero(bytes, offset));
        assert_memory_equal(bytes + offset, data, size);
        struct stat st;
        fstat(fd, &st);
        assert_true((uint64_t) st.st_blocks * 512 < size - 55 * FRAME);
        free(bytes);
        zp_pool_free(pool);
        close(fd);
        zp_pack_close(pack);
        packed_clear(&packed);
        free(data);
}

static void an_empty_device_opens_extracts_and_verifies(void **state) {
        (void) state;
        struct packed packed = pack_bytes("", 0, FRAME, 1);
        struct zp_pack *pack = open_pack(&packed);
        struct zp_pool *pool = new_pool(1);
        struct zp_error err = { 0 };
        int fd = temporary_file();
        assert_int_equal(packed.info.index_size, 32);
        assert_int_equal(packed.info.pack_size, 17);
        assert_int_equal(zp_pack_device_size(pack), 0);
        assert_int_equal(zp_pack_extract(pack, fd, "out", 0, pool, NULL, NULL, NULL, &err), 0);
        assert_int_equal(file_size(fd), 0);
        assert_int_equal(zp_pack_verify(pack, pool, NULL, NULL, NULL, &err), 0);
        close(fd);
        zp_pool_free(pool);
        zp_pack_close(pack);
        packed_clear(&packed);
}

static void a_cancelled_pass_stops(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE);
        struct packed packed = pack_bytes(data, SIZE, FRAME, 1);
        struct zp_pack *pack = open_pack(&packed);
        struct zp_pool *pool = new_pool(2);
        struct zp_error err = { 0 };
        struct zp_cancel cancel = { .requested = true };
        int fd = temporary_file();
        assert_int_equal(zp_pack_extract(pack, fd, "out", 0, pool, &cancel, NULL, NULL, &err), -ECANCELED);
        assert_int_equal(zp_pack_verify(pack, pool, &cancel, NULL, NULL, &err), -ECANCELED);
        close(fd);
        zp_pool_free(pool);
        zp_pack_close(pack);
        packed_clear(&packed);
        free(data);
}

static void an_extraction_that_cannot_write_says_so(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE);
        struct packed packed = pack_bytes(data, SIZE, FRAME, 1);
        struct zp_pack *pack = open_pack(&packed);
        struct zp_pool *pool = new_pool(2);
        struct zp_error err = { 0 };
        int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(zp_pack_extract(pack, fd, "out", 0, pool, NULL, NULL, NULL, &err), -ENOSPC);
        assert_non_null(strstr(err.message, "out"));
        close(fd);
        zp_pool_free(pool);
        zp_pack_close(pack);
        packed_clear(&packed);
        free(data);
}

/* Each changes a good pack file in one way. */
static void flip_frame(int fd, uint64_t size) {
        (void) size;
        assert_int_equal(pwrite(fd, "\xff", 1, 5000), 1);
}
static void flip_seek_table(int fd, uint64_t size) {
        assert_int_equal(pwrite(fd, "\x01", 1, (off_t) size - 5), 1);
}
static void append_byte(int fd, uint64_t size) {
        assert_int_equal(pwrite(fd, "", 1, (off_t) size), 1);
}
static void cut_byte(int fd, uint64_t size) {
        assert_int_equal(ftruncate(fd, (off_t) size - 1), 0);
}

static void verification_finds_every_kind_of_damage(void **state) {
        (void) state;
        static void (*const damages[])(int fd, uint64_t size) = { NULL, flip_frame, flip_seek_table, append_byte,
                                                                  cut_byte };
        uint8_t *data = sample_device(SIZE);
        struct zp_pool *pool = new_pool(2);
        for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
                struct packed packed = pack_bytes(data, SIZE, FRAME, 1);
                if (damages[i])
                        damages[i](packed.fd, packed.info.pack_size);
                struct zp_pack *pack = open_pack(&packed);
                struct zp_error err = { 0 };
                uint64_t done = 0;
                assert_int_equal(zp_pack_verify(pack, pool, NULL, count, &done, &err), damages[i] ? -EBADMSG : 0);
                assert_true(damages[i] || done == SIZE);
                zp_pack_close(pack);
                packed_clear(&packed);
        }
        zp_pool_free(pool);
        free(data);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_range_reads_as_the_device),
                cmocka_unit_test(reading_past_the_end_is_refused),
                cmocka_unit_test(a_changed_byte_is_never_handed_out),
                cmocka_unit_test(a_frame_of_another_size_is_refused),
                cmocka_unit_test(a_malformed_index_is_refused),
                cmocka_unit_test(many_threads_read_one_pack),
                cmocka_unit_test(extraction_restores_the_device_with_holes),
                cmocka_unit_test(an_empty_device_opens_extracts_and_verifies),
                cmocka_unit_test(a_cancelled_pass_stops),
                cmocka_unit_test(an_extraction_that_cannot_write_says_so),
                cmocka_unit_test(verification_finds_every_kind_of_damage),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
