/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/erofs_mount.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "mount/loop.h"

#define FD_PATH_SIZE 32

#ifndef MOVE_MOUNT_BENEATH /* glibc < 2.38 */
#define MOVE_MOUNT_BENEATH 0x200
#endif

static char *fd_path(int fd, char path[FD_PATH_SIZE]) {
        snprintf(path, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
        return path;
}

/* Appends what the file system said about its failure: messages of fsopen(2)'s descriptor, "e erofs: …". */
static int kernel_failed(int fs_fd, int code, const char *what, struct zp_error *err) {
        char said[512] = "", line[256];
        size_t used = 0;
        for (ssize_t got; (got = read(fs_fd, line, sizeof line - 1)) > 2;) {
                line[got] = '\0';
                line[strcspn(line, "\n")] = '\0';
                if (line[0] != 'e' || used + strlen(line) + 4 > sizeof said)
                        continue;
                used += (size_t) snprintf(said + used, sizeof said - used, "%s%s", used ? "; " : "", line + 2);
        }
        if (said[0] == '\0')
                return zp_error_errno(err, code, "%s", what);
        char reason[128];
        return zp_error_set(err, code, "%s: %s (%s)", what, strerror_r(code, reason, sizeof reason), said);
}

static int open_fs(struct zp_error *err) {
        int fd = fsopen("erofs", FSOPEN_CLOEXEC);
        if (fd >= 0)
                return fd;
        int code = errno;
        zp_error_errno(err, code, "mount EROFS");
        if (code == ENODEV)
                zp_error_hint(err, "this kernel has no EROFS, or its module is not loaded: try 'modprobe erofs'");
        else if (code == EPERM)
                zp_error_hint(err, "mounting takes root (CAP_SYS_ADMIN)");
        else if (code == ENOSYS)
                zp_error_hint(err, "Linux 5.15 or newer is needed");
        return -code;
}

struct request {
        const char *source;
        const char *const *devices;
        unsigned device_count;
};

/* Makes the superblock. Returns the descriptor of fsopen(2). */
static int create_superblock(const struct request *request, struct zp_error *err) {
        zp_autoclose int fd = open_fs(err);
        if (fd < 0)
                return fd;
        if (fsconfig(fd, FSCONFIG_SET_STRING, "source", request->source, 0) < 0)
                return kernel_failed(fd, errno, "mount EROFS: source", err);
        for (unsigned i = 0; i < request->device_count; i++)
                if (fsconfig(fd, FSCONFIG_SET_STRING, "device", request->devices[i], 0) < 0)
                        return kernel_failed(fd, errno, "mount EROFS: device", err);
        if (fsconfig(fd, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 || fsconfig(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return kernel_failed(fd, errno, "mount EROFS", err);
        return zp_steal_fd(&fd);
}

/* Where a mount comes to be: on the directory, or, with MOVE_MOUNT_BENEATH, under the mount that is there. */
struct place {
        const char *directory;
        int fd;
        unsigned attributes, move_flags;
};

static int attach(int fs_fd, const struct place *place, struct zp_error *err) {
        unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | place->move_flags;
        zp_autoclose int mount_fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, place->attributes | MOUNT_ATTR_RDONLY);
        if (mount_fd < 0)
                return kernel_failed(fs_fd, errno, "mount EROFS", err);
        if (move_mount(mount_fd, "", place->fd, "", flags) < 0)
                return zp_error_errno(err, errno, "mount on '%s'", place->directory);
        return 0;
}

/* The paths of the descriptors; for files when they are to go through loop devices, those. */
struct paths {
        char text[ZP_LIMIT_LAYERS + 1][FD_PATH_SIZE];
        const char *devices[ZP_LIMIT_LAYERS];
        int loops[ZP_LIMIT_LAYERS + 1];
        unsigned loop_count;
};

/* Closed loop devices stay as long as the mount uses them. */
static void close_loops(struct paths *paths) {
        for (unsigned i = 0; i < paths->loop_count; i++)
                close(paths->loops[i]);
        paths->loop_count = 0;
}

/* Which path the kernel shall open for a descriptor. */
static int choose_path(struct paths *paths, unsigned slot, int fd, bool with_loop, struct zp_error *err) {
        struct stat st;
        fd_path(fd, paths->text[slot]);
        if (!with_loop)
                return 0;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "mount EROFS");
        if (S_ISBLK(st.st_mode))
                return 0;
        int loop = zp_loop_attach(fd, paths->text[slot], FD_PATH_SIZE, err);
        if (loop >= 0)
                paths->loops[paths->loop_count++] = loop;
        return loop < 0 ? loop : 0;
}

static int superblock_of(int meta_fd, const int *device_fds, unsigned device_count, const char *source, bool with_loop,
                         struct paths *paths, struct zp_error *err) {
        int r = choose_path(paths, 0, meta_fd, with_loop, err);
        for (unsigned i = 0; i < device_count && r == 0; i++) {
                r = choose_path(paths, i + 1, device_fds[i], with_loop, err);
                paths->devices[i] = paths->text[i + 1];
        }
        if (r == 0) {
                bool has_source = source && !with_loop && strlen(source) <= ZP_MOUNT_SOURCE_MAX;
                struct request request = { has_source ? source : paths->text[0], paths->devices, device_count };
                r = create_superblock(&request, err);
        }
        return r;
}

static int mount_at(int meta_fd, const int *device_fds, unsigned device_count, const char *source, struct place place,
                    struct zp_error *err) {
        if (device_count > ZP_LIMIT_LAYERS)
                return zp_error_set(err, E2BIG, "mount EROFS: %u devices; the limit is %d", device_count,
                                    ZP_LIMIT_LAYERS);
        zp_autoclose int directory_fd = open(place.directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory_fd < 0)
                return zp_error_errno(err, errno, "mount on '%s'", place.directory);
        zp_autofree struct paths *paths = calloc(1, sizeof *paths);
        if (!paths)
                return zp_error_errno(err, ENOMEM, "mount on '%s'", place.directory);
        zp_autoclose int fs_fd = superblock_of(meta_fd, device_fds, device_count, source, false, paths, err);
        /* a kernel that mounts only block devices says so: once for the source, since 5.16 also for a device */
        if (fs_fd == -ENOTBLK)
                fs_fd = superblock_of(meta_fd, device_fds, device_count, source, true, paths, err);
        place.fd = directory_fd;
        int r = fs_fd < 0 ? fs_fd : attach(fs_fd, &place, err);
        close_loops(paths);
        return r;
}

int zp_erofs_mount(int meta_fd, const int *device_fds, unsigned device_count, const char *source, const char *directory,
                   unsigned attributes, struct zp_error *err) {
        struct place place = { .directory = directory, .attributes = attributes };
        return mount_at(meta_fd, device_fds, device_count, source, place, err);
}

int zp_erofs_replace(int meta_fd, const int *device_fds, unsigned device_count, const char *source,
                     const char *directory, unsigned attributes, struct zp_error *err) {
        struct place place = { .directory = directory, .attributes = attributes, .move_flags = MOVE_MOUNT_BENEATH };
        int r = mount_at(meta_fd, device_fds, device_count, source, place, err);
        return r < 0 ? r : zp_unmount(directory, true, err);
}

int zp_unmount(const char *directory, bool lazily, struct zp_error *err) {
        if (umount2(directory, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0)
                return 0;
        int code = errno;
        zp_error_errno(err, code, "unmount '%s'", directory);
        if (code == EBUSY)
                zp_error_hint(err, "some process still uses it: 'fuser -vm DIR' shows which");
        else if (code == EPERM)
                zp_error_hint(err, "unmounting takes root (CAP_SYS_ADMIN)");
        return -code;
}
