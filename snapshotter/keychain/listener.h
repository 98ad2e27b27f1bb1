/* SPDX-License-Identifier: Apache-2.0
 *
 * A unix socket with a thread that takes its connections.
 */
#ifndef SNAP_LISTENER_H
#define SNAP_LISTENER_H

#include "base/cleanup.h"
#include "base/error.h"

struct snap_listener;

/* Gives each connection at `path` (snap_socket_listen) to `accepted`, in its thread; it is the callee's to close. */
int snap_listener_new(const char *path, void (*accepted)(void *context, int fd), void *context,
                      struct snap_listener **out, struct zp_error *err);
/* No call of `accepted` is under way any more when this returns. */
void snap_listener_free(struct snap_listener *listener);
ZP_DEFINE_AUTO(struct snap_listener, snap_listener_free);

#endif
