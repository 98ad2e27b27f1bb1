/* SPDX-License-Identifier: Apache-2.0
 *
 * What a confined process can no longer do. Each test confines a child of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/confine.h"
#include "base/file.h"

static char store[] = "/tmp/zp-confine-XXXXXX", outside[] = "/tmp/zp-outside-XXXXXX",
            source[] = "/tmp/zp-source-XXXXXX";

enum outcome { YES = 0, NO = 1, NO_LANDLOCK = 2, CONFINE_FAILED = 3 };

/* Runs `attempt` in a confined child; tells whether it succeeded there. */
static enum outcome confined(bool (*attempt)(void)) {
        pid_t child = fork();
        if (child == 0) {
                int abi;
                struct zp_error err = { 0 };
                /* the first places are empty: no path is no end of the list */
                struct zp_confinement within = { .writable = { NULL, store },
                                                 .readable = { NULL, "/nonexistent", source } };
                if (zp_confine(&within, &abi, &err) < 0) {
                        fprintf(stderr, "%s\n", err.message);
                        _exit(CONFINE_FAILED);
                }
                if (abi == 0)
                        _exit(NO_LANDLOCK);
                _exit(attempt() ? YES : NO);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_not_equal(WEXITSTATUS(status), CONFINE_FAILED);
        if (WEXITSTATUS(status) == NO_LANDLOCK) {
                print_message("SKIPPED: this kernel has no Landlock\n");
                skip();
        }
        return (enum outcome) WEXITSTATUS(status);
}

static bool work_in_store(void) {
        char path[100], moved[100];
        snprintf(path, sizeof path, "%s/tmp", store);
        if (mkdir(path, 0700) < 0)
                return false;
        snprintf(path, sizeof path, "%s/tmp/file", store);
        snprintf(moved, sizeof moved, "%s/file", store);
        return zp_replace_file(AT_FDCWD, path, "x", 1, 0644, NULL) == 0 && truncate(path, 0) == 0 &&
               rename(path, moved) == 0 && unlink(moved) == 0;
}

static bool create(const char *directory) {
        char path[100];
        snprintf(path, sizeof path, "%s/file", directory);
        return open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0;
}

static bool write_outside(void) {
        return create(outside);
}

static bool write_source(void) {
        return create(source);
}

static bool read_source(void) {
        return open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0;
}

static bool read_outside(void) {
        return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool read_resolver(void) {
        return open("/etc/nsswitch.conf", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool run_a_program(void) {
        pid_t child = fork();
        if (child == 0) {
                execl("/bin/true", "true", (char *) NULL);
                _exit(1);
        }
        int status;
        return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool mount_something(void) {
        return mount("none", store, "tmpfs", 0, NULL) == 0;
}

static void the_store_is_still_usable(void **state) {
        (void) state;
        assert_int_equal(confined(work_in_store), YES);
        assert_int_equal(confined(read_resolver), YES);
}

static void what_is_readable_is_not_writable(void **state) {
        (void) state;
        assert_int_equal(confined(read_source), YES);
        assert_int_equal(confined(write_source), NO);
}

static void nothing_else_is(void **state) {
        (void) state;
        assert_true(write_outside() && read_outside() && run_a_program()); /* without confinement it all works */
        assert_int_equal(confined(write_outside), NO);
        assert_int_equal(confined(read_outside), NO);
        assert_int_equal(confined(run_a_program), NO);
        assert_int_equal(confined(mount_something), NO);
}

/* How zp_confine ends below a filter that answers every question about Landlock with `code`. */
static int confine_below_a_filter(int code) {
        pid_t child = fork();
        if (child == 0) {
                struct sock_filter program[] = {
                        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) code),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                };
                struct sock_fprog filter = { sizeof program / sizeof *program, program };
                struct zp_confinement within = { .writable = { store } };
                struct zp_error err = { 0 };
                int abi = -1;
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
                        _exit(255);
                int r = zp_confine(&within, &abi, &err);
                if (abi != 0 || (r < 0 && !strstr(err.hint, "landlock_create_ruleset")))
                        _exit(254);
                _exit(-r);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void a_filter_that_forbids_landlock_is_not_taken_for_an_old_kernel(void **state) {
        (void) state;
        assert_int_equal(confine_below_a_filter(ENOSYS), 0);
        assert_int_equal(confine_below_a_filter(EOPNOTSUPP), 0);
        assert_int_equal(confine_below_a_filter(EPERM), EPERM);
}

int main(void) {
        if (!mkdtemp(store) || !mkdtemp(outside) || !mkdtemp(source))
                return 1;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_store_is_still_usable),
                cmocka_unit_test(what_is_readable_is_not_writable),
                cmocka_unit_test(nothing_else_is),
                cmocka_unit_test(a_filter_that_forbids_landlock_is_not_taken_for_an_old_kernel),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        zp_remove_tree(AT_FDCWD, store, NULL);
        zp_remove_tree(AT_FDCWD, outside, NULL);
        zp_remove_tree(AT_FDCWD, source, NULL);
        return failed;
}
