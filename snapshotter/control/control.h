/* SPDX-License-Identifier: Apache-2.0
 *
 * The control plane: the process that answers containerd.
 */
#ifndef SNAP_CONTROL_H
#define SNAP_CONTROL_H

#include "snapshotter/control/config.h"

/* Serves until SIGTERM or SIGINT, then ends what is under way and returns 0; mounts stay as they are. Call it while
 * the process has one thread. */
int snap_control_run(const struct snap_config *config, struct zp_error *err);

#endif
