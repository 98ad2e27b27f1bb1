/* SPDX-License-Identifier: Apache-2.0
 *
 * What the planner decides, without a cluster: from objects, nodes and caches, each reduced to what matters, to what
 * each node shall have. All is kept in JSON: the maps are jansson's hash tables, and a decision is compared with what
 * is in the cluster by json_equal(3).
 *
 * An object's images go to at most `parallelism` of its nodes at a time. What was decided is remembered where it was
 * written, in the caches' specs: an image that is there stays until its object, its node's labels or the object's list
 * say otherwise, and a moved tag's old snapshot stays until the new one's turn has come.
 *
 * Of objects that want different images under one name (a tag has moved, and one of them does not track it) the
 * youngest has the name; what the others want is listed under the name with its digest behind it, until they want
 * another.
 */
#ifndef CONTROLLER_WARMUP_PLAN_H
#define CONTROLLER_WARMUP_PLAN_H

#include <jansson.h>

#include "base/error.h"
#include "controller/warmup.h"

/* Of one node, as in the CRD of NodeSnapshotCache. */
#define WARMUP_IMAGES_MAX 512
#define WARMUP_IMAGE_SIZE_MAX 512 /* of a name */
/* Of their JSON: with what the node says of each, and with who manages which field, an object has to fit into 1.5 MiB.
 */
#define WARMUP_LIST_SIZE_MAX ((size_t) 256 << 10)

/* Each: a new reference with what the planner needs of it. *out NULL: nothing (an object without spec.warmUp, one that
 * is being deleted). An object with a spec.target that is none of the options' has no images and secrets then.
 * -EBADMSG: not such an object, -ENOMEM. */
int warmup_reduce_object(const struct warmup_options *options, json_t *object, json_t **out, struct zp_error *err);
int warmup_reduce_node(json_t *node, json_t **out, struct zp_error *err);
int warmup_reduce_cache(json_t *cache, json_t **out, struct zp_error *err);

/* "namespace/name" to reduced object, name to reduced node, name to reduced cache; all borrowed. */
struct warmup_world {
        json_t *objects, *nodes, *caches;
};

/* *changes: node name to its new spec.images, of those nodes that have another one now. *counts: object key to a
 * [desired, ready, failed]. Both are the caller's. -ENOMEM only. */
int warmup_decide(const struct warmup_world *world, json_t **changes, json_t **counts, struct zp_error *err);

#endif
