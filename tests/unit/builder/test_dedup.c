/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of contents a layer device already holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "builder/dedup.h"

static struct zp_content_key key_of(struct zp_dedup *dedup, const void *data, size_t size) {
        struct zp_content_key key;
        zp_dedup_hash_begin(dedup);
        zp_dedup_hash_update(dedup, data, size);
        zp_dedup_hash_end(dedup, size, &key);
        return key;
}

static void equal_content_is_found_however_it_was_cut(void **state) {
        (void) state;
        struct zp_dedup *dedup;
        struct zp_inode inode = { .number = 7 };
        uint8_t data[10000];
        for (size_t i = 0; i < sizeof data; i++)
                data[i] = (uint8_t) (i * 31);
        assert_int_equal(zp_dedup_new(&dedup, NULL), 0);
        struct zp_content_key whole = key_of(dedup, data, sizeof data), pieces;
        assert_int_equal(zp_dedup_add(dedup, &whole, &inode, NULL), 0);

        zp_dedup_hash_begin(dedup);
        for (size_t at = 0, part; at < sizeof data; at += part) {
                part = sizeof data - at < 777 ? sizeof data - at : 777;
                zp_dedup_hash_update(dedup, data + at, part);
        }
        zp_dedup_hash_end(dedup, sizeof data, &pieces);
        assert_ptr_equal(zp_dedup_find(dedup, &pieces), &inode);
        zp_dedup_free(dedup);
}

static void any_changed_byte_or_length_is_other_content(void **state) {
        (void) state;
        struct zp_dedup *dedup;
        struct zp_inode inode = { .number = 7 };
        uint8_t data[4097] = { 0 };
        assert_int_equal(zp_dedup_new(&dedup, NULL), 0);
        struct zp_content_key key = key_of(dedup, data, 4096);
        assert_int_equal(zp_dedup_add(dedup, &key, &inode, NULL), 0);
        struct zp_content_key longer = key_of(dedup, data, 4097), shorter = key_of(dedup, data, 4095);
        assert_null(zp_dedup_find(dedup, &longer));
        assert_null(zp_dedup_find(dedup, &shorter));
        for (size_t i = 0; i < 4096; i += 97) {
                data[i] ^= 1;
                struct zp_content_key changed = key_of(dedup, data, 4096);
                assert_null(zp_dedup_find(dedup, &changed));
                data[i] ^= 1;
        }
        zp_dedup_free(dedup);
}

static void many_contents_are_all_found_again(void **state) {
        (void) state;
        enum { COUNT = 20000 };
        static struct zp_inode inodes[COUNT];
        struct zp_dedup *dedup;
        assert_int_equal(zp_dedup_new(&dedup, NULL), 0);
        assert_false(zp_dedup_knows_size(dedup, 5000));
        for (uint32_t i = 0; i < COUNT; i++) {
                struct zp_content_key key = key_of(dedup, &i, sizeof i);
                key.size = 1 + i;
                assert_null(zp_dedup_find(dedup, &key));
                assert_int_equal(zp_dedup_add(dedup, &key, &inodes[i], NULL), 0);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
                struct zp_content_key key = key_of(dedup, &i, sizeof i);
                key.size = 1 + i;
                assert_ptr_equal(zp_dedup_find(dedup, &key), &inodes[i]);
                assert_true(zp_dedup_knows_size(dedup, 1 + i));
        }
        assert_false(zp_dedup_knows_size(dedup, COUNT + 1));
        zp_dedup_free(dedup);
}

static void two_tables_hash_differently(void **state) {
        (void) state;
        struct zp_dedup *a, *b;
        assert_int_equal(zp_dedup_new(&a, NULL), 0);
        assert_int_equal(zp_dedup_new(&b, NULL), 0);
        struct zp_content_key x = key_of(a, "same", 4), y = key_of(b, "same", 4);
        assert_memory_not_equal(x.hash, y.hash, sizeof x.hash); /* whoever makes an image cannot know the key */
        zp_dedup_free(a);
        zp_dedup_free(b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equal_content_is_found_however_it_was_cut),
                cmocka_unit_test(any_changed_byte_or_length_is_other_content),
                cmocka_unit_test(many_contents_are_all_found_again),
                cmocka_unit_test(two_tables_hash_differently),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
