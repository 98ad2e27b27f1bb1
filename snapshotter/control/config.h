/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's configuration file.
 *
 *   version: 1
 *   root: /var/lib/zeropull-snapshotter
 *   address: /run/zeropull/snapshotter.sock
 *   log_level: info          # debug, info, warn, error
 *   remap_ids: false         # containerd maps ids at the mount (2.x, capability "remap-ids")
 */
#ifndef SNAP_CONFIG_H
#define SNAP_CONFIG_H

#include <stdbool.h>

#include "base/error.h"
#include "snapshotter/control/log.h"

struct snap_config {
        char *root, *address; /* NULL: not given */
        enum snap_log_level log_level;
        bool remap_ids;
};

void snap_config_init(struct snap_config *config);
void snap_config_clear(struct snap_config *config);
/* Reads the file into a config that was initialised. -EINVAL with "path:line: " for anything not understood. */
int snap_config_load(const char *path, struct snap_config *config, struct zp_error *err);

#endif
