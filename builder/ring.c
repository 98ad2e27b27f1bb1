/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/ring.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct zp_ring {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        uint64_t produced, consumed; /* buffers published and given back */
        size_t sizes[ZP_RING_BUFFERS];
        bool has_ended, has_stopped;
        struct zp_error failure;
        /* the consumer's own */
        bool is_holding;

        uint8_t buffers[ZP_RING_BUFFERS][ZP_RING_BUFFER_SIZE];
};

struct zp_ring *zp_ring_new(void) {
        struct zp_ring *ring = malloc(sizeof *ring);
        if (!ring)
                return NULL;
        /* all but the buffers, whose pages are touched only when used */
        memset(ring, 0, offsetof(struct zp_ring, buffers));
        pthread_mutex_init(&ring->lock, NULL);
        pthread_cond_init(&ring->changed, NULL);
        return ring;
}

void zp_ring_free(struct zp_ring *ring) {
        if (!ring)
                return;
        pthread_cond_destroy(&ring->changed);
        pthread_mutex_destroy(&ring->lock);
        free(ring);
}

uint8_t *zp_ring_acquire(struct zp_ring *ring) {
        pthread_mutex_lock(&ring->lock);
        while (!ring->has_stopped && ring->produced - ring->consumed == ZP_RING_BUFFERS)
                pthread_cond_wait(&ring->changed, &ring->lock);
        uint8_t *buffer = ring->has_stopped ? NULL : ring->buffers[ring->produced % ZP_RING_BUFFERS];
        pthread_mutex_unlock(&ring->lock);
        return buffer;
}

void zp_ring_publish(struct zp_ring *ring, size_t size) {
        if (size == 0)
                return;
        pthread_mutex_lock(&ring->lock);
        ring->sizes[ring->produced++ % ZP_RING_BUFFERS] = size;
        pthread_cond_signal(&ring->changed);
        pthread_mutex_unlock(&ring->lock);
}

void zp_ring_end(struct zp_ring *ring, const struct zp_error *failure) {
        pthread_mutex_lock(&ring->lock);
        if (failure)
                ring->failure = *failure;
        ring->has_ended = true;
        pthread_cond_signal(&ring->changed);
        pthread_mutex_unlock(&ring->lock);
}

int64_t zp_ring_next(struct zp_ring *ring, const uint8_t **data, struct zp_error *err) {
        pthread_mutex_lock(&ring->lock);
        if (ring->is_holding) {
                ring->consumed++;
                ring->is_holding = false;
                pthread_cond_signal(&ring->changed);
        }
        while (ring->produced == ring->consumed && !ring->has_ended)
                pthread_cond_wait(&ring->changed, &ring->lock);
        int64_t result = 0;
        if (ring->failure.code) {
                if (err)
                        *err = ring->failure;
                result = -ring->failure.code;
        } else if (ring->produced > ring->consumed) {
                *data = ring->buffers[ring->consumed % ZP_RING_BUFFERS];
                result = (int64_t) ring->sizes[ring->consumed % ZP_RING_BUFFERS];
                ring->is_holding = true;
        }
        pthread_mutex_unlock(&ring->lock);
        return result;
}

void zp_ring_stop(struct zp_ring *ring) {
        pthread_mutex_lock(&ring->lock);
        ring->has_stopped = true;
        pthread_cond_signal(&ring->changed);
        pthread_mutex_unlock(&ring->lock);
}
