/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of a pod's containers have begun, and what `zeropull status` says of one. No thread, no cluster.
 */
#ifndef NODE_VERDICT_H
#define NODE_VERDICT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* Adds to `out`, by the container's id, those of the pod that began after `since` (RFC 3339, UTC) and that `known` does
 * not have: {namespace, pod, uid, container, image, started, required}. What the pod does not name any more leaves
 * `known`: a container that is started again and again has another id each time. -ENOMEM. */
int node_containers_add(json_t *pod, const char *since, json_t *known, json_t *out, struct zp_error *err);

enum node_verdict { NODE_UNKNOWN, NODE_ACCELERATED, NODE_NOT_ACCELERATED };

/* `status`: the document of `zeropull status --json`. NODE_UNKNOWN: it has no container of that id. `note` is what to
 * tell of `container`, one of the above. */
enum node_verdict node_judge(json_t *status, const char *id, json_t *container, char *note, size_t note_size);

#endif
