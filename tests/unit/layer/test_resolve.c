/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: Go's path.Clean for "/" + path, and continuity's fs.RootPath.
 */
#include "tree-fixture.h"

#include "layer/resolve.h"

static void paths_are_cleaned_as_go_does(void **state) {
        (void) state;
        static const char *cases[][2] = {
                { "", "" },
                { "/", "" },
                { ".", "" },
                { "..", "" },
                { "../..", "" },
                { "a", "a" },
                { "a/", "a" },
                { "//a//b//", "a/b" },
                { "./a/./b/.", "a/b" },
                { "a/../b", "b" },
                { "a/b/..", "a" },
                { "a/../../b", "b" },
                { "/../a", "a" },
                { "a/...", "a/..." },
                { "..a/b", "..a/b" },
                { "a/b/../../..", "" },
                { ".a", ".a" },
                { "a/..b", "a/..b" },
                { "\xff/\n", "\xff/\n" },
        };
        struct zp_clean_path clean;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                assert_int_equal(zp_path_clean(cases[i][0], strlen(cases[i][0]), &clean, NULL), 0);
                assert_string_equal(clean.text, cases[i][1]);
                assert_int_equal(clean.size, strlen(cases[i][1]));
        }
        char text[4094 + 1000];
        memset(text, 'x', sizeof text);
        assert_int_equal(zp_path_clean(text, 4094, &clean, NULL), 0);
        assert_int_equal(zp_path_clean(text, 4095, &clean, NULL), -ENAMETOOLONG);
        memset(text, '/', 1000);
        assert_int_equal(zp_path_clean(text, 4094 + 1000, &clean, NULL), 0);
}

static int root_path(const struct zp_tree *tree, const char *path, struct zp_clean_path *out, struct zp_error *err) {
        return zp_tree_root_path(tree, path, strlen(path), out, NULL, err);
}

static void assert_root_path(const struct zp_tree *tree, const char *path, const char *expected) {
        struct zp_clean_path found;
        struct zp_error err = { 0 };
        if (root_path(tree, path, &found, &err) < 0)
                fail_msg("%s", err.message);
        assert_string_equal(found.text, expected);
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
        assert_root_path(tree, "/lib/x", "usr/lib/x");
        assert_root_path(tree, "lib", "usr/lib");
        assert_root_path(tree, "/abs/lib/x", "usr/lib/x");
        assert_root_path(tree, "/out/lib", "usr/lib");
        assert_root_path(tree, "/usr/up/usr/up", "");
        assert_root_path(tree, "/two/x", "usr/lib/x");
        assert_root_path(tree, "/gone/more", "missing/deep/more");
        assert_root_path(tree, "/usr/lib/rel", "usr/lib/x");
        assert_root_path(tree, "/two/rel", "usr/lib/x");
        assert_root_path(tree, "/slash/x", "usr/lib/x");
        assert_root_path(tree, "/nothing/../lib", "usr/lib");
        assert_root_path(tree, "/", "");
}

static void endless_links_are_refused(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_error err = { 0 };
        struct zp_clean_path found;
        add_link(tree, "a", "b");
        add_link(tree, "b", "a");
        assert_int_equal(root_path(tree, "/a", &found, &err), -ELOOP);
        add_link(tree, "self", "self/and/more");
        assert_int_equal(root_path(tree, "/self", &found, &err), -ELOOP);
        char target[3000];
        memset(target, 'x', sizeof target);
        memcpy(target, "grow/", 5);
        target[sizeof target - 1] = '\0';
        add_link(tree, "grow", target);
        assert_int_equal(root_path(tree, "/grow", &found, &err), -ENAMETOOLONG);
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
        struct zp_clean_path found;
        assert_root_path(tree, "/l1", "l256");
        assert_int_equal(root_path(tree, "/l0", &found, NULL), -ELOOP);
}

/* What fs.RootPath gave for the same links on a disk. */
static void links_in_links_resolve_as_in_containerd(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        /* One pass puts "b" for "a" and looks at "b/foo" before it knows where "b" leads. */
        add_link(tree, "a", "b");
        add_link(tree, "b", "d/e");
        add_link(tree, "d/e/foo", "../y");
        assert_root_path(tree, "a/foo", "y");
        assert_root_path(tree, "b/foo", "d/y");
        assert_root_path(tree, "d/e/foo/x", "d/y/x");
        /* A target is not cleaned before its own links are followed. */
        add_link(tree, "x", "p/q");
        add_link(tree, "z", "x/../y");
        assert_root_path(tree, "z", "p/y");
        assert_root_path(tree, "/z", "y");
        assert_root_path(tree, "/z/f", "y/f");
}

static void file_on_the_way_is_an_error(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_clean_path found;
        add(tree, "d/f", S_IFREG);
        add_link(tree, "l", "d/f");
        assert_root_path(tree, "l", "d/f");
        assert_int_equal(root_path(tree, "d/f/x", &found, NULL), -ENOTDIR);
        assert_int_equal(root_path(tree, "l/x", &found, NULL), -ENOTDIR);
}

static void steps_are_limited(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_clean_path found;
        uint64_t budget = 1000, before;
        add(tree, "a/b/c/d", S_IFREG);
        assert_int_equal(zp_tree_root_path(tree, "a/b/c", 5, &found, &budget, NULL), 0);
        budget = before = 1000 - budget;
        assert_true(before > 0);
        assert_int_equal(zp_tree_root_path(tree, "a/b/c", 5, &found, &budget, NULL), 0);
        assert_int_equal(budget, 0);
        budget = before;
        assert_int_equal(zp_tree_root_path(tree, "a/b/c/d", 7, &found, &budget, NULL), -E2BIG);
}

static void lstat_follows_nothing(void **state) {
        (void) state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_inode *file = add(tree, "d/f", S_IFREG), *link = add_link(tree, "l", "d"), *found;
        assert_int_equal(zp_tree_lstat(tree, "", 0, &found, NULL), 0);
        assert_ptr_equal(found, zp_tree_root(tree));
        assert_int_equal(zp_tree_lstat(tree, "d/f", 3, &found, NULL), 0);
        assert_ptr_equal(found, file);
        assert_int_equal(zp_tree_lstat(tree, "l", 1, &found, NULL), 0);
        assert_ptr_equal(found, link);
        assert_int_equal(zp_tree_lstat(tree, "l/f", 3, &found, NULL), -ENOTDIR);
        assert_int_equal(zp_tree_lstat(tree, "d/f/x", 5, &found, NULL), -ENOTDIR);
        assert_int_equal(zp_tree_lstat(tree, "d/g/x", 5, &found, NULL), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(paths_are_cleaned_as_go_does),
                cmocka_unit_test(links_are_followed_inside_the_root),
                cmocka_unit_test(endless_links_are_refused),
                cmocka_unit_test(chain_of_255_links_is_followed),
                cmocka_unit_test(links_in_links_resolve_as_in_containerd),
                cmocka_unit_test(file_on_the_way_is_an_error),
                cmocka_unit_test(steps_are_limited),
                cmocka_unit_test(lstat_follows_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
