/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of blocks are found where they lie, whole, and nowhere else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pack/block-table.h"

/* A block's hash by a letter; ' ' is a block of zeros. */
static struct zp_block_hash *hashes_of(const char *letters) {
        struct zp_block_hash *hashes = calloc(strlen(letters) + 1, sizeof *hashes);
        for (size_t i = 0; letters[i]; i++)
                if (letters[i] != ' ')
                        memset(hashes[i].bytes, letters[i], sizeof hashes[i].bytes);
        return hashes;
}

struct devices {
        struct zp_block_map maps[4];
        struct zp_block_table *table;
};

static struct devices devices_of(const char *first, const char *second) {
        struct devices d = { 0 };
        d.maps[0] = (struct zp_block_map){ (uint32_t) strlen(first), hashes_of(first) };
        d.maps[1] = (struct zp_block_map){ (uint32_t) strlen(second), hashes_of(second) };
        assert_int_equal(zp_block_table_new(d.maps, 2, &d.table, NULL), 0);
        return d;
}

static void drop(struct devices *d) {
        zp_block_table_free(d->table);
        free((void *) d->maps[0].hashes);
        free((void *) d->maps[1].hashes);
}

/* 1000 · device + block, or -1. */
static int find(const struct devices *d, const char *letters, const struct zp_block_run *prefer) {
        struct zp_block_hash *hashes = hashes_of(letters);
        struct zp_block_run run = { 9, 9 };
        bool found = zp_block_table_find(d->table, hashes, (uint32_t) strlen(letters), prefer, &run);
        free(hashes);
        return found ? 1000 * run.device + (int) run.block : -1;
}

static void whole_runs_are_found_on_one_device(void **state) {
        (void) state;
        struct devices d = devices_of("abcdef", "ghijkab");
        assert_int_equal(find(&d, "abcdef", NULL), 0);
        assert_int_equal(find(&d, "cd", NULL), 2);
        assert_int_equal(find(&d, "ijk", NULL), 1002);
        assert_int_equal(find(&d, "kab", NULL), 1004); /* k lies once; ab is found on the first device first */
        assert_int_equal(find(&d, "fg", NULL), -1);    /* the end of one, the start of the other */
        assert_int_equal(find(&d, "abd", NULL), -1);
        assert_int_equal(find(&d, "abx", NULL), -1);
        assert_int_equal(find(&d, "kabc", NULL), -1);
        drop(&d);
}

static void the_preferred_place_wins_where_it_fits(void **state) {
        (void) state;
        struct devices d = devices_of("abab", "xab");
        assert_int_equal(find(&d, "ab", NULL), 0);
        assert_int_equal(find(&d, "ab", &(struct zp_block_run){ 0, 2 }), 2);
        assert_int_equal(find(&d, "ab", &(struct zp_block_run){ 1, 1 }), 1001);
        assert_int_equal(find(&d, "ab", &(struct zp_block_run){ 1, 0 }), 0);
        assert_int_equal(find(&d, "ab", &(struct zp_block_run){ 1, 3 }), 0);
        assert_int_equal(find(&d, "ab", &(struct zp_block_run){ 1, 100 }), 0);
        drop(&d);
}

static void a_block_that_lies_in_several_places_hides_no_run(void **state) {
        (void) state;
        struct devices d = devices_of("hxhyhz", "hw");
        assert_int_equal(find(&d, "hz", NULL), 4);
        assert_int_equal(find(&d, "hw", NULL), 1000);
        assert_int_equal(find(&d, "xhy", NULL), 1);
        drop(&d);
}

static void zeros_are_part_of_runs_but_no_runs(void **state) {
        (void) state;
        struct devices d = devices_of("a  b ", " c");
        assert_int_equal(find(&d, "a  b", NULL), 0);
        assert_int_equal(find(&d, "  b", NULL), 1);
        assert_int_equal(find(&d, " c", NULL), 1000);
        assert_int_equal(find(&d, "b  ", NULL), -1);
        assert_int_equal(find(&d, " a", NULL), -1);
        assert_int_equal(find(&d, " ", NULL), -1);
        assert_int_equal(find(&d, "  ", &(struct zp_block_run){ 0, 1 }), -1);
        drop(&d);
}

static void what_is_too_much_to_compare_with_is_refused(void **state) {
        (void) state;
        struct zp_block_map maps[ZP_LIMIT_BASE_DEVICES + 1] = { 0 };
        struct zp_block_table *table = NULL;
        assert_int_equal(zp_block_table_new(maps, ZP_LIMIT_BASE_DEVICES + 1, &table, NULL), -EFBIG);
        maps[0].blocks = ZP_LIMIT_BASE_BLOCKS; /* none of them is looked at */
        maps[1].blocks = 1;
        maps[2].blocks = UINT32_MAX;
        assert_int_equal(zp_block_table_new(maps + 2, 1, &table, NULL), -EFBIG);
        assert_int_equal(zp_block_table_new(maps, 2, &table, NULL), -EFBIG);
        assert_null(table);
        assert_int_equal(zp_block_table_new(NULL, 0, &table, NULL), 0);
        struct zp_block_hash hash = { { 1 } };
        struct zp_block_run run;
        assert_false(zp_block_table_find(table, &hash, 1, NULL, &run));
        zp_block_table_free(table);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whole_runs_are_found_on_one_device),
                cmocka_unit_test(the_preferred_place_wins_where_it_fits),
                cmocka_unit_test(a_block_that_lies_in_several_places_hides_no_run),
                cmocka_unit_test(zeros_are_part_of_runs_but_no_runs),
                cmocka_unit_test(what_is_too_much_to_compare_with_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
