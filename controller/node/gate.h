/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps a pod's word about its acceleration: a container that is not as the annotation wants it is not made.
 */
#ifndef NODE_GATE_H
#define NODE_GATE_H

#include "controller/node/nri.h"

/* What a pod may want: "required" or "never". */
#define NODE_POD_ANNOTATION "zeropull.dev/acceleration"

/* As struct node_nri_options wants it; the context is the snapshotter's root directory. -EPERM: not as the pod wants
 * it; -EINVAL: nobody knows what it wants; else it cannot be told. */
int node_gate_check(void *root, const struct node_nri_container *container, struct zp_error *err);

#endif
