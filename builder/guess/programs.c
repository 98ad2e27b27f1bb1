/* SPDX-License-Identifier: Apache-2.0
 *
 * Words that are programs, scripts and what runs them, and the settings that lie in /etc by a program's name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "builder/guess/guess-internal.h"

/* Scripts that are started by scripts, or run them. */
#define DEPTH_MAX 3
/* Of a file that is no program: what a start looks into. */
#define DATA_MAX (UINT64_C(1) << 20)
#define ARCHIVE_MAX (UINT64_C(32) << 20)
#define SETTING_MAX (UINT64_C(64) << 10)
#define SETTINGS_MAX 64u

/* What separates the words of a shell's text. */
#define SEPARATORS " \t\r\n;&|(){}\"'`$=<>,"

/* Programs that a shell does not need. */
static const char *const builtins[] = { "[", "echo", "false", "kill", "printf", "pwd", "test", "true" };

static const char *base_name(const char *path) {
        const char *slash = strrchr(path, '/');
        return slash ? slash + 1 : path;
}

static bool ends_with(const char *text, const char *end) {
        size_t size = strlen(text), part = strlen(end);
        return size >= part && strcmp(text + size - part, end) == 0;
}

/* ---- settings ---- */

/* Small files of a directory; *left is how many more. */
static int name_settings(struct zp_guess *g, const char *path, unsigned *left, struct zp_error *err) {
        zp_autofree struct zp_dentry **entries = NULL;
        struct zp_inode *directory = zp_guess_find_directory(g, path, NULL);
        int r = directory ? zp_tree_sorted_children(directory, &entries, err) : 0;
        for (uint32_t i = 0; directory && i < directory->child_count && r == 0 && *left; i++) {
                struct zp_guess_file file;
                if (!zp_guess_find_in(g, path, entries[i]->name, &file) || file.inode->size > SETTING_MAX ||
                    !zp_guess_is_new(g, &file))
                        continue;
                r = zp_guess_name(g, &file, 0, SETTING_MAX, err);
                (*left)--;
        }
        return r;
}

/* Those of /etc/NAME and of the directories in it. */
static int name_settings_of(struct zp_guess *g, const char *name, struct zp_error *err) {
        zp_autofree struct zp_dentry **entries = NULL;
        const char *path = zp_guess_text(g, "etc/%s", name);
        if (!path)
                return zp_guess_no_memory(err);
        struct zp_inode *directory = zp_guess_find_directory(g, path, NULL);
        unsigned left = SETTINGS_MAX;
        if (!directory)
                return 0;
        int r = name_settings(g, path, &left, err);
        if (r == 0)
                r = zp_tree_sorted_children(directory, &entries, err);
        for (uint32_t i = 0; i < directory->child_count && r == 0 && left; i++) {
                if (!S_ISDIR(entries[i]->inode->mode))
                        continue;
                const char *inner = zp_guess_text(g, "%s/%s", path, entries[i]->name);
                r = inner ? name_settings(g, inner, &left, err) : zp_guess_no_memory(err);
        }
        return r;
}

/* ---- words ---- */

static bool is_builtin(const char *word) {
        for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++)
                if (strcmp(word, builtins[i]) == 0)
                        return true;
        return false;
}

static bool find_program(struct zp_guess *g, const char *word, struct zp_guess_file *out) {
        if (word[0] == '/')
                return zp_guess_find(g, word, out);
        if (strchr(word, '/'))
                return zp_guess_find_in(g, g->directory, word, out);
        for (const char *path = g->search_path, *end; *path; path = end + (*end != '\0')) {
                char directory[ZP_LIMIT_PATH];
                end = path + strcspn(path, ":");
                int size = snprintf(directory, sizeof directory, "%.*s", (int) (end - path), path);
                if (size > 0 && (size_t) size < sizeof directory && zp_guess_find_in(g, directory, word, out) &&
                    out->inode->mode & 0111)
                        return true;
        }
        return zp_guess_find_in(g, g->directory, word, out);
}

static int start_word(struct zp_guess *g, const char *word, struct zp_error *err) {
        struct zp_guess_file file;
        bool is_path = word[0] == '/' || strchr(word, '/');
        if (is_builtin(word) || !find_program(g, word, &file))
                return 0;
        int r = zp_guess_start(g, &file, err);
        return r == 0 && !is_path && file.inode->mode & 0111 ? name_settings_of(g, word, err) : r;
}

int zp_guess_words(struct zp_guess *g, const char *text, struct zp_error *err) {
        int r = 0;
        while (*text && r == 0) {
                char word[4 * ZP_LIMIT_NAME];
                size_t size = strcspn(text, SEPARATORS);
                if (text[0] == '#') {
                        text += strcspn(text, "\n");
                } else if (size == 0) {
                        text++;
                } else {
                        if (size < sizeof word && text[0] != '-') {
                                memcpy(word, text, size);
                                word[size] = '\0';
                                r = start_word(g, word, err);
                        }
                        text += size;
                }
        }
        return r;
}

/* ---- files ---- */

static void keep_script(struct zp_guess *g, const struct zp_guess_file *file) {
        if (g->script_count < sizeof g->scripts / sizeof *g->scripts)
                g->scripts[g->script_count++] = *file;
}

/* A script: its first line says what runs it; a shell's words are commands. */
static int start_script(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = zp_guess_read_text(g, file, ZP_GUESS_TEXT_MAX, &text, &size, err);
        if (r <= 0)
                return r;
        char *rest = text + strcspn(text, "\n");
        rest += *rest == '\n';
        zp_autofree char *first = strndup(text + strlen("#!"), (size_t) (rest - text) - strlen("#!"));
        r = first ? zp_guess_words(g, first, err) : zp_guess_no_memory(err);
        if (r < 0)
                return r;
        if (strstr(first, "python"))
                keep_script(g, file);
        else if (strstr(first, "sh"))
                r = zp_guess_words(g, rest, err);
        return r;
}

static int start_other(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        char head[2];
        int r = zp_guess_read(g, file, 0, head, sizeof head, err);
        if (r < 0)
                return r;
        bool is_script = r == 1 && memcmp(head, "#!", 2) == 0;
        if (ends_with(file->path, ".py"))
                keep_script(g, file);
        r = zp_guess_name(g, file, 0, ends_with(file->path, ".jar") ? ARCHIVE_MAX : DATA_MAX, err);
        if (r < 0 || !is_script || g->depth == DEPTH_MAX)
                return r;
        g->depth++;
        r = start_script(g, file, err);
        g->depth--;
        return r;
}

int zp_guess_start(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        const char *name = base_name(file->path);
        if (!zp_guess_is_new(g, file))
                return 0;
        int r = zp_guess_elf(g, file, err);
        if (r == 0)
                return start_other(g, file, err);
        if (r == 1 && strcmp(name, "java") == 0)
                return zp_guess_java(g, file, err);
        if (r == 1 && strncmp(name, "python", strlen("python")) == 0)
                return zp_guess_python(g, file, err);
        return r < 0 ? r : 0;
}
