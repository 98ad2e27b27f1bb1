/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/path.h"

#include <string.h>

#include "layer/resolve.h"

/* The path with the links of its parent followed. */
static int resolve_parent(const struct zp_tree *tree, const char *path, char **out, struct zp_error *err) {
        zp_autofree char *clean = zp_path_clean(path);
        if (!clean)
                return zp_error_errno(err, ENOMEM, "'%s'", path);
        char *slash = strrchr(clean, '/');
        zp_autofree char *parent = NULL;
        *slash = '\0';
        int r = zp_tree_root_path(tree, clean, &parent, err);
        if (r < 0)
                return r;
        if (asprintf(out, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash + 1) < 0)
                return zp_error_errno(err, ENOMEM, "'%s'", path);
        return 0;
}

int cli_find_path(const struct zp_tree *tree, const char *path, bool keep_last, struct zp_inode **out, char **resolved,
                  struct zp_error *err) {
        zp_autofree char *real = NULL;
        bool parent_is_file = false;
        int r = keep_last ? resolve_parent(tree, path, &real, err) : zp_tree_root_path(tree, path, &real, err);
        if (r < 0)
                return r;
        *out = zp_tree_lstat(tree, real, &parent_is_file);
        if (!*out)
                return zp_error_errno(err, parent_is_file ? ENOTDIR : ENOENT, "'%s' in the image", path);
        *resolved = zp_steal(&real);
        return 0;
}
