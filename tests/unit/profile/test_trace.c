/* SPDX-License-Identifier: Apache-2.0
 *
 * From blocks that were read to ranges of files, in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "profile/trace.h"

#define B ((uint64_t) ZP_BLOCK_SIZE)

static struct zp_inode *add_file(struct zp_tree *tree, struct zp_inode *dir, const char *name, uint64_t size,
                                 const struct zp_extent *extents, uint32_t count) {
        struct zp_inode *inode;
        assert_int_equal(zp_tree_new_inode(tree, S_IFREG | 0644, &inode, NULL), 0);
        inode->size = size;
        inode->extents = zp_tree_alloc(tree, count * sizeof *extents);
        memcpy(inode->extents, extents, count * sizeof *extents);
        inode->extent_count = count;
        assert_int_equal(zp_tree_link(tree, dir, name, strlen(name), inode, NULL), 0);
        return inode;
}

static struct zp_tree *sample_tree(void) {
        struct zp_tree *tree = zp_tree_new();
        struct zp_inode *dir, *root = zp_tree_root(tree);
        assert_int_equal(zp_tree_new_inode(tree, S_IFDIR | 0755, &dir, NULL), 0);
        assert_int_equal(zp_tree_link(tree, root, "d", 1, dir, NULL), 0);
        add_file(tree, dir, "one", 10 * B - 5, &(struct zp_extent){ .block = 100, .blocks = 10 }, 1);
        add_file(tree, dir, "same", 10 * B - 5, &(struct zp_extent){ .block = 100, .blocks = 10 }, 1);
        add_file(tree, root, "split", 30 * B,
                 (struct zp_extent[]){ { .block = 50, .blocks = 10, .device = 1 },
                                       { .block = ZP_HOLE, .blocks = 10 },
                                       { .block = 50, .blocks = 10 } },
                 3);
        struct zp_inode *many = add_file(tree, root, "n0", B, &(struct zp_extent){ .block = 200, .blocks = 1 }, 1);
        for (char name[] = "n1"; name[1] < '9'; name[1]++)
                assert_int_equal(zp_tree_link(tree, root, name, 2, many, NULL), 0);
        return tree;
}

static const uint64_t blocks[] = { 1000, 100 };

static struct zp_trace *new_trace(const struct zp_tree *tree) {
        struct zp_trace *trace = NULL;
        assert_int_equal(zp_trace_new(tree, blocks, 2, &trace, NULL), 0);
        return trace;
}

static void assert_gives(struct zp_trace *trace, const char *want) {
        zp_autobuffer struct zp_buffer text = { 0 };
        struct zp_profile *profile = zp_profile_new();
        assert_int_equal(zp_trace_profile(trace, profile, NULL), 0);
        assert_int_equal(zp_profile_format(profile, &text, NULL), 0);
        assert_string_equal(text.data ? text.data : "", want);
        zp_profile_free(profile);
}

static void reads_become_ranges_of_files_in_order(void **state) {
        (void) state;
        struct zp_tree *tree = sample_tree();
        struct zp_trace *trace = new_trace(tree);
        assert_gives(trace, "");
        zp_trace_note(trace, 1, 55 * B, 1);
        zp_trace_note(trace, 0, 109 * B + 7, B);
        zp_trace_note(trace, 0, 50 * B, 2 * B);
        zp_trace_note(trace, 1, 56 * B, 2 * B); /* behind the first, with something in between */
        zp_trace_note(trace, 0, 50 * B, 2 * B); /* known */
        assert_int_equal(zp_trace_blocks(trace), 7);
        assert_gives(trace, "/split\t20480\t12288\n/d/one\t36864\t4091\n/d/same\t36864\t4091\n/split\t81920\t8192\n");
        zp_trace_free(trace);
        zp_tree_free(tree);
}

static void what_lies_nowhere_does_not_count(void **state) {
        (void) state;
        struct zp_tree *tree = sample_tree();
        struct zp_trace *trace = new_trace(tree);
        zp_trace_note(trace, 0, 1000 * B, B);
        zp_trace_note(trace, 2, 0, B);
        zp_trace_note(trace, 0, 0, 0);
        assert_int_equal(zp_trace_blocks(trace), 0);
        zp_trace_note(trace, 0, 999 * B, UINT64_MAX);
        zp_trace_note(trace, 0, 999 * B, 5 * B);
        assert_int_equal(zp_trace_blocks(trace), 1);
        assert_gives(trace, ""); /* a block that no file has */
        zp_trace_free(trace);
        zp_tree_free(tree);
}

static void of_many_names_a_few_are_listed(void **state) {
        (void) state;
        struct zp_tree *tree = sample_tree();
        struct zp_trace *trace = new_trace(tree);
        zp_trace_note(trace, 0, 200 * B, B);
        assert_gives(trace, "/n0\t0\t4096\n/n1\t0\t4096\n/n2\t0\t4096\n/n3\t0\t4096\n");
        zp_trace_free(trace);
        zp_tree_free(tree);
}

static void what_a_list_lacks_is_counted(void **state) {
        (void) state;
        struct zp_tree *tree = sample_tree();
        struct zp_trace *trace = new_trace(tree);
        const struct zp_prefetch_device devices[] = { { { { 1 } }, 1000 * B }, { { { 2 } }, 100 * B } };
        struct zp_prefetch_range ranges[] = { { devices[0].digest, 100 * B, 5 * B }, { devices[1].digest, 0, B } };
        struct zp_prefetch list = { ranges, 2 };
        zp_trace_note(trace, 0, 99 * B, 8 * B);
        zp_trace_note(trace, 1, 0, 2 * B);
        assert_int_equal(zp_trace_blocks(trace), 10);
        assert_int_equal(zp_trace_blocks_outside(trace, devices, &list), 4);
        zp_trace_free(trace);
        zp_tree_free(tree);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_become_ranges_of_files_in_order),
                cmocka_unit_test(what_lies_nowhere_does_not_count),
                cmocka_unit_test(of_many_names_a_few_are_listed),
                cmocka_unit_test(what_a_list_lacks_is_counted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
