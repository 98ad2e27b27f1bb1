/* SPDX-License-Identifier: Apache-2.0 */
#include "tree-fixture.h"

static void new_tree_has_an_implied_root(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        const struct zp_inode *root = zp_tree_root(tree);
        assert_int_equal(root->mode, S_IFDIR | 0755);
        assert_int_equal(root->nlink, 2);
        assert_true(root->is_implied);
        assert_int_equal(zp_tree_inode_count(tree), 1);
}

static void names_are_found_in_their_directory_only(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *file = add(tree, "d/name", S_IFREG), *dir = add(tree, "d", S_IFDIR);
        assert_ptr_equal(zp_tree_lookup(tree, dir, "name!", 4)->inode, file);
        assert_null(zp_tree_lookup(tree, dir, "nam", 3));
        assert_null(zp_tree_lookup(tree, dir, "name!", 5));
        assert_null(zp_tree_lookup(tree, zp_tree_root(tree), "name", 4));
        assert_tree(tree, "d(name)");
}

static void link_counts_follow_names(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *root = zp_tree_root(tree), *dir = add(tree, "d/e", S_IFDIR), *file = add(tree, "f", S_IFREG);
        assert_int_equal(zp_tree_link(tree, dir, "g", 1, file, NULL), 0);
        assert_int_equal(file->nlink, 2);
        assert_int_equal(root->nlink, 3);
        assert_int_equal(add(tree, "d", S_IFDIR)->nlink, 3);
        zp_tree_unlink(tree, zp_tree_lookup(tree, root, "d", 1));
        assert_int_equal(file->nlink, 1);
        assert_int_equal(root->nlink, 2);
        assert_int_equal(root->child_count, 1);
        assert_tree(tree, "f");
}

static void removed_name_is_gone_and_can_be_used_again(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *root = zp_tree_root(tree);
        add(tree, "a", S_IFREG);
        add(tree, "b/c/d", S_IFREG);
        add(tree, "e", S_IFREG);
        struct zp_inode *inner = add(tree, "b/c", S_IFDIR);
        zp_tree_unlink(tree, zp_tree_lookup(tree, root, "b", 1));
        assert_null(zp_tree_lookup(tree, root, "b", 1));
        assert_null(zp_tree_lookup(tree, inner, "d", 1));
        assert_tree(tree, "a e");
        add(tree, "b", S_IFREG);
        zp_tree_unlink(tree, zp_tree_lookup(tree, root, "a", 1));
        assert_tree(tree, "e b");
        zp_tree_unlink(tree, zp_tree_lookup(tree, root, "b", 1));
        zp_tree_unlink(tree, zp_tree_lookup(tree, root, "e", 1));
        assert_tree(tree, "");
        assert_null(root->last_child);
}

static void bad_names_are_refused(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *root = zp_tree_root(tree), *file = new_inode(tree, S_IFREG);
        struct zp_error err = { 0 };
        char name[ZP_LIMIT_NAME + 1];
        memset(name, 'n', sizeof name);
        assert_int_equal(zp_tree_link(tree, root, name, 0, file, &err), -ENAMETOOLONG);
        assert_int_equal(zp_tree_link(tree, root, name, sizeof name, file, &err), -ENAMETOOLONG);
        assert_int_equal(zp_tree_link(tree, root, name, ZP_LIMIT_NAME, file, &err), 0);
        assert_int_equal(zp_tree_link(tree, root, name, ZP_LIMIT_NAME, file, &err), -EEXIST);
        assert_int_equal(file->nlink, 1);
        assert_int_equal(root->child_count, 1);
}

static void depth_is_limited(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *dir = zp_tree_root(tree);
        for (int i = 0; i < ZP_LIMIT_DEPTH; i++) {
                struct zp_inode *fresh = new_inode(tree, S_IFDIR);
                assert_int_equal(zp_tree_link(tree, dir, "d", 1, fresh, NULL), 0);
                dir = fresh;
        }
        assert_int_equal(dir->depth, ZP_LIMIT_DEPTH);
        assert_int_equal(zp_tree_link(tree, dir, "d", 1, new_inode(tree, S_IFDIR), NULL), -ENAMETOOLONG);
        assert_int_equal(zp_tree_link(tree, dir, "f", 1, new_inode(tree, S_IFREG), NULL), 0);
}

static void many_names_stay_found(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *root = zp_tree_root(tree), *file = new_inode(tree, S_IFREG);
        char name[32];
        for (unsigned i = 0; i < 50000; i++) {
                int size = snprintf(name, sizeof name, "%u", i);
                assert_int_equal(zp_tree_link(tree, root, name, (size_t) size, file, NULL), 0);
        }
        for (unsigned i = 0; i < 50000; i++) {
                int size = snprintf(name, sizeof name, "%u", i);
                assert_non_null(zp_tree_lookup(tree, root, name, (size_t) size));
        }
        assert_int_equal(file->nlink, 50000);
        assert_int_equal(root->child_count, 50000);
}

static void xattrs_are_sorted_and_replaced(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *file = add(tree, "f", S_IFREG);
        uint8_t lent[] = { 7 };
        assert_int_equal(zp_tree_set_xattr(tree, file, "user.b", "1", 1, NULL), 0);
        assert_int_equal(zp_tree_set_xattr(tree, file, "user.c", "2", 1, NULL), 0);
        assert_int_equal(zp_tree_set_xattr(tree, file, "user.a", "", 0, NULL), 0);
        assert_int_equal(zp_tree_set_xattr(tree, file, "user.b", "33", 2, NULL), 0);
        assert_int_equal(zp_tree_borrow_xattr(tree, file, "user.aa", lent, 1, NULL), 0);
        static const char *names[] = { "user.a", "user.aa", "user.b", "user.c" };
        const struct zp_xattr *xattr = file->xattrs;
        for (int i = 0; i < 4; i++, xattr = xattr->next)
                assert_string_equal(xattr->name, names[i]);
        assert_null(xattr);
        assert_int_equal(zp_inode_find_xattr(file, "user.b")->value_size, 2);
        assert_memory_equal(zp_inode_find_xattr(file, "user.b")->value, "33", 2);
        assert_ptr_equal(zp_inode_find_xattr(file, "user.aa")->value, lent);
        assert_null(zp_inode_find_xattr(file, "user"));
}

static void children_are_sorted_by_bytes(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        static const char *names[] = { "b", "\xff", "ab", "a", "-", "A", "\x80" };
        for (int i = 0; i < 7; i++)
                add(tree, names[i], S_IFREG);
        add(tree, "d/y", S_IFREG);
        add(tree, "d/x", S_IFREG);
        zp_autofree struct zp_dentry **sorted = NULL;
        assert_int_equal(zp_tree_sorted_children(zp_tree_root(tree), &sorted, NULL), 0);
        assert_string_equal(sorted[0]->name, "-");
        assert_string_equal(sorted[7]->name, "\xff");
        assert_tree(tree, "b \xff ab a - A \x80 d(y x)");
        assert_int_equal(zp_tree_sort(tree, NULL), 0);
        assert_tree(tree, "- A a ab b d(x y) \x80 \xff");
        add(tree, "0", S_IFREG);
        assert_tree(tree, "- A a ab b d(x y) \x80 \xff 0");
}

static void memory_is_limited(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        assert_null(zp_tree_alloc(tree, ZP_LIMIT_LAYER_METADATA + 1));
        assert_null(zp_tree_alloc(tree, SIZE_MAX));
        assert_non_null(zp_tree_alloc(tree, 100));
}

static void whiteout_is_a_character_device_0_0(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *device = add(tree, "c", S_IFCHR);
        assert_true(zp_inode_is_whiteout(device));
        device->rdev_minor = 1;
        assert_false(zp_inode_is_whiteout(device));
        assert_false(zp_inode_is_whiteout(add(tree, "b", S_IFBLK)));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(new_tree_has_an_implied_root),
                cmocka_unit_test(names_are_found_in_their_directory_only),
                cmocka_unit_test(link_counts_follow_names),
                cmocka_unit_test(removed_name_is_gone_and_can_be_used_again),
                cmocka_unit_test(bad_names_are_refused),
                cmocka_unit_test(depth_is_limited),
                cmocka_unit_test(many_names_stay_found),
                cmocka_unit_test(xattrs_are_sorted_and_replaced),
                cmocka_unit_test(children_are_sorted_by_bytes),
                cmocka_unit_test(memory_is_limited),
                cmocka_unit_test(whiteout_is_a_character_device_0_0),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
