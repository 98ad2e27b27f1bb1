/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: Go's path.Clean for "/" + path, and continuity's fs.RootPath.
 */
#include "tree-fixture.h"

#include "layer/resolve.h"

static void paths_are_cleaned_as_go_does(void **state) {
        (void) state;
        static const char *cases[][2] = {
                { "", "/" },
                { "/", "/" },
                { ".", "/" },
                { "..", "/" },
                { "../..", "/" },
                { "a", "/a" },
                { "a/", "/a" },
                { "//a//b//", "/a/b" },
                { "./a/./b/.", "/a/b" },
                { "a/../b", "/b" },
                { "a/b/..", "/a" },
                { "a/../../b", "/b" },
                { "/../a", "/a" },
                { "a/...", "/a/..." },
                { "..a/b", "/..a/b" },
                { "a/b/../../..", "/" },
                { ".a", "/.a" },
                { "a/..b", "/a/..b" },
                { "\xff/\n", "/\xff/\n" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                zp_autofree char *clean = zp_path_clean(cases[i][0]);
                assert_string_equal(clean, cases[i][1]);
        }
}

static void assert_root_path(const struct zp_tree *tree, const char *path, const char *expected) {
        zp_autofree char *found = NULL;
        assert_int_equal(zp_tree_root_path(tree, path, &found, NULL), 0);
        assert_string_equal(found, expected);
}

static void links_are_followed_inside_the_root(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        add(tree, "usr/lib/x", S_IFREG);
        add_link(tree, "lib", "usr/lib");
        add_link(tree, "abs", "/usr");
        add_link(tree, "out", "../../../usr");
        add_link(tree, "usr/up", "..");
        add_link(tree, "two", "lib");
        add_link(tree, "gone", "missing/deep");
        add_link(tree, "usr/lib/rel", "../lib/x");
        add_link(tree, "slash", "usr//lib/");
        assert_root_path(tree, "/lib/x", "/usr/lib/x");
        assert_root_path(tree, "lib", "/usr/lib");
        assert_root_path(tree, "/abs/lib/x", "/usr/lib/x");
        assert_root_path(tree, "/out/lib", "/usr/lib");
        assert_root_path(tree, "/usr/up/usr/up", "/");
        assert_root_path(tree, "/two/x", "/usr/lib/x");
        assert_root_path(tree, "/gone/more", "/missing/deep/more");
        assert_root_path(tree, "/usr/lib/rel", "/usr/lib/x");
        assert_root_path(tree, "/two/rel", "/usr/lib/x");
        assert_root_path(tree, "/slash/x", "/usr/lib/x");
        assert_root_path(tree, "/nothing/../lib", "/usr/lib");
        assert_root_path(tree, "/", "/");
}

static void endless_links_are_refused(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_error err = { 0 };
        char *found = NULL;
        add_link(tree, "a", "b");
        add_link(tree, "b", "a");
        assert_int_equal(zp_tree_root_path(tree, "/a", &found, &err), -ELOOP);
        add_link(tree, "self", "self/and/more");
        assert_int_equal(zp_tree_root_path(tree, "/self", &found, &err), -ELOOP);
        char target[3000];
        memset(target, 'x', sizeof target);
        memcpy(target, "grow/", 5);
        target[sizeof target - 1] = '\0';
        add_link(tree, "grow", target);
        assert_int_equal(zp_tree_root_path(tree, "/grow", &found, &err), -ENAMETOOLONG);
}

static void chain_of_255_links_is_followed(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        char name[32], target[32];
        for (int i = 0; i < 256; i++) {
                snprintf(name, sizeof name, "l%d", i);
                snprintf(target, sizeof target, "l%d", i + 1);
                add_link(tree, name, target);
        }
        add(tree, "l256", S_IFREG);
        char *found = NULL;
        assert_root_path(tree, "/l1", "/l256");
        assert_int_equal(zp_tree_root_path(tree, "/l0", &found, NULL), -ELOOP);
}

static void lstat_follows_nothing(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *file = add(tree, "d/f", S_IFREG), *link = add_link(tree, "l", "d");
        bool parent_is_file;
        assert_ptr_equal(zp_tree_lstat(tree, "/", NULL), zp_tree_root(tree));
        assert_ptr_equal(zp_tree_lstat(tree, "/d/f", &parent_is_file), file);
        assert_false(parent_is_file);
        assert_ptr_equal(zp_tree_lstat(tree, "/l", NULL), link);
        assert_null(zp_tree_lstat(tree, "/l/f", &parent_is_file));
        assert_true(parent_is_file);
        assert_null(zp_tree_lstat(tree, "/d/f/x", &parent_is_file));
        assert_true(parent_is_file);
        assert_null(zp_tree_lstat(tree, "/d/g/x", &parent_is_file));
        assert_false(parent_is_file);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(paths_are_cleaned_as_go_does), cmocka_unit_test(links_are_followed_inside_the_root),
                cmocka_unit_test(endless_links_are_refused),    cmocka_unit_test(chain_of_255_links_is_followed),
                cmocka_unit_test(lstat_follows_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
