/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's configuration file.
 *
 *   version: 1
 *   root: /var/lib/zeropull-snapshotter
 *   address: /run/zeropull/snapshotter.sock
 *   log_level: info          # debug, info, warn, error
 *   remap_ids: false         # containerd maps ids at the mount (2.x, capability "remap-ids")
 *   accelerate: true         # use snapshots of images
 *   store: /var/lib/zeropull # where they are kept; without it: ROOT/store
 *   policy: /etc/zeropull/policy.yaml
 *   registry_timeout_s: 10
 *   auth_file: /root/.docker/config.json
 *   ca_file: /etc/ssl/registry.pem
 *   metrics: 127.0.0.1:9273  # where HTTP is served: /metrics, /healthz; without it: nowhere
 *   check_rights: true       # what is in the store is for those who may read the image
 *   image_service: /run/zeropull/image.sock # CRI's, passed on to containerd, to learn who pulls
 *   containerd: /run/containerd/containerd.sock
 *   agent: /run/zeropull/agent.sock # zeropull-node's, which knows whose pods wait for an image
 *
 * and what config-data.h and reports.h have.
 */
#ifndef SNAP_CONFIG_H
#define SNAP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "snapshotter/control/config-data.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/reports.h"

/* Where deploy/snapshotter puts things. */
#define SNAP_CONFIG_PATH "/etc/zeropull/snapshotter.yaml"
#define SNAP_CONFIG_ROOT "/var/lib/zeropull-snapshotter"
#define SNAP_CONFIG_ADDRESS "/run/zeropull/snapshotter.sock"

struct snap_config {
        char *root, *address; /* NULL: not given */
        enum snap_log_level log_level;
        bool remap_ids, accelerate, check_rights;
        char *policy, *auth_file, *ca_file, *metrics; /* NULL: not given */
        char *image_service, *agent;                  /* likewise; at most one of them */
        char *containerd;                             /* its socket; after snap_config_finish() always given */
        char *store;                                  /* after snap_config_finish() always given */
        char *devices;                                /* ROOT/devices: the data plane's file system */
        bool serves_devices;                          /* there is a data plane: set by the node */
        size_t registry_timeout_s;
        struct snap_config_data data;
        struct snap_config_reports reports;
        char *starts; /* ROOT/starts: what the data plane saw of starts */
};

void snap_config_init(struct snap_config *config);
void snap_config_clear(struct snap_config *config);
/* Reads the file into a config that was initialised. -EINVAL with "path:line: " for anything not understood. */
int snap_config_load(const char *path, struct snap_config *config, struct zp_error *err);
/* Whether settings and options fit each other, with root and address given: -EINVAL for sockets that are one, and
 * directories that cannot be, or are for something else. */
int snap_config_check(const struct snap_config *config, struct zp_error *err);
/* Whether others than its owner may write into a store: what lies there, containers run. False when there is none. */
bool snap_config_is_open_to_writers(const char *store);
/* A path without symbolic links, or of what is not there as it is written. malloc'ed. */
char *snap_config_resolve(const char *path);
/* The setting, or, before snap_config_finish() fills it in, what follows from the root directory. malloc'ed. */
char *snap_config_store(const struct snap_config *config);
/* Fills in what follows from the root directory, which is made, and its path resolved. */
int snap_config_finish(struct snap_config *config, struct zp_error *err);

#endif
