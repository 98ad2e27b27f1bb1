/* SPDX-License-Identifier: Apache-2.0
 *
 * Who comes first at a place: against trying all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "profile/sweep.h"

static uint32_t first_of_all(const struct zp_span *spans, size_t count, uint64_t from, uint64_t to) {
        uint32_t first = ZP_SWEEP_NOBODY;
        for (size_t i = 0; i < count; i++)
                if (spans[i].start < to && spans[i].end > from && spans[i].rank < first)
                        first = spans[i].rank;
        return first;
}

static void the_lowest_rank_that_has_something_there_is_first(void **state) {
        (void) state;
        srand(1);
        for (int round = 0; round < 300; round++) {
                size_t count = (size_t) (rand() % 40);
                struct zp_span *spans = calloc(count + 1, sizeof *spans), copy[40];
                struct zp_sweep sweep = { 0 };
                for (size_t i = 0; i < count; i++) {
                        uint64_t start = (uint64_t) (rand() % 100), size = 1 + (uint64_t) (rand() % 60);
                        copy[i] = spans[i] = (struct zp_span){ start, rand() % 20 ? start + size : UINT64_MAX,
                                                               (uint32_t) rand() % 1000 };
                }
                assert_int_equal(zp_sweep_begin(&sweep, spans, count, NULL), 0);
                for (uint64_t from = 0, to; from < 200; from = to + (uint64_t) (rand() % 3)) {
                        to = from + 1 + (uint64_t) (rand() % 20);
                        assert_int_equal(zp_sweep_first(&sweep, from, to), first_of_all(copy, count, from, to));
                }
                zp_sweep_clear(&sweep);
        }
}

static void without_any_nobody_is_first(void **state) {
        (void) state;
        struct zp_sweep sweep = { 0 };
        assert_int_equal(zp_sweep_first(&sweep, 0, UINT64_MAX), ZP_SWEEP_NOBODY);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_lowest_rank_that_has_something_there_is_first),
                cmocka_unit_test(without_any_nobody_is_first),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
