/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/deadline.h"

#include <time.h>

#include "base/condition.h"

static void *watch(void *argument) {
        struct snap_deadline *d = argument;
        int code = 0;
        pthread_mutex_lock(&d->lock);
        while (!d->is_over && code == 0)
                code = pthread_cond_timedwait(&d->changed, &d->lock, &d->until);
        d->has_passed = !d->is_over;
        if (d->has_passed)
                atomic_store(&d->cancel.requested, true);
        pthread_mutex_unlock(&d->lock);
        return NULL;
}

int snap_deadline_begin(struct snap_deadline *d, unsigned timeout_ms, const struct zp_cancel *parent,
                        struct zp_error *err) {
        *d = (struct snap_deadline){ .cancel = { .parent = parent } };
        zp_condition_init(&d->changed);
        pthread_mutex_init(&d->lock, NULL);
        clock_gettime(CLOCK_MONOTONIC, &d->until);
        d->until.tv_sec += timeout_ms / 1000;
        d->until.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
        d->until.tv_sec += d->until.tv_nsec / 1000000000;
        d->until.tv_nsec %= 1000000000;
        int code = pthread_create(&d->thread, NULL, watch, d);
        if (!code)
                return 0;
        pthread_mutex_destroy(&d->lock);
        pthread_cond_destroy(&d->changed);
        return zp_error_errno(err, code, "start a deadline");
}

void snap_deadline_end(struct snap_deadline *d) {
        pthread_mutex_lock(&d->lock);
        d->is_over = true;
        pthread_cond_signal(&d->changed);
        pthread_mutex_unlock(&d->lock);
        pthread_join(d->thread, NULL);
        pthread_mutex_destroy(&d->lock);
        pthread_cond_destroy(&d->changed);
}
