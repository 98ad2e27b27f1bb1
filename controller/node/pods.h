/* SPDX-License-Identifier: Apache-2.0
 *
 * Says in events of the node's pods whether their containers were accelerated: a container's snapshot has its id, and
 * `zeropull status` knows what it shows.
 */
#ifndef NODE_PODS_H
#define NODE_PODS_H

#include "base/cleanup.h"
#include "controller/node/agent.h"

/* What a pod may ask for. "required": a container that is not accelerated is a Warning. The snapshotter with an
 * image_service goes by it as well (zeropull-snapshotter(8)). */
#define NODE_POD_ANNOTATION "zeropull.dev/acceleration"

struct node_pods;
/* Starts to watch. Containers that began before the last one that was judged (ROOT/node-agent-since), the first time
 * before now, are not spoken of. */
int node_pods_start(const struct node_options *options, struct node_pods **out, struct zp_error *err);
/* When the options' flag is set. */
void node_pods_stop(struct node_pods *pods);
ZP_DEFINE_AUTO(struct node_pods, node_pods_stop);

#endif
