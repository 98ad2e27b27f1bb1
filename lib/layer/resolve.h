/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths inside a tree, resolved as containerd resolves them inside a layer's directory.
 */
#ifndef ZP_LAYER_RESOLVE_H
#define ZP_LAYER_RESOLVE_H

#include "layer/tree.h"

/* Cleans a path lexically as Go's path.Clean("/" + path): no ".", "..", doubled or trailing slashes; begins with
 * '/'. malloc'ed, the caller's; NULL: out of memory. */
char *zp_path_clean(const char *path);

/* Follows every symbolic link of `path` inside the tree, the last component too, as continuity's
 * fs.RootPath does: links are bounded to the root, a missing component is taken as it stands. *out is a clean
 * absolute path, malloc'ed, the caller's. -ELOOP past 255 links; -ENAMETOOLONG. */
int zp_tree_root_path(const struct zp_tree *tree, const char *path, char **out, struct zp_error *err);

/* What lstat(2) would find at a clean absolute path: no link is followed, not even on the way. NULL when
 * there is nothing, or something that is not a directory on the way. *parent_is_file (may be NULL) tells
 * the latter. "/" is the root. */
struct zp_inode *zp_tree_lstat(const struct zp_tree *tree, const char *path, bool *parent_is_file);

#endif
