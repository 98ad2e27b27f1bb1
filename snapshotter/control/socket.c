/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/socket.h"

#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/unix-socket.h"

/* Those that wait while no control plane is there. Who finds it full is refused. */
#define BACKLOG 1024

/* Nobody accepts what comes in there: the process that began to listen is gone. One of its workers can still have the
 * socket, when it was killed and waits for a device's file; it ends when a new data plane answers. */
static bool is_abandoned(int connected) {
        struct ucred peer;
        socklen_t size = sizeof peer;
        return getsockopt(connected, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0 &&
               kill(peer.pid, 0) < 0 && errno == ESRCH;
}

/* Whether `path` is free, or has only a socket that nobody listens at. */
static int check_free(const char *path, struct zp_error *err) {
        struct stat st;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : zp_error_errno(err, errno, "socket '%s'", path);
        if (!S_ISSOCK(st.st_mode))
                return zp_error_set(err, EEXIST, "socket '%s': something else is there", path);
        zp_autoclose int fd = zp_unix_connect(path, SOCK_STREAM | SOCK_NONBLOCK, NULL);
        if (fd == -ECONNREFUSED || fd == -ENOENT || (fd >= 0 && is_abandoned(fd)))
                return 0;
        /* EAGAIN: somebody listens, and has a full queue */
        if (fd >= 0 || fd == -EAGAIN)
                return zp_error_set(err, EADDRINUSE, "socket '%s': another process listens there", path);
        return zp_error_errno(err, -fd, "socket '%s'", path);
}

/* Under another name first: whoever sees the socket can connect, and had no chance before its mode was set. */
static int bind_and_move(int fd, const char *path, struct zp_error *err) {
        struct sockaddr_un address;
        zp_autofree char *temporary = zp_format("%s.%d", path, (int) getpid());
        if (!temporary)
                return zp_error_errno(err, ENOMEM, "socket '%s'", path);
        int r = zp_unix_address(temporary, &address, err);
        if (r < 0)
                return r;
        unlink(temporary);
        if (bind(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return zp_error_errno(err, errno, "socket '%s': bind", path);
        if (chmod(temporary, 0660) == 0 && listen(fd, BACKLOG) == 0 && rename(temporary, path) == 0)
                return 0;
        int code = errno;
        unlink(temporary);
        return zp_error_errno(err, code, "socket '%s'", path);
}

static int make_parent(const char *path, struct zp_error *err) {
        zp_autofree char *copy = strdup(path);
        if (!copy)
                return zp_error_errno(err, ENOMEM, "socket '%s'", path);
        return zp_make_directories(dirname(copy), 0755, err);
}

static int remember(int fd, const char *path, struct snap_socket *out) {
        struct stat st;
        if (lstat(path, &st) < 0)
                return -errno;
        *out = (struct snap_socket){ .fd = fd, .device = st.st_dev, .inode = st.st_ino };
        strcpy(out->path, path);
        return 0;
}

bool snap_socket_adopt(int fd, const char *path, struct snap_socket *out) {
        struct sockaddr_un wanted, bound = { 0 };
        socklen_t size = sizeof bound - 1; /* a final NUL is there in any case */
        if (zp_unix_address(path, &wanted, NULL) < 0 || getsockname(fd, (struct sockaddr *) &bound, &size) < 0)
                return false;
        size_t length = strlen(path); /* it was bound as PATH.PID */
        bool is_ours = strncmp(bound.sun_path, path, length) == 0 && bound.sun_path[length] == '.' &&
                       !strchr(bound.sun_path + length, '/');
        return is_ours && remember(fd, path, out) == 0;
}

int snap_socket_listen(const char *path, struct snap_socket *out, struct zp_error *err) {
        struct sockaddr_un address;
        int r = zp_unix_address(path, &address, err);
        if (r == 0)
                r = make_parent(path, err);
        if (r == 0)
                r = check_free(path, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return zp_error_errno(err, errno, "socket '%s'", path);
        r = bind_and_move(fd, path, err);
        if (r == 0 && (r = remember(fd, path, out)) < 0)
                r = zp_error_errno(err, -r, "socket '%s'", path);
        if (r == 0)
                zp_steal_fd(&fd);
        return r;
}

void snap_socket_close(struct snap_socket *socket) {
        struct stat st;
        if (lstat(socket->path, &st) == 0 && st.st_dev == socket->device && st.st_ino == socket->inode)
                unlink(socket->path);
        close(socket->fd);
        socket->fd = -1;
}
