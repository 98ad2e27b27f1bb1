/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/exchange.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "oci/http.h"

/* So often it is asked whether to go on. */
#define LOOK_MS 100

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

/* 1: there was something; 0: it was the end; -1: it failed. */
static int take_piece(int fd, size_t limit, struct zp_buffer *out) {
        char piece[4096];
        ssize_t n;
        do
                n = recv(fd, piece, sizeof piece, 0);
        while (n < 0 && errno == EINTR);
        bool ok = n > 0 && out->size + (size_t) n <= limit && zp_buffer_append(out, piece, (size_t) n);
        explicit_bzero(piece, sizeof piece);
        return ok ? 1 : n == 0 ? 0 : -1;
}

bool snap_exchange_receive(int fd, size_t limit, struct zp_buffer *out) {
        int r;
        while ((r = take_piece(fd, limit, out)) > 0)
                continue;
        return r == 0;
}

static bool await(int fd, uint64_t until_ms, const struct zp_cancel *cancel) {
        struct pollfd wanted = { .fd = fd, .events = POLLIN };
        for (;;) {
                uint64_t now = zp_clock_ms();
                if (now >= until_ms || zp_cancelled(cancel))
                        return false;
                uint64_t left = until_ms - now;
                int r = poll(&wanted, 1, left < LOOK_MS ? (int) left : LOOK_MS);
                if (r > 0 || (r < 0 && errno != EINTR))
                        return r > 0;
        }
}

bool snap_exchange_receive_by(int fd, size_t limit, uint64_t until_ms, const struct zp_cancel *cancel,
                              struct zp_buffer *out) {
        int r = -1;
        while (await(fd, until_ms, cancel) && (r = take_piece(fd, limit, out)) > 0)
                r = -1;
        return r == 0;
}

void snap_exchange_wipe(struct zp_buffer *buffer) {
        if (buffer->data)
                explicit_bzero(buffer->data, buffer->size);
        zp_buffer_clear(buffer);
}
