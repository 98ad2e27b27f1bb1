/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/resolve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"

char *zp_path_clean(const char *path) {
        size_t length = strlen(path);
        char *clean = malloc(length + 2);
        if (!clean)
                return NULL;
        size_t used = 0;
        while (*path) {
                size_t part = strcspn(path, "/");
                if (part == 2 && memcmp(path, "..", 2) == 0) {
                        while (used > 0 && clean[--used] != '/')
                                ;
                } else if (part > 0 && !(part == 1 && *path == '.')) {
                        clean[used++] = '/';
                        memcpy(clean + used, path, part);
                        used += part;
                }
                path += part;
                path += *path == '/';
        }
        if (used == 0)
                clean[used++] = '/';
        clean[used] = '\0';
        return clean;
}

struct zp_inode *zp_tree_lstat(const struct zp_tree *tree, const char *path, bool *parent_is_file) {
        struct zp_inode *inode = zp_tree_root(tree);
        if (parent_is_file)
                *parent_is_file = false;
        for (path++; *path;) {
                size_t part = strcspn(path, "/");
                if (!S_ISDIR(inode->mode)) {
                        if (parent_is_file)
                                *parent_is_file = true;
                        return NULL;
                }
                struct zp_dentry *dentry = zp_tree_lookup(tree, inode, path, part);
                if (!dentry)
                        return NULL;
                inode = dentry->inode;
                path += part;
                path += *path == '/';
        }
        return inode;
}

static char *join(const char *first, size_t first_size, const char *middle, size_t middle_size, const char *last) {
        char *joined = malloc(first_size + middle_size + strlen(last) + 3);
        if (!joined)
                return NULL;
        char *p = mempcpy(joined, first, first_size);
        *p++ = '/';
        p = mempcpy(p, middle, middle_size);
        *p++ = '/';
        strcpy(p, last);
        return joined;
}

/* Walks `path` (clean) up to the first symbolic link and replaces that by its target: *next is then the path to
 * go on with, NULL when there was no link.
 *
 * continuity resolves from the left as well, and cleans lexically after each link, so "link/../x" inside a
 * target means "x" beside the link whatever the link is. */
static int follow_first_link(const struct zp_tree *tree, const char *path, char **next, struct zp_error *err) {
        struct zp_inode *inode = zp_tree_root(tree);
        *next = NULL;
        for (const char *p = path + 1; *p;) {
                size_t part = strcspn(p, "/");
                struct zp_dentry *dentry = S_ISDIR(inode->mode) ? zp_tree_lookup(tree, inode, p, part) : NULL;
                if (!dentry)
                        return 0;
                inode = dentry->inode;
                if (S_ISLNK(inode->mode)) {
                        const char *target = (const char *) inode->data;
                        bool is_absolute = target[0] == '/';
                        zp_autofree char *joined = join(path, is_absolute ? 0 : (size_t) (p - path), target,
                                                        (size_t) inode->size, p + part);
                        *next = joined ? zp_path_clean(joined) : NULL;
                        return *next ? 0 : zp_error_errno(err, ENOMEM, "path");
                }
                p += part;
                p += *p == '/';
        }
        return 0;
}

int zp_tree_root_path(const struct zp_tree *tree, const char *path, char **out, struct zp_error *err) {
        zp_autofree char *current = zp_path_clean(path);
        if (!current)
                return zp_error_errno(err, ENOMEM, "path");
        for (unsigned links = 0; links <= ZP_LIMIT_SYMLINKS_FOLLOWED; links++) {
                char *next;
                int r = follow_first_link(tree, current, &next, err);
                if (r < 0)
                        return r;
                if (!next) {
                        *out = zp_steal(&current);
                        return 0;
                }
                free(current);
                current = next;
                if (strlen(current) >= 2 * ZP_LIMIT_PATH)
                        return zp_error_errno(err, ENAMETOOLONG, "path through symbolic links");
        }
        return zp_error_set(err, ELOOP, "more than %d symbolic links on the way", ZP_LIMIT_SYMLINKS_FOLLOWED);
}
