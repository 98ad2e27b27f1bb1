/* SPDX-License-Identifier: Apache-2.0
 *
 * Files: whole reads and writes, and the atomic replacement of one.
 */
#ifndef ZP_BASE_FILE_H
#define ZP_BASE_FILE_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Writes all of `data`, restarting after EINTR and short writes. `name` is for the message.
 * ENOSPC and EDQUOT get a hint; EFBIG becomes EDQUOT. */
int zp_write_all(int fd, const void *data, size_t size, const char *name, struct zp_error *err);
int zp_pwrite_all(int fd, const void *data, size_t size, uint64_t offset, const char *name, struct zp_error *err);
/* Reads exactly `size` bytes; -ENODATA when the file ends before. */
int zp_pread_all(int fd, void *data, size_t size, uint64_t offset, const char *name, struct zp_error *err);
/* Reads a whole file of at most `limit` bytes (-EFBIG beyond). *out is malloc'ed, NUL-terminated for
 * convenience (not counted in *size), and the caller's. `dir_fd` as for openat(2). */
int zp_read_file(int dir_fd, const char *path, size_t limit, char **out, size_t *size, struct zp_error *err);
/* Writes `path` so that a crash leaves the old or the new content, never a mixture: temporary file,
 * fsync, rename, fsync of the directory. */
int zp_replace_file(int dir_fd, const char *path, const void *data, size_t size, mode_t mode, struct zp_error *err);
/* fsync with a message. */
int zp_sync(int fd, const char *name, struct zp_error *err);
/* Creates a directory and its missing parents (mode 0755, or `mode` for the last); an existing
 * directory is success. */
int zp_make_directories(const char *path, mode_t mode, struct zp_error *err);
/* A directory's entries, from the first on; no symbolic link is followed. NULL: errno says why. */
DIR *zp_open_listing(int dir_fd, const char *path);
/* The next one, "." and ".." left out; NULL: no more. */
struct dirent *zp_next_entry(DIR *dir);
/* Removes a file or a whole tree below dir_fd, never following a symbolic link; absent is success. */
int zp_remove_tree(int dir_fd, const char *name, struct zp_error *err);

#endif
