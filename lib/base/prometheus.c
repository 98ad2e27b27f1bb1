/* SPDX-License-Identifier: Apache-2.0 */
#include "base/prometheus.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define FIRST_BOUND_US 250

static void add(struct zp_buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct zp_buffer *out, const char *format, ...) {
        char text[512];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        zp_buffer_text(out, text);
}

void zp_prometheus_family(struct zp_buffer *out, const char *name, const char *type, const char *help) {
        add(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void zp_prometheus_sample(struct zp_buffer *out, const char *name, const char *labels, uint64_t value) {
        if (labels)
                add(out, "%s{%s} %" PRIu64 "\n", name, labels, value);
        else
                add(out, "%s %" PRIu64 "\n", name, value);
}

void zp_prometheus_single(struct zp_buffer *out, const char *name, const char *type, const char *help, uint64_t value) {
        zp_prometheus_family(out, name, type, help);
        zp_prometheus_sample(out, name, NULL, value);
}

void zp_histogram_add(struct zp_histogram *histogram, uint64_t time_us) {
        unsigned i = 0;
        while (i < ZP_HISTOGRAM_BOUNDS && time_us > (uint64_t) FIRST_BOUND_US << i)
                i++;
        atomic_fetch_add_explicit(&histogram->counts[i], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&histogram->sum_us, time_us, memory_order_relaxed);
}

void zp_prometheus_histogram(struct zp_buffer *out, const char *name, const char *labels,
                             const struct zp_histogram *histogram) {
        const char *own = labels ? labels : "", *comma = labels ? "," : "";
        unsigned long long total = 0, sum_us = atomic_load(&histogram->sum_us);
        for (unsigned i = 0; i <= ZP_HISTOGRAM_BOUNDS; i++) {
                char bound[32] = "+Inf";
                if (i < ZP_HISTOGRAM_BOUNDS)
                        snprintf(bound, sizeof bound, "%.8g", (double) ((uint64_t) FIRST_BOUND_US << i) / 1e6);
                total += atomic_load(&histogram->counts[i]);
                add(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, own, comma, bound, total);
        }
        const char *open = labels ? "{" : "", *close = labels ? "}" : "";
        add(out, "%s_sum%s%s%s %.6f\n", name, open, own, close, (double) sum_us / 1e6);
        add(out, "%s_count%s%s%s %llu\n", name, open, own, close, total);
}
