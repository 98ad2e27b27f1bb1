/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner, mode and extended attributes of an inode, as Linux sets them when containerd asks for it: file
 * capabilities, POSIX ACLs (in their xattr form, linux/posix_acl_xattr.h), namespaces.
 */
#include "layer/apply-internal.h"

#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"

static const char CAPABILITY[] = "security.capability";
static const char ACL_ACCESS[] = "system.posix_acl_access";
static const char ACL_DEFAULT[] = "system.posix_acl_default";

static bool starts_with(const char *text, const char *prefix) {
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void drop_xattr(struct zp_inode *inode, const char *name) {
        for (struct zp_xattr **slot = &inode->xattrs; *slot; slot = &(*slot)->next) {
                if (strcmp((*slot)->name, name) == 0) {
                        *slot = (*slot)->next;
                        return;
                }
        }
}

static int store_xattr(struct zp_tree *tree, struct zp_inode *inode, const char *name, const void *value, uint32_t size,
                       struct zp_error *err) {
        unsigned count = 0;

        for (const struct zp_xattr *x = inode->xattrs; x; x = x->next)
                count++;
        if (count >= ZP_LIMIT_XATTRS_PER_FILE && !zp_inode_find_xattr(inode, name))
                return zp_error_set(err, E2BIG, "more than %d extended attributes", ZP_LIMIT_XATTRS_PER_FILE);
        return zp_tree_set_xattr(tree, inode, name, value, size, err);
}

/* --- security.capability --- */

#define CAP_REVISION_2 UINT32_C(0x02000000)
#define CAP_REVISION_3 UINT32_C(0x03000000)
#define CAP_EFFECTIVE UINT32_C(1)
#define CAP_SIZE_2 20
#define CAP_SIZE_3 24 /* with the user id of a namespace's root at 20 */

static int check_capability(const uint8_t *value, uint32_t size, struct zp_error *err) {
        uint32_t revision = size >= 4 ? zp_get_le32(value) & ~CAP_EFFECTIVE : 0;

        if (!(size == CAP_SIZE_2 && revision == CAP_REVISION_2) &&
            !(size == CAP_SIZE_3 && revision == CAP_REVISION_3 && zp_get_le32(value + 20) != UINT32_MAX))
                return zp_error_set(err, EBADMSG, "security.capability is malformed");
        return 0;
}

/* --- ACLs --- */

enum acl_tag {
        ACL_TAG_USER_OBJ = 0x01,
        ACL_TAG_USER = 0x02,
        ACL_TAG_GROUP_OBJ = 0x04,
        ACL_TAG_GROUP = 0x08,
        ACL_TAG_MASK = 0x10,
        ACL_TAG_OTHER = 0x20
};
#define ACL_VERSION 2
#define ACL_HEADER_SIZE 4
#define ACL_ENTRY_SIZE 8
#define ACL_NO_ID UINT32_MAX

static uint16_t acl_tag(const uint8_t *entry) {
        return zp_get_le16(entry);
}

/* What is asked of an ACL on anything, even where none can be set. */
static bool is_acl_readable(const uint8_t *acl, uint32_t size) {
        if (size < ACL_HEADER_SIZE || (size - ACL_HEADER_SIZE) % ACL_ENTRY_SIZE != 0)
                return false;
        for (const uint8_t *e = acl + ACL_HEADER_SIZE; e < acl + size; e += ACL_ENTRY_SIZE) {
                uint16_t tag = acl_tag(e);
                bool is_named = tag == ACL_TAG_USER || tag == ACL_TAG_GROUP;
                bool is_plain = tag == ACL_TAG_USER_OBJ || tag == ACL_TAG_GROUP_OBJ || tag == ACL_TAG_MASK ||
                                tag == ACL_TAG_OTHER;
                if (!is_plain && !(is_named && zp_get_le32(e + 4) != ACL_NO_ID))
                        return false;
        }
        return true;
}

/* The order the kernel wants of a readable ACL: owner, users, group, groups, mask, others; a mask where users or groups
 * are named. */
static bool is_acl_valid(const uint8_t *acl, uint32_t size) {
        uint16_t expected = ACL_TAG_USER_OBJ;
        bool needs_mask = false;

        for (const uint8_t *e = acl + ACL_HEADER_SIZE; e < acl + size; e += ACL_ENTRY_SIZE) {
                uint16_t tag = acl_tag(e);
                if (zp_get_le16(e + 2) > 7)
                        return false;
                if (tag == ACL_TAG_USER_OBJ && expected == ACL_TAG_USER_OBJ) {
                        expected = ACL_TAG_USER;
                } else if (tag == ACL_TAG_GROUP_OBJ && expected == ACL_TAG_USER) {
                        expected = ACL_TAG_GROUP;
                } else if ((tag == ACL_TAG_USER || tag == ACL_TAG_GROUP) && tag == expected) {
                        needs_mask = true;
                } else if (tag == ACL_TAG_MASK && expected == ACL_TAG_GROUP) {
                        expected = ACL_TAG_OTHER;
                } else if (tag == ACL_TAG_OTHER &&
                           (expected == ACL_TAG_OTHER || (expected == ACL_TAG_GROUP && !needs_mask))) {
                        expected = 0;
                } else {
                        return false;
                }
        }
        return expected == 0;
}

/* An ACL that says no more than the mode does: just the three entries that every mode has. */
static bool is_acl_minimal(uint32_t size) {
        return size <= ACL_HEADER_SIZE + 3 * ACL_ENTRY_SIZE;
}

/* Stores an ACL as the kernel gives it back: no ids where none belong. */
static int store_acl(struct zp_tree *tree, struct zp_inode *inode, const char *name, const uint8_t *value,
                     uint32_t size, struct zp_error *err) {
        int r = store_xattr(tree, inode, name, value, size, err);
        if (r < 0)
                return r;
        /* The tree made a copy of its own. */
        uint8_t *acl = (uint8_t *) (uintptr_t) zp_inode_find_xattr(inode, name)->value;
        for (uint8_t *e = acl + ACL_HEADER_SIZE; e < acl + size; e += ACL_ENTRY_SIZE)
                if (acl_tag(e) != ACL_TAG_USER && acl_tag(e) != ACL_TAG_GROUP)
                        zp_put_le32(e + 4, ACL_NO_ID);
        return 0;
}

static int set_acl(struct zp_tree *tree, struct zp_inode *inode, const struct zp_tar_xattr *xattr,
                   struct zp_error *err) {
        bool is_default = strcmp(xattr->name, ACL_DEFAULT) == 0;
        const uint8_t *acl = xattr->value;
        uint32_t size = xattr->value_size;
        bool is_empty = size == 0 || size == ACL_HEADER_SIZE;

        if (size >= ACL_HEADER_SIZE && zp_get_le32(acl) != ACL_VERSION)
                return 0; /* EOPNOTSUPP */
        if (!is_empty && !is_acl_readable(acl, size))
                return zp_error_set(err, EBADMSG, "%s is malformed", xattr->name);
        if (S_ISLNK(inode->mode))
                return 0; /* EOPNOTSUPP again */
        if (is_default && !S_ISDIR(inode->mode) && !is_empty)
                return zp_error_set(err, EBADMSG, "%s on something that is not a directory", xattr->name);
        if (!is_empty && !is_acl_valid(acl, size))
                return zp_error_set(err, EBADMSG, "%s is malformed", xattr->name);
        if (is_empty || (!is_default && is_acl_minimal(size))) {
                drop_xattr(inode, xattr->name);
                return 0;
        }
        return store_acl(tree, inode, xattr->name, acl, size, err);
}

bool zp_apply_has_default_acl(const struct zp_inode *dir) {
        return dir->xattrs && zp_inode_find_xattr(dir, ACL_DEFAULT);
}

int zp_apply_inherit_acl(struct zp_tree *tree, const struct zp_inode *dir, struct zp_inode *inode,
                         struct zp_error *err) {
        const struct zp_xattr *acl = dir->xattrs ? zp_inode_find_xattr(dir, ACL_DEFAULT) : NULL;
        int r = 0;

        if (!acl || S_ISLNK(inode->mode))
                return 0;
        if (!is_acl_minimal(acl->value_size))
                r = store_acl(tree, inode, ACL_ACCESS, acl->value, acl->value_size, err);
        if (r >= 0 && S_ISDIR(inode->mode))
                r = store_acl(tree, inode, ACL_DEFAULT, acl->value, acl->value_size, err);
        return r;
}

/* chmod on an inode with an access ACL: the group's bits go to the mask where there is one. */
static void change_acl_mode(const struct zp_xattr *xattr, uint32_t mode) {
        uint8_t *acl = (uint8_t *) (uintptr_t) xattr->value; /* the tree's, and this inode's alone */
        bool has_mask = false;

        for (uint8_t *e = acl + ACL_HEADER_SIZE; e < acl + xattr->value_size; e += ACL_ENTRY_SIZE)
                has_mask |= acl_tag(e) == ACL_TAG_MASK;
        for (uint8_t *e = acl + ACL_HEADER_SIZE; e < acl + xattr->value_size; e += ACL_ENTRY_SIZE) {
                uint16_t tag = acl_tag(e);
                if (tag == ACL_TAG_USER_OBJ)
                        zp_put_le16(e + 2, mode >> 6 & 7);
                else if (tag == (has_mask ? ACL_TAG_MASK : ACL_TAG_GROUP_OBJ))
                        zp_put_le16(e + 2, mode >> 3 & 7);
                else if (tag == ACL_TAG_OTHER)
                        zp_put_le16(e + 2, mode & 7);
        }
}

/* --- the three calls --- */

void zp_apply_owner(struct zp_inode *inode, uint32_t uid, uint32_t gid) {
        inode->uid = uid;
        inode->gid = gid;
        if (!S_ISDIR(inode->mode) && inode->xattrs)
                drop_xattr(inode, CAPABILITY);
}

void zp_apply_mode(struct zp_inode *inode, uint32_t mode) {
        if (S_ISLNK(inode->mode))
                return;
        inode->mode = (inode->mode & S_IFMT) | (mode & 07777);
        const struct zp_xattr *acl = inode->xattrs ? zp_inode_find_xattr(inode, ACL_ACCESS) : NULL;
        if (acl)
                change_acl_mode(acl, mode);
}

static int check_xattr(const struct zp_tar_xattr *xattr, struct zp_error *err) {
        size_t name_size = strlen(xattr->name);

        if (name_size == 0 || name_size > ZP_LIMIT_XATTR_NAME)
                return zp_error_set(err, EBADMSG, "an extended attribute's name of %zu bytes", name_size);
        if (xattr->value_size > ZP_LIMIT_XATTR_VALUE)
                return zp_error_set(err, E2BIG, "extended attribute '%s' of %u bytes", xattr->name, xattr->value_size);
        if (strcmp(xattr->name, "user.") == 0 || strcmp(xattr->name, "security.") == 0)
                return zp_error_set(err, EBADMSG, "extended attribute '%s' without a name", xattr->name);
        return 0;
}

int zp_apply_xattr(struct zp_tree *tree, struct zp_inode *inode, const struct zp_tar_xattr *xattr,
                   struct zp_error *err) {
        if (starts_with(xattr->name, "trusted."))
                return 0; /* containerd does not set them */
        bool is_user = starts_with(xattr->name, "user.");
        if (is_user && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode) && strlen(xattr->name) <= ZP_LIMIT_XATTR_NAME &&
            xattr->value_size <= ZP_LIMIT_XATTR_VALUE)
                return 0; /* EPERM, which containerd ignores here */
        int r = check_xattr(xattr, err);
        if (r < 0)
                return r;

        if (strcmp(xattr->name, ACL_ACCESS) == 0 || strcmp(xattr->name, ACL_DEFAULT) == 0)
                return set_acl(tree, inode, xattr, err);
        if (strcmp(xattr->name, CAPABILITY) == 0) {
                r = check_capability(xattr->value, xattr->value_size, err);
                if (r < 0)
                        return r;
        } else if (!is_user && !starts_with(xattr->name, "security.")) {
                return 0; /* EOPNOTSUPP */
        }
        return store_xattr(tree, inode, xattr->name, xattr->value, xattr->value_size, err);
}
