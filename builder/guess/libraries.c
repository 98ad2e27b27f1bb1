/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs and libraries: which other libraries are loaded with them (as ld.so(8) finds them), and which parts of them
 * a start reads.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/text.h"
#include "builder/guess/elf.h"
#include "builder/guess/guess-internal.h"

/* A file up to this size is read whole: its pieces lie in a few frames. */
#define WHOLE_MAX (UINT64_C(1) << 20)
/* Of a larger one, and of each of its segments. */
#define FILE_MAX (UINT64_C(48) << 20)
#define SEGMENT_MAX (UINT64_C(32) << 20)
/* Of a segment that begins with the file: headers and, if they are small, symbols and relocations. */
#define HEAD_SIZE (UINT64_C(512) << 10)
/* Code behind so much of it is not named: where it is that much, only a part of it is executed at a start, and comes
 * sooner when it is asked for. Of an interpreter's module, less is, as it is there for its functions, not to run; less
 * still of the libraries that it needs, and nothing of what only those need. */
#define CODE_LIKELY (UINT64_C(16) << 20)
static const uint64_t code_likely_of_modules[] = { UINT64_C(4) << 20, UINT64_C(2) << 20, 0 };
/* Only the ends of a table are named. */
#define TABLE_MIN (UINT64_C(12) << 20)
#define TABLE_END (UINT64_C(256) << 10)
/* What nobody can know about is named up to this size of a file. */
#define SMALL_MAX (UINT64_C(8) << 20)
#define SETTINGS_MAX (64u << 10)

/* ---- where libraries are ---- */

static int add_settings(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        zp_autofree char *text = NULL;
        int r = zp_guess_read_text(g, file, SETTINGS_MAX, &text, err);
        for (char *line = text; r == 1 && *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] != '\0'))
                if (line[0] == '/') {
                        zp_autofree char *path = strndup(line, strcspn(line, " \t\r\n#"));
                        if (!path)
                                return zp_guess_no_memory(err);
                        zp_guess_add_directories(g, path, "\n", &g->system_libraries);
                }
        return r < 0 ? r : 0;
}

/* ld.so.conf.d is what all distributions have; other includes in ld.so.conf are not followed. */
static int add_all_settings(struct zp_guess *g, struct zp_error *err) {
        zp_autofree struct zp_dentry **entries = NULL;
        struct zp_guess_file file, directory;
        int r = zp_guess_find_file(g, NULL, "etc/ld.so.conf", &file) ? add_settings(g, &file, err) : 0;
        if (r < 0 || !zp_guess_find_directory(g, NULL, "etc/ld.so.conf.d", &directory))
                return r;
        uint32_t count;
        r = zp_guess_list(g, &directory, &entries, &count, err);
        for (uint32_t i = 0; r == 0 && i < count && !zp_guess_is_full(g); i++)
                if (zp_ends_with(entries[i]->name, ".conf") &&
                    zp_guess_find_file(g, &directory, entries[i]->name, &file))
                        r = add_settings(g, &file, err);
        return r;
}

int zp_guess_library_directories(struct zp_guess *g, struct zp_error *err) {
        int r = add_all_settings(g, err);
        zp_guess_add_directories(g,
                                 "lib/x86_64-linux-gnu:usr/lib/x86_64-linux-gnu:lib/aarch64-linux-gnu:"
                                 "usr/lib/aarch64-linux-gnu:lib64:usr/lib64:lib:usr/lib:usr/local/lib",
                                 ":", &g->system_libraries);
        return r;
}

/* ---- a library by its name ---- */

struct loading {
        struct zp_guess *g;
        const struct zp_guess_file *file;
        unsigned level;     /* 0: it is started; 1: what that needs; 2: what only libraries need */
        uint64_t code_left; /* bytes of code that are likely to be read */
        struct zp_elf elf;
};

static int read_file(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct loading *loading = context;
        return zp_guess_read(loading->g, loading->file, offset, buffer, size, err);
}

/* "$ORIGIN/../lib", of a file. False: it is too long, or has other variables. */
static bool expand(const struct zp_guess_file *file, const char *path, size_t size, char out[ZP_LIMIT_PATH]) {
        static const char *const origins[] = { "$ORIGIN", "${ORIGIN}" };
        for (size_t i = 0; i < 2; i++) {
                size_t variable = strlen(origins[i]);
                if (size < variable || strncmp(path, origins[i], variable) != 0)
                        continue;
                int origin = (int) (zp_guess_base_name(file->path) - file->path);
                int length = snprintf(out, ZP_LIMIT_PATH, "%.*s%.*s", origin, file->path, (int) (size - variable),
                                      path + variable);
                return length >= 0 && length < ZP_LIMIT_PATH;
        }
        if (size == 0 || path[0] != '/' || size >= ZP_LIMIT_PATH)
                return false;
        memcpy(out, path, size);
        out[size] = '\0';
        return true;
}

/* 1: the file is for the same machine; or nobody can know. */
static int suits(const struct loading *by, const struct zp_guess_file *file, struct zp_error *err) {
        struct loading candidate = { .g = by->g, .file = file };
        uint8_t first;
        uint16_t machine = 0;
        int r = zp_elf_read_machine(read_file, &candidate, file->inode->size, &machine, err);
        if (r != 0)
                return r < 0 ? r : machine == by->elf.machine;
        r = zp_guess_read(by->g, file, 0, &first, 1, err);
        return r < 0 ? r : r == 0;
}

static int find_by_path(const struct loading *by, const char *path, const char *name, struct zp_guess_file *out,
                        struct zp_error *err) {
        int r = 0;
        for (size_t size; *path && r == 0 && !zp_guess_is_full(by->g); path += size + (path[size] != '\0')) {
                char directory[ZP_LIMIT_PATH];
                struct zp_guess_file found;
                size = strcspn(path, ":");
                if (expand(by->file, path, size, directory) &&
                    zp_guess_find_directory(by->g, NULL, directory, &found) &&
                    zp_guess_find_file(by->g, &found, name, out))
                        r = suits(by, out, err);
        }
        return r;
}

static int find_in(const struct loading *by, const struct zp_guess_directories *directories, const char *name,
                   struct zp_guess_file *out, struct zp_error *err) {
        int r = 0;
        for (uint32_t i = 0; i < directories->count && r == 0; i++)
                if (zp_guess_find_file(by->g, &directories->list[i], name, out))
                        r = suits(by, out, err);
        return r;
}

/* 1: found. */
static int find_library(const struct loading *by, const char *name, struct zp_guess_file *out, struct zp_error *err) {
        if (strchr(name, '/'))
                return zp_guess_find_file(by->g, NULL, name, out);
        int r = find_by_path(by, by->elf.r_path, name, out, err);
        if (r == 0)
                r = find_in(by, &by->g->library_path, name, out, err);
        if (r == 0)
                r = find_by_path(by, by->elf.run_path, name, out, err);
        return r == 0 ? find_in(by, &by->g->system_libraries, name, out, err) : r;
}

/* ---- what of them is read ---- */

/* Read-only data that large is looked up here and there. */
static bool is_table(const struct zp_elf_segment *segment) {
        return !segment->is_executable && !segment->is_writable && segment->size > TABLE_MIN;
}

/* Kept until all libraries are found. */
static void keep(const struct loading *l, const struct zp_elf_segment *segment, uint64_t offset, uint64_t size) {
        if (size > 0 && l->g->kept_count < ZP_GUESS_FILES_MAX)
                l->g->kept[l->g->kept_count++] = (struct zp_guess_part){ *l->file, offset, size, segment->is_writable };
}

static void keep_code(struct loading *l, const struct zp_elf_segment *segment, uint64_t offset, uint64_t size) {
        uint64_t likely = zp_min_u64(size, l->code_left);
        l->code_left -= likely;
        keep(l, segment, offset, likely);
}

/* *left: what of the file may still be named. */
static int name_segment(struct loading *l, const struct zp_elf_segment *segment, uint64_t *left, struct zp_error *err) {
        uint64_t size = zp_min_u64(is_table(segment) ? TABLE_END : zp_min_u64(segment->size, SEGMENT_MAX), *left);
        uint64_t head = segment->offset == 0 ? zp_min_u64(size, HEAD_SIZE) : 0;
        *left -= size;
        int r = zp_guess_name(l->g, l->file, segment->offset, head, err);
        /* code that begins with the file has all that is read-only in it */
        if (segment->is_executable && head == 0)
                keep_code(l, segment, segment->offset, size);
        else
                keep(l, segment, segment->offset + head, size - head);
        if (is_table(segment)) {
                size = zp_min_u64(TABLE_END, *left);
                *left -= size;
                keep(l, segment, segment->offset + segment->size - size, size);
        }
        return r;
}

/* Behind the segments lie symbols for a debugger, or what a program has brought along for itself. */
static void name_rest(const struct loading *l) {
        uint64_t end = 0;
        for (uint16_t i = 0; i < l->elf.segment_count; i++) {
                const struct zp_elf_segment *segment = &l->elf.segments[i];
                end = segment->offset + segment->size > end ? segment->offset + segment->size : end;
        }
        if (end < l->file->inode->size && l->file->inode->size <= SMALL_MAX)
                zp_guess_name_last(l->g, l->file, end, l->file->inode->size - end);
}

/* Of a large file, first what is read when it is found: its beginning, and its dynamic section. */
static int name_parts(struct loading *l, struct zp_error *err) {
        uint64_t left = FILE_MAX;
        if (l->file->inode->size <= WHOLE_MAX)
                return zp_guess_name(l->g, l->file, 0, WHOLE_MAX, err);
        int r = 0;
        for (uint16_t i = 0; i < l->elf.segment_count && r == 0; i++)
                r = name_segment(l, &l->elf.segments[i], &left, err);
        if (r == 0)
                r = zp_guess_name(l->g, l->file, l->elf.dynamic_offset, zp_min_u64(l->elf.dynamic_size, HEAD_SIZE),
                                  err);
        name_rest(l);
        return r;
}

/* Of parts of one file, those that are written to or the others. */
static int name_file(struct zp_guess *g, const struct zp_guess_part *parts, uint32_t count, bool are_written,
                     struct zp_error *err) {
        int r = 0;
        for (uint32_t i = 0; i < count && r == 0; i++)
                if (parts[i].is_written == are_written)
                        r = zp_guess_name(g, &parts[i].file, parts[i].offset, parts[i].size, err);
        return r;
}

/* When all are found, ld.so relocates and initialises them: what others need comes first, and the program last. */
static int name_kept(struct zp_guess *g, struct zp_error *err) {
        int r = 0;
        while (g->kept_count && r == 0) {
                uint32_t end = g->kept_count, first = end - 1;
                while (first > 0 && g->kept[first - 1].file.inode == g->kept[first].file.inode)
                        first--;
                r = name_file(g, &g->kept[first], end - first, true, err);
                if (r == 0)
                        r = name_file(g, &g->kept[first], end - first, false, err);
                g->kept_count = first;
        }
        return r;
}

/* ---- all that is needed ---- */

/* True, once, of a library that only libraries needed so far. */
static bool take_deep(struct zp_guess *g, const struct zp_guess_file *file) {
        for (uint32_t i = 0; i < g->deep_count; i++)
                if (g->deep[i].inode == file->inode) {
                        g->deep[i] = g->deep[--g->deep_count];
                        return true;
                }
        return false;
}

static void want_library(const struct loading *by, const struct zp_guess_file *file) {
        struct zp_guess *g = by->g;
        if (g->library_count < ZP_GUESS_FILES_MAX &&
            (zp_guess_is_new(g, file) || (by->level == 0 && take_deep(g, file))))
                g->libraries[g->library_count++] = *file;
}

static int want_libraries(struct loading *l, struct zp_error *err) {
        struct zp_guess_file found;
        if (l->elf.interpreter[0] && zp_guess_find_file(l->g, NULL, l->elf.interpreter, &found))
                want_library(l, &found);
        for (uint16_t i = 0; i < l->elf.library_count && !zp_guess_is_full(l->g); i++) {
                char name[ZP_ELF_NAME_MAX];
                int r = zp_elf_text(read_file, l, l->file->inode->size, l->elf.libraries[i], name, err);
                if (r == 1 && name[0])
                        r = find_library(l, name, &found, err);
                if (r < 0)
                        return r;
                if (r == 1 && name[0])
                        want_library(l, &found);
        }
        return 0;
}

/* 1: it is one. */
static int load(struct zp_guess *g, const struct zp_guess_file *file, unsigned level, struct zp_error *err) {
        struct loading l = { .g = g,
                             .file = file,
                             .level = level,
                             .code_left = g->is_importing ? code_likely_of_modules[level] : CODE_LIKELY };
        int r = zp_elf_load(read_file, &l, file->inode->size, &l.elf, err);
        if (r <= 0)
                return r;
        r = name_parts(&l, err);
        if (r == 0)
                r = want_libraries(&l, err);
        return r < 0 ? r : 1;
}

/* Without its content, nobody knows what it needs. */
static int load_library(struct zp_guess *g, const struct zp_guess_file *file, unsigned level, struct zp_error *err) {
        int r = load(g, file, level, err);
        if (level == 2 && g->is_importing && g->deep_count < ZP_GUESS_FILES_MAX)
                g->deep[g->deep_count++] = *file;
        return r == 0 && file->inode->size <= SMALL_MAX ? zp_guess_name(g, file, 0, SMALL_MAX, err) : r;
}

int zp_guess_elf(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        uint32_t next = g->library_count;
        int r = load(g, file, 0, err);
        if (r <= 0)
                return r;
        for (uint32_t direct = g->library_count; next < g->library_count && r >= 0; next++)
                r = load_library(g, &g->libraries[next], next < direct ? 1 : 2, err);
        if (r >= 0)
                r = name_kept(g, err);
        return r < 0 ? r : 1;
}
