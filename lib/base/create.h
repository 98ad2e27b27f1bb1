/* SPDX-License-Identifier: Apache-2.0
 *
 * A new file, whole or not at all, that never takes the place of another.
 */
#ifndef ZP_BASE_CREATE_H
#define ZP_BASE_CREATE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Writes `path` so that a crash leaves the whole file or none: temporary file, fsync, link, fsync of the directory.
 * -EEXIST when something of that name is there, a dangling link included; it stays as it is. `mode` before the umask.
 */
int zp_create_file(const char *path, const void *data, size_t size, mode_t mode, struct zp_error *err);

#endif
