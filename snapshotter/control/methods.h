/* SPDX-License-Identifier: Apache-2.0
 *
 * The methods of containerd.services.snapshots.v1: messages in, the service's functions, messages out.
 */
#ifndef SNAP_METHODS_H
#define SNAP_METHODS_H

#include "snapshotter/control/request.h"

struct snap_method {
        const char *path; /* as HTTP/2 has it */
        bool is_slow;     /* walks a tree, or waits: such calls have threads of their own */
        int (*run)(struct snap_request *request, struct zp_error *err);
};

/* Ends with one without a path. */
extern const struct snap_method snap_methods[];

/* Snapshots in one message of List's answer. */
#define SNAP_LIST_PAGE 100

#endif
