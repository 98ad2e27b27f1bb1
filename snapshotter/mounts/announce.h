/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells the data plane which images start or are about to, from a thread of its own: one that hangs keeps nobody else
 * waiting, and who finds many told and not heard yet goes on without.
 */
#ifndef SNAP_ANNOUNCE_H
#define SNAP_ANNOUNCE_H

#include "base/digest.h"
#include "base/error.h"

struct snap_announcer;

/* `devices` is the data plane's file system; copied. */
int snap_announcer_new(const char *devices, struct snap_announcer **out, struct zp_error *err);
/* Does not wait for a data plane that hangs. NULL: nothing. */
void snap_announcer_free(struct snap_announcer *announcer);
/* Any thread; both return at once. An image starts. */
void snap_announcer_start(struct snap_announcer *announcer, const struct zp_digest *image);
/* It may start soon: what its start needs first is asked for, and the rest half a second later, unless it has
 * started by then, or there are many. */
void snap_announcer_expect(struct snap_announcer *announcer, const struct zp_digest *image);

#endif
