/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "controller/kube/event-series.h"

#define MINUTE UINT64_C(60000)

static int make_table(void **state) {
        *state = calloc(1, sizeof(struct zp_kube_series_table));
        return *state ? 0 : -1;
}

static int end_table(void **state) {
        zp_kube_series_clear(*state);
        free(*state);
        return 0;
}

static void the_same_within_six_minutes_is_a_series(void **state) {
        struct zp_kube_series_table *table = *state;
        assert_null(zp_kube_series_repeat(table, "k", 0));
        zp_kube_series_begin(table, "k", "ns", "e.1", 0);
        struct zp_kube_series *series = zp_kube_series_repeat(table, "k", 5 * MINUTE);
        assert_int_equal(series->count, 2);
        assert_string_equal(series->name, "e.1");
        assert_int_equal(zp_kube_series_repeat(table, "k", 10 * MINUTE)->count, 3);
        assert_null(zp_kube_series_repeat(table, "other", 10 * MINUTE));
        assert_null(zp_kube_series_repeat(table, "k", 16 * MINUTE + 1));
        assert_int_equal(table->series_count, 0);
}

static void the_server_is_told_the_second_time_and_then_every_ten_seconds(void **state) {
        struct zp_kube_series_table *table = *state;
        zp_kube_series_begin(table, "k", "ns", "e.1", 1000);
        struct zp_kube_series *series = zp_kube_series_repeat(table, "k", 1001);
        assert_true(zp_kube_series_is_due(series, 1001));
        series->is_dirty = false;
        series->sent_ms = 1001;
        assert_false(zp_kube_series_is_due(series, 60000));
        zp_kube_series_repeat(table, "k", 1002);
        assert_false(zp_kube_series_is_due(series, 11000));
        assert_true(zp_kube_series_is_due(series, 11001));
}

static void an_object_has_25_events_and_one_more_every_five_minutes(void **state) {
        struct zp_kube_series_table *table = *state;
        for (int i = 0; i < 25; i++)
                assert_true(zp_kube_series_allow(table, "u", 0));
        assert_false(zp_kube_series_allow(table, "u", 5 * MINUTE - 1));
        assert_true(zp_kube_series_allow(table, "other", 5 * MINUTE - 1));
        assert_true(zp_kube_series_allow(table, "u", 5 * MINUTE));
        assert_false(zp_kube_series_allow(table, "u", 5 * MINUTE));
        for (int i = 0; i < 25; i++)
                assert_true(zp_kube_series_allow(table, "u", 10000 * MINUTE));
        assert_false(zp_kube_series_allow(table, "u", 10000 * MINUTE));
}

static void the_least_recent_make_room(void **state) {
        struct zp_kube_series_table *table = *state;
        char key[16];
        for (unsigned i = 0; i < KUBE_SERIES_MAX + 10; i++) {
                snprintf(key, sizeof key, "k%u", i);
                zp_kube_series_begin(table, key, "ns", "e", i);
                zp_kube_series_allow(table, key, i);
        }
        assert_int_equal(table->series_count, KUBE_SERIES_MAX);
        assert_int_equal(table->bucket_count, KUBE_SERIES_MAX);
        assert_null(zp_kube_series_repeat(table, "k9", 2000));
        assert_non_null(zp_kube_series_repeat(table, "k10", 2000));
        assert_non_null(zp_kube_series_repeat(table, key, 2000));
}

#define test(name) cmocka_unit_test_setup_teardown(name, make_table, end_table)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(the_same_within_six_minutes_is_a_series),
                test(the_server_is_told_the_second_time_and_then_every_ten_seconds),
                test(an_object_has_25_events_and_one_more_every_five_minutes),
                test(the_least_recent_make_room),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
