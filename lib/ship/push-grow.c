/* SPDX-License-Identifier: Apache-2.0
 *
 * Packs that are sent while they are made.
 */
#include <stdlib.h>

#include "base/limits.h"
#include "ship/growing.h"
#include "ship/push-internal.h"

bool zp_push_is_worth_streaming(struct zp_push *p) {
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        if (!p->options.growing_for)
                return false;
        int r = zp_remote_find(p->remote, p->options.growing_for, ZP_ARTIFACT_TYPE, &artifacts, &count, NULL);
        zp_remote_artifacts_free(artifacts, count);
        return r == 0 && count == 0;
}

static struct zp_push_stream *find_stream(const struct zp_push *p, uint16_t number) {
        struct zp_push_stream *stream = p->streams;
        while (stream && stream->number != number)
                stream = stream->next;
        return stream;
}

/* Leaves a thread for blobs that are complete; with p->lock held. */
static bool has_thread_for_stream(const struct zp_push *p) {
        unsigned open = 0;
        for (const struct zp_push_stream *stream = p->streams; stream; stream = stream->next)
                open += stream->state == ZP_STREAM_OPEN;
        return open + 1 < zp_push_threads_wanted(p);
}

/* Where it cannot be begun, the pack is sent when it is complete; with p->lock held. */
static struct zp_push_stream *begin_stream(struct zp_push *p, uint16_t number, int fd) {
        if (!p->may_stream || zp_cancelled(&p->stop) || p->stream_count == ZP_LIMIT_LAYERS || !has_thread_for_stream(p))
                return NULL;
        struct zp_push_stream *stream = calloc(1, sizeof *stream);
        if (!stream || zp_growing_new(fd, &stream->pack, NULL) < 0) {
                free(stream);
                return NULL;
        }
        stream->number = number;
        stream->next = p->streams;
        p->streams = stream;
        p->stream_count++;
        zp_push_add_piece(p,
                          (struct zp_push_piece){ .kind = ZP_PIECE_GROWING_PACK, .number = number, .stream = stream });
        pthread_cond_broadcast(&p->more);
        return stream;
}

void zp_push_grow(struct zp_push *p, uint16_t number, int fd, uint64_t size) {
        if (size < ZP_PUSH_GROWING_MIN)
                return;
        pthread_mutex_lock(&p->lock);
        struct zp_push_stream *stream = find_stream(p, number);
        bool is_new = !stream;
        if (is_new)
                stream = begin_stream(p, number, fd);
        if (stream)
                zp_growing_extend(stream->pack, size);
        pthread_mutex_unlock(&p->lock);
        if (is_new && stream)
                zp_push_start_threads(p, zp_push_threads_wanted(p));
}

void zp_push_grown(struct zp_push *p, uint16_t number, const struct zp_device_record *device) {
        pthread_mutex_lock(&p->lock);
        struct zp_push_stream *stream = find_stream(p, number);
        if (stream && device) {
                stream->device = device->digest;
                stream->is_complete = true;
                zp_growing_complete(stream->pack, device->pack_size);
        } else if (stream) {
                zp_growing_abandon(stream->pack);
        }
        pthread_mutex_unlock(&p->lock);
}

struct zp_push_stream *zp_push_find_stream_of(const struct zp_push *p, const struct zp_digest *device) {
        struct zp_push_stream *stream = p->streams;
        while (stream && !(stream->is_complete && zp_digest_equal(&stream->device, device)))
                stream = stream->next;
        return stream;
}

struct stream_progress {
        struct zp_push *push;
        unsigned piece;
};

static void tell_progress(void *context, uint64_t bytes_sent) {
        struct stream_progress *progress = context;
        struct zp_push *p = progress->push;
        if (!p->options.events.progress)
                return;
        pthread_mutex_lock(&p->lock);
        p->options.events.progress(p->options.events.context, progress->piece, bytes_sent);
        pthread_mutex_unlock(&p->lock);
}

void zp_push_send_growing(struct zp_push *p, unsigned number, struct zp_push_stream *stream, const char *what) {
        struct stream_progress progress = { p, number };
        struct zp_growing_sending sending = { p->remote, &p->stop, tell_progress, &progress };
        struct zp_digest digest;
        struct zp_error err = { 0 };
        uint64_t sent;
        zp_push_tell_begin(p, number, what, 0);
        int r = zp_growing_send(stream->pack, &sending, &digest, &sent, &err);
        if (r == 0)
                zp_push_count_blob(p, number, false, sent);
        pthread_mutex_lock(&p->lock);
        stream->state = r == 0 ? ZP_STREAM_SENT : ZP_STREAM_FAILED;
        stream->digest = digest;
        if (r < 0)
                p->result.bytes_sent += sent;
        if (r < 0 && r != -ECANCELED && p->options.events.put_off)
                p->options.events.put_off(p->options.events.context, number, &err);
        pthread_cond_broadcast(&p->more);
        pthread_mutex_unlock(&p->lock);
}
