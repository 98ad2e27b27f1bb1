/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads of this room: no signal is theirs, and they sleep until it is time or somebody rings.
 */
#ifndef KUBE_THREAD_H
#define KUBE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct zp_kube_bell {
        pthread_mutex_t lock;
        pthread_cond_t rung;
        bool is_rung; /* guarded by lock */
};

void zp_kube_bell_init(struct zp_kube_bell *bell);
void zp_kube_bell_clear(struct zp_kube_bell *bell);
/* Ends the wait, or the next one. */
void zp_kube_bell_ring(struct zp_kube_bell *bell);
/* Until zp_clock_ms() is `until_ms`. True: it rang before, and is quiet again. */
bool zp_kube_bell_wait(struct zp_kube_bell *bell, uint64_t until_ms);

/* `what` is for the message. */
int zp_kube_thread_start(pthread_t *thread, void *(*run)(void *), void *argument, const char *what,
                         struct zp_error *err);

#endif
