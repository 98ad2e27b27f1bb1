/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts EROFS metadata with its devices by the kernel's own driver: straight from the files where the kernel can
 * (≥ 6.12), else through read-only loop devices that go away with the mount.
 */
#ifndef ZP_MOUNT_EROFS_MOUNT_H
#define ZP_MOUNT_EROFS_MOUNT_H

#include <stdbool.h>

#include "base/error.h"

/* What a mount's source may be at most, in bytes: fsconfig(2) takes no longer strings. */
#define ZP_MOUNT_SOURCE_MAX 255

/* Mounts `meta_fd` read-only on `directory` (an existing one), `device_fds` in the order of the file system's
 * device table. All are files or block devices, open for reading; the kernel opens them anew through /proc/self/fd, and
 * the caller may close them afterwards.
 *
 * `source` is shown as the mount's source in /proc/mounts. With a file-backed mount the kernel opens it: it must name
 * the file of meta_fd; NULL, or one that is too long: /proc/self/fd/N. `attributes` are MOUNT_ATTR_… of
 * mount_setattr(2) besides MOUNT_ATTR_RDONLY.
 *
 * -EPERM: not allowed to mount; -ENODEV: the kernel has no EROFS; -EINVAL: it does not take this file system, the
 * message has what the kernel said; -ENOTDIR, -ENOENT: the directory. */
int zp_erofs_mount(int meta_fd, const int *device_fds, unsigned device_count, const char *source, const char *directory,
                   unsigned attributes, struct zp_error *err);

/* Likewise, but what is mounted on `directory` gives way: whoever looks there finds the one or the other at any moment,
 * and the old mount ends with its last user. -EINVAL: nothing is mounted there, or Linux is older than 6.5. */
int zp_erofs_replace(int meta_fd, const int *device_fds, unsigned device_count, const char *source,
                     const char *directory, unsigned attributes, struct zp_error *err);

/* Unmounts what is mounted on `directory`, no link followed; lazily: once nobody uses it. -EBUSY with a hint. */
int zp_unmount(const char *directory, bool lazily, struct zp_error *err);

#endif
