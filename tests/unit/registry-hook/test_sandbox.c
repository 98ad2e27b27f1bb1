/* SPDX-License-Identifier: Apache-2.0
 *
 * The program runs itself in the sandbox, as a build that somebody has taken over: "test_sandbox ATTEMPT ARGUMENT"
 * tries one thing and exits with the errno it met.
 */
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "registry-hook/sandbox.h"

/* ---- the attempts ---- */

static int result_of(long result) {
        return result < 0 ? errno : 0;
}

static int write_to(const char *path) {
        zp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        return fd < 0 ? errno : result_of(write(fd, "x", 1));
}

/* Without a byte: what a test must not change for good. */
static int open_for_writing(const char *path) {
        zp_autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
        return fd < 0 ? errno : 0;
}

static int try_memory(void) {
        size_t size = 512u << 20;
        char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? errno : 0;
}

static int try_large_file(const char *path) {
        signal(SIGXFSZ, SIG_IGN);
        zp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        return fd < 0 ? errno : result_of(ftruncate(fd, 1 << 20));
}

/* How far it got before it was refused is what it exits with, but for 0 and 1: in hundreds. */
static int try_fork(void) {
        int count = 0;
        for (pid_t pid; count < 5000 && (pid = fork()) >= 0; count++)
                if (pid == 0)
                        pause();
        return errno == EAGAIN ? 10 + count / 100 : 1;
}

static int attempt(const char *what, const char *argument) {
        static const struct {
                const char *name;
                long number, first;
        } calls[] = {
                { "bpf", SYS_bpf, 0 },
                { "keyctl", SYS_keyctl, KEYCTL_GET_KEYRING_ID },
                { "userfaultfd", SYS_userfaultfd, 0 },
                { "io_uring", 425, 1 },
                { "open_by_handle_at", SYS_open_by_handle_at, AT_FDCWD },
                { "kexec", SYS_kexec_load, 0 },
                { "perf", SYS_perf_event_open, 0 },
                { "setuid", SYS_setuid, 0 },
                { "unshare", SYS_unshare, CLONE_NEWUSER },
                { "clone", SYS_clone, CLONE_NEWUSER | SIGCHLD },
                { "clone3", 435, 0 },
                { "chroot", SYS_chroot, (long) "/" },
                { "ptrace", SYS_ptrace, PTRACE_TRACEME },
        };
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
                if (strcmp(what, calls[i].name) == 0)
                        return result_of(syscall(calls[i].number, calls[i].first, 0L, 0L, 0L, 0L));
        if (strcmp(what, "mount") == 0)
                return result_of(mount("none", "/tmp", "tmpfs", 0, NULL));
        if (strcmp(what, "device") == 0)
                return result_of(mknod(argument, S_IFBLK | 0600, 0x700));
        if (strcmp(what, "packet") == 0)
                return result_of(socket(AF_PACKET, SOCK_RAW, 0));
        if (strcmp(what, "tcp") == 0)
                return result_of(socket(AF_INET, SOCK_STREAM, 0));
        if (strcmp(what, "listen") == 0)
                return result_of(listen(socket(AF_INET, SOCK_STREAM, 0), 1));
        if (strcmp(what, "write") == 0)
                return write_to(argument);
        if (strcmp(what, "open") == 0)
                return open_for_writing(argument);
        if (strcmp(what, "kill") == 0)
                return result_of(kill(atoi(argument), SIGTERM));
        if (strcmp(what, "memory") == 0)
                return try_memory();
        if (strcmp(what, "large") == 0)
                return try_large_file(argument);
        if (strcmp(what, "privileges") == 0)
                return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_SECCOMP) == 2 ? 0 : EPERM;
        if (strcmp(what, "descriptors") == 0)
                return fcntl(atoi(argument), F_GETFD) < 0 ? 0 : EEXIST;
        if (strcmp(what, "say") == 0)
                return printf("said %s\n", argument) > 0 ? 0 : EIO;
        for (volatile unsigned long spin = 0; strcmp(what, "spin") == 0; spin++)
                continue;
        if (strcmp(what, "fork") == 0)
                return try_fork();
        if (strcmp(what, "wait") == 0)
                pause();
        return ENOTSUP;
}

/* ---- the tests ---- */

struct world {
        char inside[64], outside[64], self[4096];
        struct hook_sandbox *sandbox;
        bool has_mounts, has_pids;
        int out[2];
};

static int make_world(void **state) {
        struct world *w = calloc(1, sizeof *w);
        strcpy(w->inside, "/tmp/zp-inside-XXXXXX");
        strcpy(w->outside, "/tmp/zp-outside-XXXXXX");
        assert_non_null(mkdtemp(w->inside));
        assert_non_null(mkdtemp(w->outside));
        assert_true(readlink("/proc/self/exe", w->self, sizeof w->self - 1) > 0);
        assert_int_equal(hook_sandbox_new(w->inside, &w->sandbox, NULL), 0);
        w->has_mounts = strstr(hook_sandbox_text(w->sandbox), "mount");
        w->has_pids = strstr(hook_sandbox_text(w->sandbox), "pid");
        assert_int_equal(pipe2(w->out, O_CLOEXEC), 0);
        *state = w;
        return 0;
}

static int end_world(void **state) {
        struct world *w = *state;
        hook_sandbox_free(w->sandbox);
        close(w->out[0]);
        close(w->out[1]);
        zp_remove_tree(AT_FDCWD, w->inside, NULL);
        zp_remove_tree(AT_FDCWD, w->outside, NULL);
        free(w);
        return 0;
}

static struct hook_sandboxed start(struct world *w, const char *what, const char *argument) {
        const char *argv[] = { w->self, what, argument, NULL },
                   *environment[] = { "ASAN_OPTIONS=detect_leaks=0", NULL };
        struct hook_sandbox_options options = { .argv = argv,
                                                .environment = environment,
                                                .writable = { w->inside },
                                                .stdout_fd = w->out[1],
                                                .stderr_fd = 2,
                                                .memory = strcmp(what, "memory") == 0 ? 256u << 20 : 0,
                                                .file_size = 65536,
                                                .cpu_s = strcmp(what, "spin") == 0 ? 1 : 60 };
        struct hook_sandboxed child;
        struct zp_error err = { 0 };
        if (hook_sandbox_start(w->sandbox, &options, &child, &err) < 0)
                fail_msg("%s", err.message);
        return child;
}

static siginfo_t end_of(struct world *w, struct hook_sandboxed *child) {
        siginfo_t info = { 0 };
        struct pollfd ended = { .fd = child->pidfd, .events = POLLIN };
        assert_int_equal(poll(&ended, 1, 60000), 1);
        assert_false(hook_sandbox_end(w->sandbox, child, &info));
        return info;
}

static int run(struct world *w, const char *what, const char *argument) {
        struct hook_sandboxed child = start(w, what, argument);
        siginfo_t info = end_of(w, &child);
        if (info.si_code != CLD_EXITED)
                fail_msg("%s: signal %d", what, info.si_status);
        return info.si_status;
}

static void what_reaches_into_the_kernel_or_others_is_refused(void **state) {
        static const char *const attempts[] = {
                "mount",  "bpf",     "keyctl", "userfaultfd", "io_uring", "open_by_handle_at", "kexec", "perf",
                "setuid", "unshare", "clone",  "chroot",      "ptrace"
        };
        for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
                if (run(*state, attempts[i], "") != EPERM)
                        fail_msg("%s is not refused", attempts[i]);
        assert_int_equal(run(*state, "clone3", ""), ENOSYS);
        assert_int_equal(run(*state, "packet", ""), EAFNOSUPPORT);
        assert_int_equal(run(*state, "tcp", ""), 0);
        assert_int_equal(run(*state, "listen", ""), EPERM);
        assert_int_equal(run(*state, "privileges", ""), 0);
}

static void only_its_directories_can_be_written_to(void **state) {
        struct world *w = *state;
        zp_autofree char *inside = zp_format("%s/file", w->inside), *outside = zp_format("%s/file", w->outside);
        zp_autofree char *device = zp_format("%s/device", w->inside);
        assert_int_equal(run(w, "write", inside), 0);
        assert_int_equal(access(inside, F_OK), 0);
        assert_int_equal(run(w, "device", device), EPERM);
        if (!w->has_mounts) {
                print_message("no mount namespaces here: not tested\n");
                skip();
        }
        assert_int_equal(run(w, "write", outside), EROFS);
        assert_int_not_equal(access(outside, F_OK), 0);
        /* nor what root may set of the kernel, by the view of its processes that is its own */
        assert_int_equal(run(w, "open", "/proc/sys/kernel/core_pattern"), EROFS);
        assert_int_equal(run(w, "open", "/proc/self/oom_score_adj"), EROFS);
}

/* The user of deploy/hook's unit: the same sandbox, and (root is exempt) an end to its processes. */
static bool is_same_without_privileges(struct world *w) {
        char text[160];
        snprintf(text, sizeof text, "%s", hook_sandbox_text(w->sandbox));
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ||
            prctl(PR_SET_DUMPABLE, 1) < 0 || /* as after an exec: /proc/self is its own */
            hook_sandbox_new(w->inside, &w->sandbox, NULL) < 0 || strcmp(hook_sandbox_text(w->sandbox), text) != 0)
                return false;
        int hundreds = run(w, "fork", "") - 10;
        return hundreds >= 9 && hundreds <= 10;
}

static void a_service_without_privileges_has_the_same_sandbox_and_limits_processes(void **state) {
        struct world *w = *state;
        int status;
        if (geteuid() != 0 || !strstr(hook_sandbox_text(w->sandbox), "user, mount")) {
                print_message("not root, or no user namespaces here: not tested\n");
                skip();
        }
        zp_autofree char *copy = zp_format("%s/copy", w->outside), *program = NULL; /* anybody may execute it */
        size_t size;
        assert_int_equal(zp_read_file(AT_FDCWD, w->self, 256u << 20, &program, &size, NULL), 0);
        assert_int_equal(zp_replace_file(AT_FDCWD, copy, program, size, 0755, NULL), 0);
        assert_int_equal(chmod(w->outside, 0755), 0);
        snprintf(w->self, sizeof w->self, "%s", copy);
        assert_int_equal(chown(w->inside, 65534, 65534), 0);
        pid_t service = fork();
        if (service == 0)
                _exit(is_same_without_privileges(w) ? 0 : 1);
        assert_int_equal(waitpid(service, &status, 0), service);
        assert_int_equal(status, 0);
}

static void other_processes_cannot_be_reached(void **state) {
        struct world *w = *state;
        if (!w->has_pids) {
                print_message("no pid namespaces here: not tested\n");
                skip();
        }
        zp_autofree char *pid = zp_format("%d", getpid());
        assert_int_equal(run(w, "kill", pid), ESRCH);
}

static void memory_files_and_time_have_an_end(void **state) {
        struct world *w = *state;
        zp_autofree char *file = zp_format("%s/large", w->inside);
#ifndef __SANITIZE_ADDRESS__ /* whose shadow does not fit in any limit */
        assert_int_equal(run(w, "memory", ""), ENOMEM);
#endif
        assert_int_equal(run(w, "large", file), EFBIG);
        struct hook_sandboxed child = start(w, "spin", "");
        siginfo_t info = end_of(w, &child);
        assert_int_equal(info.si_code, CLD_KILLED);
}

static void no_descriptor_of_the_service_is_inherited(void **state) {
        struct world *w = *state;
        int fd = open("/dev/null", O_RDONLY); /* not close-on-exec, as a library might */
        zp_autofree char *number = zp_format("%d", fd);
        assert_int_equal(run(w, "descriptors", number), 0);
        close(fd);
}

static void what_it_says_arrives(void **state) {
        struct world *w = *state;
        char text[32] = "";
        assert_int_equal(run(w, "say", "hello"), 0);
        assert_int_equal(read(w->out[0], text, sizeof text - 1), 11);
        assert_string_equal(text, "said hello\n");
}

/* A service is played by a process that starts a build and is then killed. */
static void it_dies_with_the_service(void **state) {
        struct world *w = *state;
        int ready[2];
        assert_int_equal(pipe(ready), 0);
        pid_t service = fork();
        if (service == 0) {
                struct hook_sandboxed child = start(w, "wait", "");
                ssize_t ignored = write(ready[1], &child.pid, sizeof child.pid);
                (void) ignored;
                pause();
                _exit(0);
        }
        pid_t build;
        assert_int_equal(read(ready[0], &build, sizeof build), sizeof build);
        int pidfd = (int) syscall(SYS_pidfd_open, build, 0);
        assert_true(pidfd >= 0);
        kill(service, SIGKILL);
        waitpid(service, NULL, 0);
        /* readable once the process has ended */
        struct timespec limit = { 10, 0 };
        fd_set set;
        FD_ZERO(&set);
        FD_SET(pidfd, &set);
        assert_int_equal(pselect(pidfd + 1, &set, NULL, NULL, &limit, NULL), 1);
        close(pidfd);
        close(ready[0]);
        close(ready[1]);
}

static void a_program_that_is_not_there_is_an_error_of_the_start(void **state) {
        struct world *w = *state;
        const char *argv[] = { "/nonexistent", NULL }, *environment[] = { NULL };
        struct hook_sandbox_options options = {
                .argv = argv, .environment = environment, .writable = { w->inside }, .stdout_fd = 1, .stderr_fd = 2
        };
        struct hook_sandboxed child;
        struct zp_error err = { 0 };
        assert_int_equal(hook_sandbox_start(w->sandbox, &options, &child, &err), -ENOENT);
        assert_non_null(strstr(err.message, "'/nonexistent'"));
}

int main(int argc, char **argv) {
        if (argc == 3)
                return attempt(argv[1], argv[2]);
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, end_world)
        const struct CMUnitTest tests[] = {
                TEST(what_reaches_into_the_kernel_or_others_is_refused),
                TEST(only_its_directories_can_be_written_to),
                TEST(a_service_without_privileges_has_the_same_sandbox_and_limits_processes),
                TEST(other_processes_cannot_be_reached),
                TEST(memory_files_and_time_have_an_end),
                TEST(no_descriptor_of_the_service_is_inherited),
                TEST(what_it_says_arrives),
                TEST(it_dies_with_the_service),
                TEST(a_program_that_is_not_there_is_an_error_of_the_start),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
