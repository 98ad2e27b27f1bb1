/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds pushes that nobody told of: compares what a registry's tags name with what they were last seen to name.
 */
#ifndef HOOK_RECONCILE_H
#define HOOK_RECONCILE_H

#include "base/cancel.h"
#include "registry-hook/config.h"
#include "registry-hook/db.h"

struct hook_reconciled {
        uint64_t repositories, tags, changed; /* looked at; tags that name something new */
};
/* One registry, one request at a time, from another repository on each time. What is new is queued as events. A
 * repository that cannot be looked at does not end it, unless the registry kept us waiting for that (HOOK_SLOW_MS) with
 * HOOK_SLOW_IN_A_ROW of them: the error is that of the last, and the rest was done. */
int hook_reconcile(struct hook_db *db, const struct hook_config *config, const struct hook_registry *registry,
                   const struct zp_cancel *cancel, struct hook_reconciled *out, struct zp_error *err);

#endif
