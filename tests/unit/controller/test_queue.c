/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "controller/queue.h"

static uint64_t now;

static uint64_t clock_of_test(void) {
        return now;
}

static struct ctl_queue *fresh(void) {
        struct ctl_queue *queue = NULL;
        now = 1000;
        assert_int_equal(ctl_queue_new(clock_of_test, &queue, NULL), 0);
        return queue;
}

static void expect(struct ctl_queue *queue, const char *key) {
        char found[CTL_QUEUE_KEY_SIZE] = "";
        bool any = ctl_queue_try(queue, found);
        if (any != (key != NULL) || (key && strcmp(found, key) != 0))
                fail_msg("'%s' instead of '%s'", any ? found : "nothing", key ? key : "nothing");
}

static void keys_come_once_and_in_their_order(void **state) {
        (void) state;
        struct ctl_queue *queue = fresh();
        ctl_queue_add(queue, "a");
        ctl_queue_add(queue, "b");
        ctl_queue_add(queue, "a");
        expect(queue, "a");
        expect(queue, "b");
        expect(queue, NULL);
        ctl_queue_free(queue);
}

static void nobody_gets_what_another_has_until_that_is_done(void **state) {
        (void) state;
        struct ctl_queue *queue = fresh();
        ctl_queue_add(queue, "a");
        expect(queue, "a");
        ctl_queue_add(queue, "a");
        expect(queue, NULL);
        ctl_queue_done(queue, "a");
        expect(queue, "a");
        ctl_queue_done(queue, "a");
        expect(queue, NULL);
        ctl_queue_free(queue);
}

static void the_earliest_of_several_times_counts(void **state) {
        (void) state;
        struct ctl_queue *queue = fresh();
        ctl_queue_add_after(queue, "a", 500);
        ctl_queue_add_after(queue, "b", 300);
        ctl_queue_add_after(queue, "a", 100);
        ctl_queue_add_after(queue, "a", 900);
        expect(queue, NULL);
        now += 100;
        expect(queue, "a");
        ctl_queue_add_after(queue, "a", 400); /* a worker says so while it has it */
        ctl_queue_add_after(queue, "a", 50);
        ctl_queue_done(queue, "a");
        expect(queue, NULL);
        now += 50;
        expect(queue, "a");
        ctl_queue_done(queue, "a");
        now += 1000;
        expect(queue, "b");
        expect(queue, NULL);
        ctl_queue_add_after(queue, "c", 500);
        ctl_queue_add(queue, "c");
        expect(queue, "c");
        ctl_queue_done(queue, "c");
        now += 1000;
        expect(queue, NULL);
        ctl_queue_free(queue);
}

static void failures_in_a_row_wait_twice_as_long_each_time(void **state) {
        (void) state;
        struct ctl_queue *queue = fresh();
        uint64_t wait = CTL_QUEUE_BACKOFF_FIRST_MS;
        ctl_queue_add(queue, "a");
        for (int i = 0; i < 12; i++) {
                expect(queue, "a");
                ctl_queue_add_failed(queue, "a");
                ctl_queue_done(queue, "a");
                now += wait - 1;
                expect(queue, NULL);
                now += 1;
                wait = wait * 2 < CTL_QUEUE_BACKOFF_LAST_MS ? wait * 2 : CTL_QUEUE_BACKOFF_LAST_MS;
        }
        expect(queue, "a");
        ctl_queue_succeeded(queue, "a");
        ctl_queue_add_failed(queue, "a");
        ctl_queue_done(queue, "a");
        now += CTL_QUEUE_BACKOFF_FIRST_MS;
        expect(queue, "a");
        ctl_queue_free(queue);
}

static void many_times_come_in_their_order(void **state) {
        (void) state;
        enum { COUNT = 5000 };
        struct ctl_queue *queue = fresh();
        char key[32], found[CTL_QUEUE_KEY_SIZE];
        srand(1);
        for (int i = 0; i < COUNT; i++) {
                snprintf(key, sizeof key, "%d", i);
                ctl_queue_add_after(queue, key, (uint64_t) (rand() % 100000));
        }
        assert_int_equal(ctl_queue_statistics(queue).waiting, COUNT);
        size_t count = 0;
        for (int step = 0; step < 101; step++, now += 1000)
                while (ctl_queue_try(queue, found)) {
                        count++;
                        ctl_queue_done(queue, found);
                }
        assert_int_equal(count, COUNT);
        struct ctl_queue_statistics after = ctl_queue_statistics(queue);
        assert_int_equal(after.waiting + after.ready + after.running, 0);
        ctl_queue_free(queue);
}

/* ---- with threads ---- */

enum { KEYS = 50, ROUNDS = 200, THREADS = 4 };

struct crowd {
        struct ctl_queue *queue;
        int holders[KEYS]; /* how many workers have each; changed atomically */
        int looks, overlaps;
};

static void *work(void *context) {
        struct crowd *crowd = context;
        char key[CTL_QUEUE_KEY_SIZE];
        while (ctl_queue_take(crowd->queue, key)) {
                int i = atoi(key);
                if (__atomic_add_fetch(&crowd->holders[i], 1, __ATOMIC_SEQ_CST) != 1)
                        __atomic_add_fetch(&crowd->overlaps, 1, __ATOMIC_SEQ_CST);
                __atomic_add_fetch(&crowd->looks, 1, __ATOMIC_SEQ_CST);
                __atomic_sub_fetch(&crowd->holders[i], 1, __ATOMIC_SEQ_CST);
                ctl_queue_done(crowd->queue, key);
        }
        return NULL;
}

static void two_workers_never_have_the_same_key(void **state) {
        (void) state;
        struct crowd crowd = { 0 };
        pthread_t threads[THREADS];
        char key[16];
        assert_int_equal(ctl_queue_new(NULL, &crowd.queue, NULL), 0);
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, work, &crowd), 0);
        for (int round = 0; round < ROUNDS; round++)
                for (int i = 0; i < KEYS; i++) {
                        snprintf(key, sizeof key, "%d", i);
                        assert_true(ctl_queue_add_after(crowd.queue, key, (uint64_t) (round % 3)));
                }
        for (;;) {
                struct ctl_queue_statistics s = ctl_queue_statistics(crowd.queue);
                if (s.ready + s.waiting + s.running == 0)
                        break;
                sched_yield();
        }
        ctl_queue_close(crowd.queue);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(crowd.overlaps, 0);
        assert_true(crowd.looks >= KEYS);
        ctl_queue_free(crowd.queue);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_come_once_and_in_their_order),
                cmocka_unit_test(nobody_gets_what_another_has_until_that_is_done),
                cmocka_unit_test(the_earliest_of_several_times_counts),
                cmocka_unit_test(failures_in_a_row_wait_twice_as_long_each_time),
                cmocka_unit_test(many_times_come_in_their_order),
                cmocka_unit_test(two_workers_never_have_the_same_key),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
