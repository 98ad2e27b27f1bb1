/* SPDX-License-Identifier: Apache-2.0
 *
 * The mount itself, and the first words with the kernel. They are spoken by who mounts, so that every server, the first
 * one as well, finds a connection on which all is agreed.
 */
#include "blockfs/blockfs-internal.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#include "base/buffer.h"
#include "mount/erofs_mount.h"
#include "mount/table.h"

/* FUSE_HAS_RESEND of Linux 6.9's linux/fuse.h: bit 39, the 7th of the second word. */
#define HAS_RESEND_FLAG2 (UINT32_C(1) << 7)
/* The kernel wants at least this (FUSE_MIN_READ_BUFFER). */
#define FIRST_REQUEST_MAX 8192

int zp_blockfs_is_mounted(const char *directory, struct zp_error *err) {
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = NULL;
        int r = zp_mount_table_read(&table, err);
        if (r < 0)
                return r;
        zp_autofree char *path = realpath(directory, NULL);
        const struct zp_mount *mount = zp_mount_table_find(table, path ? path : directory);
        return mount && strcmp(mount->type, ZP_BLOCKFS_TYPE) == 0;
}

static int clear_dead(const char *directory, struct zp_error *err) {
        struct statfs fs;
        for (;;) {
                int r = zp_blockfs_is_mounted(directory, err);
                if (r <= 0)
                        return r;
                if (statfs(directory, &fs) == 0 || (errno != ENOTCONN && errno != ECONNABORTED))
                        return zp_error_set(err, EBUSY, "mount on '%s': a file system of zeropull is there and in use",
                                            directory);
                r = zp_unmount(directory, true, err);
                if (r < 0)
                        return r;
        }
}

int zp_blockfs_unmount(const char *directory, struct zp_error *err) {
        for (;;) {
                int r = zp_blockfs_is_mounted(directory, err);
                if (r <= 0)
                        return r;
                r = zp_unmount(directory, true, err);
                if (r < 0)
                        return r;
        }
}

/* libfuse answers FUSE_INIT; the request itself tells what libfuse does not. */
static int answer_init(int fuse_fd, bool *can_resend, struct zp_error *err) {
        zp_autodetach struct zp_blockfs_server server = { 0 };
        zp_autofree char *first = malloc(FIRST_REQUEST_MAX);
        int r = zp_blockfs_attach(&server, fuse_fd, err);
        if (r == 0 && !first)
                r = zp_error_errno(err, ENOMEM, "FUSE");
        if (r < 0)
                return r;
        ssize_t size = read(fuse_fd, first, FIRST_REQUEST_MAX);
        if (size < 0)
                return zp_error_errno(err, errno, "FUSE: the kernel's first request");
        const struct fuse_in_header *header = (const void *) first;
        const struct fuse_init_in *init = (const void *) (first + sizeof *header);
        if ((size_t) size < sizeof *header + sizeof *init || header->opcode != FUSE_INIT)
                return zp_error_set(err, EPROTO, "FUSE: the kernel begins with something unknown");
        if (can_resend)
                *can_resend = init->flags & FUSE_INIT_EXT && init->flags2 & HAS_RESEND_FLAG2;
        struct fuse_buf buffer = { .size = (size_t) size, .mem = first };
        fuse_session_process_buf(server.session, &buffer);
        return 0;
}

static int open_fuse(struct zp_error *err) {
        int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (fd >= 0)
                return fd;
        int code = errno;
        zp_error_errno(err, code, "open '/dev/fuse'");
        if (code == ENOENT || code == ENODEV || code == ENXIO)
                zp_error_hint(err, "this kernel has no FUSE, or its module is not loaded: try 'modprobe fuse'");
        return -code;
}

int zp_blockfs_mount(const char *directory, bool *can_resend, struct zp_error *err) {
        int r = clear_dead(directory, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = open_fuse(err);
        if (fd < 0)
                return fd;
        /* others than the daemon's user read too, as processes of root's in user namespaces do: the modes say who may
         */
        zp_autofree char *options =
                zp_format("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read=%u", fd,
                          ZP_BLOCKFS_READ_MAX);
        if (!options)
                return zp_error_errno(err, ENOMEM, "mount on '%s'", directory);
        if (mount("zeropull", directory, ZP_BLOCKFS_TYPE, MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, options) < 0) {
                int code = errno;
                zp_error_errno(err, code, "mount on '%s'", directory);
                if (code == EPERM)
                        zp_error_hint(err, "mounting takes root (CAP_SYS_ADMIN)");
                return -code;
        }
        r = answer_init(fd, can_resend, err);
        if (r < 0) {
                zp_unmount(directory, true, NULL);
                return r;
        }
        return zp_steal_fd(&fd);
}
