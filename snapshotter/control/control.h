/* SPDX-License-Identifier: Apache-2.0
 *
 * The control plane: the process that answers containerd.
 */
#ifndef SNAP_CONTROL_H
#define SNAP_CONTROL_H

#include "snapshotter/control/config.h"

/* What it may take to end after SIGTERM: pulls and calls that are under way have their time, and what is open is closed.
 * With the data plane's, less than what Kubernetes leaves a pod (30 s). */
#define SNAP_CONTROL_END_MS 17000

/* Serves who connects to `listener`, a listening socket of the caller's that does not block, until SIGTERM or SIGINT;
 * then ends what is under way and returns 0. Mounts stay as they are. What the settings name
 * and is not there is logged once in the life of a supervisor. Call it while the process has one thread. */
int snap_control_run(const struct snap_config *config, int listener, struct zp_error *err);

#endif
