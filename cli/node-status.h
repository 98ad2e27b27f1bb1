/* SPDX-License-Identifier: Apache-2.0
 *
 * What the snapshotter of this node has done and is doing, as far as its files tell: it need not run.
 */
#ifndef ZP_CLI_NODE_STATUS_H
#define ZP_CLI_NODE_STATUS_H

#include <jansson.h>

#include "base/error.h"

/* `store`: of its snapshots; it need not be there. *out is the document that zeropull-status(1) describes, the caller's.
 * -ENOENT: no snapshotter has used `root`. */
int cli_node_status(const char *root, const char *store, json_t **out, struct zp_error *err);

#endif
