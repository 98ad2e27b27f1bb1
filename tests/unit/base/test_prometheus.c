/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/prometheus.h"

static void has(const struct zp_buffer *text, const char *wanted) {
        if (!strstr(text->data, wanted))
                fail_msg("'%s' is not in:\n%s", wanted, text->data);
}

static void families_have_help_type_and_samples(void **state) {
        (void) state;
        zp_autobuffer struct zp_buffer out = { 0 };
        zp_prometheus_family(&out, "x_total", "counter", "Things.");
        zp_prometheus_sample(&out, "x_total", "of=\"a\"", 1);
        zp_prometheus_sample(&out, "x_total", "of=\"b\"", UINT64_MAX);
        zp_prometheus_single(&out, "y", "gauge", "One.", 7);
        assert_string_equal(out.data, "# HELP x_total Things.\n# TYPE x_total counter\nx_total{of=\"a\"} 1\n"
                                      "x_total{of=\"b\"} 18446744073709551615\n"
                                      "# HELP y One.\n# TYPE y gauge\ny 7\n");
}

/* Each bucket holds what is at most its bound, so they never go down, and the last is the count. */
static void buckets_are_cumulative(void **state) {
        (void) state;
        zp_autobuffer struct zp_buffer out = { 0 };
        struct zp_histogram times = { 0 };
        zp_histogram_add(&times, 0);
        zp_histogram_add(&times, 250);
        zp_histogram_add(&times, 251);
        zp_histogram_add(&times, 32768000);
        zp_histogram_add(&times, 100000000);
        zp_prometheus_histogram(&out, "t_seconds", "m=\"q\"", &times);
        has(&out, "t_seconds_bucket{m=\"q\",le=\"0.00025\"} 2\n");
        has(&out, "t_seconds_bucket{m=\"q\",le=\"0.0005\"} 3\n");
        has(&out, "t_seconds_bucket{m=\"q\",le=\"16.384\"} 3\n");
        has(&out, "t_seconds_bucket{m=\"q\",le=\"32.768\"} 4\n");
        has(&out, "t_seconds_bucket{m=\"q\",le=\"+Inf\"} 5\n");
        has(&out, "t_seconds_sum{m=\"q\"} 132.768501\n");
        has(&out, "t_seconds_count{m=\"q\"} 5\n");
        zp_prometheus_histogram(&out, "u_seconds", NULL, &times);
        has(&out, "u_seconds_bucket{le=\"+Inf\"} 5\n");
        has(&out, "u_seconds_count 5\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(families_have_help_type_and_samples),
                cmocka_unit_test(buckets_are_cumulative),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
