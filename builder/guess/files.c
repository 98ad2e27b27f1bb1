/* SPDX-License-Identifier: Apache-2.0
 *
 * The image's files: found by path, read, named in the guess.
 */
#include "builder/guess/guess-internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"

bool zp_guess_is_full(const struct zp_guess *g) {
        return g->arena.used_bytes > ZP_GUESS_MEMORY_MAX || g->files_left == 0 || g->named_left == 0;
}

/* There is something. */
static bool find(struct zp_guess *g, const char *path, struct zp_clean_path *real, struct zp_inode **out) {
        return !zp_guess_is_full(g) &&
               zp_tree_root_path(g->image->tree, path, strlen(path), real, &g->steps_left, NULL) == 0 &&
               zp_tree_lstat(g->image->tree, real->text, real->size, out, NULL) == 0;
}

bool zp_guess_find(struct zp_guess *g, const char *path, struct zp_guess_file *out) {
        struct zp_clean_path real;
        *out = (struct zp_guess_file){ 0 };
        if (!find(g, path, &real, &out->inode) || !S_ISREG(out->inode->mode))
                return false;
        out->path = zp_arena_copy(&g->arena, real.text, real.size);
        return out->path != NULL; /* without memory, the guess ends soon */
}

bool zp_guess_find_in(struct zp_guess *g, const char *directory, const char *name, struct zp_guess_file *out) {
        char path[ZP_LIMIT_PATH];
        int size = snprintf(path, sizeof path, "%s/%s", directory, name);
        return size > 0 && (size_t) size < sizeof path && zp_guess_find(g, path, out);
}

struct zp_inode *zp_guess_find_directory(struct zp_guess *g, const char *path, const char **real) {
        struct zp_clean_path clean;
        struct zp_inode *inode;
        if (!find(g, path, &clean, &inode) || !S_ISDIR(inode->mode))
                return NULL;
        if (real && !(*real = zp_arena_copy(&g->arena, clean.text, clean.size)))
                return NULL;
        return inode;
}

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
        if (r == -E2BIG) /* it is long enough */
                g->named_left = 0;
        return r == -E2BIG || r == -EINVAL || r == -ENAMETOOLONG ? 0 : r;
}

int zp_guess_name_path(struct zp_guess *g, const char *path, uint64_t max, struct zp_error *err) {
        struct zp_guess_file file;
        return zp_guess_find(g, path, &file) && zp_guess_is_new(g, &file) ? zp_guess_name(g, &file, 0, max, err) : 0;
}

int zp_guess_read(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, void *buffer, size_t size,
                  struct zp_error *err) {
        const struct zp_inode *inode = file->inode;
        if (offset > inode->size || size > inode->size - offset || size > g->read_left)
                return 0;
        g->read_left -= size;
        if (inode->data) {
                memcpy(buffer, inode->data + offset, size);
                return 1;
        }
        int r = g->image->read(g->image->context, inode, offset, buffer, size, err);
        return r == 0 ? 1 : r == -ENODATA ? 0 : r;
}

int zp_guess_read_text(struct zp_guess *g, const struct zp_guess_file *file, size_t max, char **out, size_t *size,
                       struct zp_error *err) {
        *size = (size_t) zp_min_u64(file->inode->size, max);
        *out = malloc(*size + 1);
        if (!*out)
                return zp_guess_no_memory(err);
        (*out)[*size] = '\0';
        return zp_guess_read(g, file, 0, *out, *size, err);
}

const char *zp_guess_text(struct zp_guess *g, const char *format, ...) {
        char text[ZP_LIMIT_PATH];
        va_list arguments;
        va_start(arguments, format);
        int size = vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        if (size < 0)
                return NULL;
        return zp_arena_copy(&g->arena, text, (size_t) zp_min_u64((uint64_t) size, sizeof text - 1));
}

int zp_guess_no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "prefetch list");
}

int zp_texts_add(struct zp_guess *g, struct zp_texts *texts, const char *text, struct zp_error *err) {
        if (!text)
                return zp_guess_no_memory(err);
        if (texts->count == texts->room) {
                uint32_t room = texts->room ? texts->room * 2 : 16;
                const char **grown = zp_arena_alloc(&g->arena, room * sizeof *grown);
                if (!grown)
                        return zp_guess_no_memory(err);
                if (texts->count)
                        memcpy(grown, texts->list, texts->count * sizeof *grown);
                texts->list = grown;
                texts->room = room;
        }
        texts->list[texts->count++] = text;
        return 0;
}
