/* SPDX-License-Identifier: Apache-2.0
 *
 * What is written loads again as it was, and damage is found.
 */
#include "erofs-fixture.h"

#include <isa-l/crc.h>

#include "base/limits.h"

static void assert_round_trip(struct zp_tree *tree, bool is_layer) {
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, is_layer);
        struct zp_tree *again = load(&image);
        assert_same_tree(zp_tree_root(tree), zp_tree_root(again));
        struct image second = write_image(again, ZP_EROFS_DEVICE_TABLE, is_layer);
        assert_int_equal(image.size, second.size);
        assert_memory_equal(image.bytes, second.bytes, image.size);
        zp_tree_free(again);
        free(image.bytes);
        free(second.bytes);
        zp_tree_free(tree);
}

static struct zp_tree *plain_tree(void) {
        struct zp_tree *tree = zp_tree_new();
        zp_tree_root(tree)->is_implied = false;
        return tree;
}

static void every_kind_of_inode_comes_back(void **state) {
        (void) state;
        static const uint32_t modes[] = { S_IFREG | 04755, S_IFDIR | 01777, S_IFLNK | 0777, S_IFCHR | 0600,
                                          S_IFBLK | 0660,  S_IFIFO,         S_IFSOCK | 0755 };
        struct zp_tree *tree = plain_tree();
        for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
                char name[] = { (char) ('a' + i), '\0' };
                struct zp_inode *inode = add(tree, zp_tree_root(tree), name, modes[i]);
                inode->uid = UINT32_MAX - 1;
                inode->gid = 70000;
                inode->mtime_s = i % 2 ? -1 : INT64_C(0x123456789a);
                inode->mtime_ns = 999999999;
                if (S_ISLNK(modes[i]))
                        set_data(tree, inode, 't', 10);
                if (S_ISCHR(modes[i]) || S_ISBLK(modes[i])) {
                        inode->rdev_major = 0xfff;
                        inode->rdev_minor = 0xfffff - (uint32_t) i;
                }
        }
        assert_round_trip(tree, false);
}

static void content_of_every_layout_comes_back(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        struct zp_inode *root = zp_tree_root(tree);
        char name[32];
        for (unsigned size = 1; size <= ZP_BLOCK_SIZE; size += size < 3900 ? 97 : 1) {
                snprintf(name, sizeof name, "file%u", size);
                set_data(tree, add(tree, root, name, S_IFREG), 'f', size);
                snprintf(name, sizeof name, "link%u", size);
                if (size <= ZP_LIMIT_SYMLINK)
                        set_data(tree, add(tree, root, name, S_IFLNK), 'l', size);
        }
        set_extents(tree, add(tree, root, "one", S_IFREG), 100 * 4096 - 1, 1, &(struct zp_extent){ 3, 100, 1 });
        set_extents(tree, add(tree, root, "holes", S_IFREG), 12 * 4096, 4,
                    (struct zp_extent[]){ { ZP_HOLE, 4, 0 }, { 7, 4, 1 }, { ZP_HOLE, 2, 0 }, { 0, 2, 0 } });
        set_extents(tree, add(tree, root, "odd", S_IFREG), 10 * 4096, 3,
                    (struct zp_extent[]){ { 1, 1, 0 }, { 1, 6, 0 }, { 7, 3, 1 } });
        set_extents(tree, add(tree, root, "hole", S_IFREG), 1, 1, &(struct zp_extent){ ZP_HOLE, 1, 0 });
        add(tree, root, "empty", S_IFREG);
        assert_round_trip(tree, false);
}

static void hard_links_come_back_as_one_inode(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        struct zp_inode *file = add(tree, zp_tree_root(tree), "a", S_IFREG);
        struct zp_inode *dir = add(tree, zp_tree_root(tree), "d", S_IFDIR);
        zp_tree_link(tree, dir, "b", 1, file, NULL);
        file->nlink = 9; /* more names than are left */
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        struct zp_tree *again = load(&image);
        struct zp_inode *root = zp_tree_root(again);
        assert_ptr_equal(find(again, root, "a"), find(again, find(again, root, "d"), "b"));
        assert_int_equal(find(again, root, "a")->nlink, 9);
        zp_tree_free(again);
        free(image.bytes);
        zp_tree_free(tree);
}

static void xattrs_come_back(void **state) {
        (void) state;
        static uint8_t large[ZP_LIMIT_XATTR_VALUE];
        struct zp_tree *tree = plain_tree();
        char name[300];
        for (unsigned i = 0; i < 6; i++) {
                snprintf(name, sizeof name, "f%u", i);
                struct zp_inode *inode = add(tree, zp_tree_root(tree), name, i % 2 ? S_IFDIR : S_IFREG);
                zp_tree_set_xattr(tree, inode, "security.capability", "\1\0\0\2", 4, NULL);
                zp_tree_set_xattr(tree, inode, "user.number", &i, sizeof i, NULL);
                zp_tree_set_xattr(tree, inode, "user.empty", "", 0, NULL);
                zp_tree_set_xattr(tree, inode, "system.posix_acl_access", "acl", 3, NULL);
                if (i % 2)
                        zp_tree_set_xattr(tree, inode, "system.posix_acl_default", large, 10 + i, NULL);
                if (i > 3)
                        zp_tree_set_xattr(tree, inode, "trusted.large", large, sizeof large - i, NULL);
                memset(name, 'n', sizeof name);
                memcpy(name, "user.", 5);
                name[5 + 250] = '\0';
                zp_tree_set_xattr(tree, inode, name, large, i * 300, NULL);
        }
        assert_round_trip(tree, false);
}

static void layer_form_comes_back(void **state) {
        (void) state;
        struct zp_tree *tree = zp_tree_new();
        struct zp_inode *dir = add(tree, zp_tree_root(tree), "opaque", S_IFDIR | 0700);
        dir->is_opaque = true;
        add(tree, dir, "whiteout", S_IFCHR);
        add(tree, zp_tree_root(tree), "implied", S_IFDIR | 0755)->is_implied = true;
        add(tree, zp_tree_root(tree), "implied-first", S_IFDIR | 0711)->inherits_xattrs = true;
        assert_true(zp_tree_root(tree)->is_implied);
        assert_round_trip(tree, true);
}

static void directories_of_any_size_come_back(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        struct zp_inode *big = add(tree, zp_tree_root(tree), "big", S_IFDIR | 0755);
        char name[300];
        for (unsigned i = 0; i < 100000; i++) {
                snprintf(name, sizeof name, "%x", i * 2654435761u);
                add(tree, big, name, S_IFREG | 0644);
        }
        /* directory sizes around a block, byte by byte: 14 entries of 255 bytes, one of `last`, "." and ".." */
        for (int last = 225; last <= ZP_LIMIT_NAME; last++) {
                snprintf(name, sizeof name, "d%d", last);
                struct zp_inode *dir = add(tree, zp_tree_root(tree), name, S_IFDIR | 0755);
                memset(name, 'e', sizeof name);
                name[ZP_LIMIT_NAME] = '\0';
                for (int i = 0; i < 14; i++) {
                        name[0] = (char) ('a' + i);
                        add(tree, dir, name, S_IFREG);
                }
                name[0] = 'z';
                name[last] = '\0';
                add(tree, dir, name, S_IFREG);
        }
        static const char *odd[] = { "!", "-", ".-", "..\1", "...", ".a", "\x80", "\xff\xfe", " ", "\n" };
        for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
                add(tree, zp_tree_root(tree), odd[i], S_IFREG);
        assert_round_trip(tree, false);
}

static void deepest_nesting_comes_back(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        struct zp_inode *dir = zp_tree_root(tree);
        for (int i = 0; i < ZP_LIMIT_DEPTH; i++)
                dir = add(tree, dir, "d", S_IFDIR | 0755);
        struct zp_inode *one_more;
        assert_int_equal(zp_tree_new_inode(tree, S_IFDIR, &one_more, NULL), 0);
        assert_int_equal(zp_tree_link(tree, dir, "d", 1, one_more, NULL), -ENAMETOOLONG);
        assert_round_trip(tree, false);
}

static void device_table_comes_back(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree(), *again;
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        struct zp_erofs_device *devices;
        uint16_t count;
        assert_int_equal(zp_erofs_load(image.bytes, image.size, &again, &devices, &count, NULL), 0);
        assert_int_equal(count, 2);
        for (int i = 0; i < 2; i++) {
                assert_true(zp_digest_equal(&devices[i].digest, &test_devices[i].digest));
                assert_int_equal(devices[i].blocks, test_devices[i].blocks);
        }
        free(devices);
        assert_int_equal(zp_erofs_check(image.bytes, image.size, &devices, &count, NULL), 0);
        assert_int_equal(count, 2);
        for (int i = 0; i < 2; i++)
                assert_true(zp_digest_equal(&devices[i].digest, &test_devices[i].digest));
        free(devices);
        zp_tree_free(again);
        zp_tree_free(tree);
        free(image.bytes);
}

static void assert_load_fails(const struct image *image, size_t size, int code, const char *message) {
        struct zp_tree *tree = NULL;
        struct zp_error err = { 0 };
        uint8_t *exact = malloc(size + 1); /* so that AddressSanitizer sees a read past the end */
        memcpy(exact, image->bytes, size);
        assert_int_equal(zp_erofs_load(exact, size, &tree, NULL, NULL, &err), -code);
        if (!strstr(err.message, message))
                fail_msg("'%s' does not say '%s'", err.message, message);
        struct zp_error of_check = { 0 };
        assert_int_equal(zp_erofs_check(exact, size, NULL, NULL, &of_check), -code);
        assert_string_equal(of_check.message, err.message);
        free(exact);
}

static void fix_checksum(struct image *image) {
        uint8_t *sb = image->bytes + EROFS_SUPER_OFFSET;
        zp_put_le32(sb + SB_CHECKSUM, 0);
        zp_put_le32(sb + SB_CHECKSUM, crc32_iscsi(sb, (int) (ZP_BLOCK_SIZE - EROFS_SUPER_OFFSET), UINT32_MAX));
}

static void flat_disk_is_not_taken_apart(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        set_extents(tree, add(tree, zp_tree_root(tree), "f", S_IFREG), 4096, 1, &(struct zp_extent){ 0, 1, 0 });
        struct image image = write_image(tree, ZP_EROFS_FLAT, false);
        assert_load_fails(&image, image.size, ENOTSUP, "flat disk");
        free(image.bytes);
        zp_tree_free(tree);
}

static void damage_is_found(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        struct zp_inode *dir = add(tree, zp_tree_root(tree), "d", S_IFDIR | 0755);
        set_data(tree, add(tree, dir, "f", S_IFREG), 'x', 100);
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        for (size_t size = 0; size < ZP_BLOCK_SIZE; size += 100)
                assert_load_fails(&image, size, EBADMSG, "EROFS");
        assert_load_fails(&image, ZP_BLOCK_SIZE, EBADMSG, "damaged");

        uint8_t *sb = image.bytes + EROFS_SUPER_OFFSET;
        sb[SB_BUILD_TIME] ^= 1;
        assert_load_fails(&image, image.size, EBADMSG, "checksum");
        sb[SB_BUILD_TIME] ^= 1;

        zp_put_le32(sb + SB_FEATURE_INCOMPAT, zp_get_le32(sb + SB_FEATURE_INCOMPAT) | 1);
        fix_checksum(&image);
        assert_load_fails(&image, image.size, ENOTSUP, "features");
        zp_put_le32(sb + SB_FEATURE_INCOMPAT, zp_get_le32(sb + SB_FEATURE_INCOMPAT) & ~1u);

        zp_put_le64(sb + SB_INODES, 2); /* there are 3 */
        fix_checksum(&image);
        assert_load_fails(&image, image.size, EBADMSG, "more inodes");
        free(image.bytes);
        zp_tree_free(tree);
}

/* The root's directory entry of a name, to be pointed elsewhere. */
static uint8_t *dirent_of(struct image *image, unsigned index) {
        uint8_t *sb = image->bytes + EROFS_SUPER_OFFSET;
        return image->bytes + zp_get_le32(sb + SB_META_BLOCK) * (size_t) ZP_BLOCK_SIZE +
               zp_get_le16(sb + SB_ROOT_NID) * (size_t) EROFS_SLOT_SIZE + EROFS_INODE_SIZE + index * EROFS_DIRENT_SIZE;
}

static void directory_cycles_are_found(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        add(tree, zp_tree_root(tree), "d", S_IFDIR | 0755);
        add(tree, zp_tree_root(tree), "e", S_IFDIR | 0755);
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        uint8_t *d = dirent_of(&image, 2), *e = dirent_of(&image, 3), *dot = dirent_of(&image, 0);
        uint64_t nid = zp_get_le64(d);
        zp_put_le64(d, zp_get_le64(dot));
        assert_load_fails(&image, image.size, EBADMSG, "a directory with two names");
        zp_put_le64(d, zp_get_le64(e));
        assert_load_fails(&image, image.size, EBADMSG, "a directory with two names");
        zp_put_le64(d, UINT64_MAX);
        assert_load_fails(&image, image.size, EBADMSG, "no inode");
        zp_put_le64(d, nid);
        free(image.bytes);
        zp_tree_free(tree);
}

static uint8_t *root_block(struct image *image) {
        return dirent_of(image, 0);
}

/* What the kernel, which looks names up by halving, would not find; twice the same name among it. */
static void names_out_of_order_are_found(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        add(tree, zp_tree_root(tree), "dd", S_IFREG);
        add(tree, zp_tree_root(tree), "ee", S_IFREG);
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        char *second = (char *) root_block(&image) + zp_get_le16(dirent_of(&image, 3) + DIRENT_NAME_OFFSET);
        static const char *names[] = { "dd", "da", "-e", "d" };
        assert_memory_equal(second, "ee", 2);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                memset(second, 0, 2);
                memcpy(second, names[i], strlen(names[i]));
                assert_load_fails(&image, image.size, EBADMSG, "out of order");
        }
        free(image.bytes);
        zp_tree_free(tree);
}

/* The last name of a block and the first of the next are compared as well. */
static void names_out_of_order_are_found_between_blocks(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        struct zp_inode *big = add(tree, zp_tree_root(tree), "big", S_IFDIR);
        char name[32];
        for (unsigned i = 0; i < 1000; i++) {
                snprintf(name, sizeof name, "%08u", i);
                add(tree, big, name, S_IFREG);
        }
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        uint8_t *sb = image.bytes + EROFS_SUPER_OFFSET;
        uint8_t *meta = image.bytes + zp_get_le32(sb + SB_META_BLOCK) * (size_t) ZP_BLOCK_SIZE;
        uint8_t *raw = meta + zp_get_le64(dirent_of(&image, 2)) * EROFS_SLOT_SIZE;
        uint8_t *next = image.bytes + (zp_get_le32(raw + INODE_UNION) + 1) * (size_t) ZP_BLOCK_SIZE;
        uint8_t *first = next + zp_get_le16(next + DIRENT_NAME_OFFSET);
        assert_true(zp_get_le64(raw + INODE_SIZE) > 2 * ZP_BLOCK_SIZE);
        memcpy(first, "00000001", 8);
        assert_load_fails(&image, image.size, EBADMSG, "out of order");
        free(image.bytes);
        zp_tree_free(tree);
}

/* Many files that use the same bytes would be work without end from a small image. */
static void overlapping_content_is_found(void **state) {
        (void) state;
        struct zp_tree *tree = plain_tree();
        char name[32];
        for (unsigned i = 0; i < 60; i++) {
                snprintf(name, sizeof name, "%02u", i);
                set_data(tree, add(tree, zp_tree_root(tree), name, S_IFREG), 'x', 100);
        }
        struct image image = write_image(tree, ZP_EROFS_DEVICE_TABLE, false);
        uint8_t *sb = image.bytes + EROFS_SUPER_OFFSET;
        uint8_t *meta = image.bytes + zp_get_le32(sb + SB_META_BLOCK) * (size_t) ZP_BLOCK_SIZE;
        for (unsigned i = 0; i < 60; i++) {
                uint8_t *raw = meta + zp_get_le64(dirent_of(&image, 2 + i)) * EROFS_SLOT_SIZE;
                zp_put_le16(raw + INODE_FORMAT, EROFS_FORMAT_EXTENDED | EROFS_LAYOUT_PLAIN << 1);
                zp_put_le64(raw + INODE_SIZE, ZP_BLOCK_SIZE);
        }
        assert_load_fails(&image, image.size, EBADMSG, "inline data outside the file");
        free(image.bytes);
        zp_tree_free(tree);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_kind_of_inode_comes_back),
                cmocka_unit_test(content_of_every_layout_comes_back),
                cmocka_unit_test(hard_links_come_back_as_one_inode),
                cmocka_unit_test(xattrs_come_back),
                cmocka_unit_test(layer_form_comes_back),
                cmocka_unit_test(directories_of_any_size_come_back),
                cmocka_unit_test(deepest_nesting_comes_back),
                cmocka_unit_test(device_table_comes_back),
                cmocka_unit_test(flat_disk_is_not_taken_apart),
                cmocka_unit_test(damage_is_found),
                cmocka_unit_test(directory_cycles_are_found),
                cmocka_unit_test(names_out_of_order_are_found),
                cmocka_unit_test(names_out_of_order_are_found_between_blocks),
                cmocka_unit_test(overlapping_content_is_found),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
