/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/nri.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/unix-socket.h"
#include "controller/log.h"
#include "controller/node/nri-calls.h"
#include "oci/fetch.h"
#include "snapshotter/keychain/exchange.h"

#define FRAME_HEADER 8
#define TTRPC_HEADER 10
#define FRAME_MAX ((size_t) 16 << 20)
#define PATIENCE_MS 5000
#define LOOK_MS 500
#define RETRY_S 1
#define RETRY_MAX_S 60

/* The connections on the socket. */
enum { TO_PLUGIN = 1, TO_RUNTIME = 2 };
/* Kinds of ttrpc messages. */
enum { IS_REQUEST = 1, IS_RESPONSE = 2 };

struct peer {
        const struct node_nri_options *options;
        int fd;
        struct zp_buffer raw;        /* as it comes */
        struct zp_buffer streams[3]; /* by connection; what is not a whole message yet */
        bool was_called;             /* so we were not refused */
};

static int malformed(const char *what, struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "NRI: %s", what);
}

static uint32_t get_be32(const char *data) {
        uint32_t value;
        memcpy(&value, data, sizeof value);
        return ntohl(value);
}

static void put_be32(char *data, uint32_t value) {
        value = htonl(value);
        memcpy(data, &value, sizeof value);
}

static void drop_front(struct zp_buffer *buffer, size_t size) {
        memmove(buffer->data, buffer->data + size, buffer->size - size);
        buffer->size -= size;
}

/* ---- sending ---- */

static int send_message(struct peer *p, uint32_t connection, uint32_t stream, char kind,
                        const struct zp_buffer *payload, struct zp_error *err) {
        zp_autobuffer struct zp_buffer out = { 0 };
        char header[FRAME_HEADER + TTRPC_HEADER] = { 0 };
        put_be32(header, connection);
        put_be32(header + 4, (uint32_t) (TTRPC_HEADER + payload->size));
        put_be32(header + 8, (uint32_t) payload->size);
        put_be32(header + 12, stream);
        header[16] = kind;
        if (!zp_buffer_append(&out, header, sizeof header) || !zp_buffer_append(&out, payload->data, payload->size))
                return zp_error_errno(err, ENOMEM, "NRI");
        return snap_exchange_send(p->fd, out.data, out.size) ? 0
                                                             : zp_error_errno(err, errno ? errno : EPIPE, "NRI: send");
}

static int send_registration(struct peer *p, struct zp_error *err) {
        zp_autobuffer struct zp_buffer request = { 0 };
        int r = node_nri_register(&request, err);
        return r < 0 ? r : send_message(p, TO_RUNTIME, 1, IS_REQUEST, &request, err);
}

/* ---- receiving ---- */

static int take_message(struct peer *p, uint32_t connection, uint32_t stream, char kind, const char *data, size_t size,
                        struct zp_error *err) {
        zp_autobuffer struct zp_buffer reply = { 0 };
        if (connection == TO_RUNTIME)
                return kind == IS_RESPONSE ? node_nri_registered(data, size, err)
                                           : malformed("no answer where one was to be", err);
        if (kind != IS_REQUEST)
                return malformed("no request where one was to be", err);
        int r = node_nri_answer(p->options, data, size, &reply, err);
        p->was_called = true;
        return r < 0 ? r : send_message(p, TO_PLUGIN, stream, IS_RESPONSE, &reply, err);
}

static int take_messages(struct peer *p, uint32_t connection, struct zp_error *err) {
        struct zp_buffer *in = &p->streams[connection];
        int r = 0;
        while (r == 0 && in->size >= TTRPC_HEADER) {
                uint32_t size = get_be32(in->data);
                if (size > NODE_NRI_MESSAGE_MAX)
                        return malformed("a message is too large", err);
                if (in->size < TTRPC_HEADER + (size_t) size)
                        break;
                r = take_message(p, connection, get_be32(in->data + 4), in->data[8], in->data + TTRPC_HEADER, size,
                                 err);
                drop_front(in, TTRPC_HEADER + size);
        }
        return r;
}

static int take_frames(struct peer *p, struct zp_error *err) {
        int r = 0;
        while (r == 0 && p->raw.size >= FRAME_HEADER) {
                uint32_t connection = get_be32(p->raw.data), size = get_be32(p->raw.data + 4);
                if (connection != TO_PLUGIN && connection != TO_RUNTIME)
                        return malformed("a frame of an unknown connection", err);
                if (size > FRAME_MAX)
                        return malformed("a frame is too large", err);
                if (p->raw.size < FRAME_HEADER + (size_t) size)
                        break;
                if (!zp_buffer_append(&p->streams[connection], p->raw.data + FRAME_HEADER, size))
                        return zp_error_errno(err, ENOMEM, "NRI");
                drop_front(&p->raw, FRAME_HEADER + size);
                r = take_messages(p, connection, err);
        }
        return r;
}

/* 1: something came; 0: it is over. */
static int receive(struct peer *p, struct zp_error *err) {
        char data[65536];
        struct pollfd wait = { .fd = p->fd, .events = POLLIN };
        while (poll(&wait, 1, LOOK_MS) <= 0)
                if (zp_cancelled(p->options->cancel))
                        return zp_error_set(err, ECANCELED, "interrupted");
        ssize_t size = recv(p->fd, data, sizeof data, 0);
        if (size <= 0)
                return size == 0 ? 0 : zp_error_errno(err, errno, "NRI: receive");
        return zp_buffer_append(&p->raw, data, (size_t) size) ? 1 : zp_error_errno(err, ENOMEM, "NRI");
}

static int serve(const struct node_nri_options *options, int fd, bool *was_called, struct zp_error *err) {
        struct peer p = { .options = options, .fd = fd };
        snap_exchange_set_patience(fd, PATIENCE_MS);
        int r = send_registration(&p, err);
        while (r == 0 && (r = receive(&p, err)) == 1)
                r = take_frames(&p, err);
        zp_buffer_clear(&p.raw);
        for (size_t i = 0; i < sizeof p.streams / sizeof *p.streams; i++)
                zp_buffer_clear(&p.streams[i]);
        *was_called = p.was_called;
        return r;
}

int node_nri_serve(const struct node_nri_options *options, int fd, struct zp_error *err) {
        bool unused;
        return serve(options, fd, &unused, err);
}

/* ---- its life ---- */

struct node_nri {
        struct node_nri_options options;
        pthread_t thread;
};

/* Who is not there is looked for each second; who refuses us is not asked so often. */
static void *work(void *context) {
        const struct node_nri_options *options = &((struct node_nri *) context)->options;
        struct zp_error told = { 0 };
        unsigned pause_s = RETRY_S;
        while (!zp_cancelled(options->cancel)) {
                struct zp_error err = { 0 };
                bool was_called = false;
                zp_autoclose int fd = zp_unix_connect(options->path, SOCK_STREAM, &err);
                int r = fd < 0 ? zp_error_wrap(&err, "NRI") : serve(options, fd, &was_called, &err);
                if (r == -ECANCELED)
                        break;
                if (r == 0)
                        zp_error_set(&err, EPIPE, "NRI: containerd has gone");
                if (was_called || strcmp(err.message, told.message) != 0)
                        ctl_log(CTL_LOG_WARNING, "%s; until it is back, no pod is kept from starting", err.message);
                told = err;
                if (fd < 0 || was_called)
                        pause_s = RETRY_S;
                zp_pause(pause_s * 1000, options->cancel);
                pause_s = pause_s * 2 < RETRY_MAX_S ? pause_s * 2 : RETRY_MAX_S;
        }
        return NULL;
}

int node_nri_start(const struct node_nri_options *options, struct node_nri **out, struct zp_error *err) {
        struct node_nri *nri = calloc(1, sizeof *nri);
        if (!nri)
                return zp_error_errno(err, ENOMEM, "NRI");
        nri->options = *options;
        int r = -pthread_create(&nri->thread, NULL, work, nri);
        if (r < 0) {
                free(nri);
                return zp_error_errno(err, -r, "NRI: a thread");
        }
        *out = nri;
        return 0;
}

void node_nri_stop(struct node_nri *nri) {
        pthread_join(nri->thread, NULL);
        free(nri);
}
