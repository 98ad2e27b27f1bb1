/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/model/time.h"

static void durations_are_those_of_kubernetes(void **state) {
        (void) state;
        static const struct {
                const char *text;
                int64_t seconds; /* -1: it is none */
        } cases[] = {
                { "30s", 30 },
                { "5m", 300 },
                { "1h30m", 5400 },
                { "168h", 604800 },
                { "0s", 0 },
                { "1m1m", 120 },
                { "", -1 },
                { "5", -1 },
                { "m", -1 },
                { "5d", -1 },
                { "-5m", -1 },
                { "5m ", -1 },
                { "1.5h", -1 },
                { "5 m", -1 },
                { "5ms", -1 },
                { "h5m", -1 },
                { "99999999999s", -1 },
                { "9999999999h", -1 },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                int64_t seconds = -1;
                if (!ctl_parse_duration(cases[i].text, &seconds))
                        seconds = -1;
                if (seconds != cases[i].seconds)
                        fail_msg("'%s': %lld", cases[i].text, (long long) seconds);
        }
}

static void times_are_read_in_every_form_the_api_writes(void **state) {
        (void) state;
        static const struct {
                const char *text;
                int64_t seconds; /* 0: it is none */
        } cases[] = {
                { "2026-01-02T03:04:05Z", 1767323045 },
                { "2026-01-02T03:04:05.123456Z", 1767323045 },
                { "2026-01-02T04:04:05+01:00", 1767323045 },
                { "2026-01-01T21:34:05-05:30", 1767323045 },
                { "2026-01-02T03:04:05", 0 },
                { "2026-01-02", 0 },
                { "2026-13-02T03:04:05Z", 0 },
                { "2026-01-02T03:04:05.Z", 0 },
                { "2026-01-02T03:04:05Zz", 0 },
                { "2026-01-02T03:04:05+0100", 0 },
                { "", 0 },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                int64_t seconds = 0;
                if (!ctl_parse_time(cases[i].text, &seconds))
                        seconds = 0;
                if (seconds != cases[i].seconds)
                        fail_msg("'%s': %lld", cases[i].text, (long long) seconds);
        }
        char text[CTL_TIME_SIZE];
        assert_string_equal(ctl_time_text(1767323045, text), "2026-01-02T03:04:05Z");
        assert_string_equal(ctl_time_text(0, text), "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(durations_are_those_of_kubernetes),
                cmocka_unit_test(times_are_read_in_every_form_the_api_writes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
