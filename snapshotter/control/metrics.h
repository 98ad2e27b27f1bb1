/* SPDX-License-Identifier: Apache-2.0
 *
 * What the control plane counts, and all of the daemon's metrics as Prometheus reads them.
 */
#ifndef SNAP_METRICS_H
#define SNAP_METRICS_H

#include "base/prometheus.h"
#include "snapshotter/control/metastore.h"
#include "snapshotter/control/statistics.h"

/* Why an image is not accelerated, for counting: few, and always the same. */
enum snap_why {
        SNAP_WHY_NO_SNAPSHOT, /* the registry has none */
        SNAP_WHY_DENIED,      /* by the policy, or the registry */
        SNAP_WHY_TIMEOUT,
        SNAP_WHY_MALFORMED,
        SNAP_WHY_NO_SPACE,
        SNAP_WHY_OTHER,
        SNAP_WHYS
};
enum snap_why snap_why_of(int result);
/* "no_snapshot", … */
const char *snap_why_name(enum snap_why why);

#define SNAP_METRICS_METHODS 10
#define SNAP_METRICS_CODES 17 /* gRPC's status codes */

/* Since the process started; a zeroed one is ready. Any thread counts. */
struct snap_metrics {
        struct {
                const char *name; /* "Prepare" */
                atomic_ullong codes[SNAP_METRICS_CODES];
                struct zp_histogram took;
        } methods[SNAP_METRICS_METHODS];
        atomic_ullong unknown_methods;
        atomic_ullong accelerated, not_accelerated[SNAP_WHYS];
        struct zp_histogram decision_took;
};

/* An image was asked about: `result` is 0, or the negative errno of the reason. */
void snap_metrics_decided(struct snap_metrics *metrics, int result, uint64_t took_us);

/* Where the other numbers come from. */
struct snap_metrics_sources {
        struct snap_metrics *metrics;
        struct snap_metastore *metastore;
        const char *root, *store, *devices;
        bool has_data_plane;
        struct snap_statistics_asker asker;
};
/* Waits half a second for the data plane, no longer. False: no memory; what cannot be known is left out. */
bool snap_metrics_text(struct snap_metrics_sources *sources, struct zp_buffer *out);

#endif
