/* SPDX-License-Identifier: Apache-2.0
 *
 * The pieces of apply: paths as containerd resolves them, and what the kernel does with attributes.
 * Private to apply*.c.
 */
#ifndef ZP_LAYER_APPLY_INTERNAL_H
#define ZP_LAYER_APPLY_INTERNAL_H

#include "base/limits.h"
#include "layer/tar.h"
#include "layer/tree.h"

/* A path inside the tree: components with single slashes between, no '/' at either end, no "." or ".."; the
 * root is "". */
struct zp_clean_path {
        char text[ZP_LIMIT_PATH];
        size_t size;
};

/* Cleans a path lexically, as Go's filepath.Clean does, and keeps it below the root ("../x" is "x"). */
int zp_apply_clean(const char *path, size_t size, struct zp_clean_path *out, struct zp_error *err);

/* Resolves all symbolic links of a path (not cleaned) inside the tree, as containerd's fs.RootPath does
 * inside the layer's own directory; what does not exist is taken as it is written. */
int zp_apply_root_path(const struct zp_tree *tree, const char *path, size_t size, struct zp_clean_path *out,
                       struct zp_error *err);

/* The inode at a path that has no symbolic links on the way. A link at its end is not followed.
 * -EBADMSG when there is none. */
int zp_apply_find(const struct zp_tree *tree, const char *path, size_t size, struct zp_inode **out,
                  struct zp_error *err);

/* chown(2): also takes away file capabilities, except from directories. */
void zp_apply_owner(struct zp_inode *inode, uint32_t uid, uint32_t gid);
/* lsetxattr(2) as containerd calls it: what it ignores is ignored. */
int zp_apply_xattr(struct zp_tree *tree, struct zp_inode *inode, const struct zp_tar_xattr *xattr,
                   struct zp_error *err);
/* chmod(2), which also alters an access ACL. Symbolic links keep their mode. */
void zp_apply_mode(struct zp_inode *inode, uint32_t mode);
/* Gives a new inode the ACLs it inherits from its directory. */
int zp_apply_inherit_acl(struct zp_tree *tree, const struct zp_inode *dir, struct zp_inode *inode,
                         struct zp_error *err);
/* True when what is created in the directory inherits an ACL. */
bool zp_apply_has_default_acl(const struct zp_inode *dir);

#endif
