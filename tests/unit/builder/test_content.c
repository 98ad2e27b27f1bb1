/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the content of regular files ends up.
 */
#include "content-fixture.h"

static void small_files_lie_in_the_metadata_and_others_on_whole_blocks(void **state) {
        (void) state;
        zp_autofree uint8_t *data = noise(10000, 1);
        struct archive a = { .piece = 700 };
        add_file(&a, "tiny", data, ZP_INLINE_FILE_MAX);
        add_file(&a, "small", data, ZP_INLINE_FILE_MAX + 1);
        add_file(&a, "more", data + 1, 9000);
        struct stored s = store(&a);
        assert_content(&s, "tiny", data, ZP_INLINE_FILE_MAX);
        assert_content(&s, "small", data, ZP_INLINE_FILE_MAX + 1);
        assert_content(&s, "more", data + 1, 9000);
        assert_int_equal(find(&s, "tiny")->extent_count, 0);
        assert_int_equal(find(&s, "small")->extents[0].block, 0);
        assert_int_equal(find(&s, "more")->extents[0].block, 1);
        assert_int_equal(s.info.device_size, (1 + 3) * ZP_BLOCK_SIZE);
        drop(&s);
}

static void equal_contents_are_stored_once_whatever_their_size(void **state) {
        (void) state;
        zp_autofree uint8_t *data = noise(3 * MIB, 2);
        struct archive a = { .piece = 5000 };
        add_file(&a, "big", data, 3 * MIB);
        add_file(&a, "small", data, 9000);
        add_file(&a, "big2", data, 3 * MIB);
        add_file(&a, "other", data + 1, 9000);
        add_file(&a, "small2", data, 9000);
        data[2 * MIB] ^= 2;
        add_file(&a, "big3", data, 3 * MIB); /* same size, other content: must not be lost */
        struct stored s = store(&a);
        assert_content(&s, "big3", data, 3 * MIB);
        data[2 * MIB] ^= 2;
        assert_content(&s, "big", data, 3 * MIB);
        assert_content(&s, "big2", data, 3 * MIB);
        assert_content(&s, "other", data + 1, 9000);
        assert_int_equal(find(&s, "small2")->extents[0].block, find(&s, "small")->extents[0].block);
        assert_int_equal(s.info.device_size, 2 * 3 * MIB + 2 * 3 * ZP_BLOCK_SIZE);
        drop(&s);
}

static void long_runs_of_zeros_are_holes(void **state) {
        (void) state;
        size_t size = 6 * MIB + 100;
        zp_autofree uint8_t *data = calloc(1, size);
        data[2 * MIB + 5] = 1; /* the third MiB is no hole */
        data[5 * MIB - 1] = 1; /* nor is the fifth */
        for (size_t piece = 1000; piece <= 10 * MIB; piece *= 100) {
                struct archive a = { .piece = piece };
                add_file(&a, "sparse", data, size);
                add_file(&a, "empty", "", 0);
                struct stored s = store(&a);
                const struct zp_inode *inode = find(&s, "sparse");
                assert_content(&s, "sparse", data, size);
                assert_int_equal(inode->extent_count, 5);
                assert_true(inode->extents[0].block == ZP_HOLE && inode->extents[0].blocks == 2 * MIB / ZP_BLOCK_SIZE);
                assert_int_equal(s.info.device_size, 2 * MIB);
                assert_int_equal(find(&s, "empty")->extent_count, 0);
                drop(&s);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(small_files_lie_in_the_metadata_and_others_on_whole_blocks),
                cmocka_unit_test(equal_contents_are_stored_once_whatever_their_size),
                cmocka_unit_test(long_runs_of_zeros_are_holes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
