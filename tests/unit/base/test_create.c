/* SPDX-License-Identifier: Apache-2.0
 *
 * Making a file that was not there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/create.h"
#include "base/file.h"

static char directory[64];
static struct zp_error err;

static int setup(void **state) {
        (void) state;
        strcpy(directory, "/tmp/zeropull-test-XXXXXX");
        zp_error_clear(&err);
        return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int teardown(void **state) {
        (void) state;
        return chdir("/") == 0 ? zp_remove_tree(AT_FDCWD, directory, &err) : -1;
}

static void assert_content(const char *path, const char *text) {
        zp_autofree char *data = NULL;
        size_t size;
        assert_int_equal(zp_read_file(AT_FDCWD, path, 1 << 20, &data, &size, &err), 0);
        assert_string_equal(data, text);
}

static size_t count_entries(void) {
        zp_autoclosedir DIR *dir = opendir(".");
        size_t count = 0;
        for (struct dirent *entry; (entry = readdir(dir));)
                count += entry->d_name[0] != '.';
        return count;
}

static void a_new_file_has_content_and_mode(void **state) {
        (void) state;
        struct stat st;
        assert_int_equal(zp_create_file("new", "text", 4, 0600, &err), 0);
        assert_content("new", "text");
        assert_int_equal(stat("new", &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_nlink, 1);
        assert_int_equal(count_entries(), 1);
}

static void what_is_there_stays(void **state) {
        (void) state;
        assert_int_equal(zp_create_file("file", "old", 3, 0600, &err), 0);
        assert_int_equal(symlink("nowhere", "dangling"), 0);
        assert_int_equal(mkdir("directory", 0700), 0);
        assert_int_equal(zp_create_file("file", "new", 3, 0600, &err), -EEXIST);
        assert_int_equal(zp_create_file("dangling", "new", 3, 0600, &err), -EEXIST);
        assert_int_equal(zp_create_file("directory", "new", 3, 0600, &err), -EEXIST);
        assert_content("file", "old");
        assert_int_equal(access("nowhere", F_OK), -1);
        assert_int_equal(count_entries(), 3);
}

static void a_failure_names_the_file_and_leaves_nothing(void **state) {
        (void) state;
        assert_int_equal(zp_create_file("absent/file", "x", 1, 0600, &err), -ENOENT);
        assert_non_null(strstr(err.message, "absent"));
        assert_int_equal(zp_create_file("/dev/full/x", "x", 1, 0600, &err), -ENOTDIR);
        assert_int_equal(count_entries(), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_new_file_has_content_and_mode, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_there_stays, setup, teardown),
                cmocka_unit_test_setup_teardown(a_failure_names_the_file_and_leaves_nothing, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
