/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/range-internal.h"

void zp_range_enqueue(struct zp_range_read *read, bool at_front) {
        struct zp_range_reads *queue = &read->blob->remote->waiting[read->priority];
        struct zp_range_reads *places = &read->blob->waiting;
        struct zp_range_read *before = TAILQ_LAST(places, zp_range_reads);
        /* From the end, for most come in order. */
        while (before && zp_range_read_next(before) > zp_range_read_next(read))
                before = TAILQ_PREV(before, zp_range_reads, by_place);
        if (before)
                TAILQ_INSERT_AFTER(places, before, read, by_place);
        else
                TAILQ_INSERT_HEAD(places, read, by_place);
        if (at_front)
                TAILQ_INSERT_HEAD(queue, read, in_queue);
        else
                TAILQ_INSERT_TAIL(queue, read, in_queue);
        read->is_waiting = true;
        read->blob->remote->waiting_bytes[read->priority] += read->size - read->filled;
}

void zp_range_dequeue(struct zp_range_read *read) {
        read->blob->remote->waiting_bytes[read->priority] -= read->size - read->filled;
        TAILQ_REMOVE(&read->blob->remote->waiting[read->priority], read, in_queue);
        TAILQ_REMOVE(&read->blob->waiting, read, by_place);
        read->is_waiting = false;
}

/* The run of bytes that a request asks for, as it grows. */
struct run {
        uint64_t start, end;
        const struct zp_range_options *limits;
};

/* What nobody waits for makes no request long: who comes for the end of it would have to wait for all. */
static bool fits(const struct run *run, const struct zp_range_read *read, uint64_t now_ms) {
        uint64_t longest = read->priority == ZP_RANGE_DEMAND ? run->limits->coalesce_bytes : run->limits->ahead_bytes;
        uint64_t start = zp_range_read_next(read), end = zp_range_read_end(read);
        start = start < run->start ? start : run->start;
        end = end > run->end ? end : run->end;
        return end - start <= longest && read->not_before_ms <= now_ms;
}

static void take(struct run *run, struct zp_range_read *read) {
        if (zp_range_read_next(read) < run->start)
                run->start = zp_range_read_next(read);
        if (zp_range_read_end(read) > run->end)
                run->end = zp_range_read_end(read);
        zp_range_dequeue(read);
}

/* Reads that lie next to one another go next to one another. */
static void put_in_place(struct zp_range_reads *parts, struct zp_range_read *read, unsigned *ranges) {
        struct zp_range_read *part;
        TAILQ_FOREACH_REVERSE(part, parts, zp_range_reads, by_place) {
                if (zp_range_read_end(part) == zp_range_read_next(read)) {
                        TAILQ_INSERT_AFTER(parts, part, read, by_place);
                        return;
                }
                if (zp_range_read_end(read) == zp_range_read_next(part)) {
                        TAILQ_INSERT_BEFORE(part, read, by_place);
                        return;
                }
        }
        TAILQ_INSERT_TAIL(parts, read, by_place);
        (*ranges)++;
}

void zp_range_gather_several(struct zp_range_read *read, const struct zp_range_options *limits, uint64_t now_ms,
                             struct zp_range_reads *parts) {
        const struct zp_range_blob *blob = read->blob;
        uint64_t bytes = read->size - read->filled, passed = 0;
        unsigned server = read->server, ranges = 0;
        struct zp_range_read *other, *next;
        zp_range_dequeue(read);
        put_in_place(parts, read, &ranges);
        for (other = TAILQ_FIRST(&blob->remote->waiting[read->priority]); other; other = next) {
                uint64_t size = other->size - other->filled;
                next = TAILQ_NEXT(other, in_queue);
                if (other->blob != blob || other->server != server || other->goes_alone ||
                    other->not_before_ms > now_ms) {
                        if ((passed += size) > limits->ahead_bytes)
                                return;
                        continue;
                }
                if ((bytes += size) > limits->ahead_bytes || ranges == ZP_RANGES_MAX)
                        return;
                zp_range_dequeue(other);
                put_in_place(parts, other, &ranges);
        }
}

void zp_range_gather(struct zp_range_read *read, const struct zp_range_options *limits, uint64_t now_ms,
                     struct zp_range_reads *parts) {
        struct run run = { zp_range_read_next(read), zp_range_read_end(read), limits };
        struct zp_range_read *before = TAILQ_PREV(read, zp_range_reads, by_place), *after = TAILQ_NEXT(read, by_place);
        struct zp_range_read *next;
        take(&run, read);
        TAILQ_INSERT_HEAD(parts, read, by_place);
        for (; after && zp_range_read_next(after) <= run.end + limits->gap_bytes; after = next) {
                next = TAILQ_NEXT(after, by_place);
                if (after->server != read->server || !fits(&run, after, now_ms))
                        continue;
                take(&run, after);
                TAILQ_INSERT_TAIL(parts, after, by_place);
        }
        for (; before && zp_range_read_end(before) + limits->gap_bytes >= run.start; before = next) {
                next = TAILQ_PREV(before, zp_range_reads, by_place);
                if (before->server != read->server || before->priority > read->priority || !fits(&run, before, now_ms))
                        continue;
                take(&run, before);
                TAILQ_INSERT_HEAD(parts, before, by_place);
        }
}
