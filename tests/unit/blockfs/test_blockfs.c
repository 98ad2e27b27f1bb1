/* SPDX-License-Identifier: Apache-2.0
 *
 * The mount and the server in one process; as root, in a mount namespace of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blockfs/blockfs.h"

#define ID 0x1234u
#define SIZE 10000u

struct fixture {
        char directory[32];
        int fuse_fd, file_fd;
        unsigned threads;
        pthread_t thread;
        int result;
};

static uint8_t byte_at(uint64_t offset) {
        return (uint8_t) (offset * 7 + offset / 251);
}

static int find_size(void *context, uint64_t id, uint64_t *size) {
        (void) context;
        *size = SIZE;
        return id == ID || id == ID + 1 ? 0 : -ESTALE;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_held; /* whoever looks up the name "hangs" does; guarded by lock */
static bool is_hanging;

static void hang(void) {
        pthread_mutex_lock(&lock);
        is_hanging = true;
        pthread_cond_broadcast(&changed);
        while (is_held)
                pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
}

static int lookup(void *context, const char *name, uint64_t *id, uint64_t *size) {
        if (strcmp(name, "hangs") == 0)
                hang();
        if (strcmp(name, "data") != 0 && strcmp(name, "file") != 0)
                return -ENOENT;
        *id = strcmp(name, "data") == 0 ? ID : ID + 1;
        return find_size(context, *id, size);
}

/* "data" is answered from memory, with an error for whoever begins at byte 4096; "file" from a file. */
static void answer(void *context, uint64_t id, uint64_t offset, uint32_t size, struct zp_blockfs_read *read) {
        struct fixture *f = context;
        uint8_t data[SIZE];
        size_t count = offset >= SIZE ? 0 : SIZE - offset < size ? SIZE - offset : size;
        for (size_t i = 0; i < count; i++)
                data[i] = byte_at(offset + i);
        if (id == ID && offset == 4096)
                zp_blockfs_answer_error(read, EIO);
        else if (id == ID)
                zp_blockfs_answer_data(read, data, count);
        else
                zp_blockfs_answer_file(read, f->file_fd, offset, count);
}

static const struct zp_blockfs_ops ops = { .lookup = lookup, .find_size = find_size, .read = answer };

static void *serve(void *argument) {
        struct fixture *f = argument;
        f->result = zp_blockfs_serve(f->fuse_fd, NULL, f->threads, &ops, f, NULL);
        return NULL;
}

static int set_up(void **state) {
        if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0 || unshare(CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return 0; /* the tests skip themselves */
        struct fixture *f = calloc(1, sizeof *f);
        if (!f)
                return -1;
        f->threads = 2;
        strcpy(f->directory, "/tmp/zeropull-blockfs-XXXXXX");
        char file[] = "/tmp/zeropull-blockfs-XXXXXX";
        f->file_fd = mkstemp(file);
        unlink(file);
        for (unsigned i = 0; i < SIZE; i++)
                if (pwrite(f->file_fd, &(uint8_t){ byte_at(i) }, 1, i) != 1)
                        return -1;
        *state = f;
        return mkdtemp(f->directory) ? 0 : -1;
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        if (!f)
                return 0;
        rmdir(f->directory);
        close(f->file_fd);
        free(f);
        return 0;
}

static void start(struct fixture *f) {
        struct zp_error err = { 0 };
        f->fuse_fd = zp_blockfs_mount(f->directory, NULL, &err);
        if (f->fuse_fd < 0)
                fail_msg("%s", err.message);
        assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void stop(struct fixture *f) {
        assert_int_equal(zp_blockfs_unmount(f->directory, NULL), 0);
        assert_int_equal(pthread_join(f->thread, NULL), 0);
        assert_int_equal(f->result, 0);
        close(f->fuse_fd);
}

static int open_served(const struct fixture *f, const char *name, int flags) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", f->directory, name);
        return open(path, flags | O_CLOEXEC);
}

/* As somebody who is not root, in a child. */
static int open_as_nobody(const struct fixture *f, const char *name) {
        pid_t pid = fork();
        if (pid == 0) {
                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(255);
                _exit(open_served(f, name, O_RDONLY) < 0 ? errno : 0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WEXITSTATUS(status);
}

static void files_are_roots_alone(void **state) {
        struct fixture *f = *state;
        struct stat st;
        if (!f)
                skip();
        start(f);
        assert_int_equal(open_as_nobody(f, "data"), EACCES);
        assert_int_equal(open_as_nobody(f, "absent"), EACCES);
        assert_int_equal(stat(f->directory, &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0500);
        int fd = open_served(f, "data", O_RDONLY);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0400);
        assert_int_equal(st.st_uid, 0);
        close(fd);
        stop(f);
}

static void each_kind_of_answer_reaches_the_reader(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        start(f);
        static const char *const names[] = { "data", "file" };
        for (int i = 0; i < 2; i++) {
                int fd = open_served(f, names[i], O_RDONLY);
                assert_true(fd >= 0);
                struct stat st;
                assert_int_equal(fstat(fd, &st), 0);
                assert_int_equal(st.st_size, SIZE);
                static const unsigned offsets[] = { 0, 1, 4095, 8192, SIZE - 1, SIZE, SIZE + 1 };
                for (unsigned k = 0; k < sizeof offsets / sizeof offsets[0]; k++) {
                        uint8_t got[SIZE];
                        unsigned left = offsets[k] < SIZE ? SIZE - offsets[k] : 0;
                        assert_int_equal(pread(fd, got, SIZE, offsets[k]), left);
                        for (unsigned at = 0; at < left; at++)
                                assert_int_equal(got[at], byte_at(offsets[k] + at));
                }
                close(fd);
        }
        stop(f);
}

static void *look_up(void *argument) {
        const struct fixture *f = argument;
        assert_int_equal(open_served(f, "hangs", O_RDONLY), -1);
        return NULL;
}

static void reads_do_not_wait_for_lookups(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        f->threads = 1;
        start(f);
        pthread_t thread;
        uint8_t byte;
        int fd = open_served(f, "data", O_RDONLY);
        is_held = true;
        assert_int_equal(pthread_create(&thread, NULL, look_up, f), 0);
        pthread_mutex_lock(&lock);
        while (!is_hanging)
                pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        assert_int_equal(pread(fd, &byte, 1, 7), 1);
        assert_int_equal(byte, byte_at(7));
        pthread_mutex_lock(&lock);
        is_held = false;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        assert_int_equal(pthread_join(thread, NULL), 0);
        close(fd);
        stop(f);
}

static void a_failed_read_is_one_read(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        start(f);
        uint8_t byte;
        int fd = open_served(f, "data", O_RDONLY);
        assert_int_equal(pread(fd, &byte, 1, 4096), -1);
        assert_int_equal(errno, EIO);
        assert_int_equal(pread(fd, &byte, 1, 4097), 1);
        assert_int_equal(byte, byte_at(4097));
        close(fd);
        stop(f);
}

static void only_reading_files_that_are_there_is_allowed(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        start(f);
        assert_int_equal(open_served(f, "other", O_RDONLY), -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(open_served(f, "data", O_RDWR), -1);
        assert_int_equal(errno, EROFS);
        stop(f);
}

static void a_mount_in_use_goes_with_its_last_user(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        start(f);
        int fd = open_served(f, "data", O_RDONLY);
        assert_int_equal(zp_blockfs_unmount(f->directory, NULL), 0);
        assert_int_equal(zp_blockfs_unmount(f->directory, NULL), 0); /* absent is success */
        assert_int_equal(open_served(f, "data", O_RDONLY), -1);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, 5), 1);
        assert_int_equal(byte, byte_at(5));
        close(fd);
        assert_int_equal(pthread_join(f->thread, NULL), 0);
        assert_int_equal(f->result, 0);
        close(f->fuse_fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_are_roots_alone),
                cmocka_unit_test(each_kind_of_answer_reaches_the_reader),
                cmocka_unit_test(reads_do_not_wait_for_lookups),
                cmocka_unit_test(a_failed_read_is_one_read),
                cmocka_unit_test(only_reading_files_that_are_there_is_allowed),
                cmocka_unit_test(a_mount_in_use_goes_with_its_last_user),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
