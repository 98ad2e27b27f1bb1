/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells the data plane which images are about to start, from a thread of its own: one that hangs keeps nobody else
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
/* In so many milliseconds; of several for one image the earliest counts. Any thread; returns at once. */
void snap_announcer_tell(struct snap_announcer *announcer, const struct zp_digest *image, unsigned in_ms);

#endif
