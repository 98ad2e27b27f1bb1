/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/growing.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"

#define PIECE_SIZE (1u << 20)

struct zp_growing {
        int fd;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        uint64_t size;                                                  /* guarded by lock: of what is final */
        enum { GROWING_MADE, GROWING_COMPLETE, GROWING_ABANDONED } end; /* guarded by lock */
};

int zp_growing_new(int fd, struct zp_growing **out, struct zp_error *err) {
        struct zp_growing *g = calloc(1, sizeof *g);
        if (!g)
                return zp_error_errno(err, ENOMEM, "device.zst");
        g->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (g->fd < 0) {
                free(g);
                return zp_error_errno(err, errno, "device.zst");
        }
        pthread_mutex_init(&g->lock, NULL);
        pthread_cond_init(&g->changed, NULL);
        *out = g;
        return 0;
}

void zp_growing_free(struct zp_growing *g) {
        if (!g)
                return;
        pthread_cond_destroy(&g->changed);
        pthread_mutex_destroy(&g->lock);
        close(g->fd);
        free(g);
}

void zp_growing_extend(struct zp_growing *g, uint64_t size) {
        pthread_mutex_lock(&g->lock);
        if (g->end == GROWING_MADE && size > g->size) {
                g->size = size;
                pthread_cond_broadcast(&g->changed);
        }
        pthread_mutex_unlock(&g->lock);
}

void zp_growing_complete(struct zp_growing *g, uint64_t size) {
        pthread_mutex_lock(&g->lock);
        if (g->end == GROWING_MADE) {
                g->size = size;
                g->end = GROWING_COMPLETE;
                pthread_cond_broadcast(&g->changed);
        }
        pthread_mutex_unlock(&g->lock);
}

void zp_growing_abandon(struct zp_growing *g) {
        pthread_mutex_lock(&g->lock);
        if (g->end == GROWING_MADE)
                g->end = GROWING_ABANDONED;
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->lock);
}

struct sender {
        struct zp_growing *growing;
        const struct zp_growing_sending *sending;
        struct zp_sha256 *hash;
        uint8_t *buffer; /* PIECE_SIZE */
        uint64_t hashed, sent;
        bool is_digest_known;
        struct zp_digest digest;
};

static int hash_up_to(struct sender *s, uint64_t size, struct zp_error *err) {
        while (s->hashed < size) {
                size_t part = (size_t) zp_min_u64(PIECE_SIZE, size - s->hashed);
                int r = zp_check_cancel(s->sending->cancel, err);
                if (r == 0)
                        r = zp_pread_all(s->growing->fd, s->buffer, part, s->hashed, "device.zst", err);
                if (r < 0)
                        return r;
                zp_sha256_update(s->hash, s->buffer, part);
                s->hashed += part;
        }
        return 0;
}

static int wait_for_more(void *context, uint64_t known, uint64_t *available, struct zp_digest *digest,
                         struct zp_error *err) {
        struct sender *s = context;
        struct zp_growing *g = s->growing;
        pthread_mutex_lock(&g->lock);
        while (g->end == GROWING_MADE && g->size <= known)
                pthread_cond_wait(&g->changed, &g->lock);
        *available = g->size;
        int end = g->end;
        pthread_mutex_unlock(&g->lock);
        if (end == GROWING_ABANDONED)
                return zp_error_set(err, ECANCELED, "device.zst: it is not made any more");
        int r = hash_up_to(s, *available, err);
        if (r < 0 || end == GROWING_MADE)
                return r;
        if (!s->is_digest_known)
                zp_sha256_finish(s->hash, &s->digest);
        s->is_digest_known = true;
        *digest = s->digest;
        return 1;
}

static int read_bytes(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct sender *s = context;
        int r = zp_check_cancel(s->sending->cancel, err);
        if (r == 0)
                r = zp_pread_all(s->growing->fd, buffer, size, offset, "device.zst", err);
        if (r < 0 || offset + size <= s->sent)
                return r;
        s->sent = offset + size;
        if (s->sending->progress)
                s->sending->progress(s->sending->context, s->sent);
        return 0;
}

int zp_growing_send(struct zp_growing *g, const struct zp_growing_sending *sending, struct zp_digest *digest,
                    uint64_t *sent, struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        zp_autofree uint8_t *buffer = malloc(PIECE_SIZE);
        *sent = 0;
        if (!hash || !buffer)
                return zp_error_errno(err, ENOMEM, "send 'device.zst'");
        struct sender sender = { .growing = g, .sending = sending, .hash = hash, .buffer = buffer };
        const struct zp_remote_growing blob = { .wait = wait_for_more, .read = read_bytes, .context = &sender };
        int r = zp_remote_put_stream(sending->remote, &blob, sent, err);
        *digest = sender.digest;
        return r;
}
