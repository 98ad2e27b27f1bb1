/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull-snapshotter --check`: what this node lacks, and how to get it. Found out by trying where that leaves
 * nothing behind: file systems are mounted in a process with a mount namespace of its own.
 */
#ifndef SNAP_CHECK_H
#define SNAP_CHECK_H

#include <stddef.h>

#include "snapshotter/control/config.h"

enum snap_check_state {
        SNAP_CHECK_OK,
        SNAP_CHECK_NOTE,    /* all works without it, some of it worse */
        SNAP_CHECK_MISSING, /* required */
};

struct snap_finding {
        const char *name; /* static: "overlayfs" */
        enum snap_check_state state;
        char text[384];
        const char *remedy; /* static; NULL: none is needed */
};

#define SNAP_FINDINGS_MAX 40
struct snap_check {
        struct snap_finding items[SNAP_FINDINGS_MAX];
        size_t count;
};

void snap_check_add(struct snap_check *check, const char *name, enum snap_check_state state, const char *remedy,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* check-node.c: rights, kernel, file system of the root directory. */
void snap_check_node(struct snap_check *check, const struct snap_config *config);
/* check-containerd.c: its version and settings. `file`: its configuration. The settings in effect come from the
 * `containerd` in PATH, when there is one; else what the file says has to do. */
void snap_check_containerd(struct snap_check *check, const struct snap_config *config, const char *file);

/* Checks everything and prints it, for people or as JSON. 0: all that is required is there, 1: it is not; -ENOMEM. */
int snap_check_run(const struct snap_config *config, const char *containerd_config, bool as_json, struct zp_error *err);

#endif
