/* SPDX-License-Identifier: Apache-2.0
 *
 * What EROFS, and Linux, can hold of a tree.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "erofs/format.h"
#include "erofs/plan.h"

/* What the kernel's 32-bit encoding of a device number holds. */
#define DEVICE_MAJOR_MAX 0xfffu
#define DEVICE_MINOR_MAX 0xfffffu

static const struct zp_erofs_xattr_prefix prefixes[] = ZP_EROFS_XATTR_PREFIXES;

int zp_erofs_xattr_name(const char *name, uint8_t *index, const char **rest, struct zp_error *err) {
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
                size_t length = strlen(prefixes[i].prefix);
                bool is_namespace = prefixes[i].prefix[length - 1] == '.';
                if (is_namespace ? strncmp(name, prefixes[i].prefix, length) == 0
                                 : strcmp(name, prefixes[i].prefix) == 0) {
                        *index = prefixes[i].index;
                        *rest = name + length;
                        if (is_namespace && !**rest)
                                break;
                        return 0;
                }
        }
        return zp_error_set(err, ENOTSUP, "xattr '%s': EROFS has no such namespace", name);
}

static int check_xattrs(const struct zp_inode *inode, struct zp_error *err) {
        uint32_t count = 0;
        for (const struct zp_xattr *xattr = inode->xattrs; xattr; xattr = xattr->next) {
                uint8_t index;
                const char *rest;
                int r = zp_erofs_xattr_name(xattr->name, &index, &rest, err);
                if (r < 0)
                        return r;
                if (strlen(rest) > UINT8_MAX || xattr->value_size > ZP_LIMIT_XATTR_VALUE)
                        return zp_error_set(err, ENOTSUP, "xattr '%s': too large for EROFS", xattr->name);
                if (++count > ZP_LIMIT_XATTRS_PER_FILE)
                        return zp_error_set(err, ENOTSUP, "more than %d xattrs", ZP_LIMIT_XATTRS_PER_FILE);
        }
        return 0;
}

static int check_extents(const struct zp_erofs_plan *plan, const struct zp_inode *inode, struct zp_error *err) {
        uint64_t blocks = 0;
        for (uint32_t i = 0; i < inode->extent_count; i++) {
                const struct zp_extent *e = &inode->extents[i];
                uint64_t end;
                if (e->blocks == 0 || e->blocks > zp_erofs_file_blocks(inode) ||
                    (e->block != ZP_HOLE &&
                     (e->device >= plan->options->device_count || zp_add_overflows(e->block, e->blocks, &end) ||
                      end > plan->options->devices[e->device].blocks)))
                        return zp_error_set(err, EINVAL, "an extent lies outside its device");
                blocks += e->blocks;
        }
        if (blocks != zp_erofs_file_blocks(inode))
                return zp_error_set(err, EINVAL, "extents of %" PRIu64 " blocks for %" PRIu64 " bytes", blocks,
                                    inode->size);
        return 0;
}

static int check_inode(const struct zp_erofs_plan *plan, const struct zp_inode *inode, struct zp_error *err) {
        int r = check_xattrs(inode, err);
        if (r < 0)
                return r;
        if (S_ISLNK(inode->mode) && (!inode->data || inode->size == 0 || inode->size > ZP_LIMIT_SYMLINK))
                return zp_error_set(err, EINVAL, "a link target of %" PRIu64 " bytes", inode->size);
        if (inode->rdev_major > DEVICE_MAJOR_MAX || inode->rdev_minor > DEVICE_MINOR_MAX)
                return zp_error_set(err, ENOTSUP, "device %u:%u: Linux has no such numbers", inode->rdev_major,
                                    inode->rdev_minor);
        if (!S_ISREG(inode->mode))
                return 0;
        if (inode->size > ZP_LIMIT_FILE_SIZE)
                return zp_error_set(err, EFBIG, "a file of %" PRIu64 " bytes", inode->size);
        if (!inode->data || inode->extent_count > 0)
                return check_extents(plan, inode, err);
        return inode->size > ZP_EROFS_BLOCK
                       ? zp_error_set(err, EINVAL, "%" PRIu64 " bytes are too many to be inline", inode->size)
                       : 0;
}

/* Builds in `path` the first name under which `inode` is found below `dir`. */
static bool find_path(const struct zp_inode *dir, const struct zp_inode *inode, char *path, size_t used, size_t size) {
        if (dir == inode)
                return true;
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                bool is_dir = S_ISDIR(child->inode->mode);
                if (!is_dir && child->inode != inode)
                        continue;
                size_t next = used;
                if (size - used > 2) { /* what is longer than the message is cut off */
                        size_t length = zp_min_u64(child->name_size, size - used - 2);
                        path[used] = '/';
                        memcpy(path + used + 1, child->name, length);
                        next = used + 1 + length;
                        path[next] = '\0';
                }
                if (!is_dir || find_path(child->inode, inode, path, next, size))
                        return true;
        }
        return false;
}

int zp_erofs_check_tree(const struct zp_erofs_plan *plan, struct zp_error *err) {
        for (uint16_t i = 0; i < plan->options->device_count; i++)
                if (plan->options->devices[i].blocks == 0 || plan->options->devices[i].blocks > UINT32_MAX)
                        return zp_error_set(err, EINVAL, "device %u has %" PRIu64 " blocks", i + 1u,
                                            plan->options->devices[i].blocks);
        for (uint32_t i = 0; i < plan->count; i++) {
                if (check_inode(plan, plan->placed[i].inode, err) < 0) {
                        char path[ZP_ERROR_MESSAGE_MAX / 2] = "/";
                        find_path(zp_tree_root(plan->tree), plan->placed[i].inode, path, 0, sizeof path);
                        return zp_error_wrap(err, "'%s'", path);
                }
        }
        return 0;
}
