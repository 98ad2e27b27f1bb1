/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of this room share: a directory of their own, files, and the openssl program, which says what is
 * right.
 */
#ifndef ZP_TESTS_TRUST_SUPPORT_H
#define ZP_TESTS_TRUST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

#define OPENSSL(...) assert_int_equal(run_openssl((const char *const[]){ "openssl", __VA_ARGS__, NULL }), 0)

static char directory[64];
static struct zp_error err;

static inline int setup(void **state) {
        (void) state;
        strcpy(directory, "/tmp/zeropull-test-XXXXXX");
        zp_error_clear(&err);
        return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static inline int teardown(void **state) {
        (void) state;
        return chdir("/") == 0 ? zp_remove_tree(AT_FDCWD, directory, &err) : -1;
}

static inline int run_openssl(const char *const *argv) {
        extern char **environ;
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "openssl.log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        pid_t child;
        int status = -1;
        assert_int_equal(posix_spawnp(&child, "openssl", &actions, NULL, (char *const *) argv, environ), 0);
        posix_spawn_file_actions_destroy(&actions);
        assert_int_equal(waitpid(child, &status, 0), child);
        return status;
}

static inline void write_file(const char *path, const void *data, size_t size) {
        assert_int_equal(zp_replace_file(AT_FDCWD, path, data, size, 0644, &err), 0);
}

static inline void write_text(const char *path, const char *text) {
        write_file(path, text, strlen(text));
}

/* The caller frees. */
static inline char *read_whole(const char *path, size_t *size) {
        char *data = NULL;
        assert_int_equal(zp_read_file(AT_FDCWD, path, 1 << 20, &data, size, &err), 0);
        return data;
}

static inline void assert_message_has(const char *text) {
        if (!strstr(err.message, text))
                fail_msg("'%s' is not in '%s'", text, err.message);
}

#endif
