/* SPDX-License-Identifier: Apache-2.0
 *
 * Who comes first at a place, of many ranges that lie over one another: asked from the front to the back, in
 * n log n for all of it, however they lie.
 */
#ifndef ZP_PROFILE_SWEEP_H
#define ZP_PROFILE_SWEEP_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define ZP_SWEEP_NOBODY UINT32_MAX

struct zp_span {
        uint64_t start, end; /* not empty */
        uint32_t rank;       /* the lowest comes first */
};

struct zp_sweep {
        struct zp_span *spans; /* by start */
        size_t count, next;    /* that has not been reached yet */
        uint32_t *heap;        /* numbers of spans that were reached and perhaps not left, the lowest rank first */
        size_t waiting;
};

/* Takes over `spans` (malloc'ed, at most UINT32_MAX), which are sorted. A zeroed sweep is one without any. */
int zp_sweep_begin(struct zp_sweep *sweep, struct zp_span *spans, size_t count, struct zp_error *err);
/* The lowest rank of those that have something of [from, to), or ZP_SWEEP_NOBODY. Neither may be less than before. */
uint32_t zp_sweep_first(struct zp_sweep *sweep, uint64_t from, uint64_t to);
void zp_sweep_clear(struct zp_sweep *sweep);

#endif
