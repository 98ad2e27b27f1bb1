/* SPDX-License-Identifier: Apache-2.0
 *
 * The controller's metrics.
 */
#include <stdio.h>

#include "base/prometheus.h"
#include "controller/parts.h"

static void figure(struct zp_buffer *out, const char *name, const char *kind, const char *help, uint64_t value) {
        char full[64];
        snprintf(full, sizeof full, "zeropull_controller_%s", name);
        zp_prometheus_single(out, full, kind, help, value);
}

static void write_counters(struct zp_buffer *out, struct ctl_counters *c) {
        const struct {
                const char *name, *help;
                atomic_ullong *value;
        } counters[] = {
                { "reconciles_total", "Looks at an object.", &c->reconciles },
                { "reconcile_failures_total", "Those that failed and are tried again.", &c->failures },
                { "checks_total", "Questions to registries what an image's name stands for.", &c->checks },
                { "resolved_total", "Those that were answered.", &c->resolved },
                { "builds_started_total", "Builds that were started.", &c->builds_started },
                { "builds_done_total", "Builds that ended with a snapshot.", &c->builds_done },
                { "builds_failed_total", "Builds that ended without.", &c->builds_failed },
                { "snapshots_found_total", "Snapshots that were there already.", &c->found },
                { "status_writes_total", "Writes of an object's status.", &c->status_writes },
        };
        for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
                figure(out, counters[i].name, "counter", counters[i].help, atomic_load(counters[i].value));
}

static void write_watches(struct zp_buffer *out, struct ctl_controller *c) {
        struct zp_kube_reflector *snapshots = c->snapshots;
        if (!snapshots)
                return;
        struct zp_kube_reflector_statistics s = zp_kube_reflector_statistics(snapshots);
        figure(out, "lists_total", "counter", "Lists of all ImageSnapshots; one in steady state.", s.lists);
        figure(out, "watches_total", "counter", "Watches of ImageSnapshots.", s.watches);
        figure(out, "watch_events_total", "counter", "What they told, bookmarks included.", s.events);
        figure(out, "watch_failures_total", "counter", "What broke and was begun again.", s.failures);
}

bool ctl_figures_write(void *context, struct zp_buffer *out) {
        struct ctl_controller *c = context;
        struct ctl_queue_statistics queue = ctl_queue_statistics(c->world.queue);
        struct ctl_slots_statistics slots = ctl_slots_statistics(c->world.slots);
        struct zp_kube_statistics kube = zp_kube_statistics(c->world.kube);
        figure(out, "leader", "gauge", "1: this process is the leader.", atomic_load(&c->is_leader));
        figure(out, "imagesnapshots", "gauge", "ImageSnapshots.", ctl_cache_size(c->world.snapshots));
        figure(out, "clusterimagesnapshots", "gauge", "ClusterImageSnapshots.", ctl_cache_size(c->world.clusters));
        figure(out, "queue_ready", "gauge", "Objects that wait for a worker.", queue.ready);
        figure(out, "queue_waiting", "gauge", "Objects that wait for a time.", queue.waiting);
        figure(out, "builds_running", "gauge", "Builds that count against job.concurrency.", slots.held);
        figure(out, "builds_waiting", "gauge", "Builds that wait for their turn.", slots.waiting);
        write_counters(out, &c->world.counters);
        write_watches(out, c);
        figure(out, "api_requests_total", "counter", "Requests to the API server.", kube.requests);
        figure(out, "api_failures_total", "counter", "Those without an answer, or with a 5xx.", kube.failures);
        figure(out, "api_throttled_total", "counter", "Answers 429.", kube.throttled);
        return out->data != NULL;
}
