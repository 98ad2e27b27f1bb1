/* SPDX-License-Identifier: Apache-2.0
 *
 * The methods of containerd.services.snapshots.v1: messages in, the service's functions, messages out.
 */
#ifndef SNAP_METHODS_H
#define SNAP_METHODS_H

#include "snapshotter/control/request.h"

/* What a call may have to wait for; each kind has threads of its own. */
enum snap_pace {
        SNAP_QUICK,   /* records and small directories */
        SNAP_STARTS,  /* a mount: a container waits for it */
        SNAP_WALKS,   /* a whole tree */
        SNAP_MOUNTS,  /* a mount that is not there yet: the data plane, which may hang */
        SNAP_MAY_ASK, /* a registry, when a target is named; else as SNAP_STARTS */
        SNAP_PACES
};

struct snap_method {
        const char *path; /* as HTTP/2 has it */
        enum snap_pace pace;
        /* -EINPROGRESS: it was not is_mounting, and has to be run again as one of SNAP_MOUNTS. */
        int (*run)(struct snap_request *request, struct zp_error *err);
};

/* Ends with one without a path. */
extern const struct snap_method snap_methods[];

/* Snapshots in one message of List's answer. */
#define SNAP_LIST_PAGE 100

#endif
