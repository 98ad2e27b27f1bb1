/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's processes: a supervisor, and the control and data planes that it starts. Without acceleration the
 * control plane is all there is.
 */
#ifndef SNAP_NODE_H
#define SNAP_NODE_H

#include "snapshotter/control/config.h"

enum snap_part { SNAP_WHOLE, SNAP_CONTROL_PLANE, SNAP_DATA_PLANE };

/* What this process is, by its first argument. */
enum snap_part snap_node_part(int argc, char **argv);
/* Runs until it is told to end: 0. The arguments are this process's. */
int snap_node_run(enum snap_part part, const struct snap_config *config, int argc, char **argv, struct zp_error *err);

#endif
