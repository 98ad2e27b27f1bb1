/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics and /healthz of the control plane.
 */
#ifndef SNAP_METRICS_SERVER_H
#define SNAP_METRICS_SERVER_H

#include "base/cleanup.h"
#include "snapshotter/control/metrics.h"

struct snap_metrics_server;

/* Listens at "ADDRESS:PORT"; a thread of its own answers. *port is the one the kernel gave, where 0 was asked for. What
 * `sources` names must outlive the server. */
int snap_metrics_server_new(const char *listen, const struct snap_metrics_sources *sources,
                            struct snap_metrics_server **out, unsigned *port, struct zp_error *err);
void snap_metrics_server_free(struct snap_metrics_server *server);
ZP_DEFINE_AUTO(struct snap_metrics_server, snap_metrics_server_free);

#endif
