/* SPDX-License-Identifier: Apache-2.0
 *
 * Staging directories: theirs alone, gone with the handle, and swept only when nobody owns them.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>

#include "store-fixture.h"
#include "store/store-internal.h"

static void abandoned_staging_leaves_nothing(void **state) {
        struct world *w = *state;
        struct zp_staging *staging = NULL;
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "device.zst", "half", &w->err));
        assert_int_equal(count_entries(below(w, "tmp")), 1);
        zp_staging_free(staging);
        assert_whole(w);
}

static void live_staging_survives_another_opening(void **state) {
        struct world *w = *state;
        struct zp_staging *staging = NULL;
        struct zp_store *other = NULL;
        struct zp_prune_result result;
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "layer.erofs", "half", &w->err));
        must(w, zp_store_open(w->path, ZP_STORE_WRITE, &other, &w->err));
        must(w, zp_store_prune(other, false, &result, &w->err));
        zp_store_close(other);
        must(w, put_file(staging, "device.zst", "other half", &w->err));
        assert_int_equal(count_entries(below(w, "tmp")), 1);
        zp_staging_free(staging);
}

static void dead_staging_is_swept_at_the_next_opening(void **state) {
        struct world *w = *state;
        pid_t pid = fork();
        if (pid == 0) {
                struct zp_staging *staging = NULL;
                _exit(zp_staging_new(w->store, &staging, NULL) < 0 || put_file(staging, "x", "y", NULL) < 0);
        }
        int status;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
        assert_int_equal(count_entries(below(w, "tmp")), 1);
        world_reopen(w, ZP_STORE_WRITE);
        assert_whole(w);
}

static void junk_is_swept_and_nothing_outside_is_touched(void **state) {
        struct world *w = *state;
        char outside[128];
        snprintf(outside, sizeof outside, "%s/outside", w->directory);
        assert_int_equal(mkdir(outside, 0755), 0);
        assert_int_equal(symlink(outside, below(w, "tmp/link")), 0);
        assert_int_equal(symlink(outside, below(w, "layers/link")), 0);
        assert_int_equal(mkfifo(below(w, "tmp/fifo"), 0644), 0);
        assert_int_equal(mkdir(below(w, "images/not-a-digest"), 0755), 0);
        assert_int_equal(close(open(below(w, "layers/file"), O_CREAT | O_WRONLY, 0644)), 0);
        world_reopen(w, ZP_STORE_WRITE);
        assert_whole(w);
        assert_true(exists(outside));
}

static void file_names_stay_inside(void **state) {
        struct world *w = *state;
        struct zp_staging *staging = NULL;
        must(w, zp_staging_new(w->store, &staging, &w->err));
        assert_int_equal(zp_staging_create(staging, "../x", &w->err), -EINVAL);
        assert_int_equal(zp_staging_create(staging, "..", &w->err), -EINVAL);
        assert_int_equal(zp_staging_create(staging, "", &w->err), -EINVAL);
        int fd = zp_staging_create(staging, "x", &w->err);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(zp_staging_create(staging, "x", &w->err), -EEXIST);
        zp_staging_free(staging);
}

/* Opening sweeps; a staging directory being born must not be lost to it. */
static void *open_often(void *argument) {
        struct world *w = argument;
        for (int i = 0; i < 100; i++) {
                struct zp_store *store = NULL;
                struct zp_error err;
                if (zp_store_open(w->path, ZP_STORE_WRITE, &store, &err) < 0)
                        return w;
                zp_store_close(store);
        }
        return NULL;
}

static void *stage_often(void *argument) {
        struct world *w = argument;
        for (int i = 0; i < 300; i++) {
                struct zp_staging *staging = NULL;
                struct zp_error err;
                if (zp_staging_new(w->store, &staging, &err) < 0 || put_file(staging, "a", "a", &err) < 0 ||
                    put_file(staging, "b", "b", &err) < 0)
                        return w;
                zp_staging_free(staging);
        }
        return NULL;
}

static void sweeping_never_takes_a_living_staging(void **state) {
        struct world *w = *state;
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? open_often : stage_often, w), 0);
        for (int i = 0; i < 4; i++) {
                void *failed;
                pthread_join(threads[i], &failed);
                assert_null(failed);
        }
        assert_whole(w);
}

#define LARGE (UINT32_C(32) << 20)

struct writing {
        struct zp_staging *staging;
        const char *name;
        char *data;
        int result;
};

static void *write_large(void *argument) {
        struct writing *writing = argument;
        struct zp_error err;
        writing->result = zp_staging_write(writing->staging, writing->name, writing->data, LARGE, &err);
        return NULL;
}

static off_t size_in(struct zp_staging *staging, const char *name) {
        struct stat st;
        return fstatat(zp_staging_dir_fd(staging), name, &st, 0) == 0 ? st.st_size : 0;
}

/* Syncs while the file grows. true: it was not yet whole when that had begun. */
static bool sync_in_between(struct world *w, struct writing *writing) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, write_large, writing), 0);
        while (size_in(writing->staging, writing->name) == 0)
                sched_yield();
        must(w, zp_staging_sync(writing->staging, &w->err));
        bool is_between = zp_staging_is_synced(writing->staging) && size_in(writing->staging, writing->name) < LARGE;
        pthread_join(thread, NULL);
        assert_int_equal(writing->result, 0);
        return is_between;
}

static void file_written_while_another_thread_syncs_is_synced_by_the_commit(void **state) {
        struct world *w = *state;
        struct writing writing = { .data = calloc(1, LARGE) };
        bool is_between = false;
        assert_non_null(writing.data);
        for (int i = 0; i < 100 && !is_between; i++) {
                char name[16];
                snprintf(name, sizeof name, "file-%d", i);
                writing.name = name;
                must(w, zp_staging_new(w->store, &writing.staging, &w->err));
                is_between = sync_in_between(w, &writing);
                if (is_between)
                        assert_false(zp_staging_is_synced(writing.staging));
                zp_staging_free(writing.staging);
        }
        free(writing.data);
        if (!is_between)
                skip();
}

/* The child stops at its n-th system call's beginning or end while it makes its staging directory, and
 * another process sweeps. true: it made all its calls before that. */
static bool stage_with_a_sweep_at(struct world *w, unsigned n) {
        pid_t pid = fork();
        if (pid == 0) {
                struct zp_staging *staging = NULL;
                ptrace(PTRACE_TRACEME, 0, NULL, NULL);
                raise(SIGSTOP);
                int r = zp_staging_new(w->store, &staging, NULL);
                _exit(r < 0 || put_file(staging, "a", "a", NULL) < 0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL);
        for (; n > 0 && !WIFEXITED(status); n--) {
                assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
        }
        bool ended = WIFEXITED(status);
        if (!ended) {
                world_reopen(w, ZP_STORE_WRITE);
                assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
        }
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        return ended;
}

static void sweep_at_any_moment_of_its_birth_does_not_take_it(void **state) {
        struct world *w = *state;
        pid_t pid = fork();
        if (pid == 0)
                _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 0)
                skip();
        for (unsigned n = 1; !stage_with_a_sweep_at(w, n); n++)
                assert_true(n < 1000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(abandoned_staging_leaves_nothing),
                world_test(live_staging_survives_another_opening),
                world_test(dead_staging_is_swept_at_the_next_opening),
                world_test(junk_is_swept_and_nothing_outside_is_touched),
                world_test(file_names_stay_inside),
                world_test(sweeping_never_takes_a_living_staging),
                world_test(file_written_while_another_thread_syncs_is_synced_by_the_commit),
                world_test(sweep_at_any_moment_of_its_birth_does_not_take_it),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
