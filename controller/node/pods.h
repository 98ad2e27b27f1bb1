/* SPDX-License-Identifier: Apache-2.0
 *
 * Watches the node's pods, and says in events on them whether their containers were accelerated: a container's snapshot
 * has its id, and `zeropull status` knows what it shows.
 */
#ifndef NODE_PODS_H
#define NODE_PODS_H

#include "base/cleanup.h"
#include "controller/node/agent.h"

struct node_bound;
struct node_pods;
/* Starts to watch. `bound` (NULL: nobody wants it) is told of each pod, and outlives this. Events are posted as far as
 * the options want them. Containers that began before the last one that was judged (ROOT/node-agent-since), the first
 * time before now, are not spoken of. */
int node_pods_start(const struct node_options *options, struct node_bound *bound, struct node_pods **out,
                    struct zp_error *err);
/* When the options' flag is set. */
void node_pods_stop(struct node_pods *pods);
ZP_DEFINE_AUTO(struct node_pods, node_pods_stop);

#endif
