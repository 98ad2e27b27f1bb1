/* SPDX-License-Identifier: Apache-2.0
 *
 * The mount table, with mounts in a namespace of its own; as root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/table.h"

/* Of all bytes that mountinfo escapes, one each. */
static char point[] = "/tmp/zp mount\ttable\\040\n-XXXXXX";

static bool can_mount;

static void mount_here(const char *source) {
        assert_int_equal(mount(source, point, "tmpfs", 0, "size=4k"), 0);
}

static void expect_source(const char *expected) {
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = NULL;
        assert_int_equal(zp_mount_table_read(&table, NULL), 0);
        const struct zp_mount *mount = zp_mount_table_find(table, point);
        if (!expected) {
                assert_null(mount);
                return;
        }
        assert_non_null(mount);
        assert_string_equal(mount->type, "tmpfs");
        assert_string_equal(mount->source, expected);
}

static void topmost_mount_is_found_under_any_name(void **state) {
        (void) state;
        if (!can_mount)
                skip();
        expect_source(NULL);
        mount_here("first one");
        expect_source("first one");
        mount_here("a - second");
        expect_source("a - second");
        assert_int_equal(umount(point), 0);
        expect_source("first one");
        assert_int_equal(umount(point), 0);
        expect_source(NULL);
}

static void directory_inside_a_mount_is_no_mount_point(void **state) {
        (void) state;
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = NULL;
        assert_int_equal(zp_mount_table_read(&table, NULL), 0);
        assert_non_null(zp_mount_table_find(table, "/proc"));
        assert_null(zp_mount_table_find(table, "/proc/self"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(topmost_mount_is_found_under_any_name),
                cmocka_unit_test(directory_inside_a_mount_is_no_mount_point),
        };
        if (!mkdtemp(point))
                return 1;
        can_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        rmdir(point);
        return failed;
}
