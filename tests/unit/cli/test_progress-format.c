/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/progress-format.h"

#define MB UINT64_C(1000000)

/* `per_second` bytes a second, told every 100 ms. */
static uint64_t run(struct progress_rate *rate, uint64_t *now_ms, uint64_t done, uint64_t per_second,
                    unsigned seconds) {
        for (unsigned i = 0; i < 10 * seconds; i++) {
                *now_ms += 100;
                done += per_second / 10;
                progress_rate_update(rate, *now_ms, done);
        }
        return done;
}

static void steady_work_has_its_rate_and_time(void **state) {
        (void) state;
        struct progress_rate rate = { 0 };
        uint64_t now = 5000;
        progress_rate_update(&rate, now, 0);
        run(&rate, &now, 0, 10 * MB, 3);
        assert_true(rate.per_second > 9.99 * MB && rate.per_second < 10.01 * MB);
        assert_int_equal(progress_rate_left_s(&rate, 50 * MB), 5);
        assert_int_equal(progress_rate_left_s(&rate, 0), 0);
}

static void rate_follows_a_change_within_seconds(void **state) {
        (void) state;
        struct progress_rate rate = { 0 };
        uint64_t now = 0;
        progress_rate_update(&rate, now, 0);
        uint64_t done = run(&rate, &now, 0, 100 * MB, 60);
        done = run(&rate, &now, done, 10 * MB, 10);
        assert_true(rate.per_second < 12 * MB);
        run(&rate, &now, done, 0, 20);
        assert_true(rate.per_second < MB);
}

static void nothing_is_promised_before_it_is_known(void **state) {
        (void) state;
        struct progress_rate rate = { 0 };
        assert_int_equal(progress_rate_left_s(&rate, 1), -1);
        progress_rate_update(&rate, 0, 0);
        progress_rate_update(&rate, 100, 50 * MB);
        assert_int_equal(progress_rate_left_s(&rate, 1), -1);
        progress_rate_update(&rate, 1000, 50 * MB);
        assert_int_equal(progress_rate_left_s(&rate, 50 * MB), 1);
}

static void stalled_work_has_no_end_in_sight(void **state) {
        (void) state;
        struct progress_rate rate = { 0 };
        uint64_t now = 0;
        progress_rate_update(&rate, now, 0);
        run(&rate, &now, 0, 0, 10);
        assert_int_equal(progress_rate_left_s(&rate, 1), -1);
}

static void odd_clocks_and_counts_do_no_harm(void **state) {
        (void) state;
        struct progress_rate rate = { 0 };
        progress_rate_update(&rate, 1000, 100);
        progress_rate_update(&rate, 1000, 200); /* no time went by */
        progress_rate_update(&rate, 900, 300);  /* back in time */
        progress_rate_update(&rate, 2000, 50);  /* less than before: a transfer began again */
        assert_true(rate.per_second >= 0 && rate.per_second < 1);
}

static void remaining_time_reads_as_a_clock(void **state) {
        (void) state;
        char text[PROGRESS_LEFT_TEXT];
        assert_string_equal(progress_left_text(7, text), "0:07");
        assert_string_equal(progress_left_text(750, text), "12:30");
        assert_string_equal(progress_left_text(3600 * 3 + 300, text), "3:05:00");
        assert_string_equal(progress_left_text(-1, text), "-:--");
}

static struct progress_rate known_rate(void) {
        return (struct progress_rate){ .is_started = true, .watched_ms = 5000, .per_second = 10e6 };
}

static void line_has_bar_amount_rate_and_time(void **state) {
        (void) state;
        struct progress_rate rate = known_rate();
        struct progress_line line = { "layer 3/5", 25 * MB, 100 * MB, &rate };
        char text[200];
        progress_line_text(&line, 79, text, sizeof text);
        assert_string_equal(text, "layer 3/5 [=====>               ]  25%  25.0/100.0 MB  10.0 MB/s  0:08 left");
}

static void line_fits_every_width(void **state) {
        (void) state;
        struct progress_rate rate = { .is_started = true, .watched_ms = 5000, .per_second = 999.9e6 };
        const uint64_t totals[] = { 0, 1, 999, 999 * MB, UINT64_C(999900) * MB, UINT64_MAX };
        for (unsigned columns = 1; columns < 300; columns++)
                for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
                        for (unsigned part = 0; part <= 4; part++) {
                                char text[256];
                                struct progress_line line = { "layer 128/128", totals[i] / 4 * part, totals[i], &rate };
                                progress_line_text(&line, columns, text, sizeof text);
                                assert_true(strlen(text) <= columns && strlen(text) < sizeof text);
                        }
}

static void narrow_line_keeps_label_and_percentage(void **state) {
        (void) state;
        struct progress_rate rate = known_rate();
        struct progress_line line = { "layer 3/5", 25 * MB, 100 * MB, &rate };
        char text[200];
        progress_line_text(&line, 20, text, sizeof text);
        assert_string_equal(text, "layer 3/5  25%");
}

static void more_than_all_is_all(void **state) {
        (void) state;
        struct progress_rate rate = known_rate();
        struct progress_line line = { "layer", 200, 100, &rate };
        char text[200];
        progress_line_text(&line, 40, text, sizeof text);
        assert_string_equal(text, "layer 100%  100/100 B");
}

static void unknown_total_has_no_bar(void **state) {
        (void) state;
        struct progress_rate rate = known_rate();
        struct progress_line line = { "layer", 1500, 0, &rate };
        char text[200];
        progress_line_text(&line, 79, text, sizeof text);
        assert_string_equal(text, "layer  1.5 kB  10.0 MB/s");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(steady_work_has_its_rate_and_time),
                cmocka_unit_test(rate_follows_a_change_within_seconds),
                cmocka_unit_test(nothing_is_promised_before_it_is_known),
                cmocka_unit_test(stalled_work_has_no_end_in_sight),
                cmocka_unit_test(odd_clocks_and_counts_do_no_harm),
                cmocka_unit_test(remaining_time_reads_as_a_clock),
                cmocka_unit_test(line_has_bar_amount_rate_and_time),
                cmocka_unit_test(line_fits_every_width),
                cmocka_unit_test(narrow_line_keeps_label_and_percentage),
                cmocka_unit_test(more_than_all_is_all),
                cmocka_unit_test(unknown_total_has_no_bar),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
