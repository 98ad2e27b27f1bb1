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
        if (zp_tree_merge(l->trees, NULL, count, &l->merged, &err) < 0)
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

static void device_numbers_start_where_the_caller_says(void **state) {
        struct layers *l = *state;
        static const uint16_t first_devices[] = { 0, 2 };
        struct zp_extent extents[2] = { { 1, 2, 0 }, { 9, 1, 1 } };
        for (int i = 0; i < 2; i++) {
                struct zp_inode *file = add(l->trees[i], i ? "b" : "a", S_IFREG);
                file->extents = extents;
                file->extent_count = 2;
                file->size = 3 * 4096;
        }
        assert_int_equal(zp_tree_merge(l->trees, first_devices, 2, &l->merged, NULL), 0);
        assert_int_equal(at(l, "/a")->extents[0].device, 0);
        assert_int_equal(at(l, "/a")->extents[1].device, 1);
        assert_int_equal(at(l, "/b")->extents[0].device, 2);
        assert_int_equal(at(l, "/b")->extents[1].device, 3);
        assert_int_equal(at(l, "/b")->extents[1].block, 9);
        assert_int_equal(extents[1].device, 1);
        merge(l, 2, "a b");
        assert_int_equal(at(l, "/b")->extents[1].device, 1);
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
        assert_int_equal(zp_tree_merge(l->trees, NULL, 2, &l->merged, &err), -ENOTDIR);
        assert_non_null(strstr(err.message, "layer 2: directory '/f/d': in layer 1"));
}

static void is_refused(struct layers *l, size_t count, int code, const char *message) {
        struct zp_error err = { 0 };
        zp_tree_free(l->merged);
        l->merged = NULL;
        assert_int_equal(zp_tree_merge(l->trees, NULL, count, &l->merged, &err), code);
        if (!strstr(err.message, message))
                fail_msg("%s", err.message);
        assert_null(l->merged);
}

static void implied_directory_looks_past_layers_without_it(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "a/b/c", S_IFDIR | 0700);
        add(l->trees[1], "a/x", S_IFREG);
        add_link(l->trees[2], "a", "/elsewhere");
        add_implied(l->trees[3], "a/b/c");
        merge(l, 4, "a(b(c()))");
        assert_int_equal(at(l, "/a/b/c")->mode, S_IFDIR | 0700);
        add(l->trees[0], "d", S_IFDIR | 0711);
        add_link(l->trees[1], "d", "nowhere");
        add_implied(l->trees[3], "d");
        merge(l, 4, "a(b(c())) d()");
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0711);
}

static void nearest_layer_that_has_the_path_decides(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "a", S_IFREG); /* a directory above it hides that it is a file */
        add(l->trees[1], "a/b", S_IFDIR | 0700);
        add_link(l->trees[2], "a", "d");
        add(l->trees[2], "d/b", S_IFDIR | 0711);
        add_implied(l->trees[3], "a/b");
        merge(l, 4, "a(b()) d(b())");
        assert_int_equal(at(l, "/a/b")->mode, S_IFDIR | 0711);
        add(l->trees[2], "d/b", S_IFDIR)->mode = S_IFREG;
        merge(l, 4, "a(b()) d(b)");
        assert_int_equal(at(l, "/a/b")->mode, S_IFDIR | 0755);
        add_link(l->trees[2], "d/c", "b/x");
        add_implied(l->trees[3], "a/c");
        is_refused(l, 4, -ENOTDIR, "layer 4: directory '/a/c': in layer 3: a part of the path is not a directory");
}

static void lowest_layers_whiteouts_are_not_in_the_way(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "a", S_IFCHR);
        add_implied(l->trees[1], "a/b");
        merge(l, 2, "a(b())");
        add(l->trees[1], "w", S_IFCHR);
        add_implied(l->trees[2], "w/b");
        is_refused(l, 3, -ENOTDIR, "layer 3: directory '/w/b': in layer 2");
}

static void assert_xattr(const struct zp_inode *inode, const char *name, const char *value) {
        const struct zp_xattr *xattr = zp_inode_find_xattr(inode, name);
        assert_non_null(xattr);
        assert_int_equal(xattr->value_size, strlen(value));
        assert_memory_equal(xattr->value, value, xattr->value_size);
}

static unsigned xattr_count(const struct zp_inode *inode) {
        unsigned count = 0;
        for (const struct zp_xattr *x = inode->xattrs; x; x = x->next)
                count++;
        return count;
}

static struct zp_inode *add_heir(struct zp_tree *tree, const char *path, uint32_t mode) {
        struct zp_inode *dir = add(tree, path, S_IFDIR | mode);
        dir->inherits_xattrs = true;
        return dir;
}

static void entry_after_the_implied_directory_keeps_lower_xattrs(void **state) {
        struct layers *l = *state;
        struct zp_inode *lowest = add(l->trees[0], "d", S_IFDIR | 0700), *middle = add_heir(l->trees[1], "d", 0711);
        const char *const lower[] = { "user.a", "user.c", "user.e" }, *const own[] = { "user.b", "user.c", "user.d" };
        for (int i = 0; i < 3; i++) {
                zp_tree_set_xattr(l->trees[0], lowest, lower[i], "low", 3, NULL);
                zp_tree_set_xattr(l->trees[1], middle, own[i], "own", 3, NULL);
        }
        add_heir(l->trees[2], "d", 0755);
        merge(l, 3, "d()");
        const struct zp_inode *d = at(l, "/d");
        assert_int_equal(d->mode, S_IFDIR | 0755);
        assert_int_equal(xattr_count(d), 5);
        assert_xattr(d, "user.a", "low");
        assert_xattr(d, "user.b", "own");
        assert_xattr(d, "user.c", "own");
        assert_xattr(d, "user.d", "own");
        assert_xattr(d, "user.e", "low");
        assert_int_equal(xattr_count(middle), 3); /* the layers are as they were */
        assert_int_equal(xattr_count(lowest), 3);
        add_implied(l->trees[3], "d");
        merge(l, 4, "d()");
        assert_int_equal(xattr_count(at(l, "/d")), 5);
        assert_int_equal(at(l, "/d")->mode, S_IFDIR | 0755);
}

static void inherited_xattrs_are_limited(void **state) {
        struct layers *l = *state;
        struct zp_inode *below = add(l->trees[0], "d", S_IFDIR), *above = add_heir(l->trees[1], "d", 0755);
        char name[32];
        for (int i = 0; i < ZP_LIMIT_XATTRS_PER_FILE; i++) {
                snprintf(name, sizeof name, "user.%d", i);
                zp_tree_set_xattr(l->trees[0], below, name, "", 0, NULL);
        }
        merge(l, 2, "d()");
        assert_int_equal(xattr_count(at(l, "/d")), ZP_LIMIT_XATTRS_PER_FILE);
        zp_tree_set_xattr(l->trees[1], above, "user.one-more", "", 0, NULL);
        is_refused(l, 2, -E2BIG, "layer 2: directory '/d'");
}

static void entry_after_the_implied_directory_is_looked_up_too(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "f", S_IFREG);
        add_heir(l->trees[1], "f/d", 0755);
        is_refused(l, 2, -ENOTDIR, "layer 2: directory '/f/d'");
}

static void implied_directory_takes_the_group_of_a_lower_setgid_parent(void **state) {
        struct layers *l = *state;
        struct zp_inode *below = add(l->trees[0], "d", S_IFDIR | 02775);
        below->gid = 8;
        add(l->trees[0], "d/known", S_IFDIR | 0700)->gid = 3;
        add(l->trees[0], "d/file", S_IFREG);
        add_implied(l->trees[1], "d");
        add_implied(l->trees[1], "d/new");
        add_implied(l->trees[1], "d/new/deep");
        add_implied(l->trees[1], "d/known");
        add_implied(l->trees[1], "d/file");
        add(l->trees[1], "d/entry", S_IFDIR | 0755);
        merge(l, 2, "d(entry() file() known() new(deep()))");
        assert_int_equal(at(l, "/d/new")->gid, 8);
        assert_int_equal(at(l, "/d/new")->mode, S_IFDIR | 0755);
        assert_int_equal(at(l, "/d/new/deep")->gid, 0); /* chmod has taken setgid away from "new" */
        assert_int_equal(at(l, "/d/known")->gid, 3);
        assert_int_equal(at(l, "/d/file")->gid, 8);
        assert_int_equal(at(l, "/d/entry")->gid, 0);
}

static void group_from_before_the_parents_entry_is_ambiguous(void **state) {
        struct layers *l = *state;
        struct zp_inode *below = add(l->trees[0], "d", S_IFDIR | 02775);
        add_heir(l->trees[1], "d", 0755);
        add_implied(l->trees[1], "d/new");
        merge(l, 2, "d(new())");
        below->gid = 8;
        is_refused(l, 2, -EBADMSG, "layer 2: directory '/d/new': ");
}

static void default_acl_from_below_is_ambiguous_where_things_are_made(void **state) {
        struct layers *l = *state;
        struct zp_inode *below = add(l->trees[0], "d", S_IFDIR | 0755);
        zp_tree_set_xattr(l->trees[0], below, "system.posix_acl_default", "acl", 3, NULL);
        struct zp_inode *above = add_implied(l->trees[1], "d");
        add_link(l->trees[1], "d/link", "x");
        add(l->trees[1], "d/whiteout", S_IFCHR);
        merge(l, 2, "d(link)");
        assert_xattr(at(l, "/d"), "system.posix_acl_default", "acl");
        add(l->trees[1], "d/made", S_IFREG);
        is_refused(l, 2, -EBADMSG, "layer 2: directory '/d': it has no entry");
        above->is_implied = false;
        merge(l, 2, "d(link made)");
}

static void entry_that_changes_a_lower_acl_is_ambiguous(void **state) {
        struct layers *l = *state;
        struct zp_inode *below = add(l->trees[0], "d", S_IFDIR | 0755), *above = add_heir(l->trees[1], "d", 0700);
        zp_tree_set_xattr(l->trees[0], below, "system.posix_acl_access", "acl", 3, NULL);
        is_refused(l, 2, -EBADMSG, "layer 2: directory '/d': its entry comes after");
        zp_tree_set_xattr(l->trees[1], above, "system.posix_acl_access", "own", 3, NULL);
        merge(l, 2, "d()");
        assert_xattr(at(l, "/d"), "system.posix_acl_access", "own");
}

/* containerd would have removed "b" and "f". */
static void opaque_over_implied_directories_in_the_lowest_layer_is_ambiguous(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "x/a/b/f", S_IFREG);
        add(l->trees[0], "x/a", S_IFDIR)->is_opaque = true;
        merge(l, 1, "x(a(b(f)))");
        struct zp_inode *b = add_implied(l->trees[0], "x/a/b");
        is_refused(l, 1, -EBADMSG, "layer 1: directory '/x/a': opaque in the lowest layer");
        b->is_implied = false;
        b->inherits_xattrs = true;
        is_refused(l, 1, -EBADMSG, "layer 1: directory '/x/a': opaque in the lowest layer");
        struct zp_tree *lowest = l->trees[0];
        l->trees[0] = l->trees[1];
        l->trees[1] = lowest;
        merge(l, 2, "x(a(b(f)))");
}

static void names_that_begin_alike_are_told_apart(void **state) {
        struct layers *l = *state;
        add(l->trees[0], "ab", S_IFDIR | 0700);
        add(l->trees[0], "a", S_IFDIR | 0711);
        add(l->trees[0], "abc", S_IFREG);
        add_implied(l->trees[1], "a");
        add_implied(l->trees[1], "abc");
        add_implied(l->trees[1], "ab");
        merge(l, 2, "a() ab() abc()");
        assert_int_equal(at(l, "/a")->mode, S_IFDIR | 0711);
        assert_int_equal(at(l, "/ab")->mode, S_IFDIR | 0700);
        assert_int_equal(at(l, "/abc")->mode, S_IFDIR | 0755);
}

/* Every layer has many implied directories that no other has, and one of all below. */
static void implied_directories_in_many_layers_are_found(void **state) {
        (void) state;
        struct zp_tree *trees[ZP_LIMIT_LAYERS], *merged = NULL;
        for (int i = 0; i < ZP_LIMIT_LAYERS; i++) {
                char path[64];
                trees[i] = zp_tree_new();
                for (int k = 0; k < 20; k++) {
                        snprintf(path, sizeof path, "d/%d-%d", i, k);
                        add_implied(trees[i], path);
                }
                snprintf(path, sizeof path, "e/%d", i);
                add(trees[i], path, S_IFDIR | 0700)->uid = (uint32_t) i;
                for (int k = 0; k < i; k++) {
                        snprintf(path, sizeof path, "e/%d", k);
                        add_implied(trees[i], path);
                }
        }
        struct zp_inode *linked;
        add_link(trees[5], "l", "e");
        add_implied(trees[ZP_LIMIT_LAYERS - 1], "l/5");
        assert_int_equal(zp_tree_merge(trees, NULL, ZP_LIMIT_LAYERS, &merged, NULL), 0);
        assert_int_equal(zp_tree_lstat(merged, "l/5", 3, &linked, NULL), 0);
        assert_int_equal(linked->uid, 5);
        for (int i = 0; i < ZP_LIMIT_LAYERS; i++) {
                char path[64];
                struct zp_inode *inode;
                snprintf(path, sizeof path, "e/%d", i);
                assert_int_equal(zp_tree_lstat(merged, path, strlen(path), &inode, NULL), 0);
                assert_int_equal(inode->uid, i);
                assert_int_equal(inode->mode, S_IFDIR | 0700);
        }
        zp_tree_free(merged);
        for (int i = 0; i < ZP_LIMIT_LAYERS; i++)
                zp_tree_free(trees[i]);
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
        assert_int_equal(zp_tree_merge(many, NULL, ZP_LIMIT_LAYERS + 1, &l->merged, NULL), -E2BIG);
        assert_int_equal(zp_tree_merge(many, NULL, ZP_LIMIT_LAYERS, &l->merged, NULL), 0);
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
                merge_test(device_numbers_start_where_the_caller_says),
                merge_test(implied_directory_takes_attributes_from_below),
                merge_test(implied_directory_without_one_below_keeps_the_default),
                merge_test(implied_directory_looks_through_links),
                merge_test(implied_directory_through_a_file_is_refused),
                merge_test(implied_directory_looks_past_layers_without_it),
                merge_test(nearest_layer_that_has_the_path_decides),
                merge_test(lowest_layers_whiteouts_are_not_in_the_way),
                merge_test(entry_after_the_implied_directory_keeps_lower_xattrs),
                merge_test(inherited_xattrs_are_limited),
                merge_test(entry_after_the_implied_directory_is_looked_up_too),
                merge_test(implied_directory_takes_the_group_of_a_lower_setgid_parent),
                merge_test(group_from_before_the_parents_entry_is_ambiguous),
                merge_test(default_acl_from_below_is_ambiguous_where_things_are_made),
                merge_test(entry_that_changes_a_lower_acl_is_ambiguous),
                merge_test(opaque_over_implied_directories_in_the_lowest_layer_is_ambiguous),
                merge_test(names_that_begin_alike_are_told_apart),
                merge_test(implied_directories_in_many_layers_are_found),
                merge_test(same_tree_may_occur_twice),
                merge_test(merging_again_gives_the_same),
                merge_test(number_of_layers_is_limited),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
