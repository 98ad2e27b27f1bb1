/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's processes: a supervisor, and the control and data planes that it starts. Without acceleration, and
 * nobody who was accelerated before, the control plane is all there is.
 */
#ifndef SNAP_NODE_H
#define SNAP_NODE_H

#include "snapshotter/control/config.h"

/* Runs until it is told to end: 0. The arguments are this process's, where they were when it began. */
int snap_node_run(const struct snap_config *config, int argc, char **argv, struct zp_error *err);

#endif
