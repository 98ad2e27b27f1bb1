/* SPDX-License-Identifier: Apache-2.0
 *
 * Loop devices, for kernels that mount only block devices.
 */
#ifndef ZP_MOUNT_LOOP_H
#define ZP_MOUNT_LOOP_H

#include <stddef.h>

#include "base/error.h"

/* A read-only loop device on the file `fd`; its path is written to `path`. Returns its descriptor, the
 * caller's; the device goes away when nobody holds it open or mounted any more (autoclear). */
int zp_loop_attach(int fd, char *path, size_t path_size, struct zp_error *err);

/* The file behind a loop device such as "/dev/loop3": malloc'ed, the caller's; NULL: none, or not known. */
char *zp_loop_backing_file(const char *device);

#endif
