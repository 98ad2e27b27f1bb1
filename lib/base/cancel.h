/* SPDX-License-Identifier: Apache-2.0
 *
 * A flag that asks long work to stop. Set from any thread or a signal handler; whoever works looks at
 * it between steps and returns -ECANCELED.
 */
#ifndef ZP_BASE_CANCEL_H
#define ZP_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct zp_cancel {
        atomic_bool requested;
        const struct zp_cancel *parent; /* when that is cancelled, so is this; NULL: none */
        uint64_t until_ms;              /* by CLOCK_MONOTONIC: it will be requested then; 0: nobody knows when */
};

/* `cancel` may be NULL: never cancelled. */
static inline bool zp_cancelled(const struct zp_cancel *cancel) {
        for (; cancel; cancel = cancel->parent)
                if (atomic_load_explicit(&cancel->requested, memory_order_relaxed))
                        return true;
        return false;
}
/* Whether what begins at `then_ms` is known to begin too late. */
static inline bool zp_cancelled_by(const struct zp_cancel *cancel, uint64_t then_ms) {
        for (; cancel; cancel = cancel->parent)
                if (cancel->until_ms && cancel->until_ms <= then_ms)
                        return true;
        return false;
}
static inline int zp_check_cancel(const struct zp_cancel *cancel, struct zp_error *err) {
        return zp_cancelled(cancel) ? zp_error_set(err, ECANCELED, "interrupted") : 0;
}

#endif
