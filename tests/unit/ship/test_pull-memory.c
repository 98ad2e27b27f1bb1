/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of a pull side by side, and the memory that they may take together.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "ship/pull-internal.h"

#define PARTS 16u

static uint64_t part_size;
static atomic_uint active, most, done;

/* Stays until two have been there at once, or many others have had their turn. */
static int work(struct zp_pull *pull, unsigned number, struct zp_error *err) {
        (void) number, (void) err;
        zp_pull_take_memory(pull, part_size);
        unsigned now = atomic_fetch_add(&active, 1) + 1, before = atomic_load(&most);
        while (before < now && !atomic_compare_exchange_weak(&most, &before, now))
                ;
        for (int i = 0; i < 10000 && atomic_load(&most) < 2; i++)
                sched_yield();
        atomic_fetch_sub(&active, 1);
        atomic_fetch_add(&done, 1);
        zp_pull_give_memory(pull, part_size);
        return 0;
}

static unsigned most_at_once(uint64_t size) {
        struct zp_pull_options options = { 0 };
        struct zp_pull *pull = calloc(1, sizeof *pull);
        struct zp_error err = { 0 };
        pthread_mutex_init(&pull->lock, NULL);
        pthread_cond_init(&pull->room, NULL);
        pull->options = &options;
        part_size = size;
        atomic_store(&most, 0);
        atomic_store(&done, 0);
        assert_int_equal(zp_pull_each(pull, PARTS, PARTS, work, &err), 0);
        assert_int_equal(atomic_load(&done), PARTS);
        assert_int_equal(pull->memory, 0);
        pthread_cond_destroy(&pull->room);
        pthread_mutex_destroy(&pull->lock);
        free(pull);
        return atomic_load(&most);
}

static void small_parts_come_together(void **state) {
        (void) state;
        assert_true(most_at_once(1000) > 1);
}

static void parts_that_would_not_fit_together_come_one_by_one(void **state) {
        (void) state;
        assert_int_equal(most_at_once((UINT64_C(512) << 20) + 1), 1);
}

static void parts_that_are_larger_than_all_come_alone(void **state) {
        (void) state;
        assert_int_equal(most_at_once(UINT64_MAX / 64), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(small_parts_come_together),
                cmocka_unit_test(parts_that_would_not_fit_together_come_one_by_one),
                cmocka_unit_test(parts_that_are_larger_than_all_come_alone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
