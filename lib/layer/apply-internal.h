/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel does with the attributes that apply sets. Private to apply*.c.
 */
#ifndef ZP_LAYER_APPLY_INTERNAL_H
#define ZP_LAYER_APPLY_INTERNAL_H

#include "base/limits.h"
#include "layer/tar.h"
#include "layer/tree.h"

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
