/* SPDX-License-Identifier: Apache-2.0
 *
 * Times.
 */
#ifndef HOOK_CLOCK_H
#define HOOK_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Unix time in milliseconds, as the database has it. */
static inline int64_t hook_now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
/* A registry that fails after so long has kept somebody waiting for nothing; others must not wait for it as well. */
#define HOOK_SLOW_MS 2000
/* So often in a row, and it is left alone for a while: once may be the fault of what it was asked for. */
#define HOOK_SLOW_IN_A_ROW 2

/* For durations. */
static inline int64_t hook_monotonic_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
