/* SPDX-License-Identifier: Apache-2.0
 *
 * A process is killed before the n-th system call that changes a file system, for n = 1, 2, … until it gets
 * to its end. Whatever it was about to do, the store is whole for the next one to open it, and the same work
 * then succeeds.
 */
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/syscall.h>

/* <sys/ptrace.h> and <linux/ptrace.h> do not go together. */
extern long ptrace(int request, ...);

#include "store-fixture.h"

typedef void (*work_function)(struct world *w);

static void finish(int r) {
        _exit(r < 0 ? 1 : 0);
}

static const char *const both[] = { "a", "b", NULL };

static int open_store(struct world *w) {
        return zp_store_open(w->path, ZP_STORE_CREATE, &w->store, &w->err);
}

static void build(struct world *w) {
        int r = open_store(w);
        if (r == 0)
                r = commit_layer(w->store, "a", "1", &w->err);
        if (r == 0)
                r = commit_layer(w->store, "b", "1", &w->err);
        finish(r == 0 ? commit_image(w->store, "i", "1", "docker://docker.io/library/i:1", both, &w->err) : r);
}

/* The same layer of another content, with its device, and the image on that one; then the first device again. */
static void rebuild(struct world *w) {
        static const char *const newer[] = { "a/2", "b", NULL };
        int r = open_store(w);
        if (r == 0)
                r = commit_layer(w->store, "a", "2", &w->err);
        if (r == 0)
                r = commit_image(w->store, "i", "2", "docker://docker.io/library/i:1", newer, &w->err);
        finish(r == 0 ? commit_layer(w->store, "a", "1", &w->err) : r);
}

static void remove_and_prune(struct world *w) {
        struct zp_digest digest = digest_of_text("i");
        struct zp_prune_result result;
        int r = open_store(w);
        if (r == 0)
                r = zp_store_remove_image(w->store, &digest, &w->err);
        if (r == -ENOENT)
                r = 0;
        finish(r == 0 ? zp_store_prune(w->store, false, &result, &w->err) : r);
}

static const long changing_calls[] = {
#ifdef SYS_mkdir
        SYS_mkdir,     SYS_rename,  SYS_rmdir,    SYS_unlink,
#endif
        SYS_ftruncate, SYS_mkdirat, SYS_pwrite64, SYS_renameat, SYS_renameat2, SYS_unlinkat, SYS_write, SYS_exit_group,
};

/* Is the stopped process about to make a call that changes something? */
static bool about_to_change(pid_t pid) {
        struct ptrace_syscall_info info;
        assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0);
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
                return false;
        if (info.entry.nr == SYS_openat)
                return (info.entry.args[2] & O_CREAT) != 0;
        for (size_t i = 0; i < sizeof changing_calls / sizeof *changing_calls; i++)
                if ((long) info.entry.nr == changing_calls[i])
                        return true;
        return false;
}

/* Kills it before it makes its change number `n`. true: it got to its end. */
static bool run_until(struct world *w, work_function work, unsigned n) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                ptrace(PTRACE_TRACEME, 0, NULL, NULL);
                raise(SIGSTOP);
                work(w);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSTOPPED(status));
        ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
        while (n > 0) {
                assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                if (WIFEXITED(status)) {
                        assert_int_equal(WEXITSTATUS(status), 0);
                        return true;
                }
                assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80));
                n -= about_to_change(pid);
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return false;
}

static void run(struct world *w, work_function work) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                work(w);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

static bool can_trace(void) {
        pid_t pid = fork();
        if (pid == 0)
                _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
        int status;
        return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A process with a sanitizer's shadow is slow to fork: not every change then. */
#ifdef __SANITIZE_ADDRESS__
#define STEP 3
#else
#define STEP 1
#endif

/* `prepare` makes the state before, `redo` is what a person does after the crash. */
static void kill_everywhere(struct world *w, work_function prepare, work_function work, work_function redo,
                            void (*check)(struct world *w)) {
        if (!can_trace())
                skip();
        bool complete = false;
        for (unsigned n = 1; !complete; n += STEP) {
                zp_store_close(w->store);
                w->store = NULL;
                must(w, zp_remove_tree(AT_FDCWD, w->path, &w->err));
                if (prepare)
                        run(w, prepare);
                complete = run_until(w, work, n);
                if (exists(below(w, "zeropull.db"))) {
                        world_reopen(w, ZP_STORE_WRITE);
                        assert_whole(w);
                        zp_store_close(w->store);
                        w->store = NULL;
                }
                run(w, redo);
                world_reopen(w, ZP_STORE_READ);
                assert_whole(w);
                check(w);
                assert_true(n < 2000);
        }
}

static void image_is_there(struct world *w) {
        assert_true(has_layer(w, "a") && has_layer(w, "b") && has_image(w, "i"));
}

static void nothing_is_there(struct world *w) {
        assert_false(has_layer(w, "a") || has_layer(w, "b") || has_image(w, "i"));
}

static void build_killed_anywhere_is_not_in_the_way_of_the_next(void **state) {
        kill_everywhere(*state, NULL, build, build, image_is_there);
}

static void build_again(struct world *w) {
        int r = open_store(w);
        if (r == 0)
                r = commit_layer(w->store, "a", "1", &w->err);
        finish(r == 0 ? commit_image(w->store, "i", "3", "docker://docker.io/library/i:1", both, &w->err) : r);
}

static void replacement_killed_anywhere_leaves_old_or_new(void **state) {
        kill_everywhere(*state, build, rebuild, build_again, image_is_there);
}

static void removal_killed_anywhere_leaves_all_or_nothing(void **state) {
        kill_everywhere(*state, build, remove_and_prune, remove_and_prune, nothing_is_there);
}

/* A journal left in the middle of a commit: the reader who may write rolls it back. */
static void reader_sees_the_state_before_an_interrupted_commit(void **state) {
        struct world *w = *state;
        if (!can_trace())
                skip();
        bool complete = false;
        for (unsigned n = 1; !complete; n += STEP) {
                zp_store_close(w->store);
                w->store = NULL;
                must(w, zp_remove_tree(AT_FDCWD, w->path, &w->err));
                run(w, build);
                complete = run_until(w, remove_and_prune, n);
                world_reopen(w, ZP_STORE_READ);
                (void) has_image(w, "i");
        }
}

/* Thousands of stores, whose syncs nobody needs: in memory, if there is a place. */
static int crash_setup(void **state) {
        return world_setup_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", state);
}

#define crash_test(name) cmocka_unit_test_setup_teardown(name, crash_setup, world_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                crash_test(build_killed_anywhere_is_not_in_the_way_of_the_next),
                crash_test(replacement_killed_anywhere_leaves_old_or_new),
                crash_test(removal_killed_anywhere_leaves_all_or_nothing),
                crash_test(reader_sees_the_state_before_an_interrupted_commit),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
