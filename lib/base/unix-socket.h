/* SPDX-License-Identifier: Apache-2.0
 *
 * The sockets of unix(7) that have a path.
 */
#ifndef ZP_BASE_UNIX_SOCKET_H
#define ZP_BASE_UNIX_SOCKET_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"

/* The address of the socket at `path`. -ENAMETOOLONG: longer than the kernel takes; -EINVAL: empty, which would be an
 * address that is no path. */
int zp_unix_address(const char *path, struct sockaddr_un *out, struct zp_error *err);

/* A new socket, closed on exec, that is connected to the one at `path`. `type`: SOCK_STREAM or SOCK_SEQPACKET, with
 * SOCK_NONBLOCK when the connection is to be that; without it, a listener whose queue is full is waited for.
 * -ENOENT, -ECONNREFUSED: nobody listens; -EAGAIN: the queue is full; zp_unix_address()'s; others of connect(2). */
int zp_unix_connect(const char *path, int type, struct zp_error *err);

#endif
