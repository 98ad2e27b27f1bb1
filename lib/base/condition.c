/* SPDX-License-Identifier: Apache-2.0 */
#include "base/condition.h"

#include <errno.h>
#include <time.h>

uint64_t zp_monotonic_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

void zp_condition_init(pthread_cond_t *condition) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(condition, &attributes);
        pthread_condattr_destroy(&attributes);
}

bool zp_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_ms) {
        const struct timespec until = { (time_t) (until_ms / 1000), (long) (until_ms % 1000) * 1000000 };
        return pthread_cond_timedwait(condition, mutex, &until) != ETIMEDOUT;
}
