/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/file.h"
#include "remote/remote.h"

#define BLOB "some bytes"

struct fixture {
        char directory[64];
        int fd;
        struct zp_remote *remote;
        struct zp_digest digest; /* of BLOB */
};

static int set_up(void **state) {
        struct fixture *f = calloc(1, sizeof *f);
        char name[80];
        strcpy(f->directory, "/tmp/zp-test-directory-XXXXXX");
        assert_non_null(mkdtemp(f->directory));
        f->fd = open(f->directory, O_RDONLY | O_DIRECTORY);
        snprintf(name, sizeof name, "dir:%s", f->directory);
        assert_int_equal(zp_remote_open(name, NULL, &f->remote, NULL), 0);
        zp_digest_of(BLOB, strlen(BLOB), &f->digest);
        *state = f;
        return 0;
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        zp_remote_close(f->remote);
        close(f->fd);
        zp_remove_tree(AT_FDCWD, f->directory, NULL);
        free(f);
        return 0;
}

static char *blob_path(const struct fixture *f, char path[100]) {
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(path, 100, "blobs/sha256/%s", zp_digest_hex(&f->digest, hex));
        return path;
}

static int give(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) err;
        memcpy(buffer, (const char *) context + offset, size);
        return 0;
}

static int give_nothing(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) context, (void) offset, (void) buffer, (void) size;
        return zp_error_set(err, EIO, "no more");
}

static int put(struct fixture *f, zp_remote_read read, const char *content) {
        return zp_remote_put_blob(f->remote, &f->digest, strlen(BLOB), NULL, read, (void *) content, NULL, NULL);
}

static unsigned files_in(const struct fixture *f, const char *path) {
        int fd = openat(f->fd, path, O_RDONLY | O_DIRECTORY);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        unsigned count = 0;
        for (struct dirent *entry; dir && (entry = readdir(dir));)
                count += entry->d_name[0] != '.';
        if (dir)
                closedir(dir);
        return count;
}

static int append(void *context, const void *data, size_t size, struct zp_error *err) {
        (void) err;
        return zp_buffer_append(context, data, size) ? 0 : -ENOMEM;
}

static void what_is_put_can_be_read(void **state) {
        struct fixture *f = *state;
        struct zp_descriptor blob = { .digest = f->digest, .size = strlen(BLOB) };
        struct zp_buffer seen = { 0 };
        assert_int_equal(zp_remote_has_blob(f->remote, &f->digest, blob.size, NULL), 0);
        assert_int_equal(zp_remote_get_whole(f->remote, &blob, append, &seen, NULL), -ENOENT);
        assert_int_equal(put(f, give, BLOB), 0);
        assert_int_equal(zp_remote_has_blob(f->remote, &f->digest, blob.size, NULL), 1);
        assert_int_equal(zp_remote_get_whole(f->remote, &blob, append, &seen, NULL), 0);
        assert_string_equal(seen.data, BLOB);
        zp_buffer_clear(&seen);
        assert_int_equal(zp_remote_get_blob(f->remote, &blob, 5, 4, append, &seen, NULL), 0);
        assert_string_equal(seen.data, "byte");
        zp_buffer_clear(&seen);
        assert_int_equal(files_in(f, "tmp"), 0);
}

static void other_bytes_than_promised_are_not_kept(void **state) {
        struct fixture *f = *state;
        assert_int_equal(put(f, give, "some bytex"), -EBADMSG);
        assert_int_equal(put(f, give_nothing, NULL), -EIO);
        assert_int_equal(zp_remote_has_blob(f->remote, &f->digest, strlen(BLOB), NULL), 0);
        assert_int_equal(files_in(f, "tmp"), 0);
        assert_int_equal(files_in(f, "blobs/sha256"), 0);
}

static void a_truncated_blob_is_put_again(void **state) {
        struct fixture *f = *state;
        char path[100];
        struct zp_descriptor blob = { .digest = f->digest, .size = strlen(BLOB) };
        struct zp_buffer seen = { 0 };
        assert_int_equal(put(f, give, BLOB), 0);
        int fd = openat(f->fd, blob_path(f, path), O_WRONLY | O_TRUNC);
        close(fd);
        assert_int_equal(zp_remote_get_whole(f->remote, &blob, append, &seen, NULL), -EBADMSG);
        assert_int_equal(zp_remote_has_blob(f->remote, &f->digest, blob.size, NULL), 0);
        assert_int_equal(put(f, give, BLOB), 0);
        assert_int_equal(zp_remote_get_whole(f->remote, &blob, append, &seen, NULL), 0);
        zp_buffer_clear(&seen);
}

/* A reader on NFS has the file open that it would lose. */
static void a_blob_that_is_there_stays_the_same_file(void **state) {
        struct fixture *f = *state;
        struct stat before, after;
        char path[100];
        assert_int_equal(put(f, give, BLOB), 0);
        assert_int_equal(fstatat(f->fd, blob_path(f, path), &before, 0), 0);
        assert_int_equal(put(f, give, BLOB), 0);
        assert_int_equal(fstatat(f->fd, path, &after, 0), 0);
        assert_int_equal(before.st_ino, after.st_ino);
}

static int touch(const struct fixture *f, const char *name, time_t mtime) {
        mkdirat(f->fd, "tmp", 0755);
        int fd = openat(f->fd, name, O_RDWR | O_CREAT, 0644);
        struct timespec times[2] = { { .tv_sec = mtime }, { .tv_sec = mtime } };
        if (mtime)
                futimens(fd, times);
        return fd;
}

static bool exists(const struct fixture *f, const char *name) {
        return faccessat(f->fd, name, F_OK, 0) == 0;
}

static void what_a_crash_left_is_removed_but_nobodys_work(void **state) {
        struct fixture *f = *state;
        char boot_id[37] = "", mine[80], busy[80];
        int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
        assert_int_equal(read(fd, boot_id, 36), 36);
        close(fd);
        const char *old_elsewhere = "tmp/00000000-1111-2222-3333-444444444444.0123456789abcdef";
        const char *elsewhere = "tmp/00000000-1111-2222-3333-444444444444.1123456789abcdef";
        snprintf(mine, sizeof mine, "tmp/%s.0123456789abcdef", boot_id);
        snprintf(busy, sizeof busy, "tmp/%s.1123456789abcdef", boot_id);
        close(touch(f, mine, 0));
        close(touch(f, elsewhere, 0));
        close(touch(f, old_elsewhere, time(NULL) - 2 * 24 * 3600));
        close(touch(f, "tmp/README", 1));
        int busy_fd = touch(f, busy, 1);
        assert_int_equal(flock(busy_fd, LOCK_EX), 0);
        assert_int_equal(put(f, give, BLOB), 0);
        assert_false(exists(f, mine));
        assert_false(exists(f, old_elsewhere));
        assert_true(exists(f, elsewhere));
        assert_true(exists(f, busy));
        assert_true(exists(f, "tmp/README"));
        close(busy_fd);
}

static void no_link_leads_out_of_the_directory(void **state) {
        struct fixture *f = *state;
        struct zp_descriptor blob = { .digest = f->digest, .size = strlen(BLOB) };
        struct zp_buffer seen = { 0 };
        char path[100], outside[] = "/tmp/zp-test-outside-XXXXXX";
        assert_non_null(mkdtemp(outside));
        assert_int_equal(mkdirat(f->fd, "blobs", 0755), 0);
        assert_int_equal(symlinkat(outside, f->fd, "blobs/sha256"), 0);
        assert_int_equal(put(f, give, BLOB), -EXDEV);
        assert_int_equal(unlinkat(f->fd, "blobs/sha256", 0), 0);
        assert_int_equal(mkdirat(f->fd, "blobs/sha256", 0755), 0);
        assert_int_equal(symlinkat("/etc/hostname", f->fd, blob_path(f, path)), 0);
        assert_int_equal(zp_remote_get_whole(f->remote, &blob, append, &seen, NULL), -EXDEV);
        assert_int_equal(unlinkat(f->fd, path, 0), 0);
        assert_int_equal(mkfifoat(f->fd, path, 0644), 0);
        assert_int_equal(zp_remote_get_whole(f->remote, &blob, append, &seen, NULL), -EBADMSG);
        assert_int_equal(rmdir(outside), 0); /* empty still */
}

static void a_missing_directory_is_told_at_once(void **state) {
        (void) state;
        struct zp_remote *remote;
        struct zp_error err = { 0 };
        assert_int_equal(zp_remote_open("dir:/nonexistent/x", NULL, &remote, &err), -ENOENT);
        assert_non_null(strstr(err.message, "/nonexistent/x"));
        assert_true(err.hint[0]);
        assert_int_equal(zp_remote_open("dir:", NULL, &remote, &err), -EINVAL);
        assert_int_equal(zp_remote_open("dir:/etc/passwd", NULL, &remote, &err), -ENOTDIR);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_put_can_be_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(other_bytes_than_promised_are_not_kept, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_truncated_blob_is_put_again, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_blob_that_is_there_stays_the_same_file, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_a_crash_left_is_removed_but_nobodys_work, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_link_leads_out_of_the_directory, set_up, tear_down),
                cmocka_unit_test(a_missing_directory_is_told_at_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
