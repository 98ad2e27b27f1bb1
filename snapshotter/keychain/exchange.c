/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/exchange.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

void snap_exchange_set_patience(int fd, unsigned timeout_ms) {
        const struct timeval time = { .tv_sec = timeout_ms / 1000, .tv_usec = (long) (timeout_ms % 1000) * 1000 };
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

bool snap_exchange_send(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                data += n;
                size -= (size_t) n;
        }
        return true;
}

bool snap_exchange_receive(int fd, size_t limit, struct zp_buffer *out) {
        char piece[4096];
        for (;;) {
                ssize_t n = recv(fd, piece, sizeof piece, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                bool ok = n > 0 && out->size + (size_t) n <= limit && zp_buffer_append(out, piece, (size_t) n);
                explicit_bzero(piece, sizeof piece);
                if (!ok)
                        return n == 0;
        }
}

void snap_exchange_wipe(struct zp_buffer *buffer) {
        if (buffer->data)
                explicit_bzero(buffer->data, buffer->size);
        zp_buffer_clear(buffer);
}
