/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/path.h"

#include <string.h>
#include <sys/stat.h>

#include "layer/resolve.h"

/* The path with the links of its parent followed. */
static int resolve_parent(const struct zp_tree *tree, const char *path, struct zp_clean_path *out,
                          struct zp_error *err) {
        struct zp_clean_path clean, parent;
        int r = zp_path_clean(path, strlen(path), &clean, err);
        if (r < 0)
                return r;
        const char *slash = memrchr(clean.text, '/', clean.size);
        const char *name = slash ? slash + 1 : clean.text;
        r = zp_tree_root_path(tree, clean.text, (size_t) (name - clean.text), &parent, NULL, err);
        if (r < 0)
                return r;
        zp_autofree char *joined = NULL;
        if (asprintf(&joined, "%s/%s", parent.text, name) < 0)
                return zp_error_errno(err, ENOMEM, "path");
        return zp_path_clean(joined, strlen(joined), out, err);
}

/* "link/" is what the link leads to, and a directory. */
static bool wants_directory(const char *path) {
        size_t size = strlen(path);
        return (size > 0 && path[size - 1] == '/') || (size > 1 && strcmp(path + size - 2, "/.") == 0);
}

int cli_find_path(const struct zp_tree *tree, const char *path, bool keep_last, struct zp_inode **out, char **resolved,
                  struct zp_error *err) {
        struct zp_clean_path real;
        bool is_directory = wants_directory(path);
        int r = keep_last && !is_directory ? resolve_parent(tree, path, &real, err)
                                           : zp_tree_root_path(tree, path, strlen(path), &real, NULL, err);
        if (r == 0)
                r = zp_tree_lstat(tree, real.text, real.size, out, NULL);
        if (r == 0 && is_directory && !S_ISDIR((*out)->mode))
                r = -ENOTDIR;
        if (r == -ENOENT || r == -ENOTDIR)
                return zp_error_errno(err, -r, "'%s' in the image", path);
        if (r < 0)
                return zp_error_wrap(err, "'%s' in the image", path);
        if (asprintf(resolved, "/%s", real.text) < 0)
                return zp_error_errno(err, ENOMEM, "'%s'", path);
        return 0;
}
