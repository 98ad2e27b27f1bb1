/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory whose contents a thread removes, so that nobody waits for large trees.
 */
#ifndef SNAP_TRASH_H
#define SNAP_TRASH_H

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/error.h"

struct snap_trash;

/* Starts the thread, which removes what is there already. Takes over `fd`, also when it fails. */
int snap_trash_new(int fd, struct snap_trash **out, struct zp_error *err);
/* Ends the thread after the tree that is being removed. */
void snap_trash_free(struct snap_trash *trash);
ZP_DEFINE_AUTO(struct snap_trash, snap_trash_free);

/* Moves dir_fd/name into it. Not there: success. */
int snap_trash_take(struct snap_trash *trash, int dir_fd, const char *name, struct zp_error *err);
/* Waits until what is in it now is removed or could not be. */
int snap_trash_drain(struct snap_trash *trash, const struct zp_cancel *cancel, struct zp_error *err);

#endif
