/* SPDX-License-Identifier: Apache-2.0
 *
 * The image's files: found by path as the kernel finds them in a container, read, named in the guess.
 */
#include "builder/guess/guess-internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "layer/resolve.h"

/* As the kernel's own limit. */
#define LINKS_MAX 40
/* No directory of settings has more. */
#define ENTRIES_MAX 10000u

bool zp_guess_is_full(const struct zp_guess *g) {
        return g->steps_left == 0 || g->files_left == 0 || g->named_left == 0 ||
               g->arena.used_bytes > ZP_GUESS_MEMORY_MAX || zp_cancelled(g->image->cancel);
}

/* ---- paths ---- */

struct walk {
        struct zp_guess *g;
        struct zp_inode *inode; /* where we are */
        char text[ZP_LIMIT_PATH];
        size_t size;
        char rest[2 * ZP_LIMIT_PATH]; /* what is still to be walked */
        unsigned links;
};

static void spend(struct zp_guess *g, uint64_t steps) {
        g->steps_left -= zp_min_u64(steps, g->steps_left);
}

static bool go_to(struct walk *w, size_t size) {
        spend(w->g, size / 2); /* components at most */
        w->size = size;
        w->text[size] = '\0';
        return zp_tree_lstat(w->g->image->tree, w->text, size, &w->inode, NULL) == 0;
}

static bool go_up(struct walk *w) {
        const char *slash = memrchr(w->text, '/', w->size);
        return go_to(w, slash ? (size_t) (slash - w->text) : 0);
}

/* Puts a link's target in front of what is left. */
static bool follow(struct walk *w, const struct zp_inode *link, const char *rest) {
        size_t target = (size_t) link->size, left = strlen(rest);
        if (++w->links > LINKS_MAX || target + 1 + left >= sizeof w->rest)
                return false;
        memmove(w->rest + target + 1, rest, left + 1);
        memcpy(w->rest, link->data, target);
        w->rest[target] = '/';
        return w->rest[0] != '/' || go_to(w, 0);
}

static bool go_down(struct walk *w, const char *name, size_t size, const char **rest) {
        const struct zp_dentry *dentry =
                S_ISDIR(w->inode->mode) ? zp_tree_lookup(w->g->image->tree, w->inode, name, size) : NULL;
        if (!dentry)
                return false;
        if (S_ISLNK(dentry->inode->mode)) {
                bool is_followed = follow(w, dentry->inode, *rest);
                *rest = w->rest;
                return is_followed;
        }
        if (w->size + 1 + size >= sizeof w->text)
                return false;
        if (w->size)
                w->text[w->size++] = '/';
        memcpy(w->text + w->size, name, size);
        w->text[w->size += size] = '\0';
        w->inode = dentry->inode;
        return true;
}

static bool step(struct walk *w, const char **rest) {
        const char *name = *rest;
        size_t size = strcspn(name, "/");
        *rest += size + (name[size] == '/');
        if (size == 0 || (size == 1 && name[0] == '.'))
                return true;
        if (size == 2 && name[0] == '.' && name[1] == '.')
                return go_up(w);
        return go_down(w, name, size, rest);
}

static bool walk_path(struct walk *w, const struct zp_guess_file *from, const char *path) {
        size_t size = strlen(path);
        if (size >= ZP_LIMIT_PATH || !go_to(w, 0))
                return false;
        if (from && path[0] != '/') {
                w->size = strlen(from->path);
                memcpy(w->text, from->path, w->size + 1);
                w->inode = from->inode;
        }
        const char *rest = memcpy(w->rest, path, size + 1);
        while (*rest && w->g->steps_left) {
                spend(w->g, 1);
                if (!step(w, &rest))
                        return false;
        }
        return *rest == '\0';
}

bool zp_guess_find(struct zp_guess *g, const struct zp_guess_file *from, const char *path, struct zp_guess_file *out) {
        struct walk w;
        w.g = g;
        w.links = 0;
        *out = (struct zp_guess_file){ 0 };
        if (zp_guess_is_full(g))
                return false;
        spend(g, 1);
        if (!walk_path(&w, from, path))
                return false;
        *out = (struct zp_guess_file){ zp_arena_copy(&g->arena, w.text, w.size), w.inode };
        return out->path != NULL; /* without memory, the guess ends soon */
}

bool zp_guess_find_file(struct zp_guess *g, const struct zp_guess_file *from, const char *path,
                        struct zp_guess_file *out) {
        return zp_guess_find(g, from, path, out) && S_ISREG(out->inode->mode);
}

bool zp_guess_find_directory(struct zp_guess *g, const struct zp_guess_file *from, const char *path,
                             struct zp_guess_file *out) {
        return zp_guess_find(g, from, path, out) && S_ISDIR(out->inode->mode);
}

const char *zp_guess_base_name(const char *path) {
        const char *slash = strrchr(path, '/');
        return slash ? slash + 1 : path;
}

bool zp_guess_parent(struct zp_guess *g, const struct zp_guess_file *file, struct zp_guess_file *out) {
        const char *name = zp_guess_base_name(file->path);
        const char *path = zp_arena_copy(&g->arena, file->path, (size_t) (name - file->path));
        return path && zp_guess_find_directory(g, NULL, path, out);
}

void zp_guess_add_directories(struct zp_guess *g, const char *list, const char *separators,
                              struct zp_guess_directories *out) {
        while (*list && out->count < ZP_GUESS_DIRECTORIES_MAX && !zp_guess_is_full(g)) {
                char path[ZP_LIMIT_PATH];
                size_t size = strcspn(list, separators);
                if (size > 0 && size < sizeof path) {
                        memcpy(path, list, size);
                        path[size] = '\0';
                        out->count += zp_guess_find_directory(g, NULL, path, &out->list[out->count]);
                }
                list += size + (list[size] != '\0');
                spend(g, 1);
        }
}

int zp_guess_list(struct zp_guess *g, const struct zp_guess_file *directory, struct zp_dentry ***out, uint32_t *count,
                  struct zp_error *err) {
        *out = NULL;
        *count = 0;
        if (directory->inode->child_count > ENTRIES_MAX || !zp_guess_is_new(g, directory))
                return 0;
        spend(g, directory->inode->child_count);
        int r = zp_tree_sorted_children(directory->inode, out, err);
        *count = r < 0 ? 0 : directory->inode->child_count;
        return r;
}

/* ---- contents ---- */

bool zp_guess_is_new(struct zp_guess *g, const struct zp_guess_file *file) {
        if (file->inode->scratch || g->files_left == 0)
                return false;
        file->inode->scratch = 1;
        g->files_left--;
        return true;
}

int zp_guess_name(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, uint64_t size,
                  struct zp_error *err) {
        if (offset >= file->inode->size)
                return 0;
        size = zp_min_u64(zp_min_u64(size, file->inode->size - offset), g->named_left);
        if (size == 0)
                return 0;
        g->named_left -= size;
        int r = zp_profile_add(g->profile, file->path, offset, size, err);
        if (r != -E2BIG)
                return r;
        if (err)
                zp_error_clear(err);
        g->named_left = 0; /* it is long enough */
        return 0;
}

void zp_guess_name_last(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, uint64_t size) {
        if (g->last_count < ZP_GUESS_FILES_MAX)
                g->last[g->last_count++] = (struct zp_guess_part){ *file, offset, size, false };
}

int zp_guess_name_path(struct zp_guess *g, const char *path, uint64_t max, struct zp_error *err) {
        struct zp_guess_file file;
        return zp_guess_find_file(g, NULL, path, &file) && zp_guess_is_new(g, &file)
                       ? zp_guess_name(g, &file, 0, max, err)
                       : 0;
}

int zp_guess_read(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, void *buffer, size_t size,
                  struct zp_error *err) {
        const struct zp_inode *inode = file->inode;
        int r = zp_check_cancel(g->image->cancel, err);
        if (r < 0)
                return r;
        if (offset > inode->size || size > inode->size - offset || size > g->read_left)
                return 0;
        g->read_left -= size;
        if (inode->data) {
                memcpy(buffer, inode->data + offset, size);
                return 1;
        }
        r = g->image->read(g->image->context, inode, offset, buffer, size, err);
        return r == 0 ? 1 : r == -ENODATA ? 0 : r;
}

int zp_guess_read_text(struct zp_guess *g, const struct zp_guess_file *file, size_t max, char **out,
                       struct zp_error *err) {
        size_t size = (size_t) zp_min_u64(file->inode->size, max);
        *out = malloc(size + 1);
        if (!*out)
                return zp_guess_no_memory(err);
        (*out)[size] = '\0';
        return zp_guess_read(g, file, 0, *out, size, err);
}

int zp_guess_no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "prefetch list");
}
