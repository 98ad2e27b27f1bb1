/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts a small file system with the real kernel; as root, in a mount namespace of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "erofs/writer.h"
#include "mount/erofs_mount.h"
#include "mount/loop.h"
#include "mount/table.h"

#define DEVICE_BLOCKS 4u

/* A file system with the file "data" on a device of its own, in a temporary directory. */
struct fixture {
        char directory[32], metadata[64], device[64], mount[64];
        uint8_t content[DEVICE_BLOCKS * ZP_BLOCK_SIZE];
};

static void write_file(const char *path, const void *data, size_t size) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(zp_write_all(fd, data, size, path, NULL), 0);
        close(fd);
}

static void write_metadata(const struct fixture *f) {
        struct zp_tree *tree = zp_tree_new();
        struct zp_inode *file;
        struct zp_extent extent = { .block = 0, .blocks = DEVICE_BLOCKS };
        assert_int_equal(zp_tree_new_inode(tree, S_IFREG | 0644, &file, NULL), 0);
        assert_int_equal(zp_tree_link(tree, zp_tree_root(tree), "data", 4, file, NULL), 0);
        file->size = sizeof f->content;
        file->extents = &extent;
        file->extent_count = 1;
        struct zp_erofs_device device = { .blocks = DEVICE_BLOCKS };
        struct zp_erofs_options options = { .devices = &device, .device_count = 1 };
        struct zp_erofs_result result;
        int fd = open(f->metadata, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(zp_erofs_write(tree, &options, fd, f->metadata, &result, NULL), 0);
        close(fd);
        zp_tree_free(tree);
}

static int set_up(void **state) {
        struct fixture *f = calloc(1, sizeof *f);
        if (!f || geteuid() != 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                free(f);
                return 0; /* the tests skip themselves */
        }
        strcpy(f->directory, "/tmp/zeropull-mount-XXXXXX");
        if (!mkdtemp(f->directory))
                return -1;
        snprintf(f->metadata, sizeof f->metadata, "%s/metadata", f->directory);
        snprintf(f->device, sizeof f->device, "%s/device", f->directory);
        snprintf(f->mount, sizeof f->mount, "%s/mount point", f->directory);
        for (size_t i = 0; i < sizeof f->content; i++)
                f->content[i] = (uint8_t) (i * 7 + i / 4096);
        write_file(f->device, f->content, sizeof f->content);
        write_metadata(f);
        *state = f;
        return mkdir(f->mount, 0700);
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        if (!f)
                return 0;
        umount2(f->mount, MNT_DETACH);
        int r = zp_remove_tree(AT_FDCWD, f->directory, NULL);
        free(f);
        return r;
}

/* A kernel without EROFS cannot tell anything about this module. */
static void mount_it(struct fixture *f, int metadata_fd, int device_fd, const char *source) {
        struct zp_error err = { 0 };
        int r = zp_erofs_mount(metadata_fd, &device_fd, 1, source, f->mount, MOUNT_ATTR_NOSUID, &err);
        if (r == -ENODEV)
                skip();
        if (r < 0)
                fail_msg("%s", err.message);
}

static void expect_content(const struct fixture *f) {
        char path[128], *got = NULL;
        size_t size;
        snprintf(path, sizeof path, "%s/data", f->mount);
        assert_int_equal(zp_read_file(AT_FDCWD, path, 1 << 20, &got, &size, NULL), 0);
        assert_int_equal(size, sizeof f->content);
        assert_memory_equal(got, f->content, size);
        free(got);
        snprintf(path, sizeof path, "%s/new", f->mount);
        assert_int_equal(open(path, O_WRONLY | O_CREAT, 0600), -1);
        assert_int_equal(errno, EROFS);
}

static void files_mount_and_unmount(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        int metadata = open(f->metadata, O_RDONLY | O_CLOEXEC), device = open(f->device, O_RDONLY | O_CLOEXEC);
        mount_it(f, metadata, device, f->metadata);
        close(metadata);
        close(device);
        expect_content(f);
        assert_int_equal(zp_unmount(f->mount, false, NULL), 0);
        assert_int_equal(zp_unmount(f->mount, false, NULL), -EINVAL);
}

/* What a kernel before 6.12 gets. */
static void loop_devices_mount_and_go_away(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        char metadata_loop[32], device_loop[32];
        struct zp_error err = { 0 };
        int metadata = open(f->metadata, O_RDONLY | O_CLOEXEC), device = open(f->device, O_RDONLY | O_CLOEXEC);
        int first = zp_loop_attach(metadata, metadata_loop, sizeof metadata_loop, &err);
        if (first == -ENOENT || first == -ENODEV || first == -EPERM)
                skip(); /* no loop devices here */
        int second = zp_loop_attach(device, device_loop, sizeof device_loop, &err);
        assert_true(first >= 0 && second >= 0);
        char *backing = zp_loop_backing_file(device_loop);
        assert_string_equal(backing, f->device);
        free(backing);
        mount_it(f, first, second, NULL);
        close(first);
        close(second);
        close(metadata);
        close(device);
        expect_content(f);
        assert_int_equal(zp_unmount(f->mount, false, NULL), 0);
        assert_null(zp_loop_backing_file(device_loop));
}

static void busy_mount_is_refused_unless_lazy(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        int metadata = open(f->metadata, O_RDONLY | O_CLOEXEC), device = open(f->device, O_RDONLY | O_CLOEXEC);
        mount_it(f, metadata, device, NULL);
        close(metadata);
        close(device);
        int user = open(f->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct zp_error err = { 0 };
        assert_int_equal(zp_unmount(f->mount, false, &err), -EBUSY);
        assert_true(err.hint[0] != '\0');
        assert_int_equal(zp_unmount(f->mount, true, &err), 0);
        close(user);
}

/* How many mounts there are on it. */
static unsigned mounts_on(const char *directory) {
        struct zp_mount_table *table;
        unsigned count = 0;
        assert_int_equal(zp_mount_table_read(&table, NULL), 0);
        for (size_t i = 0; i < table->count; i++)
                count += strcmp(table->mounts[i].point, directory) == 0;
        zp_mount_table_free(table);
        return count;
}

static void mount_is_replaced_and_ends_with_its_last_user(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        char path[128], first[4096];
        struct zp_error err = { 0 };
        int metadata = open(f->metadata, O_RDONLY | O_CLOEXEC), device = open(f->device, O_RDONLY | O_CLOEXEC);
        assert_int_equal(zp_erofs_replace(metadata, &device, 1, f->metadata, f->mount, 0, &err), -EINVAL);
        zp_error_clear(&err);
        mount_it(f, metadata, device, f->metadata);
        snprintf(path, sizeof path, "%s/data", f->mount);
        int user = open(path, O_RDONLY | O_CLOEXEC);
        struct stat old, new;
        assert_int_equal(fstat(user, &old), 0);
        int r = zp_erofs_replace(metadata, &device, 1, f->metadata, f->mount, MOUNT_ATTR_NOATIME, &err);
        close(metadata);
        close(device);
        if (r == -EINVAL)
                skip(); /* Linux < 6.5 */
        assert_int_equal(r, 0);
        assert_int_equal(mounts_on(f->mount), 1);
        expect_content(f);
        assert_int_equal(stat(path, &new), 0);
        assert_true(old.st_dev != new.st_dev);
        assert_int_equal(pread(user, first, sizeof first, 0), sizeof first);
        assert_memory_equal(first, f->content, sizeof first);
        close(user);
        assert_int_equal(zp_unmount(f->mount, false, NULL), 0);
        assert_int_equal(mounts_on(f->mount), 0);
}

static void what_is_no_file_system_is_refused_with_the_kernels_words(void **state) {
        struct fixture *f = *state;
        if (!f)
                skip();
        int device = open(f->device, O_RDONLY | O_CLOEXEC);
        struct zp_error err = { 0 };
        int r = zp_erofs_mount(device, NULL, 0, NULL, f->mount, 0, &err);
        close(device);
        if (r == -ENODEV)
                skip();
        assert_int_equal(r, -EINVAL);
        assert_non_null(strstr(err.message, "mount EROFS"));
}

static void directory_must_be_there(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        assert_int_equal(zp_erofs_mount(0, NULL, 0, NULL, "/nonexistent/dir", 0, &err), -ENOENT);
        assert_int_equal(zp_erofs_mount(0, NULL, 0, NULL, "/dev/null", 0, &err), -ENOTDIR);
        assert_non_null(strstr(err.message, "/dev/null"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_mount_and_unmount),
                cmocka_unit_test(loop_devices_mount_and_go_away),
                cmocka_unit_test(busy_mount_is_refused_unless_lazy),
                cmocka_unit_test(mount_is_replaced_and_ends_with_its_last_user),
                cmocka_unit_test(what_is_no_file_system_is_refused_with_the_kernels_words),
                cmocka_unit_test(directory_must_be_there),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
