/* SPDX-License-Identifier: Apache-2.0
 *
 * The pods that are bound to this node and have not ended: which images they name, and with which pull secrets. So an
 * image that containerd unpacks is known to be theirs.
 */
#ifndef NODE_BOUND_H
#define NODE_BOUND_H

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Thread-safe. */
struct node_bound;
int node_bound_new(struct node_bound **out, struct zp_error *err);
void node_bound_free(struct node_bound *bound);
ZP_DEFINE_AUTO(struct node_bound, node_bound_free);

/* A pod as it is now; borrowed. -ENOMEM. */
int node_bound_put(struct node_bound *bound, json_t *pod, struct zp_error *err);
void node_bound_drop(struct node_bound *bound, const char *uid);

/* All pods that were there at the beginning have been put. */
void node_bound_synced(struct node_bound *bound);
/* Waits for that, `wait_ms`; -EAGAIN: nobody can say yet who names an image. */
int node_bound_await(struct node_bound *bound, unsigned wait_ms, struct zp_error *err);

/* *out: a new array of the different [{namespace, name} of each pull secret] of pods that name the image (as
 * snap_keychain_normal_name() has it); one without pull secrets is an empty one. When no pod names it, one that does is
 * waited for, `wait_ms`: the kubelet may know a pod a little earlier than we do. -ENOMEM. */
int node_bound_find(struct node_bound *bound, const char *image, unsigned wait_ms, json_t **out, struct zp_error *err);

#endif
