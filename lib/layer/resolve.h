/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths inside a tree, resolved as containerd resolves them inside a layer's directory.
 */
#ifndef ZP_LAYER_RESOLVE_H
#define ZP_LAYER_RESOLVE_H

#include "base/limits.h"
#include "layer/tree.h"

/* A path inside the tree: components with single slashes between, no '/' at either end, no "." or ".."; the
 * root is "". NUL-terminated. */
struct zp_clean_path {
        char text[ZP_LIMIT_PATH];
        size_t size;
};

/* Cleans a path lexically, as Go's path.Clean("/" + path) does: "../x" is "x". -ENAMETOOLONG. */
int zp_path_clean(const char *path, size_t size, struct zp_clean_path *out, struct zp_error *err);

/* Steps of path resolution that one layer or one merge may take: links in links can be made to cost much more
 * than their size. More than four million entries behind a link take; some seconds. */
#define ZP_RESOLVE_BUDGET (UINT64_C(1) << 28)

/* Follows every symbolic link of a path (not cleaned) inside the tree, the last component too, as continuity's
 * fs.RootPath does inside a layer's directory: links are bounded to the root, and what does not exist is taken as
 * it stands. Takes the steps from *budget (NULL: unlimited). -ELOOP past 255 links (or 40 that the kernel would
 * follow); -ENAMETOOLONG; -ENOTDIR: something that is not a directory on the way; -E2BIG: budget used up. */
int zp_tree_root_path(const struct zp_tree *tree, const char *path, size_t size, struct zp_clean_path *out,
                      uint64_t *budget, struct zp_error *err);

/* The inode at a clean path; links are not followed, not even on the way. -ENOENT; -ENOTDIR: something that is
 * not a directory on the way. */
int zp_tree_lstat(const struct zp_tree *tree, const char *path, size_t size, struct zp_inode **out,
                  struct zp_error *err);

#endif
