/* SPDX-License-Identifier: Apache-2.0
 *
 * Cancels work that takes too long.
 */
#ifndef SNAP_DEADLINE_H
#define SNAP_DEADLINE_H

#include <pthread.h>
#include <stdint.h>

#include "base/cancel.h"

struct snap_deadline {
        struct zp_cancel cancel; /* hand this to the work */
        bool has_passed;         /* after end(): it was the deadline that cancelled */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        uint64_t until_ms;
        bool is_over; /* guarded by lock */
};

/* Also cancelled when `parent` is. */
int snap_deadline_begin(struct snap_deadline *deadline, unsigned timeout_ms, const struct zp_cancel *parent,
                        struct zp_error *err);
void snap_deadline_end(struct snap_deadline *deadline);

#endif
