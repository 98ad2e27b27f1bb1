/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controller/node/amount.h"

static struct node_amount amount;

static int end(void **state) {
        (void) state;
        node_amount_clear(&amount);
        return 0;
}

static void expect(const char *line, uint64_t done, uint64_t total) {
        node_amount_add(&amount, line);
        assert_int_equal(amount.done, done);
        assert_int_equal(amount.total, total);
}

static void tasks_add_up_and_those_that_ended_are_whole(void **state) {
        (void) state;
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":10,\"total\":100}]}", 10, 100);
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":60,\"total\":100},"
               "{\"label\":\"b\",\"done\":5,\"total\":50}]}",
               65, 150);
        expect("{\"tasks\":[{\"label\":\"b\",\"done\":20,\"total\":50}]}", 120, 150);
        expect("{\"tasks\":[]}", 150, 150);
}

static void what_has_come_does_not_go(void **state) {
        (void) state;
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":80,\"total\":100}]}", 80, 100);
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":10,\"total\":100}]}", 80, 100);
        assert_false(node_amount_add(&amount, "{\"tasks\":[{\"label\":\"a\",\"done\":80,\"total\":100}]}"));
}

static void what_makes_no_sense_counts_for_nothing(void **state) {
        (void) state;
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":1,\"total\":2}]}", 1, 2);
        expect("{\"tasks\":", 1, 2);
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":-5,\"total\":2}]}", 1, 2);
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":9,\"total\":2},{\"done\":3,\"total\":4},7]}", 2, 2);
        expect("{\"tasks\":[{\"label\":\"a\",\"done\":9223372036854775807,\"total\":9223372036854775807}]}", 2, 0);
}

static void a_percentage_is_never_too_much(void **state) {
        (void) state;
        assert_int_equal(node_amount_percent(0, 0), 0);
        assert_int_equal(node_amount_percent(1, 3), 33);
        assert_int_equal(node_amount_percent(299, 300), 99);
        assert_int_equal(node_amount_percent(5, 3), 100);
        assert_int_equal(node_amount_percent((uint64_t) 1 << 55, (uint64_t) 1 << 56), 50);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(tasks_add_up_and_those_that_ended_are_whole, NULL, end),
                cmocka_unit_test_setup_teardown(what_has_come_does_not_go, NULL, end),
                cmocka_unit_test_setup_teardown(what_makes_no_sense_counts_for_nothing, NULL, end),
                cmocka_unit_test(a_percentage_is_never_too_much),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
