/* SPDX-License-Identifier: Apache-2.0
 *
 * A root directory that was made for a start that was refused.
 */
#include "support.h"

#include "snapshotter/control/directories.h"
#include "snapshotter/fresh-root.h"

static void assert_fresh(const char *root, const char *wanted) {
        zp_autofree char *fresh = snap_fresh_root(root);
        assert_non_null(fresh);
        assert_string_equal(fresh, wanted);
}

static void what_was_made_goes(void **state) {
        (void) state;
        zp_auto(snap_directories_close) struct snap_directories *directories = NULL;
        assert_fresh("a/b/root", "a");
        assert_ok(snap_directories_open("a/b/root", &directories, &err));
        assert_null(snap_fresh_root("a/b/root"));
        snap_directories_close(directories);
        directories = NULL;
        snap_fresh_root_take_back("a/b/root", "a");
        assert_int_not_equal(access("a", F_OK), 0);
}

static void what_another_one_has_locked_stays(void **state) {
        (void) state;
        zp_auto(snap_directories_close) struct snap_directories *winner = NULL;
        struct snap_directories *loser = NULL;
        assert_fresh("root", "root");
        assert_ok(snap_directories_open("root", &winner, &err));
        assert_int_equal(snap_directories_open("root", &loser, &err), -EBUSY);
        snap_fresh_root_take_back("root", "root");
        assert_int_equal(access("root/lock", F_OK), 0);
        assert_int_equal(access("root/snapshots", F_OK), 0);
        assert_int_equal(snap_directories_open("root", &loser, &err), -EBUSY);
}

static void root_with_snapshots_stays(void **state) {
        (void) state;
        assert_ok(zp_make_directories("root", 0700, &err));
        write_text("root/metadata.db", "x");
        write_text("root/lock", "");
        snap_fresh_root_take_back("root", "root");
        assert_int_equal(access("root/lock", F_OK), 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_was_made_goes, setup, teardown),
                cmocka_unit_test_setup_teardown(what_another_one_has_locked_stays, setup, teardown),
                cmocka_unit_test_setup_teardown(root_with_snapshots_stays, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
