/* SPDX-License-Identifier: Apache-2.0
 *
 * Python: which modules a start imports, and where they lie. Import statements outside of functions are followed; what
 * is imported by name at run time is not found.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "builder/guess/guess-internal.h"

#define MODULE_MAX (UINT64_C(1) << 20)
#define TABLE_MAX (UINT64_C(512) << 10)
/* Directories that the interpreter brings along: add_directories() has them. */
#define OWN_DIRECTORIES 6u
/* A dotted name. */
#define NAME_MAX_SIZE 512u
/* Modules that import modules: so deep they are followed in the order in which they are executed, with a text of up to
 * ZP_GUESS_TEXT_MAX for each; what lies deeper comes later. */
#define DEPTH_MAX 32u

/* What the interpreter imports before the program, where it has not got it within itself, and reads besides. */
static const char startup[] = "import encodings.aliases, encodings.utf_8, codecs, io, abc, site, os, stat, posixpath, "
                              "genericpath, _collections_abc, _sitebuiltins, runpy\n";
static const char *const tables[] = { "usr/lib/locale/C.utf8/LC_CTYPE",
                                      "usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
                                      "usr/lib/aarch64-linux-gnu/gconv/gconv-modules.cache" };

/* Since 3.11 the interpreter has these within itself; what they import it may have to read. */
#define FROZEN_SINCE 11
static const char *const frozen[] = {
        "_collections_abc", "_sitebuiltins", "abc",  "codecs", "genericpath", "io", "ntpath", "os",
        "posixpath",        "runpy",         "site", "stat",   "zipimport"
};
static const char *const frozen_of_importlib[] = { "_bootstrap", "_bootstrap_external", "machinery", "util" };

/* ---- where modules are ---- */

/* PREFIX/BEFORE + VERSION + AFTER, if it is there. */
static void add_directory(struct zp_guess *g, const struct zp_guess_file *prefix, const char *before,
                          const char *version, const char *after) {
        struct zp_guess_directories *directories = &g->python.directories;
        char path[ZP_LIMIT_PATH];
        int size = snprintf(path, sizeof path, "%s%s%s", before, version, after);
        if (size > 0 && size < (int) sizeof path && directories->count < ZP_GUESS_DIRECTORIES_MAX)
                directories->count += zp_guess_find_directory(g, prefix, path, &directories->list[directories->count]);
}

/* As the interpreter sets up sys.path. */
static void add_directories(struct zp_guess *g, const struct zp_guess_file *prefix) {
        const char *version = g->python.version;
        struct zp_guess_directories *directories = &g->python.directories;
        directories->list[0] = g->directory;
        directories->count = 1;
        zp_guess_add_directories(g, zp_guess_variable(g, "PYTHONPATH", ""), ":", directories);
        if (directories->count > ZP_GUESS_DIRECTORIES_MAX - OWN_DIRECTORIES)
                directories->count = ZP_GUESS_DIRECTORIES_MAX - OWN_DIRECTORIES;
        add_directory(g, prefix, "lib/python", version, "");
        add_directory(g, prefix, "lib/python", version, "/lib-dynload");
        if (g->environment.path)
                add_directory(g, &g->environment, "lib/python", version, "/site-packages");
        add_directory(g, prefix, "local/lib/python", version, "/dist-packages");
        add_directory(g, prefix, "lib/python", version, "/site-packages");
        add_directory(g, prefix, "lib/python3/dist-packages", "", "");
}

/* "3.11" of a program "python3.11", or of the only library that is there. NULL: not known. */
static const char *version_of(const char *name, const struct zp_inode *library) {
        static const char python[] = "python3.";
        const char *version = strncmp(name, python, strlen(python)) == 0 ? name + strlen("python") : NULL;
        if (version && isdigit((unsigned char) version[2]) && strspn(version, "0123456789.") == strlen(version))
                return version;
        for (const struct zp_dentry *child = library->first_child; child; child = child->next)
                if (strncmp(child->name, python, strlen(python)) == 0 && S_ISDIR(child->inode->mode))
                        return child->name + strlen("python");
        return NULL;
}

/* ---- modules ---- */

static int scan_file(struct zp_guess *g, const struct zp_guess_file *file, bool is_module, struct zp_error *err);

/* What is run, and not only imported, is executed as a program is. */
static bool is_main(const struct zp_guess_file *source) {
        return strcmp(zp_guess_base_name(source->path), "__main__.py") == 0;
}

/* "cpython-311" */
static const char *tag_of(const struct zp_guess *g, char tag[ZP_LIMIT_NAME]) {
        snprintf(tag, ZP_LIMIT_NAME, "cpython-3%s", strchr(g->python.version, '.') + 1);
        return tag;
}

/* One module shall not use up with what it imports all that may be named: then what is imported beside it goes first,
 * and the rest of its own imports wait in the queue. */
static bool is_half_spent(const struct zp_guess *g) {
        return g->files_left < ZP_GUESS_FILES_MAX / 2 || g->named_left < ZP_GUESS_NAMED_MAX / 2 ||
               g->read_left < ZP_GUESS_READ_MAX / 2;
}

static bool is_in(const char *const *names, size_t count, const char *name) {
        while (count > 0 && strcmp(names[count - 1], name) != 0)
                count--;
        return count > 0;
}

static bool is_frozen(const struct zp_guess *g, const struct zp_guess_file *directory, const char *name) {
        char library[ZP_LIMIT_NAME], importlib[2 * ZP_LIMIT_NAME];
        if (strtoul(strchr(g->python.version, '.') + 1, NULL, 10) < FROZEN_SINCE)
                return false;
        snprintf(library, sizeof library, "/python%s", g->python.version);
        snprintf(importlib, sizeof importlib, "%s/importlib", library);
        if (zp_ends_with(directory->path, importlib))
                return is_in(frozen_of_importlib, sizeof frozen_of_importlib / sizeof *frozen_of_importlib, name);
        return zp_ends_with(directory->path, library) && is_in(frozen, sizeof frozen / sizeof *frozen, name);
}

/* What is loaded of a module whose source that is: the bytecode beside it, if it is there; and then what it imports. */
static int want_source(struct zp_guess *g, const struct zp_guess_file *directory, const char *name,
                       const struct zp_guess_file *source, struct zp_error *err) {
        struct zp_guess_file compiled;
        char path[3 * ZP_LIMIT_NAME], tag[ZP_LIMIT_NAME];
        if (!zp_guess_is_new(g, source))
                return 0;
        snprintf(path, sizeof path, "__pycache__/%s.%s.pyc", name, tag_of(g, tag));
        int r = is_frozen(g, directory, name)
                        ? 0
                        : zp_guess_name(g, zp_guess_find_file(g, directory, path, &compiled) ? &compiled : source, 0,
                                        MODULE_MAX, err);
        if (r < 0)
                return r;
        bool is_later = g->python.depth == DEPTH_MAX || is_half_spent(g);
        if (!is_later) {
                g->python.depth++;
                r = scan_file(g, source, true, err);
                g->python.depth--;
                is_later = is_half_spent(g);
        }
        if (is_later) /* each once, and not more than files are looked at */
                g->python.queue[g->python.count++] = *source;
        return r;
}

/* A module in C. */
static bool find_extension(struct zp_guess *g, const struct zp_guess_file *directory, const char *name,
                           struct zp_guess_file *out) {
        static const char *const machines[] = { "x86_64-linux-gnu", "aarch64-linux-gnu", "x86_64-linux-musl",
                                                "aarch64-linux-musl" };
        char file[3 * ZP_LIMIT_NAME], tag[ZP_LIMIT_NAME];
        tag_of(g, tag);
        for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
                snprintf(file, sizeof file, "%s.%s-%s.so", name, tag, machines[i]);
                if (zp_guess_find_file(g, directory, file, out))
                        return true;
        }
        snprintf(file, sizeof file, "%s.abi3.so", name);
        if (zp_guess_find_file(g, directory, file, out))
                return true;
        snprintf(file, sizeof file, "%s.so", name);
        return zp_guess_find_file(g, directory, file, out);
}

/* A part of a dotted name, in a directory. */
struct module {
        enum { NO_MODULE, SOURCE, PACKAGE, EXTENSION, PORTION } kind; /* a portion: a directory that is no package */
        struct zp_guess_file file;                                    /* of all but a portion */
        struct zp_guess_file directory;                               /* of a package or portion: what it holds */
};

static void find_module(struct zp_guess *g, const struct zp_guess_file *directory, const char *name,
                        struct module *out) {
        char source[ZP_LIMIT_NAME + sizeof ".py"];
        *out = (struct module){ 0 };
        snprintf(source, sizeof source, "%s.py", name);
        bool is_directory = zp_guess_find_directory(g, directory, name, &out->directory);
        if (is_directory && zp_guess_find_file(g, &out->directory, "__init__.py", &out->file))
                out->kind = PACKAGE;
        else if (find_extension(g, directory, name, &out->file))
                out->kind = EXTENSION;
        else if (zp_guess_find_file(g, directory, source, &out->file))
                out->kind = SOURCE;
        else if (is_directory)
                out->kind = PORTION;
}

static int want_module(struct zp_guess *g, const struct zp_guess_file *directory, const char *name,
                       const struct module *module, struct zp_error *err) {
        switch (module->kind) {
        case SOURCE:
                return want_source(g, directory, name, &module->file, err);
        case PACKAGE:
                return want_source(g, &module->directory, "__init__", &module->file, err);
        case EXTENSION:
                return zp_guess_start(g, &module->file, err);
        default:
                return 0;
        }
}

/* The first part of a name, and the directory that it is in: of those that have a module of that name the first, else
 * the first that has a directory. */
static void find_first(struct zp_guess *g, const char *name, struct zp_guess_file *directory, struct module *out) {
        *out = (struct module){ 0 };
        for (uint32_t i = 0; i < g->python.directories.count; i++) {
                struct module module;
                find_module(g, &g->python.directories.list[i], name, &module);
                if (module.kind == NO_MODULE || (module.kind == PORTION && out->kind == PORTION))
                        continue;
                *directory = g->python.directories.list[i];
                *out = module;
                if (module.kind != PORTION)
                        return;
        }
}

/* A dotted name below a directory; NULL: wherever modules are. 1: all parts are found; *last is the last one, its
 * directory without a path when it holds nothing. */
static int want_name(struct zp_guess *g, const struct zp_guess_file *from, const char *dotted, struct module *last,
                     struct zp_error *err) {
        struct zp_guess_file directory = { 0 };
        char part[ZP_LIMIT_NAME];
        *last = (struct module){ 0 };
        if (from)
                directory = *from;
        for (bool is_first = !from;; is_first = false) {
                struct module module;
                size_t size = strcspn(dotted, ".");
                if (size == 0 || size > sizeof part - sizeof ".py")
                        return 0;
                memcpy(part, dotted, size);
                part[size] = '\0';
                if (is_first)
                        find_first(g, part, &directory, &module);
                else
                        find_module(g, &directory, part, &module);
                int r = want_module(g, &directory, part, &module, err);
                if (r < 0 || module.kind == NO_MODULE)
                        return r < 0 ? r : 0;
                bool holds = module.kind == PACKAGE || module.kind == PORTION;
                directory = holds ? module.directory : (struct zp_guess_file){ 0 };
                if (dotted[size] == '\0') {
                        *last = module;
                        last->directory = directory;
                        return 1;
                }
                if (!holds)
                        return 0;
                dotted += size + 1;
        }
}

/* ---- import statements ---- */

/* The last "try:", and whether files of what is imported from there on were found. */
struct attempt {
        bool has_found, has_missed;
        size_t indent;
};

struct scan {
        struct zp_guess *g;
        const char *at;                 /* in a text that ends with a NUL */
        struct zp_guess_file directory; /* of the module it is; zeros: it is none */
        struct attempt attempt;
};

/* Notes what came of a name. A module of one's own package is always there: where its import may fail, it is for what
 * it imports itself. */
static void note(struct scan *s, int found, const struct module *module, bool is_own) {
        bool is_sure = module->kind == EXTENSION || !is_own;
        s->attempt.has_found |= found == 1;
        s->attempt.has_missed |= found == 0 || (found == 1 && !is_sure);
}

/* Whether a dotted name begins with a package that the module lies in. */
static bool is_own_name(const struct scan *s, const char *dotted) {
        size_t size = strcspn(dotted, ".");
        for (const char *part = s->directory.path; part; part = strchr(part, '/')) {
                part += *part == '/';
                if (strcspn(part, "/") == size && strncmp(part, dotted, size) == 0)
                        return true;
        }
        return false;
}

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
        struct module module;
        int r = 0;
        do {
                skip_blanks(s, false);
                if (!read_name(s, name))
                        break;
                r = want_name(s->g, NULL, name, &module, err);
                note(s, r, &module, is_own_name(s, name));
        } while (r >= 0 && skip_to_next(s, false) && !zp_guess_is_full(s->g));
        return r < 0 ? r : 0;
}

/* Where a relative name with so many dots begins. */
static bool find_relative(struct scan *s, size_t dots, struct zp_guess_file *out) {
        *out = s->directory;
        for (; dots > 1 && out->path && out->path[0]; dots--) {
                struct zp_guess_file below = *out;
                if (!zp_guess_parent(s->g, &below, out))
                        return false;
        }
        return dots <= 1 && out->path;
}

/* The module that a statement imports from. As want_name(); NO_MODULE: only dots, what it holds is yet to be named. */
static int want_origin(struct scan *s, struct module *origin, struct zp_error *err) {
        char name[NAME_MAX_SIZE];
        struct zp_guess_file directory;
        size_t dots = strspn(s->at, ".");
        s->at += dots;
        bool is_named = read_name(s, name);
        *origin = (struct module){ 0 };
        if (dots && !find_relative(s, dots, &directory))
                return 0;
        if (dots && !is_named) {
                origin->directory = directory;
                return 1;
        }
        int r = is_named ? want_name(s->g, dots ? &directory : NULL, name, origin, err) : 0;
        note(s, r, origin, dots || is_own_name(s, name));
        return r;
}

/* Behind "from": what is imported of a package may be a module of it. */
static int scan_from(struct scan *s, struct zp_error *err) {
        char name[NAME_MAX_SIZE];
        struct module origin, module;
        skip_blanks(s, false);
        int r = want_origin(s, &origin, err);
        skip_blanks(s, false);
        if (r < 0 || !skip_word(s, "import"))
                return r < 0 ? r : 0;
        skip_blanks(s, false);
        bool in_parentheses = *s->at == '(', is_bare = r == 1 && origin.kind == NO_MODULE;
        s->at += in_parentheses;
        do {
                skip_blanks(s, in_parentheses);
                if (!read_name(s, name))
                        break;
                r = origin.directory.path ? want_name(s->g, &origin.directory, name, &module, err) : 0;
                if (is_bare)
                        note(s, r, &module, true);
        } while (r >= 0 && skip_to_next(s, in_parentheses) && !zp_guess_is_full(s->g));
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

/* The triple quotes in which a line ends that begins in `quotes`: one of them, or '\0' for none. */
static char quotes_behind(char quotes, const char *line, size_t size) {
        for (size_t i = 0; i < size; i++) {
                bool is_quote = line[i] == '"' || line[i] == '\'';
                bool is_triple = is_quote && i + 2 < size && line[i + 1] == line[i] && line[i + 2] == line[i];
                if (quotes ? is_triple && line[i] == quotes : is_triple) {
                        quotes = quotes ? '\0' : line[i];
                        i += 2;
                } else if (!quotes && is_quote) { /* a text in the line */
                        const char *end = memchr(line + i + 1, line[i], size - i - 1);
                        i = end ? (size_t) (end - line) : size;
                } else if (!quotes && line[i] == '#') {
                        break;
                }
        }
        return quotes;
}

static bool begins_with(const char *line, const char *word) {
        return strncmp(line, word, strlen(word)) == 0;
}

static bool has_word(const char *line, size_t size, const char *const *words, size_t count) {
        while (count > 0 && !memmem(line, size, words[count - 1], strlen(words[count - 1])))
                count--;
        return count > 0;
}
#define HAS_WORD(line, size, ...)                                  \
        has_word(line, size, (const char *const[]){ __VA_ARGS__ }, \
                 sizeof(const char *const[]){ __VA_ARGS__ } / sizeof(char *))

/* Without the comment behind it. */
static size_t code_size(const char *line, size_t size) {
        char quote = '\0';
        for (size_t i = 0; i < size; i++) {
                if (!quote && line[i] == '#')
                        return i;
                if (!quote && (line[i] == '"' || line[i] == '\''))
                        quote = line[i];
                else if (line[i] == quote)
                        quote = '\0';
        }
        return size;
}

/* A condition that is not true when a module is imported on Linux; what may be is not told apart. */
static bool is_untrue(const char *line, size_t size, bool is_module) {
        if (!begins_with(line, "if ") && !begins_with(line, "elif "))
                return false;
        size = code_size(line, size);
        if (HAS_WORD(line, size, "TYPE_CHECKING"))
                return !HAS_WORD(line, size, "not TYPE_CHECKING", "not typing.TYPE_CHECKING", " is False");
        if (is_module && HAS_WORD(line, size, "__name__ ==") && HAS_WORD(line, size, "__main__"))
                return true;
        return HAS_WORD(line, size, "'win32'", "\"win32\"", "'nt'", "\"nt\"", "('win')", "(\"win\")", "'darwin'",
                        "\"darwin\"", " WIN:") &&
               !HAS_WORD(line, size, "!=", "not ", " or ", "linux", "posix");
}

/* A line that begins what is not executed: functions are when a program calls them, of a module only some are. What is
 * there in case that something cannot be imported, is not when that has been found. */
static bool begins_skipped(struct scan *s, const char *line, size_t size, size_t indent, bool is_module) {
        bool is_function = begins_with(line, "def ") || begins_with(line, "class ") || begins_with(line, "async ");
        bool is_instead = begins_with(line, "except") && s->attempt.indent == indent && s->attempt.has_found &&
                          !s->attempt.has_missed;
        if (begins_with(line, "try:"))
                s->attempt = (struct attempt){ .indent = indent };
        return (is_module && is_function) || is_instead || is_untrue(line, size, is_module);
}

static int scan(struct zp_guess *g, const char *text, const struct zp_guess_file *directory, bool is_module,
                struct zp_error *err) {
        struct scan s = { .g = g, .at = text };
        size_t skipped = SIZE_MAX; /* what is indented by more is */
        char quotes = '\0';
        int r = 0;
        if (directory)
                s.directory = *directory;
        while (*s.at && r == 0 && !zp_guess_is_full(g) && !(g->python.depth && is_half_spent(g))) {
                const char *line = s.at;
                size_t size = strcspn(line, "\n"), indent = strspn(line, " \t\r");
                bool is_code = !quotes && indent < size && line[indent] != '#';
                quotes = quotes_behind(quotes, line, size);
                if (is_code && indent <= skipped && !strchr(")]}", line[indent])) /* that ends a long line */
                        skipped =
                                begins_skipped(&s, line + indent, size - indent, indent, is_module) ? indent : SIZE_MAX;
                if (is_code && skipped == SIZE_MAX)
                        r = scan_statements(&s, err);
                s.at += strcspn(s.at, "\n");
                s.at += *s.at == '\n';
        }
        return r;
}

static int scan_file(struct zp_guess *g, const struct zp_guess_file *file, bool is_module, struct zp_error *err) {
        zp_autofree char *text = NULL;
        struct zp_guess_file directory;
        if (!zp_guess_parent(g, file, &directory))
                return 0;
        int r = zp_guess_read_text(g, file, ZP_GUESS_TEXT_MAX, &text, err);
        return r == 1 ? scan(g, text, &directory, is_module && !is_main(file), err) : r;
}

/* What the modules import that have been found. */
static int follow_modules(struct zp_guess *g, struct zp_error *err) {
        int r = 0;
        while (g->python.next < g->python.count && r == 0)
                r = scan_file(g, &g->python.queue[g->python.next++], true, err);
        return r;
}

/* ---- the command ---- */

/* "-m MODULE", "-A MODULE", "MODULE:OBJECT" */
static int want_words(struct zp_guess *g, struct zp_error *err) {
        struct module module, ignored;
        int r = 0;
        for (uint32_t i = 0; i < g->word_count && r >= 0 && !zp_guess_is_full(g); i++) {
                const char *word = g->words[i], *before = i ? g->words[i - 1] : "";
                bool is_module = strcmp(before, "-m") == 0, is_object = strchr(word, ':');
                char name[NAME_MAX_SIZE];
                if (!is_module && !is_object && strcmp(before, "-A") != 0)
                        continue;
                snprintf(name, sizeof name, "%.*s", (int) strcspn(word, ":"), word);
                r = want_name(g, NULL, name, &module, err);
                if (r == 1 && is_module && module.directory.path) /* a package that is run has a module for that */
                        r = want_name(g, &module.directory, "__main__", &ignored, err);
                else if (r == 1 && is_module && module.kind == SOURCE)
                        r = scan_file(g, &module.file, false, err);
        }
        return r < 0 ? r : 0;
}

int zp_guess_imports(struct zp_guess *g, struct zp_error *err) {
        size_t at;
        json_t *item;
        if (!g->python.version)
                return 0;
        add_directories(g, &g->python.prefix);
        g->is_importing = true;
        int r = 0;
        for (size_t i = 0; i < sizeof tables / sizeof *tables && r == 0; i++)
                r = zp_guess_name_path(g, tables[i], TABLE_MAX, err);
        if (r == 0)
                r = scan(g, startup, NULL, true, err);
        json_array_foreach(g->command, at, item) if (r == 0) r = scan(g, json_string_value(item), NULL, false, err);
        for (uint32_t i = 0; i < g->python.script_count && r == 0; i++) {
                zp_guess_parent(g, &g->python.scripts[i], &g->python.directories.list[0]);
                r = scan_file(g, &g->python.scripts[i], false, err);
                if (r == 0)
                        r = follow_modules(g, err);
        }
        g->python.directories.list[0] = g->directory;
        if (r == 0) /* a server is there before what it serves */
                r = want_words(g, err);
        return r == 0 ? follow_modules(g, err) : r;
}

void zp_guess_python_script(struct zp_guess *g, const struct zp_guess_file *script) {
        if (g->python.script_count < sizeof g->python.scripts / sizeof *g->python.scripts)
                g->python.scripts[g->python.script_count++] = *script;
}

/* "usr/bin/python3.11": its library is in usr/lib. */
void zp_guess_python(struct zp_guess *g, const struct zp_guess_file *program) {
        const char *name = zp_guess_base_name(program->path);
        struct zp_guess_file bin, prefix, library;
        if (g->python.version || strncmp(name, "python", strlen("python")) != 0 || !zp_guess_parent(g, program, &bin) ||
            !zp_guess_find_directory(g, &bin, "..", &prefix) || !zp_guess_find_directory(g, &prefix, "lib", &library))
                return;
        g->python.version = version_of(name, library.inode);
        g->python.prefix = prefix;
}
