/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks on digests between processes, between threads, and with their holder gone.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "store-fixture.h"

static void count_call(void *context) {
        (*(int *) context)++;
}

/* Asks the lock's waiter to stop as soon as it has to wait. */
static void cancel_now(void *context) {
        atomic_store(&((struct zp_cancel *) context)->requested, true);
}

static bool is_locked(struct world *w, const struct zp_digest *key) {
        struct zp_cancel cancel = { 0 };
        struct zp_store_lock *lock = NULL;
        int r = zp_store_lock(w->store, key, &cancel, cancel_now, &cancel, &lock, &w->err);
        if (r == 0)
                zp_store_unlock(lock);
        else
                assert_int_equal(r, -ECANCELED);
        return r != 0;
}

static void lock_excludes_others_of_the_same_process(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a"), b = digest_of_text("b");
        struct zp_store_lock *lock = NULL;
        must(w, zp_store_lock(w->store, &a, NULL, NULL, NULL, &lock, &w->err));
        assert_true(is_locked(w, &a));
        assert_false(is_locked(w, &b));
        zp_store_unlock(lock);
        assert_false(is_locked(w, &a));
}

static void waiter_is_told_of_once_only_when_it_waits(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a");
        struct zp_store_lock *lock = NULL;
        int calls = 0;
        must(w, zp_store_lock(w->store, &a, NULL, count_call, &calls, &lock, &w->err));
        assert_int_equal(calls, 0);
        zp_store_unlock(lock);
}

static void hold_until_killed(struct world *w, const struct zp_digest *key, int ready_fd) {
        struct zp_store_lock *lock = NULL;
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
        if (zp_store_lock(w->store, key, NULL, NULL, NULL, &lock, NULL) < 0 || write(ready_fd, "x", 1) != 1)
                _exit(1);
        for (;;)
                pause();
}

static void killed_holder_frees_its_locks(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a");
        int ready[2];
        assert_int_equal(pipe(ready), 0);
        pid_t pid = fork();
        if (pid == 0)
                hold_until_killed(w, &a, ready[1]);
        char c;
        close(ready[1]);
        assert_int_equal(read(ready[0], &c, 1), 1);
        close(ready[0]);
        assert_true(is_locked(w, &a));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_false(is_locked(w, &a));
}

/* What `waiting` does to let the waiter go on: it must have been blocked until then. */
static void kill_holder(void *context) {
        pid_t pid = *(pid_t *) context;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        *(pid_t *) context = 0;
}

static void waiter_gets_the_lock_when_the_holder_dies(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a");
        struct zp_store_lock *lock = NULL;
        int ready[2];
        assert_int_equal(pipe(ready), 0);
        pid_t pid = fork();
        if (pid == 0)
                hold_until_killed(w, &a, ready[1]);
        char c;
        assert_int_equal(read(ready[0], &c, 1), 1);
        must(w, zp_store_lock(w->store, &a, NULL, kill_holder, &pid, &lock, &w->err));
        assert_int_equal(pid, 0);
        zp_store_unlock(lock);
        close(ready[0]);
        close(ready[1]);
}

static void cancelled_waiter_returns(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a");
        struct zp_cancel cancel = { 0 };
        struct zp_store_lock *lock = NULL, *other = NULL;
        must(w, zp_store_lock(w->store, &a, NULL, NULL, NULL, &lock, &w->err));
        assert_int_equal(zp_store_lock(w->store, &a, &cancel, cancel_now, &cancel, &other, &w->err), -ECANCELED);
        assert_null(other);
        zp_store_unlock(lock);
}

static void prune_does_not_run_beside_a_lock_holder(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a");
        struct zp_store_lock *lock = NULL;
        struct zp_prune_result result;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, zp_store_lock(w->store, &a, NULL, NULL, NULL, &lock, &w->err));
        assert_int_equal(zp_store_prune(w->store, false, &result, &w->err), -EBUSY);
        assert_true(has_layer(w, "a"));
        zp_store_unlock(lock);
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_false(has_layer(w, "a"));
}

struct shared {
        struct world *w;
        struct zp_digest key;
        int inside, worst, rounds; /* guarded by the lock under test */
};

static void *enter_often(void *argument) {
        struct shared *s = argument;
        for (int i = 0; i < 20; i++) {
                struct zp_store_lock *lock = NULL;
                if (zp_store_lock(s->w->store, &s->key, NULL, NULL, NULL, &lock, NULL) < 0)
                        return s;
                int inside = __atomic_add_fetch(&s->inside, 1, __ATOMIC_SEQ_CST);
                if (inside > s->worst)
                        s->worst = inside;
                s->rounds++;
                sched_yield();
                __atomic_sub_fetch(&s->inside, 1, __ATOMIC_SEQ_CST);
                zp_store_unlock(lock);
        }
        return NULL;
}

static void only_one_thread_is_inside(void **state) {
        struct shared s = { .w = *state, .key = digest_of_text("a") };
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, enter_often, &s), 0);
        for (int i = 0; i < 4; i++) {
                void *failed;
                pthread_join(threads[i], &failed);
                assert_null(failed);
        }
        assert_int_equal(s.worst, 1);
        assert_int_equal(s.rounds, 80);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(lock_excludes_others_of_the_same_process),
                world_test(waiter_is_told_of_once_only_when_it_waits),
                world_test(killed_holder_frees_its_locks),
                world_test(waiter_gets_the_lock_when_the_holder_dies),
                world_test(cancelled_waiter_returns),
                world_test(prune_does_not_run_beside_a_lock_holder),
                world_test(only_one_thread_is_inside),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
