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

/* Whether a daemon that runs may be replaced by one with this configuration, if it is a daemon that asks (SIGHUP):
 * -EBUSY when that would take root, socket or store away from what uses them. 0 for anybody else. */
int snap_node_may_follow(const struct snap_config *config, struct zp_error *err);

#endif
