/* SPDX-License-Identifier: Apache-2.0
 *
 * What a block map says of a device, and which files are not maps of it.
 */
#include "pack-fixture.h"

#include <fcntl.h>
#include <openssl/sha.h>

#include "base/limits.h"
#include "pack/block-map.h"

#define FRAME 16384
#define BLOCKS 83
#define SIZE (BLOCKS * 4096)
#define HEADER 48

static const struct zp_digest device = { { 1, 2, 3 } };

static uint8_t *make(const uint8_t *data, size_t size, unsigned threads, size_t *map_size) {
        struct zp_error err = { 0 };
        struct packed packed = pack_bytes(data, size, FRAME, 2);
        struct zp_pack *pack;
        struct zp_pool *pool;
        uint8_t *map;
        assert_int_equal(zp_pack_open(packed.fd, "p", packed.index, packed.info.index_size, NULL, &pack, &err), 0);
        assert_int_equal(zp_pool_new(threads, &pool, &err), 0);
        assert_int_equal(zp_block_map_make(pack, &device, pool, NULL, &map, map_size, &err), 0);
        zp_pool_free(pool);
        zp_pack_close(pack);
        packed_clear(&packed);
        return map;
}

static void each_block_has_half_of_its_sha256_and_zeros_have_none(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE), want[SHA256_DIGEST_LENGTH];
        size_t zeros = 0, map_size, again_size;
        uint8_t *file = make(data, SIZE, 3, &map_size), *again = make(data, SIZE, 1, &again_size);
        struct zp_block_map map;
        assert_int_equal(zp_block_map_parse(file, map_size, &device, SIZE, "test", &map, NULL), 0);
        assert_int_equal(map.blocks, BLOCKS);
        for (size_t i = 0; i < BLOCKS; i++) {
                SHA256(data + i * 4096, 4096, want);
                if (zp_is_zero(data + i * 4096, 4096)) {
                        memset(want, 0, sizeof want);
                        zeros++;
                }
                assert_memory_equal(map.hashes[i].bytes, want, 16);
        }
        assert_true(zeros > 0 && zeros < BLOCKS);
        assert_int_equal(map_size, again_size);
        assert_memory_equal(file, again, map_size);
        free(again);
        free(file);
        free(data);
}

static void an_empty_device_has_a_map(void **state) {
        (void) state;
        size_t size;
        uint8_t *file = make((const uint8_t *) "", 0, 1, &size);
        struct zp_block_map map;
        assert_int_equal(size, HEADER + 32);
        assert_int_equal(zp_block_map_parse(file, size, &device, 0, "test", &map, NULL), 0);
        assert_int_equal(map.blocks, 0);
        free(file);
}

static void what_is_not_the_devices_map_is_refused(void **state) {
        (void) state;
        uint8_t *data = sample_device(SIZE);
        size_t size;
        uint8_t *file = make(data, SIZE, 2, &size);
        struct zp_block_map map;
        for (size_t i = 0; i < size; i++) {
                file[i] ^= 1;
                assert_int_equal(zp_block_map_parse(file, size, &device, SIZE, "test", &map, NULL), -EBADMSG);
                file[i] ^= 1;
        }
        for (size_t cut = 0; cut < size; cut += 7)
                assert_int_equal(zp_block_map_parse(file, cut, &device, SIZE, "test", &map, NULL), -EBADMSG);
        uint8_t *longer = realloc(file, size + 1);
        assert_non_null(longer);
        longer[size] = 0;
        assert_int_equal(zp_block_map_parse(longer, size + 1, &device, SIZE, "test", &map, NULL), -EBADMSG);
        assert_int_equal(zp_block_map_parse(longer, size, &device, SIZE + 4096, "test", &map, NULL), -EBADMSG);
        assert_int_equal(zp_block_map_parse(longer, size, &device, SIZE - 4096, "test", &map, NULL), -EBADMSG);
        assert_int_equal(zp_block_map_parse(longer, size, &device, SIZE, "test", &map, NULL), 0);
        free(longer);
        free(data);
}

static void a_damaged_pack_has_no_map(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        uint8_t *data = sample_device(SIZE), *map = NULL, byte;
        struct packed packed = pack_bytes(data, SIZE, FRAME, 2);
        struct zp_pack *pack;
        struct zp_pool *pool;
        size_t size;
        assert_int_equal(pread(packed.fd, &byte, 1, 9000), 1);
        byte ^= 1;
        assert_int_equal(pwrite(packed.fd, &byte, 1, 9000), 1);
        assert_int_equal(zp_pack_open(packed.fd, "p", packed.index, packed.info.index_size, NULL, &pack, &err), 0);
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_block_map_make(pack, &device, pool, NULL, &map, &size, &err), -EBADMSG);
        assert_null(map);
        zp_pool_free(pool);
        zp_pack_close(pack);
        packed_clear(&packed);
        free(data);
}

/* A pack of the first `front` bytes, and one of the rest which is spliced to it; both with a map. A false start is
 * taken back. Returns the map's bytes. */
static uint8_t *map_while_packing(const uint8_t *data, size_t front, size_t size, unsigned threads, size_t *map_size) {
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w, *rest;
        struct zp_pack_options options = { .frame_size = FRAME };
        struct zp_pack_info info;
        int fds[] = { temporary_file(), temporary_file(), temporary_file() };
        int map_fd = temporary_file(), rest_map_fd = temporary_file();
        assert_int_equal(zp_pool_new(threads, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(fds[0], "pack", &options, pool, &w, &err), 0);
        assert_int_equal(zp_pack_writer_new(fds[1], "rest", &options, pool, &rest, &err), 0);
        zp_pack_writer_map(w, map_fd);
        zp_pack_writer_map(rest, rest_map_fd);
        assert_int_equal(zp_pack_writer_mark(w, &err), 0);
        assert_int_equal(zp_pack_writer_append(w, data + 5000, size - 5000, &err), 0);
        assert_int_equal(zp_pack_writer_rollback(w, &err), 0);
        zp_pack_writer_unmark(w);
        assert_int_equal(zp_pack_writer_append(w, data, front, &err), 0);
        assert_int_equal(zp_pack_writer_append(rest, data + front, size - front, &err), 0);
        if (front < size)
                assert_int_equal(zp_pack_writer_splice(w, rest, &err), 0);
        assert_int_equal(zp_pack_writer_finish(w, fds[2], "index", &info, &err), 0);
        assert_true(info.has_map);
        zp_pack_writer_free(rest);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        /* it names the device: what the other way of making it is told in its place */
        assert_int_equal(zp_block_map_finish(map_fd, "map", &device, size, &err), 0);
        *map_size = file_size(map_fd);
        uint8_t *map = file_bytes(map_fd);
        for (size_t i = 0; i < 3; i++)
                close(fds[i]);
        close(map_fd);
        close(rest_map_fd);
        return map;
}

static void made_while_packing_it_is_the_same(void **state) {
        (void) state;
        static const size_t fronts[] = { 0, FRAME, 7 * FRAME, SIZE };
        uint8_t *data = sample_device(SIZE);
        size_t size, want_size;
        uint8_t *want = make(data, SIZE, 1, &want_size);
        for (size_t i = 0; i < sizeof fronts / sizeof *fronts; i++)
                for (unsigned threads = 1; threads <= 3; threads++) {
                        uint8_t *map = map_while_packing(data, fronts[i], SIZE, threads, &size);
                        assert_int_equal(size, want_size);
                        assert_memory_equal(map, want, size);
                        free(map);
                }
        free(want);
        free(data);
}

static void a_pack_names_its_device_in_its_map(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        struct zp_pack_info info;
        struct zp_block_map map;
        uint8_t *data = sample_device(SIZE);
        int fd = temporary_file(), index_fd = temporary_file(), map_fd = temporary_file();
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(fd, "pack", NULL, pool, &w, &err), 0);
        zp_pack_writer_map(w, map_fd);
        assert_int_equal(zp_pack_writer_append(w, data, SIZE - 100, &err), 0);
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "index", &info, &err), 0);
        uint8_t *bytes = file_bytes(map_fd);
        assert_int_equal(zp_block_map_parse(bytes, file_size(map_fd), &info.index_digest, SIZE, "test", &map, &err), 0);
        assert_int_equal(map.blocks, BLOCKS);
        free(bytes);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(fd);
        close(index_fd);
        close(map_fd);
        free(data);
}

static void a_map_that_cannot_be_written_fails_the_pack(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        struct zp_pack_info info;
        uint8_t *data = sample_device(SIZE);
        int fd = temporary_file(), index_fd = temporary_file(), full = open("/dev/full", O_RDWR | O_CLOEXEC);
        assert_true(full >= 0);
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(fd, "pack", NULL, pool, &w, &err), 0);
        zp_pack_writer_map(w, full);
        int r = zp_pack_writer_append(w, data, SIZE, &err);
        if (r == 0)
                r = zp_pack_writer_finish(w, index_fd, "index", &info, &err);
        assert_int_equal(r, -ENOSPC);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(fd);
        close(index_fd);
        close(full);
        free(data);
}

static void a_device_too_large_for_a_map_leaves_nothing_behind(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        uint8_t block[4096] = { 1 };
        int fd = temporary_file();
        uint64_t end = (uint64_t) ZP_LIMIT_BASE_BLOCKS * 4096;
        assert_int_equal(zp_block_map_put(fd, "map", end, block, sizeof block, &err), 0);
        assert_int_equal(file_size(fd), 0);
        assert_int_equal(zp_block_map_finish(fd, "map", &device, end + 4096, &err), -EFBIG);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_block_has_half_of_its_sha256_and_zeros_have_none),
                cmocka_unit_test(an_empty_device_has_a_map),
                cmocka_unit_test(what_is_not_the_devices_map_is_refused),
                cmocka_unit_test(a_damaged_pack_has_no_map),
                cmocka_unit_test(made_while_packing_it_is_the_same),
                cmocka_unit_test(a_pack_names_its_device_in_its_map),
                cmocka_unit_test(a_map_that_cannot_be_written_fails_the_pack),
                cmocka_unit_test(a_device_too_large_for_a_map_leaves_nothing_behind),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
