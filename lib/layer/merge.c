/* SPDX-License-Identifier: Apache-2.0
 *
 * The merge, in two steps: first every layer's implied directories get the attributes that containerd
 * gives them when it unpacks that layer over the ones below; then the trees are laid over each other with
 * the rules of overlayfs (Documentation/filesystems/overlayfs.rst: whiteouts, opaque and merged directories).
 */
#include "layer/merge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "layer/resolve.h"

/* ---- implied directories ---- */

/* While trees are merged, a directory's scratch is the inode it takes its attributes from, another file's is
 * its copy in the result. */
static const struct zp_inode *attributes_of(const struct zp_inode *inode) {
        return S_ISDIR(inode->mode) && inode->scratch ? (const struct zp_inode *) (uintptr_t) inode->scratch : inode;
}

struct path_buffer {
        char text[2 * ZP_LIMIT_PATH + 2];
        size_t size;
};

/* The first layer below that has something at that path decides, whether or not a layer between has hidden it:
 * containerd looks into the layers' directories, not into the merged view. */
static int resolve_directory(struct zp_tree *const *layers, size_t index, struct zp_inode *dir, const char *path,
                             struct zp_error *err) {
        for (size_t below = index; below-- > 0;) {
                struct zp_clean_path real;
                struct zp_inode *found = NULL;
                int r = zp_tree_root_path(layers[below], path, strlen(path), &real, NULL, err);
                if (r == 0)
                        r = zp_tree_lstat(layers[below], real.text, real.size, &found, err);
                if (r < 0 && r != -ENOENT)
                        return zp_error_wrap(err, "layer %zu", below + 1);
                if (!found || found == dir) /* itself: an image may have the same layer twice */
                        continue;
                if (S_ISDIR(found->mode))
                        dir->scratch = (uintptr_t) attributes_of(found);
                break;
        }
        return 0;
}

static int resolve_implied(struct zp_tree *const *layers, size_t index, struct zp_inode *dir, struct path_buffer *path,
                           struct zp_error *err) {
        if (dir->is_implied && path->size > 0) {
                int r = resolve_directory(layers, index, dir, path->text, err);
                if (r < 0)
                        return zp_error_wrap(err, "directory '%s'", path->text);
        }
        size_t before = path->size;
        for (struct zp_dentry *child = dir->first_child; child; child = child->next) {
                if (!S_ISDIR(child->inode->mode))
                        continue;
                if (before + 1 + child->name_size >= sizeof path->text)
                        return zp_error_errno(err, ENAMETOOLONG, "directory '%s'", path->text);
                path->text[before] = '/';
                memcpy(path->text + before + 1, child->name, child->name_size + 1u);
                path->size = before + 1 + child->name_size;
                int r = resolve_implied(layers, index, child->inode, path, err);
                if (r < 0)
                        return r;
        }
        path->size = before;
        path->text[before] = '\0';
        return 0;
}

/* ---- overlay ---- */

/* One directory of the result and the layers' directories it is made of, topmost first. */
struct stack {
        struct {
                struct zp_inode *dir;
                uint16_t layer;
        } parts[ZP_LIMIT_LAYERS];
        size_t count;
};

struct merge {
        struct zp_tree *const *layers;
        struct zp_tree *out;
        struct zp_inode *hidden; /* stands for a name that a whiteout hides, while its directory is merged */
};

static int copy_extents(struct merge *m, struct zp_inode *to, const struct zp_inode *from, uint16_t layer,
                        struct zp_error *err) {
        if (from->extent_count == 0)
                return 0;
        to->extents = zp_tree_alloc(m->out, from->extent_count * sizeof *to->extents);
        if (!to->extents)
                return zp_error_errno(err, ENOMEM, "extents");
        memcpy(to->extents, from->extents, from->extent_count * sizeof *to->extents);
        to->extent_count = from->extent_count;
        for (uint32_t i = 0; i < to->extent_count; i++)
                to->extents[i].device = layer;
        return 0;
}

/* The result's inode for a layer's: made at the first of its names, found again at the others. */
static int copy_inode(struct merge *m, struct zp_inode *from, uint16_t layer, struct zp_inode **out,
                      struct zp_error *err) {
        if (!S_ISDIR(from->mode) && from->scratch) {
                *out = (struct zp_inode *) (uintptr_t) from->scratch;
                return 0;
        }
        const struct zp_inode *attributes = attributes_of(from);
        int r = zp_tree_new_inode(m->out, attributes->mode, out, err);
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
        return copy_extents(m, to, from, layer, err);
}

static void stack_below(const struct merge *m, const struct stack *above, size_t first, const struct zp_dentry *name,
                        struct stack *out) {
        out->count = 0;
        for (size_t i = first; i < above->count; i++) {
                struct zp_dentry *found = zp_tree_lookup(m->layers[above->parts[i].layer], above->parts[i].dir,
                                                         name->name, name->name_size);
                if (!found)
                        continue;
                if (!S_ISDIR(found->inode->mode))
                        break;
                out->parts[out->count].dir = found->inode;
                out->parts[out->count++].layer = above->parts[i].layer;
                if (found->inode->is_opaque)
                        break;
        }
}

static int merge_directory(struct merge *m, const struct stack *stack, struct zp_inode *out, struct zp_error *err);

static int merge_name(struct merge *m, const struct stack *stack, size_t part, struct zp_dentry *name,
                      struct zp_inode *out, struct zp_error *err) {
        if (zp_tree_lookup(m->out, out, name->name, name->name_size))
                return 0; /* a higher layer has it, or hides it */
        if (zp_inode_is_whiteout(name->inode))
                return zp_tree_link(m->out, out, name->name, name->name_size, m->hidden, err);
        struct zp_inode *inode;
        int r = copy_inode(m, name->inode, stack->parts[part].layer, &inode, err);
        if (r == 0)
                r = zp_tree_link(m->out, out, name->name, name->name_size, inode, err);
        if (r < 0)
                return r;
        if (!S_ISDIR(inode->mode)) {
                inode->nlink = name->inode->nlink;
                return 0;
        }
        struct stack *below = malloc(sizeof *below); /* not on the call stack: this recurses */
        if (!below)
                return zp_error_errno(err, ENOMEM, "merge");
        stack_below(m, stack, part, name, below);
        r = merge_directory(m, below, inode, err);
        free(below);
        return r;
}

static int merge_directory(struct merge *m, const struct stack *stack, struct zp_inode *out, struct zp_error *err) {
        for (size_t part = 0; part < stack->count; part++) {
                for (struct zp_dentry *name = stack->parts[part].dir->first_child; name; name = name->next) {
                        int r = merge_name(m, stack, part, name, out, err);
                        if (r < 0)
                                return r;
                }
        }
        for (struct zp_dentry *name = out->first_child, *next; name; name = next) {
                next = name->next;
                if (name->inode == m->hidden)
                        zp_tree_unlink(m->out, name);
        }
        return 0;
}

static void clear_scratch(struct zp_inode *dir) {
        dir->scratch = 0;
        for (struct zp_dentry *child = dir->first_child; child; child = child->next)
                clear_scratch(child->inode);
}

int zp_tree_merge(struct zp_tree *const *layers, size_t count, struct zp_tree **out, struct zp_error *err) {
        if (count > ZP_LIMIT_LAYERS)
                return zp_error_set(err, E2BIG, "%zu layers; the limit is %d", count, ZP_LIMIT_LAYERS);
        zp_autofree struct path_buffer *path = calloc(1, sizeof *path);
        zp_autofree struct stack *roots = calloc(1, sizeof *roots);
        zp_auto(zp_tree_free) struct zp_tree *merged = zp_tree_new();
        struct merge m = { .layers = layers, .out = merged };
        if (!path || !roots || !merged)
                return zp_error_errno(err, ENOMEM, "merge");
        int r = zp_tree_new_inode(merged, S_IFCHR, &m.hidden, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
                clear_scratch(zp_tree_root(layers[i]));
                r = resolve_implied(layers, i, zp_tree_root(layers[i]), path, err);
                if (r < 0)
                        zp_error_wrap(err, "layer %zu", i + 1);
        }
        /* The root is merged of all layers, opaque or not: overlayfs does not look. */
        for (size_t i = count; i-- > 0;) {
                roots->parts[roots->count].dir = zp_tree_root(layers[i]);
                roots->parts[roots->count++].layer = (uint16_t) i;
        }
        if (r == 0)
                r = merge_directory(&m, roots, zp_tree_root(merged), err);
        if (r < 0)
                return r;
        zp_tree_root(merged)->is_implied = false;
        *out = zp_steal(&merged);
        return 0;
}
