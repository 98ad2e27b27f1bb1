/* SPDX-License-Identifier: Apache-2.0
 *
 * What the writer puts where: the rules that kernels from 5.15 on need, addresses in both layouts, determinism,
 * limits. That real kernels read it is tested in tests/integration/test_erofs_kernel.py.
 */
#include "erofs-fixture.h"

#include "base/limits.h"

#define SB EROFS_SUPER_OFFSET

static uint64_t meta_offset(const struct image *image) {
        return zp_get_le32(image->bytes + SB + SB_META_BLOCK) * (uint64_t) ZP_BLOCK_SIZE;
}

/* The raw inode of a name in the root directory. */
static uint64_t offset_of(struct zp_tree *tree, const struct image *image, const char *name) {
        const struct zp_inode *inode = find(tree, zp_tree_root(tree), name);
        for (uint64_t at = meta_offset(image); at + EROFS_INODE_SIZE <= image->size; at += EROFS_SLOT_SIZE)
                if (zp_get_le32(image->bytes + at + INODE_UID) == inode->uid &&
                    zp_get_le32(image->bytes + at + INODE_GID) == 0xfeedf00d)
                        return at;
        fail_msg("no inode of '%s'", name);
        return 0;
}

static void mark(struct zp_inode *inode, uint32_t number) {
        inode->uid = number;
        inode->gid = 0xfeedf00d;
}

static unsigned layout_at(const struct image *image, uint64_t offset) {
        return zp_get_le16(image->bytes + offset + INODE_FORMAT) >> 1;
}

static void inline_link_target_shares_the_block_of_its_inode(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        char name[32];
        for (unsigned i = 1; i <= ZP_LIMIT_SYMLINK; i += 7) {
                snprintf(name, sizeof name, "%u", i);
                struct zp_inode *link = add(tree, zp_tree_root(tree), name, S_IFLNK | 0777);
                set_data(tree, link, 'x', i);
                mark(link, i);
                if (i % 3 == 0) {
                        char own[32];
                        snprintf(own, sizeof own, "trusted.%u", i);
                        assert_int_equal(zp_tree_set_xattr(tree, link, own, link->data, i, NULL), 0);
                }
        }
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        for (unsigned i = 1; i <= ZP_LIMIT_SYMLINK; i += 7) {
                snprintf(name, sizeof name, "%u", i);
                uint64_t at = offset_of(tree, &image, name);
                uint16_t xattrs = zp_get_le16(image.bytes + at + INODE_XATTR_COUNT);
                uint64_t end = at + EROFS_INODE_SIZE + (xattrs ? EROFS_XATTR_HEADER_SIZE + (xattrs - 1u) * 4 : 0) + i;
                if (layout_at(&image, at) == EROFS_LAYOUT_INLINE)
                        assert_int_equal(at / ZP_BLOCK_SIZE, (end - 1) / ZP_BLOCK_SIZE);
                else
                        assert_true(end - at > ZP_BLOCK_SIZE);
        }
        free(image.bytes);
        zp_tree_free(tree);
}

static void an_inodes_own_xattrs_stay_small(void **state) {
        (void) state;
        static uint8_t value[ZP_LIMIT_XATTR_VALUE];
        struct zp_tree *tree = zp_tree_new();
        zp_tree_root(tree)->is_implied = false;
        struct zp_inode *file = add(tree, zp_tree_root(tree), "f", S_IFREG);
        char name[32];
        for (int i = 0; i < ZP_LIMIT_XATTRS_PER_FILE; i++) {
                snprintf(name, sizeof name, "user.%d", i);
                assert_int_equal(zp_tree_set_xattr(tree, file, name, value, sizeof value, NULL), 0);
        }
        mark(file, 5);
        struct zp_inode *several = add(tree, zp_tree_root(tree), "g", S_IFREG);
        for (int i = 0; i < 100; i++) {
                snprintf(name, sizeof name, "trusted.%d", i);
                assert_int_equal(zp_tree_set_xattr(tree, several, name, value, 1000, NULL), 0);
        }
        mark(several, 6);
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        uint64_t at = offset_of(tree, &image, "f");
        assert_int_equal(zp_get_le16(image.bytes + at + INODE_XATTR_COUNT), 1 + ZP_LIMIT_XATTRS_PER_FILE);
        at = offset_of(tree, &image, "g"); /* 100 KiB, which 16 bits cannot count */
        assert_int_equal(zp_get_le16(image.bytes + at + INODE_XATTR_COUNT), 1 + 100);
        struct zp_tree *again = load(&image);
        assert_same_tree(zp_tree_root(tree), zp_tree_root(again));
        zp_tree_free(again);
        free(image.bytes);
        zp_tree_free(tree);
}

static void no_inode_has_number_0(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        assert_int_not_equal(zp_get_le16(image.bytes + SB + SB_ROOT_NID), 0);
        free(image.bytes);
        zp_tree_free(tree);
}

static const uint8_t *chunks_of(struct zp_tree *tree, const struct image *image, const char *name) {
        uint64_t at = offset_of(tree, image, name);
        assert_int_equal(layout_at(image, at), EROFS_LAYOUT_CHUNK);
        return image->bytes + at + EROFS_INODE_SIZE;
}

static struct zp_tree *tree_with_addresses(void) {
        struct zp_tree *tree = zp_tree_new();
        struct zp_inode *file = add(tree, zp_tree_root(tree), "first", S_IFREG | 0644);
        set_extents(tree, file, 3 * ZP_BLOCK_SIZE, 1, &(struct zp_extent){ 17, 3, 0 });
        mark(file, 1);
        file = add(tree, zp_tree_root(tree), "second", S_IFREG | 0644);
        set_extents(tree, file, 4 * ZP_BLOCK_SIZE, 2, (struct zp_extent[]){ { ZP_HOLE, 2, 0 }, { 1000000, 2, 1 } });
        mark(file, 2);
        return tree;
}

static void device_table_has_addresses_within_devices(void **state) {
        (void) state;
        struct zp_tree *tree = tree_with_addresses();
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        const uint8_t *chunks = chunks_of(tree, &image, "first");
        assert_int_equal(zp_get_le16(chunks + CHUNK_DEVICE), 1);
        assert_int_equal(zp_get_le32(chunks + CHUNK_BLOCK), 17);
        chunks = chunks_of(tree, &image, "second");
        assert_int_equal(zp_get_le32(chunks + CHUNK_BLOCK), EROFS_NULL_BLOCK);
        assert_int_equal(zp_get_le16(chunks + 8 + CHUNK_DEVICE), 2);
        assert_int_equal(zp_get_le32(chunks + 8 + CHUNK_BLOCK), 1000000);
        const uint8_t *slot = image.bytes + EROFS_DEVICE_TABLE_OFFSET;
        assert_memory_equal(slot, "1100000000000000000000000000000000000000000000000000000000000000", 64);
        assert_int_equal(zp_get_le32(slot + DEVICE_BLOCKS), 1000);
        assert_int_equal(zp_get_le32(slot + DEVICE_MAPPED_BLOCK), image.size / ZP_BLOCK_SIZE);
        slot += EROFS_DEVICE_SIZE;
        assert_int_equal(zp_get_le32(slot + DEVICE_MAPPED_BLOCK), image.size / ZP_BLOCK_SIZE + 1000);
        assert_int_equal(zp_get_le32(image.bytes + SB + SB_BLOCKS), image.size / ZP_BLOCK_SIZE);
        free(image.bytes);
        zp_tree_free(tree);
}

static void flat_layout_has_absolute_addresses(void **state) {
        (void) state;
        struct zp_tree *tree = tree_with_addresses();
        struct image image = write_image(tree, ZP_EROFS_FLAT, false);
        uint64_t own = image.size / ZP_BLOCK_SIZE;
        const uint8_t *chunks = chunks_of(tree, &image, "first");
        assert_int_equal(zp_get_le16(chunks + CHUNK_DEVICE), 0);
        assert_int_equal(zp_get_le32(chunks + CHUNK_BLOCK), own + 17);
        chunks = chunks_of(tree, &image, "second");
        assert_int_equal(zp_get_le32(chunks + CHUNK_BLOCK), EROFS_NULL_BLOCK);
        assert_int_equal(zp_get_le32(chunks + 8 + CHUNK_BLOCK), own + 1000 + 1000000);
        assert_int_equal(zp_get_le32(image.bytes + SB + SB_BLOCKS), own + 1000 + 2000000);
        assert_int_equal(zp_get_le32(image.bytes + SB + SB_FEATURE_INCOMPAT), EROFS_INCOMPAT_CHUNKED);
        free(image.bytes);
        zp_tree_free(tree);
}

static void contiguous_file_has_one_chunk_up_to_2_gib(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        struct zp_inode *file = add(tree, zp_tree_root(tree), "f", S_IFREG);
        set_extents(tree, file, UINT64_C(5) << 30, 1, &(struct zp_extent){ 7, (UINT64_C(5) << 30) / ZP_BLOCK_SIZE, 1 });
        mark(file, 9);
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        uint64_t at = offset_of(tree, &image, "f");
        assert_int_equal(zp_get_le32(image.bytes + at + INODE_UNION), EROFS_CHUNK_INDEXES | 19);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(zp_get_le32(image.bytes + at + EROFS_INODE_SIZE + i * 8 + CHUNK_BLOCK), 7 + (i << 19));
        free(image.bytes);
        zp_tree_free(tree);
}

static void order_of_insertion_does_not_show(void **state) {
        (void) state;
        static const char *names[] = { "b", "a", "-", "...", "\xff", "ab" };
        struct image images[2];
        for (int order = 0; order < 2; order++) {
                struct zp_tree *tree = zp_tree_new();
                for (int i = 0; i < 6; i++) {
                        struct zp_inode *inode = add(tree, zp_tree_root(tree), names[order ? 5 - i : i], S_IFREG);
                        zp_tree_set_xattr(tree, inode, order ? "user.a" : "user.b", "v", 1, NULL);
                        zp_tree_set_xattr(tree, inode, order ? "user.b" : "user.a", "v", 1, NULL);
                }
                images[order] = write_image(tree, ZP_EROFS_DEVICE_TABLE, true);
                zp_tree_free(tree);
        }
        assert_int_equal(images[0].size, images[1].size);
        assert_memory_equal(images[0].bytes, images[1].bytes, images[0].size);
        free(images[0].bytes);
        free(images[1].bytes);
}

static void writing_a_layer_leaves_no_marks_in_its_tree(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        struct zp_inode *dir = add(tree, zp_tree_root(tree), "d", S_IFDIR | 0755);
        dir->is_opaque = true;
        zp_tree_set_xattr(tree, dir, "user.kept", "v", 1, NULL);
        struct image first = write_image(tree, ZP_EROFS_DEVICE_TABLE, true);
        assert_null(zp_inode_find_xattr(dir, ZP_XATTR_OPAQUE));
        assert_null(zp_tree_root(tree)->xattrs);
        assert_non_null(zp_inode_find_xattr(dir, "user.kept"));
        struct image second = write_image(tree, ZP_EROFS_DEVICE_TABLE, true);
        assert_memory_equal(first.bytes, second.bytes, first.size);
        free(first.bytes);
        free(second.bytes);
        zp_tree_free(tree);
}

static void assert_refused(struct zp_tree *tree, int code, const char *message) {
        struct image image;
        struct zp_error err = { 0 };
        assert_int_equal(try_write(tree, ZP_EROFS_DEVICE_TABLE, false, &image, &err), -code);
        if (!strstr(err.message, message))
                fail_msg("'%s' does not say '%s'", err.message, message);
        zp_tree_free(tree);
}

static void what_erofs_cannot_hold_is_refused_with_its_path(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        struct zp_inode *dir = add(tree, zp_tree_root(tree), "dir", S_IFDIR | 0755);
        zp_tree_set_xattr(tree, add(tree, dir, "f", S_IFREG), "system.other", "", 0, NULL);
        assert_refused(tree, ENOTSUP, "'/dir/f': xattr 'system.other'");

        tree = zp_tree_new();
        add(tree, zp_tree_root(tree), "c", S_IFCHR)->rdev_major = 4096;
        assert_refused(tree, ENOTSUP, "'/c': device 4096:0");

        tree = zp_tree_new();
        set_extents(tree, add(tree, zp_tree_root(tree), "f", S_IFREG), 8192, 1, &(struct zp_extent){ 999, 2, 0 });
        assert_refused(tree, EINVAL, "'/f': an extent lies outside its device");

        tree = zp_tree_new();
        set_extents(tree, add(tree, zp_tree_root(tree), "f", S_IFREG), 8193, 1, &(struct zp_extent){ 0, 2, 0 });
        assert_refused(tree, EINVAL, "'/f': extents of 2 blocks for 8193 bytes");

        tree = zp_tree_new();
        zp_tree_set_xattr(tree, zp_tree_root(tree), "user.", "", 0, NULL);
        assert_refused(tree, ENOTSUP, "'/': xattr 'user.'");
}

static void disk_of_16_tib_is_refused(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        struct zp_erofs_device devices[2] = { { .blocks = UINT32_MAX / 2 }, { .blocks = UINT32_MAX / 2 } };
        struct zp_erofs_options options = { .layout = ZP_EROFS_DEVICE_TABLE, .devices = devices, .device_count = 2 };
        struct zp_erofs_result result;
        struct zp_error err = { 0 };
        assert_int_equal(zp_erofs_write(tree, &options, -1, "x", &result, &err), -EFBIG);
        devices[0].blocks = 0;
        assert_int_equal(zp_erofs_write(tree, &options, -1, "x", &result, &err), -EINVAL);
        zp_tree_free(tree);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(inline_link_target_shares_the_block_of_its_inode),
                cmocka_unit_test(an_inodes_own_xattrs_stay_small),
                cmocka_unit_test(no_inode_has_number_0),
                cmocka_unit_test(device_table_has_addresses_within_devices),
                cmocka_unit_test(flat_layout_has_absolute_addresses),
                cmocka_unit_test(contiguous_file_has_one_chunk_up_to_2_gib),
                cmocka_unit_test(order_of_insertion_does_not_show),
                cmocka_unit_test(writing_a_layer_leaves_no_marks_in_its_tree),
                cmocka_unit_test(what_erofs_cannot_hold_is_refused_with_its_path),
                cmocka_unit_test(disk_of_16_tib_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
