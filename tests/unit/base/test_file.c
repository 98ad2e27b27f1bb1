/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole reads and writes, replacing a file, making and removing directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"

static char directory[64];
static struct zp_error err;

static int setup(void **state) {
        (void) state;
        strcpy(directory, "/tmp/zeropull-test-XXXXXX");
        return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int teardown(void **state) {
        (void) state;
        return chdir("/") == 0 ? zp_remove_tree(AT_FDCWD, directory, &err) : -1;
}

static bool exists(const char *path) {
        struct stat st;
        return lstat(path, &st) == 0;
}

static void make_file(const char *path, const char *text) {
        assert_int_equal(zp_replace_file(AT_FDCWD, path, text, strlen(text), 0644, &err), 0);
}

static void assert_content(const char *path, const char *text) {
        zp_autofree char *data = NULL;
        size_t size;
        assert_int_equal(zp_read_file(AT_FDCWD, path, 1 << 20, &data, &size, &err), 0);
        assert_int_equal(size, strlen(text));
        assert_string_equal(data, text);
}

static size_t count_entries(void) {
        zp_autoclosedir DIR *dir = opendir(".");
        size_t count = 0;
        for (struct dirent *entry; (entry = readdir(dir));)
                count += entry->d_name[0] != '.';
        return count;
}

static void replaced_file_has_the_new_content_and_leaves_nothing_else(void **state) {
        (void) state;
        struct stat st;
        make_file("f", "old");
        assert_int_equal(zp_replace_file(AT_FDCWD, "f", "new content", 11, 0600, &err), 0);
        assert_content("f", "new content");
        assert_int_equal(stat("f", &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(count_entries(), 1);
}

static void failed_replacement_keeps_the_old_file(void **state) {
        (void) state;
        assert_int_equal(mkdir("f", 0755), 0); /* a file cannot take the place of a directory */
        assert_int_equal(zp_replace_file(AT_FDCWD, "f", "x", 1, 0644, &err), -EISDIR);
        assert_non_null(strstr(err.message, "'f'"));
        assert_int_equal(count_entries(), 1);
        assert_int_equal(zp_replace_file(AT_FDCWD, "no/such/f", "x", 1, 0644, &err), -ENOENT);
}

static void file_in_another_directory_is_replaced_there(void **state) {
        (void) state;
        assert_int_equal(mkdir("d", 0755), 0);
        zp_autoclose int fd = open("d", O_RDONLY | O_DIRECTORY);
        assert_int_equal(zp_replace_file(fd, "f", "x", 1, 0644, &err), 0);
        assert_content("d/f", "x");
}

static void reading_stops_at_the_limit(void **state) {
        (void) state;
        static char big[100001];
        memset(big, 'x', sizeof big - 1);
        make_file("f", big);
        assert_content("f", big);
        zp_autofree char *data = NULL;
        assert_int_equal(zp_read_file(AT_FDCWD, "f", 100000, &data, NULL, &err), 0);
        char *none = NULL;
        assert_int_equal(zp_read_file(AT_FDCWD, "f", 99999, &none, NULL, &err), -EFBIG);
        assert_null(none);
        assert_int_equal(zp_read_file(AT_FDCWD, "nosuch", 10, &none, NULL, &err), -ENOENT);
        assert_non_null(strstr(err.message, "nosuch"));
}

static void empty_file_reads_as_an_empty_string(void **state) {
        (void) state;
        make_file("f", "");
        assert_content("f", "");
}

static void exact_read_tells_of_an_early_end(void **state) {
        (void) state;
        char data[8] = "";
        make_file("f", "abcdef");
        zp_autoclose int fd = open("f", O_RDONLY);
        assert_int_equal(zp_pread_all(fd, data, 4, 2, "f", &err), 0);
        assert_memory_equal(data, "cdef", 4);
        assert_int_equal(zp_pread_all(fd, data, 5, 2, "f", &err), -ENODATA);
        assert_int_equal(zp_pread_all(fd, data, 1, 6, "f", &err), -ENODATA);
        assert_int_equal(zp_pread_all(fd, data, 0, 6, "f", &err), 0);
}

static void positioned_write_leaves_the_rest(void **state) {
        (void) state;
        make_file("f", "abcdef");
        zp_autoclose int fd = open("f", O_RDWR);
        assert_int_equal(zp_pwrite_all(fd, "XY", 2, 2, "f", &err), 0);
        assert_content("f", "abXYef");
        assert_int_equal(zp_write_all(fd, "12", 2, "f", &err), 0);
        assert_int_equal(zp_sync(fd, "f", &err), 0);
        assert_content("f", "12XYef");
}

static void full_device_is_named_with_a_hint(void **state) {
        (void) state;
        zp_autoclose int fd = open("/dev/full", O_WRONLY);
        if (fd < 0)
                skip();
        assert_int_equal(zp_write_all(fd, "x", 1, "the file", &err), -ENOSPC);
        assert_string_equal(err.message, "write 'the file': No space left on device");
        assert_non_null(strstr(err.hint, "free some space"));
}

static void missing_parents_are_made(void **state) {
        (void) state;
        struct stat st;
        assert_int_equal(zp_make_directories("a/b/c", 0700, &err), 0);
        assert_int_equal(stat("a/b/c", &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_int_equal(zp_make_directories("a/b/c", 0700, &err), 0);
        make_file("f", "x");
        assert_int_equal(zp_make_directories("f", 0755, &err), -ENOTDIR);
        assert_int_equal(zp_make_directories("f/x", 0755, &err), -ENOTDIR);
}

static void tree_is_removed_but_not_what_links_lead_to(void **state) {
        (void) state;
        assert_int_equal(zp_make_directories("outside", 0755, &err), 0);
        make_file("outside/kept", "x");
        assert_int_equal(zp_make_directories("tree/a/b", 0755, &err), 0);
        make_file("tree/a/f", "x");
        assert_int_equal(symlink("../../outside", "tree/a/link"), 0);
        assert_int_equal(symlink("nowhere", "tree/dangling"), 0);
        assert_int_equal(mkfifo("tree/fifo", 0644), 0);
        assert_int_equal(zp_remove_tree(AT_FDCWD, "tree", &err), 0);
        assert_false(exists("tree"));
        assert_true(exists("outside/kept"));
        assert_int_equal(symlink("outside", "link"), 0);
        assert_int_equal(zp_remove_tree(AT_FDCWD, "link", &err), 0);
        assert_false(exists("link"));
        assert_true(exists("outside/kept"));
        assert_int_equal(zp_remove_tree(AT_FDCWD, "nosuch", &err), 0);
}

#define file_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                file_test(replaced_file_has_the_new_content_and_leaves_nothing_else),
                file_test(failed_replacement_keeps_the_old_file),
                file_test(file_in_another_directory_is_replaced_there),
                file_test(reading_stops_at_the_limit),
                file_test(empty_file_reads_as_an_empty_string),
                file_test(exact_read_tells_of_an_early_end),
                file_test(positioned_write_leaves_the_rest),
                file_test(full_device_is_named_with_a_hint),
                file_test(missing_parents_are_made),
                file_test(tree_is_removed_but_not_what_links_lead_to),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
