/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin of NRI, the Node Resource Interface: containerd asks it before it makes a container. On the socket are two
 * connections (frames with a number and a size, big-endian), on each of which ttrpc is spoken: on the first containerd
 * calls the plugin, on the second the plugin calls containerd, to register.
 */
#ifndef NODE_NRI_H
#define NODE_NRI_H

#include "base/cancel.h"
#include "base/cleanup.h"

/* Its name there; its index is 50. */
#define NODE_NRI_PLUGIN "zeropull"

struct node_nri_container {
        const char *id, *name, *pod, *namespace;
        const char *annotation; /* of the pod, the one that was asked for; NULL: it has none */
};

struct node_nri_options {
        const char *path;       /* the runtime's socket */
        const char *annotation; /* the key of the one that is wanted */
        /* Negative: the container is not made, and *err is what the kubelet is told. To be answered within a second or
         * so: containerd waits for two, and then goes on without the plugin. On a thread of this module's. */
        int (*check)(void *context, const struct node_nri_container *container, struct zp_error *err);
        void *context;
        const struct zp_cancel *cancel;
};

struct node_nri;
/* Connects, and again whenever that is over: each second, or up to a minute later when the runtime refuses the plugin.
 * The log has it once for each reason, until the runtime has called the plugin again. What the options refer to outlives it. */
int node_nri_start(const struct node_nri_options *options, struct node_nri **out, struct zp_error *err);
/* When the options' flag is set. */
void node_nri_stop(struct node_nri *nri);
ZP_DEFINE_AUTO(struct node_nri, node_nri_stop);

/* One connection, to its end; for tests. 0: the other side ended it in order; -EBADMSG; -ECANCELED. */
int node_nri_serve(const struct node_nri_options *options, int fd, struct zp_error *err);

#endif
