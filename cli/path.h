/* SPDX-License-Identifier: Apache-2.0
 *
 * What a path typed by a person means inside an image.
 */
#ifndef ZP_CLI_PATH_H
#define ZP_CLI_PATH_H

#include "layer/tree.h"

/* The inode at `path` ("" and "usr/bin" count from the root), symbolic links followed inside the image; with
 * `keep_last` not the last one. *resolved is its path without links, malloc'ed, the caller's.
 * -ENOENT, -ENOTDIR, -ELOOP. */
int cli_find_path(const struct zp_tree *tree, const char *path, bool keep_last, struct zp_inode **out, char **resolved,
                  struct zp_error *err);

#endif
