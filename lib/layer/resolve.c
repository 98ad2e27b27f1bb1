/* SPDX-License-Identifier: Apache-2.0
 *
 * The resolution of symbolic links follows containerd's (continuity's fs.RootPath) step by step, because where
 * several links meet ".." it is not what the kernel would do.
 */
#include "layer/resolve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The kernel's own limit on links within one lstat(2). */
#define KERNEL_LINKS 40
/* What a resolution costs besides its components, in steps. */
#define STEPS_TO_START 16
/* A path while links are put into it: the longest path behind the longest target. */
#define EXPANDED_SIZE (2 * ZP_LIMIT_PATH + 2)

static int too_long(struct zp_error *err) {
        return zp_error_set(err, ENAMETOOLONG, "path of %u bytes or more", ZP_LIMIT_PATH);
}

static int not_a_directory(struct zp_error *err) {
        return zp_error_set(err, ENOTDIR, "a part of the path is not a directory");
}

static bool is_dot(const char *name, size_t size) {
        return size == 1 && name[0] == '.';
}

static bool is_dot_dot(const char *name, size_t size) {
        return size == 2 && name[0] == '.' && name[1] == '.';
}

/* Adds the components of `path` to a clean path. */
static int append(struct zp_clean_path *out, const char *path, size_t size, struct zp_error *err) {
        const char *end = path + size;

        while (path < end) {
                const char *slash = memchr(path, '/', (size_t) (end - path));
                size_t part = (size_t) ((slash ? slash : end) - path);

                if (is_dot_dot(path, part)) {
                        while (out->size > 0 && out->text[--out->size] != '/')
                                ;
                } else if (part > 0 && !is_dot(path, part)) {
                        if (out->size + 1 + part >= sizeof out->text)
                                return too_long(err);
                        if (out->size > 0)
                                out->text[out->size++] = '/';
                        memcpy(out->text + out->size, path, part);
                        out->size += part;
                }
                path += part + 1;
        }
        out->text[out->size] = '\0';
        return 0;
}

int zp_path_clean(const char *path, size_t size, struct zp_clean_path *out, struct zp_error *err) {
        out->size = 0;
        out->text[0] = '\0';
        return append(out, path, size, err);
}

int zp_tree_lstat(const struct zp_tree *tree, const char *path, size_t size, struct zp_inode **out,
                  struct zp_error *err) {
        struct zp_inode *inode = zp_tree_root(tree);
        const char *end = path + size;

        while (path < end) {
                const char *slash = memchr(path, '/', (size_t) (end - path));
                size_t part = (size_t) ((slash ? slash : end) - path);
                if (!S_ISDIR(inode->mode))
                        return not_a_directory(err);
                struct zp_dentry *dentry = zp_tree_lookup(tree, inode, path, part);
                if (!dentry)
                        return zp_error_set(err, ENOENT, "no such entry");
                inode = dentry->inode;
                path += part + 1;
        }
        *out = inode;
        return 0;
}

/* --- lstat(2) --- */

static int spend(uint64_t *budget, uint64_t steps, struct zp_error *err) {
        if (*budget < steps)
                return zp_error_set(err, E2BIG, "symbolic links make paths too costly to resolve");
        *budget -= steps;
        return 0;
}

/* The kernel's walk of one path: links on the way are followed, the last component's is not. */
struct kernel_walk {
        struct zp_inode *parents[ZP_LIMIT_PATH]; /* from the root to the directory we are in */
        size_t depth;
        char rest[EXPANDED_SIZE]; /* what is still to be walked */
        unsigned links;
};

/* Puts a link's target in front of what is left to walk. */
static int expand_link(struct kernel_walk *walk, const struct zp_inode *link, const char *rest, struct zp_error *err) {
        size_t target = (size_t) link->size, left = strlen(rest);

        if (++walk->links > KERNEL_LINKS)
                return zp_error_set(err, ELOOP, "too many symbolic links");
        if (target + 1 + left >= sizeof walk->rest)
                return too_long(err);
        memmove(walk->rest + target + 1, rest, left + 1);
        memcpy(walk->rest, link->data, target);
        walk->rest[target] = '/';
        return 0;
}

/* Enters one component. 1: go on, 0: it leads nowhere. *found is the inode when it was the last. */
static int enter(const struct zp_tree *tree, struct kernel_walk *walk, const char *name, size_t size, const char **rest,
                 struct zp_inode **found, struct zp_error *err) {
        if (size == 0 || is_dot(name, size))
                return 1;
        if (is_dot_dot(name, size))
                return walk->depth-- > 0; /* above the root lies the host, where we are not */

        struct zp_dentry *dentry = zp_tree_lookup(tree, walk->parents[walk->depth], name, size);
        if (!dentry)
                return 0;
        if ((*rest)[0] == '\0') {
                *found = dentry->inode;
                return 0;
        }
        if (S_ISLNK(dentry->inode->mode)) {
                if (dentry->inode->data[0] == '/')
                        return 0; /* would be looked up on the host */
                int r = expand_link(walk, dentry->inode, *rest, err);
                *rest = walk->rest;
                return r < 0 ? r : 1;
        }
        if (!S_ISDIR(dentry->inode->mode))
                return not_a_directory(err);
        if (++walk->depth == ZP_LIMIT_PATH)
                return too_long(err);
        walk->parents[walk->depth] = dentry->inode;
        return 1;
}

/* What lstat(2) finds at a clean path: *found NULL when nothing is there. */
static int kernel_lstat(const struct zp_tree *tree, struct kernel_walk *walk, const struct zp_clean_path *path,
                        uint64_t *budget, struct zp_inode **found, struct zp_error *err) {
        const char *rest = memcpy(walk->rest, path->text, path->size + 1);
        int r = 1;

        walk->depth = walk->links = 0;
        walk->parents[0] = zp_tree_root(tree);
        *found = path->size == 0 ? walk->parents[0] : NULL;
        while (r > 0 && *rest != '\0') {
                const char *name = rest;
                size_t size = strcspn(rest, "/");
                rest += size + (rest[size] == '/');
                r = spend(budget, 1, err);
                if (r == 0)
                        r = enter(tree, walk, name, size, &rest, found, err);
        }
        return r < 0 ? r : 0;
}

/* --- RootPath --- */

struct resolver {
        const struct zp_tree *tree;
        uint64_t *budget;
        struct kernel_walk walk;
        char path[EXPANDED_SIZE]; /* what is resolved in this pass; not clean where it came out of a link */
        size_t path_size;
        char current[EXPANDED_SIZE]; /* the resolved front of it, or a link's target as it is written */
        size_t current_size;
        /* `current` is clean, absolute (or "", for the root), and lstat(2) of it has found `at`; NULL: nothing */
        bool is_known;
        const struct zp_inode *at;
        bool is_first;
        unsigned links;
};

static int set_current(struct resolver *r, bool is_absolute, const char *text, size_t size, struct zp_error *err) {
        if (size + is_absolute >= sizeof r->current)
                return too_long(err);
        r->current[0] = '/';
        memcpy(r->current + is_absolute, text, size);
        r->current_size = size + is_absolute;
        r->is_known = false;
        return 0;
}

/* True when ".." leads out of a relative path: then it means the same as an absolute one. */
static bool climbs_out(const char *path, size_t size, int *depth) {
        for (const char *end = path + size; path < end;) {
                const char *slash = memchr(path, '/', (size_t) (end - path));
                size_t part = (size_t) ((slash ? slash : end) - path);
                if (is_dot_dot(path, part))
                        --*depth;
                else if (part > 0 && !is_dot(path, part))
                        ++*depth;
                if (*depth < 0)
                        return true;
                path += part + 1;
        }
        return false;
}

/* Goes on with a link's target, which stands beside the link. */
static int take_target(struct resolver *r, const struct zp_inode *link, struct zp_error *err) {
        const char *target = (const char *) link->data;
        size_t size = (size_t) link->size;
        struct zp_clean_path joined;
        int depth = 0;

        r->links++;
        if (target[0] == '/' || (r->is_first && r->path[0] != '/'))
                return set_current(r, false, target, size, err);
        bool is_absolute = r->current[0] == '/' || climbs_out(r->current, r->current_size, &depth) ||
                           climbs_out(target, size, &depth);
        int e = zp_path_clean(r->current, r->current_size, &joined, err);
        if (e >= 0)
                e = append(&joined, target, size, err);
        return e < 0 ? e : set_current(r, is_absolute, joined.text, joined.size, err);
}

/* One more component of a path of which we know what is there: what lstat(2) of the longer path would find. */
static int resolve_next(struct resolver *r, const char *name, size_t size, struct zp_error *err) {
        const struct zp_dentry *dentry = NULL;

        if (r->at) {
                if (!S_ISDIR(r->at->mode))
                        return not_a_directory(err);
                dentry = zp_tree_lookup(r->tree, r->at, name, size);
        }
        if (dentry && S_ISLNK(dentry->inode->mode))
                return take_target(r, dentry->inode, err);
        size_t used = r->current_size > 1 ? r->current_size : 0; /* without the root's own slash */
        if (used + 1 + size > ZP_LIMIT_PATH)
                return too_long(err);
        r->current[used] = '/';
        memcpy(r->current + used + 1, name, size);
        r->current_size = used + 1 + size;
        r->at = dentry ? dentry->inode : NULL;
        return 0;
}

/* Joins one component to what is resolved, and looks whether that is a link. */
static int resolve_component(struct resolver *r, const char *name, size_t size, struct zp_error *err) {
        struct zp_clean_path joined;
        struct zp_inode *found;

        if (r->links > ZP_LIMIT_SYMLINKS_FOLLOWED)
                return zp_error_set(err, ELOOP, "too many symbolic links");
        int e = spend(r->budget, 1, err);
        if (e < 0)
                return e;
        if (r->is_known && !is_dot(name, size) && !is_dot_dot(name, size))
                return resolve_next(r, name, size, err);
        e = spend(r->budget, r->current_size / 64, err);
        if (e >= 0)
                e = zp_path_clean(r->current, r->current_size, &joined, err);
        if (e >= 0)
                e = append(&joined, name, size, err);
        if (e >= 0)
                e = kernel_lstat(r->tree, &r->walk, &joined, r->budget, &found, err);
        if (e < 0)
                return e;
        if (found && S_ISLNK(found->mode))
                return take_target(r, found, err);
        e = set_current(r, true, joined.text, joined.size, err);
        r->is_known = true;
        r->at = found;
        return e;
}

static int resolve_pass(struct resolver *r, struct zp_error *err) {
        const char *p = r->path, *end = r->path + r->path_size;

        r->current[0] = '/';
        r->current_size = p < end && *p == '/';
        r->is_known = true;
        r->at = zp_tree_root(r->tree);
        r->is_first = true;
        while (p < end) {
                const char *slash = memchr(p, '/', (size_t) (end - p));
                size_t part = (size_t) ((slash ? slash : end) - p);
                if (part > 0) {
                        int e = resolve_component(r, p, part, err);
                        if (e < 0)
                                return e;
                        r->is_first = false;
                }
                p += part + 1;
        }
        return 0;
}

int zp_tree_root_path(const struct zp_tree *tree, const char *path, size_t size, struct zp_clean_path *out,
                      uint64_t *budget, struct zp_error *err) {
        zp_autofree struct resolver *r = malloc(sizeof *r);
        uint64_t unlimited = UINT64_MAX;
        unsigned links_before;

        if (!r)
                return zp_error_errno(err, ENOMEM, "path");
        if (size >= sizeof r->path)
                return too_long(err);
        r->tree = tree;
        r->budget = budget ? budget : &unlimited;
        int e = spend(r->budget, STEPS_TO_START, err);
        if (e < 0)
                return e;
        r->links = 0;
        memcpy(r->path, path, size);
        r->path_size = size;
        do {
                links_before = r->links;
                e = resolve_pass(r, err);
                if (e < 0)
                        return e;
                memcpy(r->path, r->current, r->current_size);
                r->path_size = r->current_size;
        } while (r->links != links_before);
        return zp_path_clean(r->path, r->path_size, out, err);
}
