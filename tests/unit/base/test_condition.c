/* SPDX-License-Identifier: Apache-2.0
 *
 * Timed waits end at their time, and not before it unless there is something to wake up for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/condition.h"

struct bell {
        pthread_mutex_t lock;
        pthread_cond_t rung;
        bool is_rung; /* guarded by lock */
};

static void *ring(void *argument) {
        struct bell *bell = argument;
        pthread_mutex_lock(&bell->lock);
        bell->is_rung = true;
        pthread_cond_signal(&bell->rung);
        pthread_mutex_unlock(&bell->lock);
        return NULL;
}

static void begin(struct bell *bell) {
        *bell = (struct bell){ .lock = PTHREAD_MUTEX_INITIALIZER };
        zp_condition_init(&bell->rung);
        pthread_mutex_lock(&bell->lock);
}

static void end(struct bell *bell) {
        pthread_mutex_unlock(&bell->lock);
        pthread_cond_destroy(&bell->rung);
}

static void a_wait_ends_at_its_time_and_not_before(void **state) {
        (void) state;
        struct bell bell;
        uint64_t until_ms = zp_monotonic_ms() + 1100; /* other seconds, and other fractions of one */
        begin(&bell);
        while (zp_condition_wait_until(&bell.rung, &bell.lock, until_ms))
                continue;
        assert_true(zp_monotonic_ms() >= until_ms);
        assert_false(zp_condition_wait_until(&bell.rung, &bell.lock, until_ms));
        end(&bell);
}

static void who_is_woken_does_not_wait_on(void **state) {
        (void) state;
        struct bell bell;
        pthread_t thread;
        bool is_early = true;
        begin(&bell);
        assert_int_equal(pthread_create(&thread, NULL, ring, &bell), 0);
        while (!bell.is_rung && is_early)
                is_early = zp_condition_wait_until(&bell.rung, &bell.lock, zp_monotonic_ms() + 3600000);
        assert_true(bell.is_rung && is_early);
        end(&bell);
        pthread_join(thread, NULL);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_wait_ends_at_its_time_and_not_before),
                cmocka_unit_test(who_is_woken_does_not_wait_on),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
