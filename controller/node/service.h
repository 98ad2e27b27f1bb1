/* SPDX-License-Identifier: Apache-2.0
 *
 * Plays the service manager for a daemon in a container, as its first process: starts it again when it dies, and leaves
 * the descriptors that it hands over (sd_notify(3): FDSTORE=1) with a keeper in another pod, from which the next pod's
 * daemon gets them (sd_listen_fds(3)).
 *
 * The daemon is told by ZEROPULL_MOUNT_STAYS=1 that its mount is not to be taken away when it ends: its successor in
 * another mount namespace wants it, and could not see there that it is in use.
 */
#ifndef NODE_SERVICE_H
#define NODE_SERVICE_H

#include "base/error.h"

struct node_service {
        const char *keeper; /* its socket */
        const char *name;   /* of the descriptor that is kept */
        char *const *argv;  /* the daemon; NULL-terminated */
};

/* Runs the daemon until SIGTERM or SIGINT, which it gets, and which end it for good; SIGHUP it gets as well. A keeper
 * that is not there is waited for in the background. Returns the daemon's exit code. */
int node_service_run(const struct node_service *service, struct zp_error *err);

#endif
