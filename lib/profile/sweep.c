/* SPDX-License-Identifier: Apache-2.0 */
#include "profile/sweep.h"

#include <stdlib.h>

static int compare_start(const void *a, const void *b) {
        const struct zp_span *x = a, *y = b;
        if (x->start != y->start)
                return x->start < y->start ? -1 : 1;
        return (x->rank > y->rank) - (x->rank < y->rank);
}

int zp_sweep_begin(struct zp_sweep *sweep, struct zp_span *spans, size_t count, struct zp_error *err) {
        zp_sweep_clear(sweep);
        sweep->spans = spans;
        sweep->count = count;
        sweep->heap = calloc(count + 1, sizeof *sweep->heap);
        if (!sweep->heap) {
                zp_sweep_clear(sweep);
                return zp_error_errno(err, ENOMEM, "profile");
        }
        if (count)
                qsort(spans, count, sizeof *spans, compare_start);
        return 0;
}

void zp_sweep_clear(struct zp_sweep *sweep) {
        free(sweep->spans);
        free(sweep->heap);
        *sweep = (struct zp_sweep){ 0 };
}

/* ---- the heap ---- */

static uint32_t rank_at(const struct zp_sweep *sweep, size_t at) {
        return sweep->spans[sweep->heap[at]].rank;
}

static void swap(struct zp_sweep *sweep, size_t a, size_t b) {
        uint32_t number = sweep->heap[a];
        sweep->heap[a] = sweep->heap[b];
        sweep->heap[b] = number;
}

static void push(struct zp_sweep *sweep, uint32_t number) {
        size_t at = sweep->waiting++;
        sweep->heap[at] = number;
        for (; at > 0 && rank_at(sweep, at) < rank_at(sweep, (at - 1) / 2); at = (at - 1) / 2)
                swap(sweep, at, (at - 1) / 2);
}

static void pop(struct zp_sweep *sweep) {
        size_t at = 0;
        sweep->heap[0] = sweep->heap[--sweep->waiting];
        for (size_t child; (child = 2 * at + 1) < sweep->waiting; at = child) {
                if (child + 1 < sweep->waiting && rank_at(sweep, child + 1) < rank_at(sweep, child))
                        child++;
                if (rank_at(sweep, at) <= rank_at(sweep, child))
                        return;
                swap(sweep, at, child);
        }
}

uint32_t zp_sweep_first(struct zp_sweep *sweep, uint64_t from, uint64_t to) {
        for (; sweep->next < sweep->count && sweep->spans[sweep->next].start < to; sweep->next++)
                push(sweep, (uint32_t) sweep->next);
        while (sweep->waiting > 0 && sweep->spans[sweep->heap[0]].end <= from)
                pop(sweep);
        return sweep->waiting > 0 ? rank_at(sweep, 0) : ZP_SWEEP_NOBODY;
}
