/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC: connections in, method calls to the threads that run them, answers out.
 */
#ifndef SNAP_SERVER_H
#define SNAP_SERVER_H

#include "base/cleanup.h"
#include "base/error.h"
#include "snapshotter/control/metrics.h"
#include "snapshotter/control/service.h"

struct snap_server;

/* The service and the metrics must outlive the server. */
int snap_server_new(struct snap_service *service, struct snap_metrics *metrics, struct snap_server **out,
                    struct zp_error *err);
/* Serves a connection from now on; takes over `fd`. */
void snap_server_add_connection(struct snap_server *server, int fd);
/* Takes no new calls; those under way have `grace_ms` to end, and are cancelled then. */
void snap_server_stop(struct snap_server *server, unsigned grace_ms);
/* Stops at once, if it still runs, and frees. */
void snap_server_free(struct snap_server *server);
ZP_DEFINE_AUTO(struct snap_server, snap_server_free);

#endif
