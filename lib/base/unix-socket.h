/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets of unix(7): those that have a path, and descriptors as part of what is sent.
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

/* Sends `text` as one packet through a socket that is connected, with a copy of `fd` when that is >= 0. `name` is for
 * the message; the errors are those of sendmsg(2), and none is a signal. */
int zp_unix_send(int socket, const char *text, int fd, const char *name, struct zp_error *err);

#endif
