/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics as Prometheus reads them: the text exposition format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/), and histograms of times.
 */
#ifndef ZP_BASE_PROMETHEUS_H
#define ZP_BASE_PROMETHEUS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buffer.h"

#define ZP_PROMETHEUS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Says what the samples that follow are: `type` is "counter", "gauge" or "histogram". */
void zp_prometheus_family(struct zp_buffer *out, const char *name, const char *type, const char *help);
/* `labels` is what stands between the braces (method="Stat"), its values without quotes, backslashes and ends of lines;
 * NULL: none. */
void zp_prometheus_sample(struct zp_buffer *out, const char *name, const char *labels, uint64_t value);
/* A family of one sample. */
void zp_prometheus_single(struct zp_buffer *out, const char *name, const char *type, const char *help, uint64_t value);

/* Times: up to 0.25 ms, and each next bound twice the last, up to 32.768 s; then all others. A zeroed one is empty. */
#define ZP_HISTOGRAM_BOUNDS 18
struct zp_histogram {
        atomic_ullong counts[ZP_HISTOGRAM_BOUNDS + 1]; /* each time in one of them */
        atomic_ullong sum_us;
};
/* Any thread. */
void zp_histogram_add(struct zp_histogram *histogram, uint64_t time_us);
/* The family's samples; its name ends in _seconds. */
void zp_prometheus_histogram(struct zp_buffer *out, const char *name, const char *labels,
                             const struct zp_histogram *histogram);

#endif
