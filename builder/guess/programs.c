/* SPDX-License-Identifier: Apache-2.0
 *
 * Words that are programs, scripts and what runs them, and the settings that lie in /etc by a program's name.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "builder/guess/guess-internal.h"

/* Scripts that are started by scripts, or run them. */
#define DEPTH_MAX 3
/* Of a file that is no program: what a start looks into. */
#define DATA_MAX (UINT64_C(1) << 20)
/* A program that cannot be looked into. */
#define UNKNOWN_MAX (UINT64_C(8) << 20)
#define SETTING_MAX (64u << 10)
#define SETTINGS_MAX 64u
#define WORD_SIZE 1024u

/* What separates the words of a shell's text. */
#define SEPARATORS " \t\r\n;&|(){}\"'`<>,="
/* Behind those, a command begins; and behind these words. */
#define COMMANDS "\n;&|({`"
static const char *const leading_words[] = { "!",    "do",   "dumb-init", "else",    "env",     "exec",
                                             "gosu", "if",   "nohup",     "setpriv", "su-exec", "sudo",
                                             "then", "time", "tini",      "until",   "while" };
/* Programs that a shell does not need. */
static const char *const builtins[] = { "[", "echo", "false", "kill", "printf", "pwd", "test", "true" };
static const char *const shells[] = { "ash", "bash", "busybox", "dash", "ksh", "sh", "zsh" };

#define IS_ONE_OF(word, list) is_one_of(word, list, sizeof(list) / sizeof *(list))
static bool is_one_of(const char *word, const char *const *list, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (strcmp(word, list[i]) == 0)
                        return true;
        return false;
}

static bool is_program(const struct zp_guess_file *file) {
        return file->inode->mode & 0111;
}

/* ---- settings ---- */

/* Modules that a program loads by their path. */
static int start_modules(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        zp_autofree char *text = NULL;
        char *state = NULL;
        int r = zp_guess_read_text(g, file, SETTING_MAX, &text, err);
        if (r <= 0)
                return r;
        r = 0;
        for (char *word = strtok_r(text, " \t\r\n;\"'=", &state); word && r == 0 && !zp_guess_is_full(g);
             word = strtok_r(NULL, " \t\r\n;\"'=", &state)) {
                struct zp_guess_file module;
                if (word[0] == '/' && zp_ends_with(word, ".so") && zp_guess_find_file(g, NULL, word, &module))
                        r = zp_guess_start(g, &module, err);
        }
        return r;
}

/* Small files of a directory, and of those in it; *left is how many more. */
static int name_settings(struct zp_guess *g, const struct zp_guess_file *directory, bool with_inner, unsigned *left,
                         struct zp_error *err) {
        zp_autofree struct zp_dentry **entries = NULL;
        uint32_t count;
        int r = zp_guess_list(g, directory, &entries, &count, err);
        for (uint32_t i = 0; r == 0 && i < count && *left && !zp_guess_is_full(g); i++) {
                struct zp_guess_file file;
                if (zp_ends_with(entries[i]->name, "-available") ||
                    !zp_guess_find(g, directory, entries[i]->name, &file))
                        continue;
                if (S_ISDIR(file.inode->mode) && with_inner)
                        r = name_settings(g, &file, false, left, err);
                if (!S_ISREG(file.inode->mode) || file.inode->size > SETTING_MAX || !zp_guess_is_new(g, &file))
                        continue;
                (*left)--;
                r = zp_guess_name(g, &file, 0, SETTING_MAX, err);
                if (r == 0)
                        r = start_modules(g, &file, err);
        }
        return r;
}

static int name_settings_of(struct zp_guess *g, const char *name, struct zp_error *err) {
        struct zp_guess_file etc, directory;
        unsigned left = SETTINGS_MAX;
        if (!zp_guess_find_directory(g, NULL, "etc", &etc) || !zp_guess_find_directory(g, &etc, name, &directory))
                return 0;
        return name_settings(g, &directory, true, &left, err);
}

/* ---- words ---- */

/* A Python environment has its programs in bin/, and modules beside that. */
static void note_environment(struct zp_guess *g, const struct zp_guess_file *bin) {
        struct zp_guess_file settings;
        if (!g->environment.path && zp_guess_find_file(g, bin, "../pyvenv.cfg", &settings))
                zp_guess_parent(g, &settings, &g->environment);
}

/* 1: there is one. */
static int start_program(struct zp_guess *g, const char *name, struct zp_error *err) {
        for (uint32_t i = 0; i < g->search_path.count; i++) {
                struct zp_guess_file file;
                if (!zp_guess_find_file(g, &g->search_path.list[i], name, &file) || !is_program(&file))
                        continue;
                note_environment(g, &g->search_path.list[i]);
                int r = zp_guess_start(g, &file, err);
                if (r == 0)
                        r = name_settings_of(g, name, err);
                return r < 0 ? r : 1;
        }
        return 0;
}

/* Files of a directory whose parts are run one after the other, or a class path's jars. */
static int start_files(struct zp_guess *g, const struct zp_guess_file *directory, struct zp_error *err) {
        zp_autofree struct zp_dentry **entries = NULL;
        uint32_t count;
        int r = zp_guess_list(g, directory, &entries, &count, err);
        for (uint32_t i = 0; r == 0 && i < count && i < SETTINGS_MAX; i++) {
                struct zp_guess_file file;
                if (zp_guess_find_file(g, directory, entries[i]->name, &file))
                        r = zp_guess_start(g, &file, err);
        }
        return r;
}

static int start_path(struct zp_guess *g, const char *path, struct zp_error *err) {
        struct zp_guess_file file, bin;
        size_t size = strlen(path);
        if (size > 2 && strcmp(path + size - 2, "/*") == 0) {
                zp_autofree char *directory = strndup(path, size - 2);
                if (!directory)
                        return zp_guess_no_memory(err);
                return zp_guess_find_directory(g, &g->directory, directory, &file) ? start_files(g, &file, err) : 0;
        }
        if (!zp_guess_find(g, &g->directory, path, &file))
                return 0;
        if (S_ISDIR(file.inode->mode))
                return zp_ends_with(file.path, ".d") ? start_files(g, &file, err) : 0;
        if (!S_ISREG(file.inode->mode))
                return 0;
        zp_autofree char *parent = strndup(path, (size_t) (zp_guess_base_name(path) - path));
        if (!parent)
                return zp_guess_no_memory(err);
        if (is_program(&file) && zp_guess_find_directory(g, &g->directory, parent, &bin))
                note_environment(g, &bin);
        return zp_guess_start(g, &file, err);
}

/* A class path. */
static int start_paths(struct zp_guess *g, char *paths, struct zp_error *err) {
        char *state = NULL;
        int r = 0;
        for (char *path = strtok_r(paths, ":", &state); path && r == 0 && !zp_guess_is_full(g);
             path = strtok_r(NULL, ":", &state))
                r = start_path(g, path, err);
        return r;
}

static int start_word(struct zp_guess *g, char *word, bool is_command, struct zp_error *err) {
        if (g->word_count < ZP_GUESS_WORDS_MAX) {
                const char *kept = zp_arena_copy(&g->arena, word, strlen(word));
                if (!kept)
                        return zp_guess_no_memory(err);
                g->words[g->word_count++] = kept;
        }
        if (word[0] == '-')
                return 0;
        if (strchr(word, '/') && strchr(word, ':'))
                return start_paths(g, word, err);
        if (strchr(word, '/'))
                return start_path(g, word, err);
        int r = is_command ? start_program(g, word, err) : 0;
        if (r != 0)
                return r < 0 ? r : 0;
        return strchr(word, '.') ? start_path(g, word, err) : 0;
}

/* A part of a text. */
struct part {
        const char *text;
        size_t size;
};

/* A variable of the image's environment: $NAME, ${NAME}, or with a default ${NAME-WORD}, ${NAME:-WORD}. Returns how
 * much of the text it is. */
static size_t read_variable(const struct zp_guess *g, const char *text, struct part *value) {
        char name[100];
        bool has_brace = text[1] == '{';
        const char *start = text + 1 + has_brace, *end = start;
        for (; isalnum((unsigned char) *end) || *end == '_'; end++)
                ;
        snprintf(name, sizeof name, "%.*s", (int) (end - start), start);
        const char *set = zp_guess_variable(g, name, NULL);
        *value = (struct part){ set ? set : "", set ? strnlen(set, WORD_SIZE) : 0 };
        bool has_colon = has_brace && *end == ':';
        if (has_brace && end > start && end[has_colon] == '-') {
                const char *otherwise = end + has_colon + 1;
                end = otherwise + strcspn(otherwise, SEPARATORS);
                if (!set || (has_colon && !*set))
                        *value = (struct part){ otherwise, (size_t) (end - otherwise) };
        }
        return (size_t) (end - text) + (has_brace && *end == '}');
}

/* The next word, in which a variable at its beginning has its value. */
static size_t read_word(const struct zp_guess *g, const char *text, char word[WORD_SIZE]) {
        struct part value = { "", 0 };
        size_t skipped = text[0] == '$' ? read_variable(g, text, &value) : 0;
        size_t size = strcspn(text + skipped, SEPARATORS);
        if (value.size + size < WORD_SIZE)
                snprintf(word, WORD_SIZE, "%.*s%.*s", (int) value.size, value.text, (int) size, text + skipped);
        else
                word[0] = '\0';
        return skipped + size;
}

int zp_guess_words(struct zp_guess *g, const char *text, struct zp_error *err) {
        bool is_command = true, is_after_blank = true;
        bool is_single = text[strcspn(text, SEPARATORS)] == '\0';
        int r = 0;
        while (*text && r == 0 && !zp_guess_is_full(g)) {
                char word[WORD_SIZE];
                if (text[0] == '#' && is_after_blank) {
                        text += strcspn(text, "\n");
                        continue;
                }
                if (strchr(SEPARATORS, text[0])) {
                        is_command |= strchr(COMMANDS, text[0]) != NULL;
                        is_after_blank = isspace((unsigned char) text[0]);
                        text++;
                        continue;
                }
                text += read_word(g, text, word);
                if (text[0] == '=') { /* a variable, or an option, and its value: the command is still to come */
                        text++;
                        size_t size = *text && !strchr(SEPARATORS, *text) ? read_word(g, text, word) : 0;
                        text += size;
                        r = size && strchr(word, '/') ? start_word(g, word, false, err) : 0;
                        continue;
                }
                if (word[0] && (is_single || !IS_ONE_OF(word, builtins)))
                        r = start_word(g, word, is_command, err);
                if (word[0] != '-')
                        is_command = is_command && IS_ONE_OF(zp_guess_base_name(word), leading_words);
                is_command |= strcmp(word, "--") == 0;
        }
        return r;
}

/* ---- files ---- */

/* What runs a script, by its first line. */
static const char *interpreter_of(char *line) {
        char *state = NULL;
        const char *name = strtok_r(line, " \t\r\n", &state);
        name = name ? zp_guess_base_name(name) : "";
        while (strcmp(name, "env") == 0 || (name[0] == '-' && name[1])) {
                const char *next = strtok_r(NULL, " \t\r\n", &state);
                name = next ? zp_guess_base_name(next) : "";
        }
        return name;
}

/* A script: its first line says what runs it; a shell's words are commands. */
static int start_script(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        zp_autofree char *text = NULL;
        int r = zp_guess_read_text(g, file, ZP_GUESS_TEXT_MAX, &text, err);
        if (r <= 0)
                return r;
        char *rest = text + strcspn(text, "\n");
        rest += *rest == '\n';
        zp_autofree char *first = strndup(text + strlen("#!"), (size_t) (rest - text) - strlen("#!"));
        r = first ? zp_guess_words(g, first, err) : zp_guess_no_memory(err);
        if (r < 0)
                return r;
        const char *interpreter = interpreter_of(first);
        if (strncmp(interpreter, "python", strlen("python")) == 0)
                zp_guess_python_script(g, file);
        else if (IS_ONE_OF(interpreter, shells))
                r = zp_guess_words(g, rest, err);
        return r;
}

static int start_other(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        char head[2];
        int r = zp_guess_read(g, file, 0, head, sizeof head, err);
        if (r < 0)
                return r;
        if (zp_ends_with(file->path, ".jar") || zp_ends_with(file->path, ".war"))
                return zp_guess_jar(g, file, err);
        if (r == 0 && is_program(file)) /* it is not here */
                return file->inode->size <= UNKNOWN_MAX ? zp_guess_name(g, file, 0, UNKNOWN_MAX, err) : 0;
        bool is_script = r == 1 && memcmp(head, "#!", 2) == 0;
        if (zp_ends_with(file->path, ".py") && !is_script)
                zp_guess_python_script(g, file);
        r = zp_guess_name(g, file, 0, DATA_MAX, err);
        if (r < 0 || !is_script || g->depth == DEPTH_MAX)
                return r;
        g->depth++;
        r = start_script(g, file, err);
        g->depth--;
        return r;
}

int zp_guess_start(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        const char *name = zp_guess_base_name(file->path);
        if (!zp_guess_is_new(g, file))
                return 0;
        int r = zp_guess_elf(g, file, err);
        if (r == 0)
                r = start_other(g, file, err);
        if (r >= 0 && is_program(file) && strcmp(name, "java") == 0)
                return zp_guess_java(g, file, err);
        if (r >= 0 && is_program(file))
                zp_guess_python(g, file);
        return r < 0 ? r : 0;
}
