/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "oci/archive.h"

/* POSIX ustar, as little of it as a reader needs. */
static void add(int fd, const char *name, char type, const char *target, const char *data) {
        char header[512] = { 0 }, block[512] = { 0 };
        unsigned sum = 8 * ' ';
        snprintf(header, 100, "%s", name);
        snprintf(header + 100, 8, "%07o", 0644);
        snprintf(header + 108, 8, "%07o", 0);
        snprintf(header + 116, 8, "%07o", 0);
        snprintf(header + 124, 12, "%011o", (unsigned) strlen(data) & 511);
        snprintf(header + 136, 12, "%011o", 0);
        header[156] = type;
        snprintf(header + 157, 100, "%s", target);
        memcpy(header + 257, "ustar\00000", 8);
        for (size_t i = 0; i < sizeof header; i++)
                sum += i >= 148 && i < 156 ? 0 : (unsigned char) header[i];
        snprintf(header + 148, 8, "%06o", sum);
        header[155] = ' ';
        assert_int_equal(zp_write_all(fd, header, sizeof header, "tar", NULL), 0);
        memcpy(block, data, strlen(data));
        if (data[0])
                assert_int_equal(zp_write_all(fd, block, sizeof block, "tar", NULL), 0);
}

static char path[] = "/tmp/zp-archive-XXXXXX";

static int make_archive(void **state) {
        struct zp_archive *archive;
        struct zp_error err = { 0 };
        char end[1024] = { 0 };
        int fd = mkstemp(path);
        add(fd, "top", '0', "", "top data");
        add(fd, "./a/b", '0', "", "b");
        add(fd, "a//c/", '5', "", "");
        add(fd, "x/../a/d", '0', "", "d");
        add(fd, "../out", '0', "", "out");
        add(fd, "a/symlink", '2', "../top", "");
        add(fd, "a/to-symlink", '2', "symlink", "");
        add(fd, "a/absolute", '2', "/top", "");
        add(fd, "a/outside", '2', "../../top", "");
        add(fd, "hard", '1', "a/b", "");
        add(fd, "twice", '0', "", "1");
        add(fd, "./twice", '0', "", "2");
        add(fd, "empty", '0', "", "");
        assert_int_equal(zp_write_all(fd, end, sizeof end, "tar", NULL), 0);
        close(fd);
        if (zp_archive_open(path, NULL, &archive, &err) < 0)
                fail_msg("%s", err.message);
        *state = archive;
        return 0;
}

static int remove_archive(void **state) {
        zp_archive_close(*state);
        return unlink(path);
}

static void expect_data(struct zp_archive *archive, const char *name, const char *expected) {
        struct zp_extent extent;
        struct zp_error err = { 0 };
        char *data;
        if (zp_archive_find(archive, name, &extent, &err) != 0)
                fail_msg("%s: %s", name, err.message);
        assert_int_equal(zp_extent_read(&extent, name, 100, &data, NULL), 0);
        assert_string_equal(data, expected);
        free(data);
}

static void files_are_found_however_their_names_are_written(void **state) {
        expect_data(*state, "top", "top data");
        expect_data(*state, "./top", "top data");
        expect_data(*state, "/top", "top data");
        expect_data(*state, "a/b", "b");
        expect_data(*state, "a/./../a//b", "b");
        expect_data(*state, "a/d", "d");
        expect_data(*state, "empty", "");
}

static void one_link_is_followed(void **state) {
        struct zp_extent extent;
        expect_data(*state, "a/symlink", "top data");
        expect_data(*state, "a/absolute", "top data");
        expect_data(*state, "hard", "b");
        assert_int_equal(zp_archive_find(*state, "a/to-symlink", &extent, NULL), -EBADMSG);
}

static void what_is_not_there_is_not_found(void **state) {
        static const char *const names[] = { "to", "topp", "a", "a/c", "out", "a/outside", "", ".", "/" };
        struct zp_extent extent;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (zp_archive_find(*state, names[i], &extent, NULL) != -ENOENT)
                        fail_msg("'%s' was found", names[i]);
        assert_int_equal(zp_archive_find(*state, "../top", &extent, NULL), -EBADMSG);
        assert_int_equal(zp_archive_find(*state, "a/../../top", &extent, NULL), -EBADMSG);
}

static void a_name_that_occurs_twice_is_refused(void **state) {
        struct zp_extent extent;
        assert_int_equal(zp_archive_find(*state, "twice", &extent, NULL), -EBADMSG);
}

static void a_sparse_file_is_refused(void **state) {
        char name[] = "/tmp/zp-archive-XXXXXX", end[1024] = { 0 };
        struct zp_archive *archive;
        struct zp_error err = { 0 };
        int fd = mkstemp(name);
        (void) state;
        add(fd, "map", 'x', "", "24 GNU.sparse.size=4096\n26 GNU.sparse.numblocks=1\n22 GNU.sparse.map=0,5\n");
        add(fd, "holes", '0', "", "hello");
        for (int i = 0; i < 200; i++) /* more than is read at once */
                add(fd, "other", '0', "", "x");
        assert_int_equal(zp_write_all(fd, end, sizeof end, "tar", NULL), 0);
        close(fd);
        assert_int_equal(zp_archive_open(name, NULL, &archive, &err), -ENOTSUP);
        assert_non_null(strstr(err.message, "holes"));
        unlink(name);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_are_found_however_their_names_are_written),
                cmocka_unit_test(one_link_is_followed),
                cmocka_unit_test(what_is_not_there_is_not_found),
                cmocka_unit_test(a_name_that_occurs_twice_is_refused),
                cmocka_unit_test(a_sparse_file_is_refused),
        };
        return cmocka_run_group_tests(tests, make_archive, remove_archive);
}
