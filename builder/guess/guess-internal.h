/* SPDX-License-Identifier: Apache-2.0
 *
 * A guess under way, for the files that it is made of. All functions return 0 also when there is nothing to be found;
 * a negative errno ends the guess, and with it the build.
 */
#ifndef ZP_BUILDER_GUESS_INTERNAL_H
#define ZP_BUILDER_GUESS_INTERNAL_H

#include "base/arena.h"
#include "builder/guess/guess.h"
#include "layer/resolve.h"

/* Bytes of files that a guess names at most: half a second at 500 Mbit/s, as they travel. */
#define ZP_GUESS_NAMED_MAX (UINT64_C(96) << 20)
/* Bytes of files that it looks into at most. */
#define ZP_GUESS_READ_MAX (UINT64_C(64) << 20)
/* Of one file that is text. */
#define ZP_GUESS_TEXT_MAX (1u << 20)
/* Programs, libraries and modules. */
#define ZP_GUESS_FILES_MAX 4096u
/* Memory for paths and names: what is found beyond it is not there. */
#define ZP_GUESS_MEMORY_MAX (UINT64_C(32) << 20)
/* Steps of path resolution: a second at most. */
#define ZP_GUESS_STEPS_MAX (UINT64_C(1) << 25)

/* A regular file of the image; `path` has no symbolic link, and is the guess's. */
struct zp_guess_file {
        const char *path;
        struct zp_inode *inode;
};

/* Texts that are arguments or lists: in an arena of the guess. */
struct zp_texts {
        const char **list;
        uint32_t count, room;
};

struct zp_python {
        const char *version;         /* "3.11"; NULL: no Python is started */
        struct zp_texts directories; /* where modules are looked for */
        struct zp_guess_file *queue; /* modules; room for ZP_GUESS_FILES_MAX */
        uint32_t next, count;        /* of them, those whose imports are not looked at yet */
};

struct zp_guess {
        const struct zp_guess_image *image;
        struct zp_profile *profile;
        struct zp_arena arena;
        uint64_t named_left, read_left; /* bytes */
        uint32_t files_left;
        uint64_t steps_left; /* of path resolution */
        unsigned depth;      /* of scripts in scripts */
        const char *search_path, *library_path, *python_path,
                *directory; /* of the image's environment; "" when not set */
        struct zp_texts library_directories;
        struct zp_guess_file *libraries; /* room for ZP_GUESS_FILES_MAX: those found */
        uint32_t library_count;
        struct zp_python python;
        struct zp_guess_file scripts[16]; /* that Python may be given */
        uint32_t script_count;
};

/* ---- files.c ---- */

/* A limit is reached: nothing more is found. */
bool zp_guess_is_full(const struct zp_guess *g);
/* The regular file at a path, links followed. False: there is none. */
bool zp_guess_find(struct zp_guess *g, const char *path, struct zp_guess_file *out);
bool zp_guess_find_in(struct zp_guess *g, const char *directory, const char *name, struct zp_guess_file *out);
/* The directory at a path, links followed; NULL: there is none. *path (NULL: not wanted) is its own without links. */
struct zp_inode *zp_guess_find_directory(struct zp_guess *g, const char *path, const char **real);
/* True the first time a file is asked about. */
bool zp_guess_is_new(struct zp_guess *g, const struct zp_guess_file *file);
/* Names a part of a file, as much as there is of it and may still be named. */
int zp_guess_name(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, uint64_t size,
                  struct zp_error *err);
int zp_guess_name_path(struct zp_guess *g, const char *path, uint64_t max, struct zp_error *err);
/* 1: all of that was read; 0: it cannot be had. */
int zp_guess_read(struct zp_guess *g, const struct zp_guess_file *file, uint64_t offset, void *buffer, size_t size,
                  struct zp_error *err);
/* 1: *out is the beginning of the file, `max` bytes or less, with a NUL behind; malloc'ed, the caller's. */
int zp_guess_read_text(struct zp_guess *g, const struct zp_guess_file *file, size_t max, char **out, size_t *size,
                       struct zp_error *err);
/* A text in the guess's arena; NULL: out of memory. */
const char *zp_guess_text(struct zp_guess *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
int zp_guess_no_memory(struct zp_error *err);
/* Appends a text of the arena. */
int zp_texts_add(struct zp_guess *g, struct zp_texts *texts, const char *text, struct zp_error *err);

/* ---- programs.c ---- */

/* A file that is started or loaded: what it is tells what else it needs. */
int zp_guess_start(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err);
/* Each word of a text that is a program, or a path of a file. */
int zp_guess_words(struct zp_guess *g, const char *text, struct zp_error *err);

/* ---- libraries.c ---- */

/* Where libraries are looked for, by the image's settings. */
int zp_guess_library_directories(struct zp_guess *g, struct zp_error *err);
/* An ELF file, its interpreter, and all libraries that they need. 1: it was one. */
int zp_guess_elf(struct zp_guess *g, const struct zp_guess_file *file, struct zp_error *err);

/* ---- java.c, python.c ---- */

/* A program of that name has been found. */
int zp_guess_java(struct zp_guess *g, const struct zp_guess_file *program, struct zp_error *err);
int zp_guess_python(struct zp_guess *g, const struct zp_guess_file *program, struct zp_error *err);
/* What Python, which has been found, imports by a text, by a script, and a module by name: and what that imports. */
int zp_guess_imports(struct zp_guess *g, const char *text, struct zp_error *err);
int zp_guess_script(struct zp_guess *g, const struct zp_guess_file *script, struct zp_error *err);
int zp_guess_import(struct zp_guess *g, const char *name, size_t size, struct zp_error *err);

#endif
