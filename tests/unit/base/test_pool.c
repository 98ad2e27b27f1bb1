/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of threads: every job once, in order, each worker with a number of its own.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/pool.h"

enum { JOBS = 1000 };

static struct zp_pool *new_pool(unsigned threads) {
        struct zp_pool *pool = NULL;
        struct zp_error err = { 0 };
        assert_int_equal(zp_pool_new(threads, &pool, &err), 0);
        assert_int_equal(zp_pool_size(pool), threads);
        return pool;
}

static void count(void *argument, unsigned worker) {
        (void) worker;
        atomic_fetch_add((atomic_int *) argument, 1);
}

static void every_job_runs_once_before_the_pool_ends(void **state) {
        (void) state;
        static struct zp_pool_item items[JOBS];
        static atomic_int runs[JOBS];
        struct zp_pool *pool = new_pool(4);
        for (int i = 0; i < JOBS; i++)
                zp_pool_submit(pool, &items[i], count, &runs[i]);
        zp_pool_free(pool);
        for (int i = 0; i < JOBS; i++)
                assert_int_equal(runs[i], 1);
}

struct order {
        int number;
        int *seen, *next;
};

static void note_order(void *argument, unsigned worker) {
        struct order *o = argument;
        (void) worker;
        o->seen[(*o->next)++] = o->number;
}

static void one_thread_runs_them_in_order(void **state) {
        (void) state;
        static struct zp_pool_item items[JOBS];
        static struct order orders[JOBS];
        static int seen[JOBS], next;
        struct zp_pool *pool = new_pool(1);
        for (int i = 0; i < JOBS; i++) {
                orders[i] = (struct order){ i, seen, &next };
                zp_pool_submit(pool, &items[i], note_order, &orders[i]);
        }
        zp_pool_free(pool);
        for (int i = 0; i < JOBS; i++)
                assert_int_equal(seen[i], i);
}

struct meeting {
        pthread_barrier_t barrier;
        atomic_uint workers; /* a bit each */
        atomic_int signals_open;
};

static void meet(void *argument, unsigned worker) {
        struct meeting *m = argument;
        sigset_t blocked;
        pthread_sigmask(SIG_SETMASK, NULL, &blocked);
        if (!sigismember(&blocked, SIGINT) || !sigismember(&blocked, SIGTERM))
                atomic_fetch_add(&m->signals_open, 1);
        atomic_fetch_or(&m->workers, 1u << worker);
        pthread_barrier_wait(&m->barrier);
}

static void workers_run_side_by_side_under_their_own_numbers(void **state) {
        (void) state;
        struct zp_pool_item items[4];
        struct meeting m = { 0 };
        sigset_t before, after;
        pthread_sigmask(SIG_SETMASK, NULL, &before);
        pthread_barrier_init(&m.barrier, NULL, 4);
        struct zp_pool *pool = new_pool(4);
        for (int i = 0; i < 4; i++)
                zp_pool_submit(pool, &items[i], meet, &m); /* none ends before all have begun */
        zp_pool_free(pool);
        pthread_barrier_destroy(&m.barrier);
        assert_int_equal(m.workers, 0xf);
        assert_int_equal(m.signals_open, 0);
        pthread_sigmask(SIG_SETMASK, NULL, &after);
        assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
}

struct chain {
        struct zp_pool *pool;
        struct zp_pool_item items[10];
        int left;
};

static void submit_next(void *argument, unsigned worker) {
        struct chain *c = argument;
        (void) worker;
        if (--c->left > 0)
                zp_pool_submit(c->pool, &c->items[c->left], submit_next, c);
}

static void job_may_submit_another(void **state) {
        (void) state;
        struct chain c = { .pool = new_pool(2), .left = 10 };
        zp_pool_submit(c.pool, &c.items[0], submit_next, &c);
        zp_pool_free(c.pool);
        assert_int_equal(c.left, 0);
}

static void idle_pool_ends(void **state) {
        (void) state;
        zp_pool_free(new_pool(3));
        zp_pool_free(NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_job_runs_once_before_the_pool_ends),
                cmocka_unit_test(one_thread_runs_them_in_order),
                cmocka_unit_test(workers_run_side_by_side_under_their_own_numbers),
                cmocka_unit_test(job_may_submit_another),
                cmocka_unit_test(idle_pool_ends),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
