/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits that hold for all processes of a build together. What needs a tree of its own is tested where
 * ZP_TEST_CGROUPS says that /sys/fs/cgroup may be played with: tests/e2e/test_hook_cgroups.py runs this program in a
 * virtual machine. "test_cgroups ATTEMPT BYTES" is a build that goes too far.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/file.h"
#include "registry-hook/sandbox.h"

#define OURS "/sys/fs/cgroup/test"
#define MEMORY (64u << 20)

/* ---- the attempts ---- */

/* Each process stays below its own limit: only together they are too large. */
static int hoard_together(size_t size) {
        for (int i = 0; i < 8; i++) {
                pid_t pid = fork();
                if (pid != 0)
                        continue;
                char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (memory != MAP_FAILED)
                        memset(memory, 1, size);
                pause();
        }
        pause();
        return 0;
}

/* Children that leave the process group, so that no signal to it reaches them; says how many there could be. */
static int fork_all(void) {
        int count = 0;
        for (pid_t pid; (pid = fork()) >= 0; count++)
                if (pid == 0) {
                        setsid();
                        pause();
                }
        return count > 900 && count < 1024 ? 0 : 1;
}

/* ---- the tests ---- */

static char *own_cgroup(void) {
        char *text;
        size_t size;
        assert_int_equal(zp_read_file(AT_FDCWD, "/proc/self/cgroup", 65536, &text, &size, NULL), 0);
        return text;
}

static void what_was_not_delegated_is_left_alone(void **state) {
        (void) state;
        struct hook_cgroups *cgroups = NULL;
        struct zp_error err = { 0 };
        zp_autofree char *before = own_cgroup();
        if (strstr(before, "delegated"))
                skip();
        assert_true(hook_cgroups_open(&cgroups, &err) < 0);
        assert_true(err.message[0] != '\0');
        zp_autofree char *after = own_cgroup();
        assert_string_equal(before, after);
}

static void write_text(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

/* As systemd does for Delegate=: a cgroup for the service alone, marked. */
static void be_delegated(void) {
        write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids");
        assert_int_equal(mkdir(OURS, 0755), 0);
        assert_int_equal(mkdir(OURS "/build-7", 0755), 0); /* of a service that was killed */
        write_text(OURS "/cgroup.procs", "0");
        struct hook_cgroups *cgroups = NULL;
        assert_int_equal(hook_cgroups_open(&cgroups, NULL), -EACCES); /* not yet */
        assert_int_equal(setxattr(OURS, "user.delegate", "1", 1, 0), 0);
}

struct world {
        char store[64], self[4096];
        struct hook_sandbox *sandbox;
};

static siginfo_t run(struct world *w, const char *what, const char *argument, uint64_t memory, bool *ran_out) {
        const char *argv[] = { w->self, what, argument, NULL }, *environment[] = { NULL };
        struct hook_sandbox_options options = { .argv = argv,
                                                .environment = environment,
                                                .writable = { w->store },
                                                .stdout_fd = 1,
                                                .stderr_fd = 2,
                                                .memory = memory };
        struct hook_sandboxed child;
        struct zp_error err = { 0 };
        siginfo_t info = { 0 };
        if (hook_sandbox_start(w->sandbox, &options, &child, &err) < 0)
                fail_msg("%s", err.message);
        struct pollfd ended = { .fd = child.pidfd, .events = POLLIN };
        assert_int_equal(poll(&ended, 1, 60000), 1);
        *ran_out = hook_sandbox_end(w->sandbox, &child, &info);
        return info;
}

static size_t count_cgroups(void) {
        size_t count = 0;
        zp_autoclosedir DIR *listing = opendir(OURS);
        assert_non_null(listing);
        for (struct dirent *entry; (entry = zp_next_entry(listing));)
                count += entry->d_type == DT_DIR;
        return count;
}

static void limits_hold_for_all_processes_of_a_build(void **state) {
        (void) state;
        struct world w = { .store = "/tmp/zp-cgroups-XXXXXX" };
        bool ran_out;
        if (!getenv("ZP_TEST_CGROUPS")) {
                print_message("ZP_TEST_CGROUPS is not set: not tested\n");
                skip();
        }
        assert_non_null(mkdtemp(w.store));
        assert_true(readlink("/proc/self/exe", w.self, sizeof w.self - 1) > 0);
        be_delegated();
        assert_int_equal(hook_sandbox_new(w.store, &w.sandbox, NULL), 0);
        assert_non_null(strstr(hook_sandbox_text(w.sandbox), ", cgroups"));
        assert_int_equal(count_cgroups(), 1); /* the service's */

        siginfo_t info = run(&w, "hoard", "16777216", MEMORY, &ran_out);
        assert_true(ran_out);
        assert_int_equal(info.si_code, CLD_KILLED);
        info = run(&w, "fork", "", 0, &ran_out);
        assert_false(ran_out);
        assert_int_equal(info.si_code, CLD_EXITED);
        assert_int_equal(info.si_status, 0);
        info = run(&w, "nothing", "", MEMORY, &ran_out);
        assert_int_equal(info.si_code, CLD_EXITED);
        assert_int_equal(count_cgroups(), 1); /* with all their processes, they are gone */
        hook_sandbox_free(w.sandbox);
}

int main(int argc, char **argv) {
        if (argc == 3)
                return strcmp(argv[1], "hoard") == 0  ? hoard_together(strtoul(argv[2], NULL, 10))
                       : strcmp(argv[1], "fork") == 0 ? fork_all()
                                                      : 0;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_not_delegated_is_left_alone),
                cmocka_unit_test(limits_hold_for_all_processes_of_a_build),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
