/* SPDX-License-Identifier: Apache-2.0
 *
 * The unix socket that containerd connects to.
 */
#ifndef SNAP_SOCKET_H
#define SNAP_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct snap_socket {
        int fd;
        char path[108];
        dev_t device;
        ino_t inode; /* as it was made: another one at that path is not ours to remove */
};

/* The longest path at which snap_socket_listen() can listen: it binds PATH.PID. */
#define SNAP_SOCKET_PATH_MAX 99

/* Listens at `path`, with mode 0660, and makes missing directories above it. A socket nobody listens at any more, or
 * whose process is gone, is replaced; -EADDRINUSE when somebody does, -EEXIST when something else is there. */
int snap_socket_listen(const char *path, struct snap_socket *out, struct zp_error *err);
/* Takes over a socket that another process made with snap_socket_listen(): whether it is the one at `path`. */
bool snap_socket_adopt(int fd, const char *path, struct snap_socket *out);
/* Takes the path away and closes. */
void snap_socket_close(struct snap_socket *socket);

#endif
