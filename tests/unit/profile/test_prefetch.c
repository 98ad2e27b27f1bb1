/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a profile's ranges lie on the devices, and the list as text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/limits.h"
#include "layer/resolve.h"
#include "profile/prefetch.h"

#define B ((uint64_t) ZP_BLOCK_SIZE)

static const struct zp_prefetch_device devices[] = { { { { 1 } }, 10000 * B }, { { { 2 } }, 10000 * B } };

static void add_file(struct zp_tree *tree, const char *name, uint64_t size, const struct zp_extent *extents,
                     uint32_t count) {
        struct zp_inode *inode;
        assert_int_equal(zp_tree_new_inode(tree, S_IFREG | 0644, &inode, NULL), 0);
        inode->size = size;
        inode->extents = zp_tree_alloc(tree, count * sizeof *extents + 1);
        if (count)
                memcpy(inode->extents, extents, count * sizeof *extents);
        inode->extent_count = count;
        assert_int_equal(zp_tree_link(tree, zp_tree_root(tree), name, strlen(name), inode, NULL), 0);
}

/* "device:first+count …" in blocks. */
static char *map(const struct zp_tree *tree, const char *text, const struct zp_prefetch_device *of) {
        struct zp_profile *profile = zp_profile_new();
        struct zp_prefetch list;
        struct zp_buffer out = { 0 };
        assert_int_equal(zp_profile_parse(profile, text, strlen(text), "p", NULL), 0);
        assert_int_equal(zp_prefetch_map(profile, tree, of, 2, &list, NULL), 0);
        assert_true(zp_buffer_text(&out, ""));
        for (uint32_t i = 0; i < list.count; i++) {
                char range[60];
                assert_true(list.ranges[i].offset % B == 0 && list.ranges[i].length % B == 0);
                snprintf(range, sizeof range, "%s%d:%d+%d", i ? " " : "", list.ranges[i].device.bytes[0],
                         (int) (list.ranges[i].offset / B), (int) (list.ranges[i].length / B));
                assert_true(zp_buffer_text(&out, range));
        }
        zp_prefetch_clear(&list);
        zp_profile_free(profile);
        return out.data;
}

static void assert_maps(const struct zp_tree *tree, const char *text, const char *want) {
        zp_autofree char *have = map(tree, text, devices);
        assert_string_equal(have, want);
}

static struct zp_tree *sample_tree(void) {
        struct zp_tree *tree = zp_tree_new();
        add_file(tree, "one", 10 * B - 1, &(struct zp_extent){ .block = 100, .blocks = 10 }, 1);
        add_file(tree, "next", 5 * B, &(struct zp_extent){ .block = 110, .blocks = 5 }, 1);
        add_file(tree, "split", 30 * B,
                 (struct zp_extent[]){ { .block = 500, .blocks = 10, .device = 1 },
                                       { .block = ZP_HOLE, .blocks = 10 },
                                       { .block = 50, .blocks = 10 } },
                 3);
        add_file(tree, "empty", 0, NULL, 0);
        return tree;
}

static void ranges_of_files_are_ranges_of_devices(void **state) {
        (void) state;
        struct zp_tree *tree = sample_tree();
        assert_maps(tree, "", "");
        assert_maps(tree, "/one", "1:100+10");
        assert_maps(tree, "/one\t4095\t2", "1:100+2");
        assert_maps(tree, "/one\t4096\t4096", "1:101+1");
        assert_maps(tree, "/one\t40000\t100000", "1:109+1");
        assert_maps(tree, "/one\t40959\t1", "");
        assert_maps(tree, "/split", "2:500+10 1:50+10");
        assert_maps(tree, "/split\t36864\t49152", "2:509+1 1:50+1");
        assert_maps(tree, "/split\t40960\t40960", "");
        assert_maps(tree, "/empty\n/absent\n/one/below", "");
        zp_tree_free(tree);
}

static void neighbours_are_joined_and_the_first_use_decides_the_order(void **state) {
        (void) state;
        struct zp_tree *tree = sample_tree();
        assert_maps(tree, "/split\t0\t4096\n/next\n/one", "2:500+1 1:100+15");
        assert_maps(tree, "/one\t8192\t4096\n/split\t0\t4096\n/one\t0\t8192\n/one\t4096\t8192", "1:100+3 2:500+1");
        zp_tree_free(tree);
}

/* Twenty pieces of ten blocks with gaps of one block between those of each of ten pairs. */
static void many_ranges_are_joined_over_small_gaps_only(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        zp_autobuffer struct zp_buffer text = { 0 };
        for (unsigned i = 0; i < 20; i++) {
                char name[20];
                snprintf(name, sizeof name, "%02u", i);
                uint64_t block = i / 2 * 400 + i % 2 * 11;
                add_file(tree, name, 10 * B, &(struct zp_extent){ .block = block, .blocks = 10 }, 1);
                assert_true(zp_buffer_text(&text, "/") && zp_buffer_text(&text, name) && zp_buffer_text(&text, "\n"));
        }
        assert_maps(tree, text.data,
                    "1:0+21 1:400+21 1:800+21 1:1200+21 1:1600+21 1:2000+21 1:2400+21 1:2800+21 1:3200+21 1:3600+21");
        assert_maps(tree, "/00\n/01\n", "1:0+10 1:11+10"); /* two ranges are few enough */
        zp_tree_free(tree);
}

static void assert_maps_by_frames(const struct zp_tree *tree, const char *text, const char *want) {
        const struct zp_prefetch_device framed[] = { { devices[0].digest, devices[0].size, 8 * ZP_BLOCK_SIZE },
                                                     { devices[1].digest, devices[1].size, 4 * ZP_BLOCK_SIZE } };
        zp_autofree char *have = map(tree, text, framed);
        assert_string_equal(have, want);
}

/* "one" lies in the frames 12 and 13, "next" in 13 and 14; "split" has its ends in 125, 126 and 127 of the other
 * device, and in 6 and 7. */
static void ranges_of_frames_stay_in_the_order_of_first_use(void **state) {
        (void) state;
        struct zp_tree *tree = sample_tree();
        assert_maps_by_frames(tree, "/one", "1:100+10");
        assert_maps_by_frames(tree, "/one\n/next", "1:100+15");
        assert_maps_by_frames(tree, "/next\n/one", "1:104+11 1:100+4");
        assert_maps_by_frames(tree, "/next\t8192\t4096\n/one", "1:112+1 1:100+10");
        assert_maps_by_frames(tree, "/one\t32768\t4096\n/split\n/next\t0\t4096", "1:108+3 2:500+10 1:50+10");
        assert_maps_by_frames(tree, "/one\t0\t4096\n/split\t0\t4096\n/one\t12288\t4096", "1:100+4 2:500+1");
        assert_maps_by_frames(tree, "/split\t0\t4096\n/one\t0\t4096\n/split\t16384\t4096", "2:500+1 1:100+1 2:504+1");
        add_file(tree, "there", B, &(struct zp_extent){ .block = 101, .blocks = 1, .device = 1 }, 1);
        add_file(tree, "behind", B, &(struct zp_extent){ .block = 110, .blocks = 1, .device = 1 }, 1);
        assert_maps_by_frames(tree, "/one\t0\t4096\n/there", "1:100+1 2:101+1");
        assert_maps_by_frames(tree, "/one\n/behind", "1:100+10 2:110+1");
        zp_tree_free(tree);
}

/* As many entries as there may be, which lie over one another, of one file in many pieces and under two names: each
 * by each would be four thousand million runs. */
static void as_many_entries_as_there_may_be_are_mapped_at_once(void **state) {
        (void) state;
        enum { PIECES = 4096 };
        struct zp_tree *tree = zp_tree_new();
        struct zp_profile *profile = zp_profile_new();
        struct zp_extent *extents = calloc(PIECES, sizeof *extents);
        struct zp_inode *inode;
        struct zp_prefetch list;
        for (uint32_t i = 0; i < PIECES; i++)
                extents[i] = (struct zp_extent){ .block = i * 2, .blocks = 1 };
        add_file(tree, "one", PIECES * B, extents, PIECES);
        assert_int_equal(zp_tree_lstat(tree, "one", 3, &inode, NULL), 0);
        assert_int_equal(zp_tree_link(tree, zp_tree_root(tree), "two", 3, inode, NULL), 0);
        for (uint64_t i = 0; i < ZP_LIMIT_PROFILE_ENTRIES; i++)
                assert_int_equal(zp_profile_add(profile, i % 2 ? "one" : "two", 4096 + i, 2000 * B, NULL), 0);
        assert_int_equal(zp_prefetch_map(profile, tree, devices, 2, &list, NULL), 0);
        assert_int_equal(list.count, ZP_LIMIT_PREFETCH_RANGES);
        assert_int_equal(list.ranges[0].offset, 2 * B);
        zp_prefetch_clear(&list);
        zp_profile_free(profile);
        zp_tree_free(tree);
        free(extents);
}

static void the_list_survives_as_text(void **state) {
        (void) state;
        struct zp_prefetch_range ranges[] = { { devices[1].digest, 0, 10000 * B }, { devices[0].digest, B, 1 } };
        struct zp_prefetch list = { ranges, 2 }, back;
        zp_autobuffer struct zp_buffer text = { 0 };
        assert_int_equal(zp_prefetch_format(&list, &text, NULL), 0);
        assert_string_equal(text.data,
                            "{\"version\":1,\"ranges\":["
                            "{\"device\":\"sha256:0200000000000000000000000000000000000000000000000000000000000000\","
                            "\"offset\":0,\"length\":40960000},"
                            "{\"device\":\"sha256:0100000000000000000000000000000000000000000000000000000000000000\","
                            "\"offset\":4096,\"length\":1}]}\n");
        assert_int_equal(zp_prefetch_parse(text.data, text.size, "t", devices, 2, &back, NULL), 0);
        assert_int_equal(back.count, 2);
        for (int i = 0; i < 2; i++) {
                assert_true(zp_digest_equal(&back.ranges[i].device, &ranges[i].device));
                assert_int_equal(back.ranges[i].offset, ranges[i].offset);
                assert_int_equal(back.ranges[i].length, ranges[i].length);
        }
        zp_prefetch_clear(&back);
        assert_int_equal(zp_prefetch_parse(text.data, text.size, "t", devices, 1, &back, NULL), -EBADMSG);
}

static void a_guess_stays_one(void **state) {
        (void) state;
        struct zp_prefetch_range range = { devices[0].digest, B, 1 };
        struct zp_prefetch list = { &range, 1, .is_guess = true }, back;
        zp_autobuffer struct zp_buffer text = { 0 };
        assert_int_equal(zp_prefetch_format(&list, &text, NULL), 0);
        assert_non_null(strstr(text.data, "{\"version\":1,\"guess\":true,\"ranges\":["));
        assert_int_equal(zp_prefetch_parse(text.data, text.size, "t", devices, 2, &back, NULL), 0);
        assert_int_equal(back.count, 1);
        assert_true(back.is_guess);
        zp_prefetch_clear(&back);
        static const char other[] = "{\"version\":1,\"guess\":1,\"ranges\":[]}",
                          none[] = "{\"version\":1,\"ranges\":[]}";
        assert_int_equal(zp_prefetch_parse(other, strlen(other), "t", devices, 2, &back, NULL), -EBADMSG);
        assert_int_equal(zp_prefetch_parse(none, strlen(none), "t", devices, 2, &back, NULL), 0);
        assert_false(back.is_guess);
}

static int parse(const char *version, const char *range, unsigned count) {
        zp_autobuffer struct zp_buffer text = { 0 };
        struct zp_prefetch list = { 0 };
        zp_buffer_text(&text, "{\"version\":");
        zp_buffer_text(&text, version);
        zp_buffer_text(&text, ",\"ranges\":[");
        for (unsigned i = 0; i < count; i++) {
                zp_buffer_text(&text, i ? "," : "");
                zp_buffer_text(&text, range);
        }
        zp_buffer_text(&text, "]}");
        int r = zp_prefetch_parse(text.data, text.size, "t", devices, 2, &list, NULL);
        zp_prefetch_clear(&list);
        return r;
}

#define DEVICE "{\"device\":\"sha256:0100000000000000000000000000000000000000000000000000000000000000\","

static void what_is_no_list_of_the_devices_is_refused(void **state) {
        (void) state;
        assert_int_equal(parse("1", DEVICE "\"offset\":0,\"length\":4096}", ZP_LIMIT_PREFETCH_RANGES), 0);
        assert_int_equal(parse("1", DEVICE "\"offset\":0,\"length\":4096}", ZP_LIMIT_PREFETCH_RANGES + 1), -EBADMSG);
        assert_int_equal(parse("2", "", 0), -EBADMSG);
        assert_int_equal(parse("\"1\"", "", 0), -EBADMSG);
        assert_int_equal(parse("1", "7", 1), -EBADMSG);
        assert_int_equal(parse("1", "{}", 1), -EBADMSG);
        assert_int_equal(parse("1", DEVICE "\"offset\":0,\"length\":0}", 1), -EBADMSG);
        assert_int_equal(parse("1", DEVICE "\"offset\":0,\"length\":40960001}", 1), -EBADMSG);
        assert_int_equal(parse("1", DEVICE "\"offset\":9223372036854775807,\"length\":9223372036854775807}", 1),
                         -EBADMSG);
        assert_int_equal(parse("1", DEVICE "\"offset\":-1,\"length\":10}", 1), -EBADMSG);
        assert_int_equal(parse("1", DEVICE "\"offset\":0.5,\"length\":10}", 1), -EBADMSG);
        assert_int_equal(parse("1", "{\"device\":\"sha256:01\",\"offset\":0,\"length\":1}", 1), -EBADMSG);
        struct zp_prefetch list;
        assert_int_equal(zp_prefetch_parse("[]", 2, "t", devices, 2, &list, NULL), -EBADMSG);
        assert_int_equal(zp_prefetch_parse("", 0, "t", devices, 2, &list, NULL), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ranges_of_files_are_ranges_of_devices),
                cmocka_unit_test(neighbours_are_joined_and_the_first_use_decides_the_order),
                cmocka_unit_test(many_ranges_are_joined_over_small_gaps_only),
                cmocka_unit_test(ranges_of_frames_stay_in_the_order_of_first_use),
                cmocka_unit_test(as_many_entries_as_there_may_be_are_mapped_at_once),
                cmocka_unit_test(the_list_survives_as_text),
                cmocka_unit_test(a_guess_stays_one),
                cmocka_unit_test(what_is_no_list_of_the_devices_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
