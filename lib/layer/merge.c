/* SPDX-License-Identifier: Apache-2.0
 *
 * The merge, in two steps: first directories get what they have from the layers below (inherit.c); then the trees
 * are laid over each other with the rules of overlayfs (Documentation/filesystems/overlayfs.rst: whiteouts, opaque and
 * merged directories).
 */
#include "layer/merge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "layer/merge-internal.h"

/* ---- names ---- */

/* By name, then the highest layer first. */
static int compare_members(const void *a, const void *b) {
        const struct zp_merge_member *x = a, *y = b;
        size_t common = x->name->name_size < y->name->name_size ? x->name->name_size : y->name->name_size;
        int order = memcmp(x->name->name, y->name->name, common);
        if (order == 0)
                order = (int) x->name->name_size - (int) y->name->name_size;
        return order ? order : (int) y->layer - (int) x->layer;
}

struct zp_merge_member *zp_merge_children(const struct zp_merge_member *members, size_t count, size_t *total,
                                          struct zp_error *err) {
        *total = 0;
        for (size_t i = 0; i < count; i++)
                *total += members[i].name->inode->child_count;
        struct zp_merge_member *children = calloc(*total + 1, sizeof *children), *next = children;
        if (!children) {
                zp_error_errno(err, ENOMEM, "%zu names to merge", *total);
                return NULL;
        }
        for (size_t i = 0; i < count; i++)
                for (const struct zp_dentry *child = members[i].name->inode->first_child; child; child = child->next)
                        *next++ = (struct zp_merge_member){ child, members[i].heir, NULL, members[i].layer,
                                                            members[i].first_device };
        qsort(children, *total, sizeof *children, compare_members);
        return children;
}

size_t zp_merge_same_name(const struct zp_merge_member *members, size_t count) {
        size_t same = 1;
        while (same < count && members[same].name->name_size == members[0].name->name_size &&
               memcmp(members[same].name->name, members[0].name->name, members[0].name->name_size) == 0)
                same++;
        return same;
}

/* ---- overlay ---- */

static int copy_extents(struct zp_tree *out, struct zp_inode *to, const struct zp_inode *from, uint16_t first_device,
                        struct zp_error *err) {
        if (from->extent_count == 0)
                return 0;
        to->extents = zp_tree_alloc(out, from->extent_count * sizeof *to->extents);
        if (!to->extents)
                return zp_error_errno(err, ENOMEM, "extents");
        memcpy(to->extents, from->extents, from->extent_count * sizeof *to->extents);
        to->extent_count = from->extent_count;
        for (uint32_t i = 0; i < to->extent_count; i++)
                to->extents[i].device += first_device;
        return 0;
}

/* The result's inode for a layer's: made at the first of its names, found again at the others, by its scratch. */
static int copy_inode(struct zp_tree *merged, struct zp_inode *from, uint16_t first_device, struct zp_inode **out,
                      struct zp_error *err) {
        if (!S_ISDIR(from->mode) && from->scratch) {
                *out = (struct zp_inode *) (uintptr_t) from->scratch;
                return 0;
        }
        const struct zp_inode *attributes = zp_merge_attributes(from);
        int r = zp_tree_new_inode(merged, attributes->mode, out, err);
        if (r < 0)
                return r;
        struct zp_inode *to = *out;
        to->uid = attributes->uid;
        to->gid = attributes->gid;
        to->mtime_s = attributes->mtime_s;
        to->mtime_ns = attributes->mtime_ns;
        to->xattrs = attributes->xattrs;
        to->size = from->size;
        to->data = from->data;
        to->rdev_major = from->rdev_major;
        to->rdev_minor = from->rdev_minor;
        if (!S_ISDIR(from->mode))
                from->scratch = (uintptr_t) to;
        return copy_extents(merged, to, from, first_device, err);
}

static int merge_directory(struct zp_tree *merged, const struct zp_merge_member *parts, size_t count,
                           struct zp_inode *out, struct zp_error *err);

/* One name, with what each layer has under it that is not hidden, topmost first. */
static int merge_name(struct zp_tree *merged, const struct zp_merge_member *members, size_t count, struct zp_inode *out,
                      struct zp_error *err) {
        const struct zp_dentry *top = members[0].name;
        struct zp_inode *inode;
        if (zp_inode_is_whiteout(top->inode))
                return 0;
        int r = copy_inode(merged, top->inode, members[0].first_device, &inode, err);
        if (r == 0)
                r = zp_tree_link(merged, out, top->name, top->name_size, inode, err);
        if (r < 0)
                return r;
        if (!S_ISDIR(inode->mode)) {
                inode->nlink = top->inode->nlink;
                return 0;
        }
        size_t parts = 1;
        while (parts < count && S_ISDIR(members[parts].name->inode->mode) && !members[parts - 1].name->inode->is_opaque)
                parts++;
        return merge_directory(merged, members, parts, inode, err);
}

/* One directory of the result, and the layers' directories that it is made of, topmost first. */
static int merge_directory(struct zp_tree *merged, const struct zp_merge_member *parts, size_t count,
                           struct zp_inode *out, struct zp_error *err) {
        size_t total;
        zp_autofree struct zp_merge_member *names = zp_merge_children(parts, count, &total, err);
        if (!names)
                return -ENOMEM;
        for (size_t first = 0, same; first < total; first += same) {
                same = zp_merge_same_name(names + first, total - first);
                int r = merge_name(merged, names + first, same, out, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int zp_tree_merge(struct zp_tree *const *layers, const uint16_t *first_devices, size_t count, struct zp_tree **out,
                  struct zp_error *err) {
        if (count > ZP_LIMIT_LAYERS)
                return zp_error_set(err, E2BIG, "%zu layers; the limit is %d", count, ZP_LIMIT_LAYERS);
        zp_auto(zp_tree_free) struct zp_tree *merged = zp_tree_new();
        struct zp_dentry names[ZP_LIMIT_LAYERS] = { 0 };
        struct zp_merge_member roots[ZP_LIMIT_LAYERS] = { 0 };
        if (!merged)
                return zp_error_errno(err, ENOMEM, "merge");
        for (size_t i = 0; i < count; i++) {
                roots[i].layer = (uint16_t) (count - 1 - i);
                roots[i].first_device = first_devices ? first_devices[roots[i].layer] : 0;
                roots[i].name = &names[i];
                names[i].inode = zp_tree_root(layers[roots[i].layer]);
        }
        int r = zp_merge_inherit(layers, count, roots, merged, err);
        /* The root is merged of all layers, opaque or not: overlayfs does not look. */
        if (r == 0)
                r = merge_directory(merged, roots, count, zp_tree_root(merged), err);
        if (r < 0)
                return r;
        zp_tree_root(merged)->is_implied = false;
        *out = zp_steal(&merged);
        return 0;
}
