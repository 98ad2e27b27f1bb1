/* SPDX-License-Identifier: Apache-2.0
 *
 * The merge, case by case. That overlayfs gives the same is tested in tests/integration/test_merge_overlayfs.py.
 */
#include "tree-fixture.h"

#include "layer/merge.h"
#include "layer/resolve.h"

#define MAX 4

struct layers {
        struct zp_tree *trees[MAX];
        struct zp_tree *merged;
};

static int setup(void **state) {
        struct layers *l = calloc(1, sizeof *l);
        for (int i = 0; i < MAX; i++)
                l->trees[i] = zp_tree_new();
        *state = l;
        return 0;
}

static int teardown(void **state) {
        struct layers *l = *state;
        for (int i = 0; i < MAX; i++)
                zp_tree_free(l->trees[i]);
        zp_tree_free(l->merged);
        free(l);
        return 0;
}

static void merge(struct layers *l, size_t count, const char *expected) {
        struct zp_error err = { 0 };
        zp_tree_free(l->merged);
        l->merged = NULL;
        if (zp_tree_merge(l->trees, count, &l->merged, &err) < 0)
                fail_msg("%s", err.message);
        zp_tree_sort(l->merged, NULL);
        assert_tree(l->merged, expected);
}

static struct zp_inode *at(const struct layers *l, const char *path) {
        struct zp_inode *inode = NULL;
        zp_tree_lstat(l->merged, path + 1, strlen(path) - 1, &inode, NULL);
        return inode;
}

static void directories_are_merged_with_the_topmost_attributes(void **state) {
        struct layers *l = *state;
        struct zp_inode *below = add(l->trees[0], "d/x", S_IFREG), *above = add(l->trees[1], "d", S_IFDIR | 0700);
        above->uid = 5;
        add(l->trees[1], "d/y", S_IFREG);
        below->uid = 6;
        merge(l, 2, "d(x y)");
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0700);
        assert_int_equal(at(l, "/d")->uid, 5);
        assert_int_equal(at(l, "/d/x")->uid, 6);
        assert_int_equal(at(l, "/")->mode, S_IFDIR | 0755);
        assert_false(at(l, "/")->is_implied);
}

static void whiteout_hides_what_is_below_only(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "a", S_IFREG);
        add(l->trees[0], "d/x", S_IFREG);
        add(l->trees[1], "a", S_IFCHR);
        add(l->trees[1], "d", S_IFCHR);
        add(l->trees[1], "nothing", S_IFCHR);
        merge(l, 2, "");
        add(l->trees[2], "a", S_IFREG);
        add(l->trees[2], "d/y", S_IFREG);
        merge(l, 3, "a d(y)");
}

static void opaque_directory_hides_lower_entries(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "d/x", S_IFREG);
        add(l->trees[1], "d/y", S_IFREG);
        add(l->trees[1], "d", S_IFDIR)->is_opaque = true;
        add(l->trees[2], "d/z", S_IFREG);
        merge(l, 3, "d(y z)");
        assert_false(at(l, "/d")->is_opaque);
}

static void opaque_root_hides_nothing(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "x", S_IFREG);
        zp_tree_root(l->trees[1])->is_opaque = true;
        merge(l, 2, "x");
}

static void type_change_ends_the_merge(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "d/x", S_IFREG);
        add(l->trees[1], "d", S_IFREG);
        merge(l, 2, "d");
        add(l->trees[2], "d/y", S_IFREG);
        merge(l, 3, "d(y)");
}

static void partly_hidden_hard_links_keep_their_count(void **state) {
        struct layers *l = *state;
        struct zp_inode *file = add(l->trees[0], "a", S_IFREG);
        zp_tree_link(l->trees[0], zp_tree_root(l->trees[0]), "b", 1, file, NULL);
        zp_tree_link(l->trees[0], add(l->trees[0], "d", S_IFDIR), "c", 1, file, NULL);
        add(l->trees[1], "a", S_IFCHR);
        merge(l, 2, "b d(c)");
        assert_ptr_equal(at(l, "/b"), at(l, "/d/c"));
        assert_int_equal(at(l, "/b")->nlink, 3);
}

static void extents_get_the_number_of_their_layer(void **state) {
        struct layers *l = *state;
        struct zp_extent extents[2] = { { 1, 2, 0 }, { 9, 1, 0 } };
        for (int i = 0; i < 2; i++) {
                struct zp_inode *file = add(l->trees[i], i ? "b" : "a", S_IFREG);
                file->extents = extents;
                file->extent_count = 2;
                file->size = 3 * 4096;
        }
        merge(l, 2, "a b");
        assert_int_equal(at(l, "/a")->extents[1].device, 0);
        assert_int_equal(at(l, "/b")->extents[1].device, 1);
        assert_int_equal(at(l, "/b")->extents[1].block, 9);
        assert_int_equal(extents[1].device, 0);
}

static struct zp_inode *add_implied(struct zp_tree *tree, const char *path) {
        struct zp_inode *dir = add(tree, path, S_IFDIR | 0755);
        dir->is_implied = true;
        return dir;
}

static void implied_directory_takes_attributes_from_below(void **state) {
        struct layers *l = *state;
        struct zp_inode *below = add(l->trees[0], "d", S_IFDIR | 0711);
        below->gid = 3;
        below->mtime_s = 99;
        zp_tree_set_xattr(l->trees[0], below, "user.k", "v", 1, NULL);
        add_implied(l->trees[1], "d");
        struct zp_inode *above = add_implied(l->trees[2], "d");
        add(l->trees[2], "d/f", S_IFREG);
        merge(l, 3, "d(f)");
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0711);
        assert_int_equal(at(l, "/d")->gid, 3);
        assert_int_equal(at(l, "/d")->mtime_s, 99);
        assert_non_null(zp_inode_find_xattr(at(l, "/d"), "user.k"));
        /* the layer itself is as it was */
        assert_int_equal(above->mode, S_IFDIR | 0755);
        assert_null(above->xattrs);
        assert_true(above->is_implied);
}

static void implied_directory_without_one_below_keeps_the_default(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "d", S_IFDIR | 0700);
        add(l->trees[1], "d", S_IFREG); /* "replaced, do not copy attributes" */
        add_implied(l->trees[2], "d");
        add_implied(l->trees[2], "e");
        merge(l, 3, "d() e()");
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0755);
        assert_int_equal(at(l, "/e")->mode, S_IFDIR | 0755);
}

static void implied_directory_looks_through_links(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "usr/lib", S_IFDIR | 0750);
        add_link(l->trees[0], "lib", "/usr/lib");
        add_implied(l->trees[1], "lib");
        merge(l, 2, "lib() usr(lib())");
        assert_int_equal(at(l, "/lib")->mode, S_IFDIR | 0750);
}

static void implied_directory_through_a_file_is_refused(void **state) {
        struct layers *l = *state;
        struct zp_error err = { 0 };
        add(l->trees[0], "f", S_IFREG);
        add_implied(l->trees[1], "f/d");
        assert_int_equal(zp_tree_merge(l->trees, 2, &l->merged, &err), -ENOTDIR);
        assert_non_null(strstr(err.message, "layer 2: directory '/f/d': layer 1"));
}

static void same_tree_may_occur_twice(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "d", S_IFDIR | 0701);
        add_implied(l->trees[1], "d");
        struct zp_inode *file = add(l->trees[1], "d/f", S_IFREG);
        zp_tree_link(l->trees[1], zp_tree_root(l->trees[1]), "g", 1, file, NULL);
        struct zp_tree *own = l->trees[2];
        l->trees[2] = l->trees[1];
        merge(l, 3, "d(f) g");
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0701);
        assert_ptr_equal(at(l, "/d/f"), at(l, "/g"));
        l->trees[2] = own;
}

static void merging_again_gives_the_same(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "d/x", S_IFREG);
        add(l->trees[0], "d", S_IFDIR)->mode = S_IFDIR | 0700;
        add_implied(l->trees[1], "d");
        add(l->trees[1], "d/x", S_IFCHR);
        merge(l, 1, "d(x)");
        merge(l, 2, "d()");
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0700);
        merge(l, 2, "d()");
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0700);
}

static void number_of_layers_is_limited(void **state) {
        struct layers *l = *state;
        struct zp_tree *many[ZP_LIMIT_LAYERS + 1];
        for (int i = 0; i <= ZP_LIMIT_LAYERS; i++)
                many[i] = l->trees[0];
        assert_int_equal(zp_tree_merge(many, ZP_LIMIT_LAYERS + 1, &l->merged, NULL), -E2BIG);
        assert_int_equal(zp_tree_merge(many, ZP_LIMIT_LAYERS, &l->merged, NULL), 0);
        merge(l, 0, "");
}

#define merge_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                merge_test(directories_are_merged_with_the_topmost_attributes),
                merge_test(whiteout_hides_what_is_below_only),
                merge_test(opaque_directory_hides_lower_entries),
                merge_test(opaque_root_hides_nothing),
                merge_test(type_change_ends_the_merge),
                merge_test(partly_hidden_hard_links_keep_their_count),
                merge_test(extents_get_the_number_of_their_layer),
                merge_test(implied_directory_takes_attributes_from_below),
                merge_test(implied_directory_without_one_below_keeps_the_default),
                merge_test(implied_directory_looks_through_links),
                merge_test(implied_directory_through_a_file_is_refused),
                merge_test(same_tree_may_occur_twice),
                merge_test(merging_again_gives_the_same),
                merge_test(number_of_layers_is_limited),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
