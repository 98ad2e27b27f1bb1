/* SPDX-License-Identifier: Apache-2.0
 *
 * Room on a disk that others have filled: local copies of devices that nobody uses go, and when that does not help, a
 * file that was made for this moment, ROOT/reserve. So what frees room itself, Remove above all, never fails for want
 * of it.
 */
#ifndef SNAP_ROOM_H
#define SNAP_ROOM_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

struct snap_room;

/* Both directories need not be there yet; the paths are copied. */
int snap_room_new(const char *root, const char *store, struct snap_room **out, struct zp_error *err);
void snap_room_free(struct snap_room *room);
ZP_DEFINE_AUTO(struct snap_room, snap_room_free);

/* Whether `result` says that there is no room (-ENOSPC, -EDQUOT), and some was made: then it is worth another attempt.
 * On ROOT's disk: copies on another one stay. `is_last`: nobody tries again after this, so the reserve is given up too,
 * for copies that a process has open give no room yet. Thread-safe; logs what it does. */
bool snap_room_make(struct snap_room *room, int result, bool is_last);
/* The same on the disk of the copies, and without the reserve where that is another one. */
bool snap_room_make_for_store(struct snap_room *room, int result);
/* Before a start: makes room on ROOT's disk when there is next to none, and else the reserve, which is missing after it
 * was used. Says when the disk is full. */
void snap_room_prepare(struct snap_room *room);
/* After something was removed: the reserve is made again if there is room for it. Cheap while it is there. */
void snap_room_restore(struct snap_room *room);

#endif
