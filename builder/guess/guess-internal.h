/* SPDX-License-Identifier: Apache-2.0
 *
 * A guess under way, for the files that it is made of. Unless said otherwise, functions return 0 also when there is
 * nothing to be found; a negative errno ends the guess, and with it the build.
 */
#ifndef ZP_BUILDER_GUESS_INTERNAL_H
#define ZP_BUILDER_GUESS_INTERNAL_H

#include "base/arena.h"
#include "base/limits.h"
#include "builder/guess/guess.h"
#include "oci/json.h"

/* Bytes of files that a guess names at most: half a second at 500 Mbit/s, as they travel. */
#define ZP_GUESS_NAMED_MAX (UINT64_C(96) << 20)
/* Bytes of files that it looks into at most. */
#define ZP_GUESS_READ_MAX (UINT64_C(64) << 20)
/* Of one file that is text. */
#define ZP_GUESS_TEXT_MAX (1u << 20)
/* Programs, libraries and modules. */
#define ZP_GUESS_FILES_MAX 4096u
/* Memory for paths and names. */
#define ZP_GUESS_MEMORY_MAX (UINT64_C(32) << 20)
/* Components of paths that are looked up: half a second. */
#define ZP_GUESS_STEPS_MAX (UINT64_C(1) << 22)
/* Directories in which one kind of file is looked for, and words that are looked at again. */
#define ZP_GUESS_DIRECTORIES_MAX 64u
#define ZP_GUESS_WORDS_MAX 4096u

/* A file or directory of the image; `path` has no symbolic link and no '/' at either end, and lives as long as the
 * guess. */
struct zp_guess_file {
        const char *path;
        struct zp_inode *inode;
};

struct zp_guess_part {
        struct zp_guess_file file;
        uint64_t offset, size;
        bool is_written; /* when it is relocated */
};

/* Directories that are there. */
struct zp_guess_directories {
        struct zp_guess_file list[ZP_GUESS_DIRECTORIES_MAX];
        uint32_t count;
};

struct zp_guess_python {
        const char *version;         /* "3.11"; NULL: no Python is started */
        struct zp_guess_file prefix; /* what its lib/ is in */
        /* where modules are looked for; the first is the script's, or the working directory */
        struct zp_guess_directories directories;
        struct zp_guess_file scripts[16]; /* that it may be given */
        uint32_t script_count;
        struct zp_guess_file *queue; /* modules to be looked at later; room for ZP_GUESS_FILES_MAX */
        uint32_t next, count;        /* of them, those whose imports are not looked at yet */
        unsigned depth;              /* of modules in modules */
};

struct zp_guess {
        const struct zp_guess_image *image;
        struct zp_profile *profile;
        struct zp_arena arena;
        uint64_t named_left, read_left; /* bytes */
        uint64_t steps_left;
        uint32_t files_left;
        unsigned depth;                              /* of scripts in scripts */
        bool is_importing;                           /* what is loaded now, a module brings along */
        json_t *config;                              /* the image's, its member "config" */
        json_t *command;                             /* the words of its entrypoint and command */
        json_t *variables;                           /* of its environment, by their names */
        struct zp_guess_file directory, environment; /* the working directory; the virtual one of Python, or zeros */
        struct zp_guess_directories search_path, library_path, system_libraries;
        struct zp_guess_file *libraries; /* those found; room for ZP_GUESS_FILES_MAX */
        uint32_t library_count;
        struct zp_guess_file *deep; /* of them, those that only modules' libraries need; room for ZP_GUESS_FILES_MAX */
        uint32_t deep_count;
        struct zp_guess_part *kept; /* of the files that are loaded together; room for ZP_GUESS_FILES_MAX */
        uint32_t kept_count;
        struct zp_guess_part *last; /* to be named when all else is; room for ZP_GUESS_FILES_MAX */
        uint32_t last_count;
        const char **words; /* all that were seen; room for ZP_GUESS_WORDS_MAX */
        uint32_t word_count;
        struct zp_guess_python python;
};

/* ---- guess.c ---- */

/* The value of a variable of the image's environment. */
const char *zp_guess_variable(const struct zp_guess *g, const char *name, const char *otherwise);

/* ---- files.c ---- */

/* A limit is reached, or the guess is cancelled: nothing more is found. Whatever loops over an image's data asks. */
bool zp_guess_is_full(const struct zp_guess *g);
/* What is at a path, links followed; below `from`, unless the path begins with '/'. NULL: below the root. */
bool zp_guess_find(struct zp_guess *g, const struct zp_guess_file *from, const char *path, struct zp_guess_file *out);
bool zp_guess_find_file(struct zp_guess *g, const struct zp_guess_file *from, const char *path,
                        struct zp_guess_file *out);
bool zp_guess_find_directory(struct zp_guess *g, const struct zp_guess_file *from, const char *path,
                             struct zp_guess_file *out);
/* The entries of a directory that is listed for the first time, sorted, malloc'ed; none of one that was, or is very
 * large. */
int zp_guess_list(struct zp_guess *g, const struct zp_guess_file *directory, struct zp_dentry ***out, uint32_t *count,
                  struct zp_error *err);
/* The directory that a file is in. */
bool zp_guess_parent(struct zp_guess *g, const struct zp_guess_file *file, struct zp_guess_file *out);
/* What follows the last '/'. */
const char *zp_guess_base_name(const char *path);
/* Adds those directories of a list with separators that are there; "" is none. */
void zp_guess_add_directories(struct zp_guess *g, const char *list, const char *separators,
                              struct zp_guess_directories *out);
/* True the first time a file or directory is asked about. */
bool zp_guess_is_new(struct zp_guess *g, const struct zp_guess_file *file);
/* Names a part of a file, as much as there is of it and may still be named. */
int zp_guess_name(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, uint64_t size,
                  struct zp_error *err);
/* Likewise, but behind all that is more likely to be read. */
void zp_guess_name_last(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, uint64_t size);
int zp_guess_name_path(struct zp_guess *g, const char *path, uint64_t max, struct zp_error *err);
/* 1: all of that was read; 0: it cannot be had. */
int zp_guess_read(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, void *buffer, size_t size,
                  struct zp_error *err);
/* 1: *out is the beginning of the file, `max` bytes or less, with a NUL behind; malloc'ed, the caller's. */
int zp_guess_read_text(struct zp_guess *g, const struct zp_guess_file *file, size_t max, char **out,
                       struct zp_error *err);
int zp_guess_no_memory(struct zp_error *err);

/* ---- programs.c ---- */

/* A file that is started or loaded: what it is tells what else it needs. */
int zp_guess_start(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err);
/* The programs of a command line, or of a shell's script, and the files whose paths are in it. */
int zp_guess_words(struct zp_guess *g, const char *text, struct zp_error *err);

/* ---- libraries.c ---- */

/* Where libraries are looked for, by the image's settings. */
int zp_guess_library_directories(struct zp_guess *g, struct zp_error *err);
/* An ELF file, its interpreter, and all libraries that they need. 1: it was one. */
int zp_guess_elf(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err);

/* ---- java.c, python.c ---- */

/* A program of that name has been found. */
int zp_guess_java(struct zp_guess *g, const struct zp_guess_file *program, struct zp_error *err);
int zp_guess_jar(struct zp_guess *g, const struct zp_guess_file *jar, struct zp_error *err);
void zp_guess_python(struct zp_guess *g, const struct zp_guess_file *program);
void zp_guess_python_script(struct zp_guess *g, const struct zp_guess_file *script);
/* After all programs: what Python, if it was among them, imports by its scripts, by the words of the command, and by
 * those that were seen. */
int zp_guess_imports(struct zp_guess *g, struct zp_error *err);

#endif
