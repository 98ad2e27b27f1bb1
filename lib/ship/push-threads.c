/* SPDX-License-Identifier: Apache-2.0
 *
 * The threads of a push: they take the largest piece that nobody has, until there will be no more.
 */
#include "ship/growing.h"
#include "ship/push-internal.h"

void zp_push_stop(struct zp_push *p) {
        atomic_store(&p->stop.requested, true);
        for (struct zp_push_stream *stream = p->streams; stream; stream = stream->next)
                zp_growing_abandon(stream->pack);
        pthread_cond_broadcast(&p->more);
}

void zp_push_note_failure(struct zp_push *p, const struct zp_error *err) {
        pthread_mutex_lock(&p->lock);
        if (p->first_error.code == 0)
                p->first_error = *err;
        zp_push_stop(p);
        pthread_mutex_unlock(&p->lock);
}

void zp_push_add_piece(struct zp_push *p, struct zp_push_piece piece) {
        p->pieces[p->piece_count++] = piece;
}

static uint64_t piece_size(const struct zp_push_piece *piece) {
        return piece->kind == ZP_PIECE_GROWING_PACK  ? UINT64_MAX
               : piece->kind == ZP_PIECE_DEVICE_PACK ? piece->device->pack_size
                                                     : 0;
}

/* Whether somebody may take it. A pack that is being sent already waits: the thread that sends it comes back. */
static bool is_free(const struct zp_push_piece *piece) {
        return !piece->is_taken &&
               (piece->kind == ZP_PIECE_GROWING_PACK || !piece->stream || piece->stream->state != ZP_STREAM_OPEN);
}

/* Takes the largest piece that nobody has; with p->lock held. */
static struct zp_push_piece *take_piece(struct zp_push *p) {
        struct zp_push_piece *best = NULL;
        for (unsigned i = 0; i < p->piece_count; i++)
                if (is_free(&p->pieces[i]) && (!best || piece_size(&p->pieces[i]) > piece_size(best)))
                        best = &p->pieces[i];
        if (best)
                best->is_taken = true;
        return best;
}

void *zp_push_send_pieces(void *context) {
        struct zp_push *p = context;
        for (;;) {
                struct zp_push_piece *piece, copy = { 0 };
                pthread_mutex_lock(&p->lock);
                while (!(piece = take_piece(p)) && !p->is_all && !zp_cancelled(&p->stop))
                        pthread_cond_wait(&p->more, &p->lock);
                if (piece)
                        copy = *piece;
                pthread_mutex_unlock(&p->lock);
                struct zp_error err = { 0 };
                if (!piece || zp_cancelled(&p->stop))
                        return NULL;
                if (zp_push_send_piece(p, (unsigned) (piece - p->pieces), &copy, &err) < 0)
                        zp_push_note_failure(p, &err);
        }
}

void zp_push_start_threads(struct zp_push *p, unsigned wanted) {
        pthread_mutex_lock(&p->lock);
        while (p->thread_count < wanted &&
               pthread_create(&p->threads[p->thread_count], NULL, zp_push_send_pieces, p) == 0)
                p->thread_count++;
        pthread_mutex_unlock(&p->lock);
}

#define THREADS_DEFAULT 4u

unsigned zp_push_threads_wanted(const struct zp_push *p) {
        unsigned threads = p->options.threads ? p->options.threads : THREADS_DEFAULT;
        return threads < ZP_PUSH_THREADS_MAX ? threads : ZP_PUSH_THREADS_MAX;
}

void zp_push_join_threads(struct zp_push *p) {
        pthread_mutex_lock(&p->lock);
        p->is_all = true;
        pthread_cond_broadcast(&p->more);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->thread_count; i++)
                pthread_join(p->threads[i], NULL);
        p->thread_count = 0;
}
