/* SPDX-License-Identifier: Apache-2.0
 *
 * A FUSE file system of device files: one directory of read-only files, of which the kernel sends every cold read here
 * (direct_io). File systems are mounted on the files, so a read that fails or never ends is felt by a container: the
 * mount therefore outlives the process that serves it. Whoever holds the descriptor of /dev/fuse can start another
 * server on it, which knows nothing of the first: files are known by numbers that follow from their names alone.
 *
 * What a killed server had received and not answered, the kernel sends again (FUSE_NOTIFY_RESEND, Linux ≥ 6.9). For
 * older kernels, a journal keeps it.
 */
#ifndef ZP_BLOCKFS_BLOCKFS_H
#define ZP_BLOCKFS_BLOCKFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What the kernel asks for at once, at most. */
#define ZP_BLOCKFS_READ_MAX (UINT32_C(1) << 20)
/* The type of the mount in /proc/mounts. */
#define ZP_BLOCKFS_TYPE "fuse.zeropull"

/* Mounts a file system nobody serves yet on `directory`, and agrees with the kernel on how to talk. It is root's alone
 * (0500, its files 0400); what is mounted on its files has modes of its own. A dead one that
 * lies there (its server and everybody who held its descriptor gone) is taken away first. `can_resend` (may be NULL):
 * whether the kernel can send requests again. Returns the descriptor of /dev/fuse, the caller's; when the last copy of
 * it is closed, every read fails at once instead of waiting, and the mount can be taken away. -EBUSY: another file
 * system of this kind is mounted there and is served. */
int zp_blockfs_mount(const char *directory, bool *can_resend, struct zp_error *err);

/* Takes the mount away; one that is still in use disappears from the tree now and for good with its last user. Absent
 * is success. */
int zp_blockfs_unmount(const char *directory, struct zp_error *err);

/* 1: a file system of this kind lies on `directory`, dead or alive; 0: none. */
int zp_blockfs_is_mounted(const char *directory, struct zp_error *err);

/* One read under way; to be answered once, from any thread. */
struct zp_blockfs_read;

struct zp_blockfs_ops {
        /* The file of a name: 0 or a negative errno. *id must be the same in every process, and not 0 or 1; the file's
         * size never changes. May block: a few threads of its own do this, and no read waits for them. */
        int (*lookup)(void *context, const char *name, uint64_t *id, uint64_t *size);
        /* The size of a file that was looked up, perhaps by another process. May block, as lookup. */
        int (*find_size)(void *context, uint64_t id, uint64_t *size);
        /* Answers `read`, now or later, without blocking; offset + size may pass the end of the file, where the answer
         * ends. */
        void (*read)(void *context, uint64_t id, uint64_t offset, uint32_t size, struct zp_blockfs_read *read);
};

/* `code` is a positive errno. */
void zp_blockfs_answer_error(struct zp_blockfs_read *read, int code);
/* `data` may go when this returns. */
void zp_blockfs_answer_data(struct zp_blockfs_read *read, const void *data, size_t size);
/* From a file that holds the bytes at `offset`; they are not copied when the kernel can avoid it. */
void zp_blockfs_answer_file(struct zp_blockfs_read *read, int fd, uint64_t offset, size_t size);

/* Serves the file system of `fuse_fd` (which stays the caller's) on `threads` threads (at most 8) until it is
 * unmounted: 0. Takes over from a server that died: what that left unanswered comes first. `journal`: NULL when the
 * kernel can send requests again; else the path of a file that all servers of the mount, and no other mount's, use. One
 * server at a time. Signals are blocked in the threads. A server need not be stopped in any special way: it may exit or
 * be killed at any moment. */
int zp_blockfs_serve(int fuse_fd, const char *journal, unsigned threads, const struct zp_blockfs_ops *ops,
                     void *context, struct zp_error *err);

#endif
