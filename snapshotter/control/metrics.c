/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/metrics.h"

#include <stdio.h>
#include <string.h>

#define P "zeropull_snapshotter_"
#define ANSWER_MS 500

enum snap_why snap_why_of(int result) {
        switch (-result) {
        case ENOENT:
                return SNAP_WHY_NO_SNAPSHOT;
        case EACCES:
        case EPERM:
                return SNAP_WHY_DENIED;
        case ETIMEDOUT:
                return SNAP_WHY_TIMEOUT;
        case EBADMSG:
        case EINVAL:
        case EFBIG:
        case ENOTSUP:
                return SNAP_WHY_MALFORMED;
        case ENOSPC:
        case EDQUOT:
                return SNAP_WHY_NO_SPACE;
        default:
                return SNAP_WHY_OTHER;
        }
}

const char *snap_why_name(enum snap_why why) {
        static const char *const names[SNAP_WHYS] = { "no_snapshot", "denied",   "timeout",
                                                      "malformed",   "no_space", "other" };
        return names[why];
}

void snap_metrics_decided(struct snap_metrics *metrics, int result, uint64_t took_us) {
        zp_histogram_add(&metrics->decision_took, took_us);
        if (result < 0)
                atomic_fetch_add(&metrics->not_accelerated[snap_why_of(result)], 1);
        else
                atomic_fetch_add(&metrics->accelerated, 1);
}

/* ---- calls ---- */

static void add_codes(struct snap_metrics *m, struct zp_buffer *out) {
        static const char *const codes[SNAP_METRICS_CODES] = {
                "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
                "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
                "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
                "DATA_LOSS", "UNAUTHENTICATED"
        };
        char labels[96];
        zp_prometheus_family(out, P "grpc_requests_total", "counter", "Calls that were answered, by method and code.");
        for (size_t i = 0; i < SNAP_METRICS_METHODS && m->methods[i].name; i++)
                for (size_t code = 0; code < SNAP_METRICS_CODES; code++) {
                        uint64_t value = atomic_load(&m->methods[i].codes[code]);
                        snprintf(labels, sizeof labels, "method=\"%s\",code=\"%s\"", m->methods[i].name, codes[code]);
                        if (value || code == 0)
                                zp_prometheus_sample(out, P "grpc_requests_total", labels, value);
                }
        zp_prometheus_sample(out, P "grpc_requests_total", "method=\"unknown\",code=\"UNIMPLEMENTED\"",
                             atomic_load(&m->unknown_methods));
}

static void add_calls(struct snap_metrics *m, struct zp_buffer *out) {
        char labels[64];
        add_codes(m, out);
        zp_prometheus_family(out, P "grpc_request_seconds", "histogram", "From a call's arrival until its answer.");
        for (size_t i = 0; i < SNAP_METRICS_METHODS && m->methods[i].name; i++) {
                snprintf(labels, sizeof labels, "method=\"%s\"", m->methods[i].name);
                zp_prometheus_histogram(out, P "grpc_request_seconds", labels, &m->methods[i].took);
        }
}

static void add_decisions(struct snap_metrics *m, struct zp_buffer *out) {
        char labels[64];
        zp_prometheus_single(out, P "images_accelerated_total", "counter",
                             "Times an image was asked about, and a snapshot of it can be used.",
                             atomic_load(&m->accelerated));
        zp_prometheus_family(out, P "images_not_accelerated_total", "counter",
                             "Times an image was asked about, and is pulled as ever, by reason.");
        for (size_t i = 0; i < SNAP_WHYS; i++) {
                snprintf(labels, sizeof labels, "reason=\"%s\"", snap_why_name((enum snap_why) i));
                zp_prometheus_sample(out, P "images_not_accelerated_total", labels,
                                     atomic_load(&m->not_accelerated[i]));
        }
        zp_prometheus_family(out, P "image_decision_seconds", "histogram",
                             "How long it took to find out about an image, with the fetch of its metadata.");
        zp_prometheus_histogram(out, P "image_decision_seconds", NULL, &m->decision_took);
}

/* ---- the node's state ---- */

static void add_records(struct snap_metastore *metastore, struct zp_buffer *out) {
        struct snap_counts counts;
        if (snap_metastore_count(metastore, &counts, NULL) < 0)
                return;
        zp_prometheus_family(out, P "snapshots", "gauge", "Snapshots there are, by kind.");
        zp_prometheus_sample(out, P "snapshots", "kind=\"view\"", counts.snapshots[SNAP_VIEW]);
        zp_prometheus_sample(out, P "snapshots", "kind=\"active\"", counts.snapshots[SNAP_ACTIVE]);
        zp_prometheus_sample(out, P "snapshots", "kind=\"committed\"", counts.snapshots[SNAP_COMMITTED]);
        zp_prometheus_single(out, P "accelerated_snapshots", "gauge", "Of them: layers that were not downloaded.",
                             counts.accelerated);
}

static void add_cache(const char *store, struct zp_buffer *out) {
        struct snap_cache_use use;
        if (snap_cache_use(store, &use, NULL) < 0)
                return;
        zp_prometheus_single(out, P "cache_bytes", "gauge", "Disk space that local copies of devices take.", use.bytes);
        zp_prometheus_single(out, P "cache_devices", "gauge", "Local copies of devices.", use.copies);
        zp_prometheus_single(out, P "cache_complete_devices", "gauge", "Of them: those without a gap.", use.complete);
}

/* ---- the data plane ---- */

static void add_read_times(const struct snap_statistics *s, struct zp_buffer *out) {
        struct zp_histogram times = { .sum_us = snap_statistics_get(s, "read_us") };
        char name[32];
        for (unsigned i = 0; i <= ZP_HISTOGRAM_BOUNDS; i++) {
                snprintf(name, sizeof name, "read_time_%u", i);
                times.counts[i] = snap_statistics_get(s, name);
        }
        zp_prometheus_family(out, P "device_read_seconds", "histogram", "How long the kernel's reads of devices took.");
        zp_prometheus_histogram(out, P "device_read_seconds", NULL, &times);
}

static void add_data_plane(struct snap_metrics_sources *sources, struct zp_buffer *out) {
        static const struct {
                const char *name, *metric, *help;
        } counters[] = {
                { "starts", P "data_plane_starts_total", "Starts of the data plane under this supervisor." },
                { "reads", P "device_reads_total", "Reads of devices by the kernel." },
                { "waited_reads", P "device_waited_reads_total", "Of them: those that had to wait for a fetch." },
                { "failed_reads", P "device_failed_reads_total", "Of them: those answered with an error." },
                { "fetched_bytes", P "fetched_bytes_total", "Bytes of packs that were fetched and verified." },
                { "fetched_frames", P "verified_frames_total", "Frames that were fetched and are right." },
                { "ahead_frames", P "ahead_frames_total", "Of them: those nobody waited for yet." },
                { "wrong_frames", P "wrong_frames_total", "Frames that are not what their index says." },
                { "failed_fetches", P "failed_fetches_total", "Fetches of frames that failed otherwise." },
                { "unkept_frames", P "unkept_frames_total", "Frames that were answered and not kept on disk." },
                { "evicted_copies", P "cache_evictions_total", "Local copies removed to make room." },
                { "requests", P "origin_requests_total", "Requests to registries and mirrors." },
                { "connections", P "origin_connections_total", "Connections to them." },
                { "retries", P "origin_retries_total", "Requests that were sent again." },
                { "received_bytes", P "origin_received_bytes_total", "Bytes received from them." },
        };
        struct snap_statistics s;
        bool is_up = snap_statistics_ask(&sources->asker, sources->devices, ANSWER_MS, &s, NULL) == 0;
        zp_prometheus_single(out, P "data_plane_up", "gauge", "1 when the data plane answers.", is_up);
        if (!is_up)
                return;
        for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
                zp_prometheus_single(out, counters[i].metric, "counter", counters[i].help,
                                     snap_statistics_get(&s, counters[i].name));
        add_read_times(&s, out);
}

bool snap_metrics_text(struct snap_metrics_sources *sources, struct zp_buffer *out) {
        zp_prometheus_family(out, P "build_info", "gauge", "The daemon's version.");
        zp_prometheus_sample(out, P "build_info", "version=\"" ZP_VERSION "\"", 1);
        add_calls(sources->metrics, out);
        add_decisions(sources->metrics, out);
        add_records(sources->metastore, out);
        add_cache(sources->store, out);
        if (sources->has_data_plane)
                add_data_plane(sources, out);
        /* a buffer that could not grow has lost its end, and maybe more */
        return zp_buffer_text(out, "# end\n");
}
