/* SPDX-License-Identifier: Apache-2.0
 *
 * Scope-bound cleanup. A variable so marked gives back what it holds when its scope ends; ownership
 * leaves a scope by name, `return zp_steal(&thing)`.
 */
#ifndef ZP_BASE_CLEANUP_H
#define ZP_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void zp_cleanup_free(void *p) {
        free(*(void **) p);
}
static inline void zp_cleanup_fd(int *fd) {
        if (*fd >= 0)
                close(*fd);
}
static inline void zp_cleanup_file(FILE **file) {
        if (*file)
                fclose(*file);
}
static inline void zp_cleanup_dir(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

/* Frees with free(3). */
#define zp_autofree __attribute__((cleanup(zp_cleanup_free)))
/* Closes an int file descriptor; -1 means none. */
#define zp_autoclose __attribute__((cleanup(zp_cleanup_fd)))
#define zp_autofclose __attribute__((cleanup(zp_cleanup_file)))
#define zp_autoclosedir __attribute__((cleanup(zp_cleanup_dir)))

/* `zp_auto(zp_tree_free)`: calls the function with the pointer when it is not NULL. Declare the
 * helper once beside the type with ZP_DEFINE_AUTO(struct zp_tree, zp_tree_free). */
#define ZP_DEFINE_AUTO(type, function)                    \
        static inline void zp_auto_##function(type **p) { \
                if (*p)                                   \
                        function(*p);                     \
        }                                                 \
        typedef int zp_auto_##function##_needs_a_semicolon
#define zp_auto(function) __attribute__((cleanup(zp_auto_##function)))

/* Frees a text that nobody may read afterwards: it is overwritten first. NULL is nothing. */
static inline void zp_secret_free(char *secret) {
        if (secret)
                explicit_bzero(secret, strlen(secret));
        free(secret);
}
ZP_DEFINE_AUTO(char, zp_secret_free);

/* Takes the pointer out of the variable, leaving NULL. */
#define zp_steal(p)                             \
        ({                                      \
                __typeof__(*(p)) taken_ = *(p); \
                *(p) = NULL;                    \
                taken_;                         \
        })

static inline int zp_steal_fd(int *fd) {
        int taken = *fd;
        *fd = -1;
        return taken;
}

#endif
