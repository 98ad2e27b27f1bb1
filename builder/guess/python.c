/* SPDX-License-Identifier: Apache-2.0
 *
 * Python: which modules a start imports, and where they lie. Import statements outside of functions are followed; what
 * is imported by name at run time is not found.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "builder/guess/guess-internal.h"

#define MODULE_MAX (UINT64_C(1) << 20)
#define TABLE_MAX (UINT64_C(512) << 10)
/* A dotted name. */
#define NAME_MAX_SIZE 512u

/* What the interpreter imports before the program, where it has not got it within itself, and reads besides. */
static const char startup[] = "import encodings.aliases, encodings.utf_8, codecs, io, abc, site, os, stat, posixpath, "
                              "genericpath, _collections_abc, _sitebuiltins, runpy\n";
static const char *const tables[] = { "usr/lib/locale/C.utf8/LC_CTYPE",
                                      "usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
                                      "usr/lib/aarch64-linux-gnu/gconv/gconv-modules.cache" };

/* ---- where modules are ---- */

static int add_directory(struct zp_guess *g, const char *path, struct zp_error *err) {
        const char *real;
        if (!path)
                return zp_guess_no_memory(err);
        return zp_guess_find_directory(g, path, &real) ? zp_texts_add(g, &g->python.directories, real, err) : 0;
}

static int add_directories(struct zp_guess *g, const char *prefix, struct zp_error *err) {
        const char *version = g->python.version;
        int r = add_directory(g, g->directory, err);
        for (const char *path = g->python_path, *end; *path && r == 0; path = end + (*end != '\0')) {
                end = path + strcspn(path, ":");
                r = add_directory(g, zp_arena_copy(&g->arena, path, (size_t) (end - path)), err);
        }
        const char *const places[] = {
                zp_guess_text(g, "%s/lib/python%s", prefix, version),
                zp_guess_text(g, "%s/lib/python%s/lib-dynload", prefix, version),
                zp_guess_text(g, "%s/local/lib/python%s/dist-packages", prefix, version),
                zp_guess_text(g, "%s/lib/python%s/site-packages", prefix, version),
                zp_guess_text(g, "%s/lib/python3/dist-packages", prefix),
        };
        for (size_t i = 0; i < sizeof places / sizeof *places && r == 0; i++)
                r = add_directory(g, places[i], err);
        return r;
}

/* "3.11" of "usr/bin/python3.11", or of the only library that is there. NULL: not known. */
static const char *version_of(struct zp_guess *g, const char *path, const char *prefix) {
        const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path, *version = name + strlen("python");
        if (version[0] && strchr(version, '.') && strspn(version, "0123456789.") == strlen(version))
                return version;
        const char *library = zp_guess_text(g, "%s/lib", prefix);
        struct zp_inode *directory = library ? zp_guess_find_directory(g, library, NULL) : NULL;
        for (struct zp_dentry *child = directory ? directory->first_child : NULL; child; child = child->next)
                if (strncmp(child->name, "python3.", strlen("python3.")) == 0 && S_ISDIR(child->inode->mode))
                        return child->name + strlen("python");
        return NULL;
}

/* ---- modules ---- */

/* What is loaded of a module whose source that is: the bytecode beside it, if it is there. */
static int want_source(struct zp_guess *g, const struct zp_guess_file *source, struct zp_error *err) {
        struct zp_guess_file compiled;
        if (!zp_guess_is_new(g, source))
                return 0;
        const char *slash = strrchr(source->path, '/'), *name = slash ? slash + 1 : source->path;
        const char *version = g->python.version, *dot = strchr(version, '.');
        const char *path =
                zp_guess_text(g, "%.*s__pycache__/%.*s.cpython-%.*s%s.pyc", (int) (name - source->path), source->path,
                              (int) (strlen(name) - strlen(".py")), name, (int) (dot - version), version, dot + 1);
        if (!path)
                return zp_guess_no_memory(err);
        g->python.queue[g->python.count++] = *source; /* each once, and not more than files are looked at */
        return zp_guess_name(g, zp_guess_find(g, path, &compiled) ? &compiled : source, 0, MODULE_MAX, err);
}

/* A module in C. */
static bool find_extension(struct zp_guess *g, const char *directory, const char *name, struct zp_guess_file *out) {
        static const char *const machines[] = { "x86_64", "aarch64" };
        const char *version = g->python.version, *dot = strchr(version, '.');
        char file[2 * ZP_LIMIT_NAME];
        for (size_t i = 0; i < 2; i++) {
                snprintf(file, sizeof file, "%s.cpython-%.*s%s-%s-linux-gnu.so", name, (int) (dot - version), version,
                         dot + 1, machines[i]);
                if (zp_guess_find_in(g, directory, file, out))
                        return true;
        }
        snprintf(file, sizeof file, "%s.abi3.so", name);
        if (zp_guess_find_in(g, directory, file, out))
                return true;
        snprintf(file, sizeof file, "%s.so", name);
        return zp_guess_find_in(g, directory, file, out);
}

/* One part of a dotted name. 1: found; *inner is the directory of what it holds, or NULL. */
static int want_part(struct zp_guess *g, const char *directory, const char *name, const char **inner,
                     struct zp_error *err) {
        struct zp_guess_file file;
        char source[ZP_LIMIT_NAME + 1];
        const char *package = zp_guess_text(g, "%s/%s", directory, name);
        *inner = NULL;
        if (!package)
                return zp_guess_no_memory(err);
        bool is_package = zp_guess_find_directory(g, package, inner) != NULL;
        int r = 0;
        if (is_package && zp_guess_find_in(g, *inner, "__init__.py", &file))
                r = want_source(g, &file, err);
        else if (find_extension(g, directory, name, &file))
                r = zp_guess_start(g, &file, err);
        else if (snprintf(source, sizeof source, "%s.py", name) < (int) sizeof source &&
                 zp_guess_find_in(g, directory, source, &file))
                r = want_source(g, &file, err);
        else if (!is_package)
                return 0;
        return r < 0 ? r : 1;
}

/* A dotted name below a directory. As above, of its last part. */
static int want_name(struct zp_guess *g, const char *directory, const char *dotted, const char **inner,
                     struct zp_error *err) {
        char part[ZP_LIMIT_NAME];
        for (size_t size;; dotted += size + 1) {
                size = strcspn(dotted, ".");
                if (size == 0 || size > sizeof part - sizeof ".py" || !directory)
                        return 0;
                memcpy(part, dotted, size);
                part[size] = '\0';
                int r = want_part(g, directory, part, inner, err);
                if (r <= 0 || dotted[size] == '\0')
                        return r;
                directory = *inner;
        }
}

/* In the first directory where modules are that has it. */
static int want_absolute(struct zp_guess *g, const char *dotted, const char **inner, struct zp_error *err) {
        for (uint32_t i = 0; i < g->python.directories.count; i++) {
                int r = want_name(g, g->python.directories.list[i], dotted, inner, err);
                if (r != 0)
                        return r;
        }
        *inner = NULL;
        return 0;
}

/* ---- import statements ---- */

struct scan {
        struct zp_guess *g;
        const char *at;        /* in a text that ends with a NUL */
        const char *directory; /* of the module it is; NULL: it is none */
};

static void skip_blanks(struct scan *s, bool also_lines) {
        for (;;) {
                size_t blanks = strspn(s->at, also_lines ? " \t\r\n" : " \t");
                if (blanks == 0 && s->at[0] == '\\' && s->at[1] == '\n')
                        blanks = 2;
                if (blanks == 0 && also_lines && s->at[0] == '#')
                        blanks = strcspn(s->at, "\n");
                if (blanks == 0)
                        return;
                s->at += blanks;
        }
}

/* The next name, dotted or not; false: there is none. One that is too long is cut, and found nowhere. */
static bool read_name(struct scan *s, char name[NAME_MAX_SIZE]) {
        size_t size = 0;
        for (; isalnum((unsigned char) *s->at) || *s->at == '_' || *s->at == '.' || *s->at & 0x80; s->at++)
                if (size < NAME_MAX_SIZE - 1)
                        name[size++] = *s->at;
        name[size] = '\0';
        return size > 0;
}

static bool skip_word(struct scan *s, const char *word) {
        size_t size = strlen(word);
        if (strncmp(s->at, word, size) != 0 || !strchr(" \t\\(*", s->at[size]))
                return false;
        s->at += size;
        return true;
}

/* After a name: "as OTHER", and the comma. True: another name follows. */
static bool skip_to_next(struct scan *s, bool in_parentheses) {
        char other[NAME_MAX_SIZE];
        skip_blanks(s, in_parentheses);
        if (skip_word(s, "as")) {
                skip_blanks(s, in_parentheses);
                read_name(s, other);
                skip_blanks(s, in_parentheses);
        }
        if (*s->at != ',')
                return false;
        s->at++;
        skip_blanks(s, in_parentheses);
        return true;
}

/* Behind "import". */
static int scan_import(struct scan *s, struct zp_error *err) {
        char name[NAME_MAX_SIZE];
        const char *inner;
        int r = 0;
        do {
                skip_blanks(s, false);
                if (!read_name(s, name))
                        break;
                r = want_absolute(s->g, name, &inner, err);
        } while (r >= 0 && skip_to_next(s, false));
        return r < 0 ? r : 0;
}

/* Where a relative name with so many dots begins. NULL: nowhere. */
static const char *relative_directory(struct scan *s, size_t dots) {
        const char *directory = s->directory;
        for (; dots > 1 && directory; dots--) {
                const char *slash = strrchr(directory, '/');
                directory = slash ? zp_guess_text(s->g, "%.*s", (int) (slash - directory), directory) : NULL;
        }
        return directory;
}

/* Behind "from": what is imported of a package may be a module of it. */
static int scan_from(struct scan *s, struct zp_error *err) {
        char name[NAME_MAX_SIZE];
        const char *inner = NULL, *ignored;
        int r = 0;
        skip_blanks(s, false);
        size_t dots = strspn(s->at, ".");
        s->at += dots;
        bool is_named = read_name(s, name);
        if (dots) {
                const char *directory = relative_directory(s, dots);
                inner = directory;
                if (directory && is_named)
                        r = want_name(s->g, directory, name, &inner, err);
        } else if (is_named) {
                r = want_absolute(s->g, name, &inner, err);
        }
        skip_blanks(s, false);
        if (r < 0 || !skip_word(s, "import"))
                return r < 0 ? r : 0;
        skip_blanks(s, false);
        bool in_parentheses = *s->at == '(';
        s->at += in_parentheses;
        do {
                skip_blanks(s, in_parentheses);
                if (!read_name(s, name))
                        break;
                r = inner ? want_name(s->g, inner, name, &ignored, err) : 0;
        } while (r >= 0 && skip_to_next(s, in_parentheses));
        return r < 0 ? r : 0;
}

/* Statements of a line, one behind the other. */
static int scan_statements(struct scan *s, struct zp_error *err) {
        int r = 0;
        for (bool is_import = true; is_import && r == 0;) {
                skip_blanks(s, false);
                is_import = skip_word(s, "import");
                if (is_import)
                        r = scan_import(s, err);
                else if ((is_import = skip_word(s, "from")))
                        r = scan_from(s, err);
                skip_blanks(s, false);
                if (*s->at != ';')
                        break;
                s->at++;
        }
        return r;
}

/* Whether an odd number of triple quotes is in the line: a text begins or ends. */
static bool has_quotes(const char *line, size_t size) {
        bool is_odd = false;
        for (size_t i = 0; i + 2 < size; i++)
                if ((line[i] == '"' || line[i] == '\'') && line[i] == line[i + 1] && line[i] == line[i + 2]) {
                        is_odd = !is_odd;
                        i += 2;
                }
        return is_odd;
}

/* A line at the left margin that begins what is not executed when a module is loaded. */
static bool begins_skipped(const char *line, size_t size) {
        return strncmp(line, "def ", 4) == 0 || strncmp(line, "class ", 6) == 0 || strncmp(line, "async ", 6) == 0 ||
               memmem(line, size, "TYPE_CHECKING", strlen("TYPE_CHECKING"));
}

static int scan(struct zp_guess *g, const char *text, const char *directory, struct zp_error *err) {
        struct scan s = { .g = g, .at = text, .directory = directory };
        bool in_quotes = false, is_skipped = false;
        int r = 0;
        while (*s.at && r == 0 && !zp_guess_is_full(g)) {
                const char *line = s.at;
                size_t size = strcspn(line, "\n"), indent = strspn(line, " \t");
                bool is_code = !in_quotes && indent < size && line[indent] != '#';
                in_quotes ^= has_quotes(line, size);
                if (is_code && indent == 0)
                        is_skipped = begins_skipped(line, size);
                if (is_code && !is_skipped)
                        r = scan_statements(&s, err);
                s.at += strcspn(s.at, "\n");
                s.at += *s.at == '\n';
        }
        return r;
}

static const char *directory_of(struct zp_guess *g, const struct zp_guess_file *file) {
        const char *slash = strrchr(file->path, '/');
        return zp_guess_text(g, "%.*s", slash ? (int) (slash - file->path) : 0, file->path);
}

static int scan_file(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err) {
        zp_autofree char *text = NULL;
        const char *directory = directory_of(g, file);
        size_t size;
        int r = directory ? zp_guess_read_text(g, file, ZP_GUESS_TEXT_MAX, &text, &size, err) : zp_guess_no_memory(err);
        return r == 1 ? scan(g, text, directory, err) : r;
}

/* What the modules import that have been found. */
static int follow(struct zp_guess *g, struct zp_error *err) {
        int r = 0;
        while (g->python.next < g->python.count && r == 0)
                r = scan_file(g, &g->python.queue[g->python.next++], err);
        return r;
}

int zp_guess_imports(struct zp_guess *g, const char *text, struct zp_error *err) {
        int r = scan(g, text, NULL, err);
        return r == 0 ? follow(g, err) : r;
}

int zp_guess_import(struct zp_guess *g, const char *name, size_t size, struct zp_error *err) {
        const char *dotted = zp_guess_text(g, "%.*s", (int) size, name), *inner;
        int r = dotted ? want_absolute(g, dotted, &inner, err) : zp_guess_no_memory(err);
        if (r == 1 && inner) { /* a package that is run has a module for that */
                const char *ignored;
                r = want_name(g, inner, "__main__", &ignored, err);
        }
        return r < 0 ? r : follow(g, err);
}

int zp_guess_script(struct zp_guess *g, const struct zp_guess_file *script, struct zp_error *err) {
        int r = add_directory(g, directory_of(g, script), err);
        if (r == 0)
                r = scan_file(g, script, err);
        return r == 0 ? follow(g, err) : r;
}

int zp_guess_python(struct zp_guess *g, const struct zp_guess_file *program, struct zp_error *err) {
        const char *bin = strstr(program->path, "bin/python");
        if (g->python.version || !bin)
                return 0;
        const char *prefix = zp_guess_text(g, "%.*s", (int) (bin - program->path), program->path);
        g->python.queue = zp_arena_alloc(&g->arena, ZP_GUESS_FILES_MAX * sizeof *g->python.queue);
        if (!prefix || !g->python.queue)
                return zp_guess_no_memory(err);
        g->python.version = version_of(g, program->path, prefix);
        if (!g->python.version)
                return 0;
        int r = add_directories(g, prefix, err);
        for (size_t i = 0; i < sizeof tables / sizeof *tables && r == 0; i++)
                r = zp_guess_name_path(g, tables[i], TABLE_MAX, err);
        return r == 0 ? zp_guess_imports(g, startup, err) : r;
}
