/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that a person named and that appears whole, or not at all. Until then it has no name where the file system
 * can do that, so that a killed process leaves nothing; elsewhere it has one that the next attempt removes.
 */
#ifndef ZP_CLI_NEW_FILE_H
#define ZP_CLI_NEW_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define CLI_NEW_FILE_TEMPORARY 40

struct cli_new_file {
        char *path; /* without symbolic links; malloc'ed */
        const char *name;
        int dir_fd, fd; /* -1: not open */
        bool is_device; /* there is a block device: the caller's to write to */
        bool replaces;
        mode_t mode;
        char temporary[CLI_NEW_FILE_TEMPORARY];
        bool has_temporary;
};

/* Looks where it will be; nothing is written. `path` may lead through symbolic links to a regular file, which will be
 * replaced and keep its mode, to a block device, or to nothing in a directory that exists. Anything else is -EEXIST,
 * and a place below `kept_out` (without symbolic links; NULL: none) -EINVAL. To be cleared in any case. */
int cli_new_file_find(struct cli_new_file *file, const char *path, const char *kept_out, struct zp_error *err);
/* Opens file->fd. -EBUSY: another process is about to make the same. */
int cli_new_file_create(struct cli_new_file *file, struct zp_error *err);
/* Gives it its name; synced, as its directory is. */
int cli_new_file_publish(struct cli_new_file *file, struct zp_error *err);
void cli_new_file_clear(struct cli_new_file *file);

#endif
