/* SPDX-License-Identifier: Apache-2.0
 *
 * What a block map says of a device, and which files are not maps of it.
 */
#include "pack-fixture.h"

#include <openssl/sha.h>

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

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_block_has_half_of_its_sha256_and_zeros_have_none),
                cmocka_unit_test(an_empty_device_has_a_map),
                cmocka_unit_test(what_is_not_the_devices_map_is_refused),
                cmocka_unit_test(a_damaged_pack_has_no_map),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
