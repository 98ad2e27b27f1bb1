/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/deadline.h"

#include "base/condition.h"

static void *watch(void *argument) {
        struct snap_deadline *d = argument;
        pthread_mutex_lock(&d->lock);
        while (!d->is_over && zp_condition_wait_until(&d->changed, &d->lock, d->until_ms))
                continue;
        d->has_passed = !d->is_over;
        if (d->has_passed)
                atomic_store(&d->cancel.requested, true);
        pthread_mutex_unlock(&d->lock);
        return NULL;
}

int snap_deadline_begin(struct snap_deadline *d, unsigned timeout_ms, const struct zp_cancel *parent,
                        struct zp_error *err) {
        uint64_t until_ms = zp_monotonic_ms() + timeout_ms;
        *d = (struct snap_deadline){ .cancel = { .parent = parent, .until_ms = until_ms }, .until_ms = until_ms };
        zp_condition_init(&d->changed);
        pthread_mutex_init(&d->lock, NULL);
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
