/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs and libraries: which other libraries are loaded with them (as ld.so(8) finds them), and which parts of them
 * a start reads.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "builder/guess/elf.h"
#include "builder/guess/guess-internal.h"

/* A file up to this size is read whole: its pieces lie in a few frames. */
#define WHOLE_MAX (UINT64_C(8) << 20)
/* Of a larger one: code, and read-only data up to that size, of which what is larger is a table of some kind. */
#define CODE_MAX (UINT64_C(32) << 20)
#define TABLE_MIN (UINT64_C(12) << 20)
#define TABLE_END (UINT64_C(256) << 10)
#define SETTINGS_MAX (64u << 10)

static const char *const default_directories[] = { "lib/x86_64-linux-gnu",
                                                   "usr/lib/x86_64-linux-gnu",
                                                   "lib/aarch64-linux-gnu",
                                                   "usr/lib/aarch64-linux-gnu",
                                                   "lib64",
                                                   "usr/lib64",
                                                   "lib",
                                                   "usr/lib",
                                                   "usr/local/lib" };

/* ---- where libraries are ---- */

/* Adds the directories in a text that `separators` separate. */
static int add_directories(struct zp_guess *g, const char *text, const char *separators, struct zp_error *err) {
        int r = 0;
        for (size_t size; *text && r == 0; text += size + (text[size] != '\0')) {
                size = strcspn(text, separators);
                if (text[0] == '/')
                        r = zp_texts_add(g, &g->library_directories, zp_arena_copy(&g->arena, text, size), err);
        }
        return r;
}

static int add_settings(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = zp_guess_read_text(g, file, SETTINGS_MAX, &text, &size, err);
        return r == 1 ? add_directories(g, text, "\n", err) : r;
}

/* ld.so.conf.d is what all distributions have; other includes in ld.so.conf are not followed. */
static int add_all_settings(struct zp_guess *g, struct zp_error *err) {
        zp_autofree struct zp_dentry **entries = NULL;
        struct zp_guess_file file;
        struct zp_inode *directory = zp_guess_find_directory(g, "etc/ld.so.conf.d", NULL);
        int r = zp_guess_find(g, "etc/ld.so.conf", &file) ? add_settings(g, &file, err) : 0;
        if (r == 0 && directory)
                r = zp_tree_sorted_children(directory, &entries, err);
        for (uint32_t i = 0; directory && i < directory->child_count && r == 0; i++)
                if (zp_guess_find_in(g, "etc/ld.so.conf.d", entries[i]->name, &file))
                        r = add_settings(g, &file, err);
        return r;
}

int zp_guess_library_directories(struct zp_guess *g, struct zp_error *err) {
        int r = add_directories(g, g->library_path, ":;", err);
        if (r == 0)
                r = add_all_settings(g, err);
        for (size_t i = 0; i < sizeof default_directories / sizeof *default_directories && r == 0; i++)
                r = zp_texts_add(g, &g->library_directories, default_directories[i], err);
        return r;
}

/* "$ORIGIN/../lib", of a file. False: it is too long, or has other variables. */
static bool expand(const struct zp_guess_file *file, const char *path, size_t size, char out[ZP_LIMIT_PATH]) {
        static const char *const origins[] = { "$ORIGIN", "${ORIGIN}" };
        const char *slash = strrchr(file->path, '/');
        for (size_t i = 0; i < 2; i++) {
                size_t variable = strlen(origins[i]);
                if (size < variable || strncmp(path, origins[i], variable) != 0)
                        continue;
                int length = snprintf(out, ZP_LIMIT_PATH, "%.*s%.*s", slash ? (int) (slash - file->path) : 0,
                                      file->path, (int) (size - variable), path + variable);
                return length >= 0 && length < ZP_LIMIT_PATH;
        }
        if (size == 0 || path[0] != '/' || size >= ZP_LIMIT_PATH)
                return false;
        memcpy(out, path, size);
        out[size] = '\0';
        return true;
}

static bool find_library(struct zp_guess *g, const struct zp_guess_file *by, const char *run_path, const char *name,
                         struct zp_guess_file *out) {
        char directory[ZP_LIMIT_PATH];
        if (strchr(name, '/'))
                return zp_guess_find(g, name, out);
        for (size_t size; *run_path; run_path += size + (run_path[size] != '\0')) {
                size = strcspn(run_path, ":");
                if (expand(by, run_path, size, directory) && zp_guess_find_in(g, directory, name, out))
                        return true;
        }
        for (uint32_t i = 0; i < g->library_directories.count; i++)
                if (zp_guess_find_in(g, g->library_directories.list[i], name, out))
                        return true;
        return false;
}

/* ---- what of them is read ---- */

static int name_segment(struct zp_guess *g, const struct zp_guess_file *file, const struct zp_elf_segment *segment,
                        struct zp_error *err) {
        bool is_table =
                !segment->is_executable && !segment->is_writable && segment->offset && segment->size > TABLE_MIN;
        if (!is_table)
                return zp_guess_name(g, file, segment->offset, zp_min_u64(segment->size, CODE_MAX), err);
        int r = zp_guess_name(g, file, segment->offset, TABLE_END, err);
        return r == 0 ? zp_guess_name(g, file, segment->offset + segment->size - TABLE_END, TABLE_END, err) : r;
}

static int name_parts(struct zp_guess *g, const struct zp_guess_file *file, const struct zp_elf *elf,
                      struct zp_error *err) {
        if (file->inode->size <= WHOLE_MAX)
                return zp_guess_name(g, file, 0, WHOLE_MAX, err);
        int r = 0;
        for (uint16_t i = 0; i < elf->segment_count && r == 0; i++)
                r = name_segment(g, file, &elf->segments[i], err);
        return r;
}

/* ---- all that is needed ---- */

struct reading {
        struct zp_guess *g;
        const struct zp_guess_file *file;
};

static int read_file(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct reading *reading = context;
        return zp_guess_read(reading->g, reading->file, offset, buffer, size, err);
}

static void want_library(struct zp_guess *g, const struct zp_guess_file *file) {
        if (g->library_count < ZP_GUESS_FILES_MAX && zp_guess_is_new(g, file))
                g->libraries[g->library_count++] = *file;
}

/* A library's name is the last text it is looked for by: one that is not there is passed over. */
static int want_libraries(struct zp_guess *g, struct reading *reading, const struct zp_elf *elf, struct zp_error *err) {
        struct zp_guess_file found;
        if (elf->interpreter[0] && zp_guess_find(g, elf->interpreter, &found))
                want_library(g, &found);
        for (uint16_t i = 0; i < elf->library_count; i++) {
                char name[ZP_ELF_NAME_MAX];
                int r = zp_elf_text(read_file, reading, reading->file->inode->size, elf->libraries[i], name, err);
                if (r < 0)
                        return r;
                if (r == 1 && name[0] && find_library(g, reading->file, elf->run_path, name, &found))
                        want_library(g, &found);
        }
        return 0;
}

/* 1: it is one. */
static int load(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        struct reading reading = { g, file };
        struct zp_elf elf;
        int r = zp_elf_load(read_file, &reading, file->inode->size, &elf, err);
        if (r <= 0)
                return r;
        r = name_parts(g, file, &elf, err);
        if (r == 0)
                r = want_libraries(g, &reading, &elf, err);
        return r < 0 ? r : 1;
}

int zp_guess_elf(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        uint32_t next = g->library_count;
        int r = load(g, file, err);
        if (r <= 0)
                return r;
        for (; next < g->library_count && r >= 0; next++)
                r = load(g, &g->libraries[next], err);
        return r < 0 ? r : 1;
}
