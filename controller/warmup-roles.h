/* SPDX-License-Identifier: Apache-2.0
 *
 * Which objects' Roles are to be written: those that let the nodes' agents read an object's pull secrets. An object is
 * known by its uid, as its Role is: one that is made anew under the same name needs another.
 */
#ifndef CONTROLLER_WARMUP_ROLES_H
#define CONTROLLER_WARMUP_ROLES_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

#define WARMUP_ROLE_PREFIX "zeropull-warmup-" /* then the object's uid */

/* *due: uid to {kind, namespace, name, uid, secrets} of every Role that is not, or not surely, as `objects` (object key
 * to reduced object, warmup-plan.h) want it, but for those that wait since they were forbidden. Without secrets: one
 * that lets nobody read anything any more. `known`: what warmup_roles_done() remembers. `now`: seconds. *due is the
 * caller's. -ENOMEM only. */
int warmup_roles_due(json_t *known, json_t *objects, int64_t now, json_t **due, struct zp_error *err);

/* A Role that is in the cluster, as the API server gave it, when nothing is known yet: written by an earlier leader.
 * One that lets somebody read something is looked at again, whatever its object says by now. False: no memory. */
bool warmup_roles_found(json_t *known, json_t *role);

/* One of these was written, with this result. Once is enough of what succeeded. What is forbidden (-EPERM) waits, for
 * the right may come: as an API server that has just started reads its roles, or when somebody grants it. True: it has
 * to be tried again soon. */
bool warmup_roles_done(json_t *known, json_t *role, int result, int64_t now);

/* When the first of those that wait is due; 0: none waits. */
int64_t warmup_roles_next(json_t *known);
/* How many seconds what is forbidden waits that waited `before`: 30, then ever longer, at most 300. */
int64_t warmup_roles_pause(int64_t before);

#endif
