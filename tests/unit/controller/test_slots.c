/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/slots.h"

static char woken[256];

static void note(void *context, const char *owner) {
        (void) context;
        strcat(woken, owner);
        strcat(woken, " ");
}

static struct ctl_slots *fresh(size_t limit, size_t namespace_limit) {
        struct ctl_slots *slots = NULL;
        woken[0] = '\0';
        assert_int_equal(ctl_slots_new(limit, namespace_limit, note, NULL, &slots, NULL), 0);
        return slots;
}

static void no_more_run_than_may_and_the_highest_priority_is_next(void **state) {
        (void) state;
        struct ctl_slots *slots = fresh(2, 2);
        assert_true(ctl_slots_take(slots, "b1", "o1", 0));
        assert_true(ctl_slots_take(slots, "b2", "o2", 0));
        assert_true(ctl_slots_take(slots, "b2", "o2", 0)); /* has one */
        assert_false(ctl_slots_take(slots, "b3", "o3", 0));
        assert_false(ctl_slots_take(slots, "b4", "o4", 10));
        assert_false(ctl_slots_take(slots, "b5", "o5", 10));
        ctl_slots_give(slots, "b1", "o1");
        assert_string_equal(woken, "o4 ");
        assert_false(ctl_slots_take(slots, "b6", "o6", 100)); /* it has its turn already */
        assert_true(ctl_slots_take(slots, "b4", "o4", 10));
        ctl_slots_give(slots, "b2", "o2");
        ctl_slots_give(slots, "b4", "o4");
        assert_string_equal(woken, "o4 o6 o5 ");
        ctl_slots_give(slots, "b6", "o6");
        ctl_slots_give(slots, "b5", "o5");
        assert_string_equal(woken, "o4 o6 o5 o3 ");
        ctl_slots_give(slots, "b3", "o3");
        assert_int_equal(ctl_slots_statistics(slots).held + ctl_slots_statistics(slots).waiting, 0);
        ctl_slots_free(slots);
}

static void what_runs_already_counts_beyond_the_limit(void **state) {
        (void) state;
        struct ctl_slots *slots = fresh(1, 1);
        ctl_slots_hold(slots, "b1", "o1");
        ctl_slots_hold(slots, "b2", "o2");
        assert_int_equal(ctl_slots_statistics(slots).held, 2);
        assert_false(ctl_slots_take(slots, "b3", "o3", 0));
        ctl_slots_give(slots, "b1", "o1");
        assert_string_equal(woken, "");
        ctl_slots_give(slots, "b2", "o2");
        assert_string_equal(woken, "o3 ");
        ctl_slots_free(slots);
}

static void who_goes_away_lets_others_in(void **state) {
        (void) state;
        struct ctl_slots *slots = fresh(1, 1);
        static const char *const none[] = { NULL }, *const first[] = { "b1", NULL };
        assert_true(ctl_slots_take(slots, "b1", "o1", 0));
        assert_false(ctl_slots_take(slots, "b2", "o1", 0));
        assert_false(ctl_slots_take(slots, "b3", "o2", 0));
        ctl_slots_keep_only(slots, "o1", first);
        assert_string_equal(woken, "");
        assert_int_equal(ctl_slots_statistics(slots).waiting, 1);
        ctl_slots_keep_only(slots, "o1", none);
        assert_string_equal(woken, "o2 ");
        ctl_slots_give(slots, "never heard of", "o1");
        ctl_slots_free(slots);
}

static void a_namespace_that_wants_much_leaves_room_for_others(void **state) {
        (void) state;
        struct ctl_slots *slots = fresh(4, 2);
        assert_true(ctl_slots_take(slots, "greedy/1", "greedy/1", 100));
        assert_true(ctl_slots_take(slots, "greedy/2", "greedy/2", 100));
        assert_false(ctl_slots_take(slots, "greedy/3", "greedy/3", 100));
        assert_true(ctl_slots_take(slots, "modest/1", "modest/1", 0)); /* though another one waits */
        ctl_slots_give(slots, "modest/1", "modest/1");
        assert_string_equal(woken, "");
        ctl_slots_give(slots, "greedy/1", "greedy/1");
        assert_string_equal(woken, "greedy/3 ");
        ctl_slots_free(slots);
}

static void of_equal_ones_the_namespace_of_which_fewest_run_is_next(void **state) {
        (void) state;
        struct ctl_slots *slots = fresh(3, 3);
        assert_true(ctl_slots_take(slots, "a/1", "a/1", 0));
        assert_true(ctl_slots_take(slots, "a/2", "a/2", 0));
        assert_true(ctl_slots_take(slots, "b/1", "b/1", 0));
        assert_false(ctl_slots_take(slots, "a/3", "a/3", 0));
        assert_false(ctl_slots_take(slots, "aa/1", "aa/1", 0)); /* another one than a */
        ctl_slots_give(slots, "b/1", "b/1");
        assert_string_equal(woken, "aa/1 ");
        ctl_slots_give(slots, "a/1", "a/1");
        ctl_slots_give(slots, "a/2", "a/2");
        assert_string_equal(woken, "aa/1 a/3 ");
        ctl_slots_give(slots, "a/3", "a/3");
        ctl_slots_give(slots, "aa/1", "aa/1");
        assert_int_equal(ctl_slots_statistics(slots).held + ctl_slots_statistics(slots).waiting, 0);
        ctl_slots_free(slots);
}

static void all_who_wait_for_a_build_are_woken_when_its_turn_comes_and_when_it_is_over(void **state) {
        (void) state;
        struct ctl_slots *slots = fresh(1, 1);
        assert_true(ctl_slots_take(slots, "b1", "o1", 0));
        assert_false(ctl_slots_take(slots, "b2", "o2", 0));
        assert_false(ctl_slots_take(slots, "b2", "o3", 0));
        assert_false(ctl_slots_take(slots, "b2", "o3", 0));
        assert_int_equal(ctl_slots_statistics(slots).waiting, 1);
        ctl_slots_give(slots, "b1", "o1");
        assert_string_equal(woken, "o2 o3 ");
        assert_true(ctl_slots_take(slots, "b2", "o3", 0));
        ctl_slots_give(slots, "b2", "o3"); /* he knows */
        assert_string_equal(woken, "o2 o3 o2 ");
        assert_int_equal(ctl_slots_statistics(slots).held + ctl_slots_statistics(slots).waiting, 0);
        ctl_slots_free(slots);
}

static void who_goes_away_leaves_the_place_to_who_waits_for_the_same(void **state) {
        (void) state;
        static const char *const none[] = { NULL };
        struct ctl_slots *slots = fresh(1, 1);
        assert_true(ctl_slots_take(slots, "b1", "o1", 0));
        assert_false(ctl_slots_take(slots, "b2", "o2", 0));
        assert_false(ctl_slots_take(slots, "b2", "o3", 0));
        ctl_slots_keep_only(slots, "o2", none);
        ctl_slots_leave(slots, "b2", "never heard of");
        assert_int_equal(ctl_slots_statistics(slots).waiting, 1);
        ctl_slots_keep_only(slots, "o1", none);
        assert_string_equal(woken, "o3 ");
        ctl_slots_hold(slots, "b2", "o4"); /* runs, and he has found out */
        ctl_slots_leave(slots, "b2", "o3");
        assert_int_equal(ctl_slots_statistics(slots).held, 1);
        ctl_slots_leave(slots, "b2", "o4");
        assert_int_equal(ctl_slots_statistics(slots).held, 0);
        ctl_slots_free(slots);
}

static void a_build_is_as_urgent_as_the_most_urgent_of_who_wait_for_it(void **state) {
        (void) state;
        struct ctl_slots *slots = fresh(1, 1);
        assert_true(ctl_slots_take(slots, "b1", "o1", 0));
        assert_false(ctl_slots_take(slots, "b2", "o2", 5));
        assert_false(ctl_slots_take(slots, "b3", "o3", 10));
        assert_false(ctl_slots_take(slots, "b3", "o4", 0));
        ctl_slots_give(slots, "b1", "o1");
        assert_string_equal(woken, "o3 o4 ");
        ctl_slots_leave(slots, "b3", "o3");
        assert_false(ctl_slots_take(slots, "b3b", "o3", 10));
        assert_false(ctl_slots_take(slots, "b3b", "o4", 0));
        ctl_slots_leave(slots, "b3b", "o3");
        ctl_slots_leave(slots, "b3", "o4");
        assert_string_equal(woken, "o3 o4 o2 ");
        ctl_slots_free(slots);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_more_run_than_may_and_the_highest_priority_is_next),
                cmocka_unit_test(what_runs_already_counts_beyond_the_limit),
                cmocka_unit_test(who_goes_away_lets_others_in),
                cmocka_unit_test(a_namespace_that_wants_much_leaves_room_for_others),
                cmocka_unit_test(all_who_wait_for_a_build_are_woken_when_its_turn_comes_and_when_it_is_over),
                cmocka_unit_test(who_goes_away_leaves_the_place_to_who_waits_for_the_same),
                cmocka_unit_test(a_build_is_as_urgent_as_the_most_urgent_of_who_wait_for_it),
                cmocka_unit_test(of_equal_ones_the_namespace_of_which_fewest_run_is_next),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
