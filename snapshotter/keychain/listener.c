/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "snapshotter/control/log.h"
#include "snapshotter/control/socket.h"

/* Between two attempts when there are no file descriptors left. */
#define ACCEPT_PAUSE_NS 100000000

struct snap_listener {
        struct snap_socket socket;
        void (*accepted)(void *context, int fd);
        void *context;
        pthread_t thread;
};

static void *accept_all(void *context) {
        struct snap_listener *listener = context;
        for (;;) {
                int fd = accept4(listener->socket.fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0) {
                        listener->accepted(listener->context, fd);
                } else if (errno == EINVAL) { /* shut down */
                        return NULL;
                } else if (errno != EINTR && errno != ECONNABORTED) {
                        snap_log_event(SNAP_LOG_ERROR, "cannot accept a connection", "error", strerrordesc_np(errno),
                                       NULL);
                        nanosleep(&(struct timespec){ .tv_nsec = ACCEPT_PAUSE_NS }, NULL);
                }
        }
}

int snap_listener_new(const char *path, void (*accepted)(void *context, int fd), void *context,
                      struct snap_listener **out, struct zp_error *err) {
        zp_autofree struct snap_listener *listener = calloc(1, sizeof *listener);
        if (!listener)
                return zp_error_errno(err, ENOMEM, "socket '%s'", path);
        listener->accepted = accepted;
        listener->context = context;
        int r = snap_socket_listen(path, &listener->socket, err);
        if (r < 0)
                return r;
        int code = fcntl(listener->socket.fd, F_SETFL, 0) < 0 ? errno : 0; /* its thread may wait */
        if (code == 0)
                code = pthread_create(&listener->thread, NULL, accept_all, listener);
        if (code) {
                snap_socket_close(&listener->socket);
                return zp_error_errno(err, code, "socket '%s': start its thread", path);
        }
        *out = zp_steal(&listener);
        return 0;
}

void snap_listener_free(struct snap_listener *listener) {
        if (!listener)
                return;
        shutdown(listener->socket.fd, SHUT_RDWR);
        pthread_join(listener->thread, NULL);
        snap_socket_close(&listener->socket);
        free(listener);
}
