/* SPDX-License-Identifier: Apache-2.0
 *
 * Registries that did not answer in time lately: who comes next does not wait for them as well, and keeps no thread
 * from images of others.
 */
#ifndef SNAP_SILENT_H
#define SNAP_SILENT_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Thread-safe. */
struct snap_silent;
int snap_silent_new(struct snap_silent **out, struct zp_error *err);
void snap_silent_free(struct snap_silent *silent);
ZP_DEFINE_AUTO(struct snap_silent, snap_silent_free);

/* Whether to ask the registry of an image ("HOST/…"): -ETIMEDOUT when two questions to it were not answered in time,
 * none was since, and the last one ended less than half a minute ago. */
int snap_silent_check(struct snap_silent *silent, const char *reference, struct zp_error *err);
/* How a question to it has ended: not in time, or in another way. */
void snap_silent_note(struct snap_silent *silent, const char *reference, bool is_late);

#endif
