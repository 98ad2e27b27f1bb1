/* SPDX-License-Identifier: Apache-2.0
 *
 * The frames somebody wants: found by number, queued by urgency, started as memory allows.
 */
#include "device/device-internal.h"

#include <stdlib.h>

static struct zp_fetch **bucket_of(struct zp_device *device, uint32_t frame) {
        uint64_t hash = ((uintptr_t) device / sizeof *device + frame) * UINT64_C(0x9e3779b97f4a7c15);
        return &device->engine->buckets[hash >> 56];
}

struct zp_fetch *zp_fetch_find(struct zp_device *device, uint32_t frame) {
        struct zp_fetch *fetch = *bucket_of(device, frame);
        while (fetch && (fetch->device != device || fetch->number != frame))
                fetch = fetch->next;
        return fetch;
}

void zp_fetch_enqueue(struct zp_fetch *fetch) {
        struct zp_queue *queue = &fetch->device->engine->queues[fetch->urgency];
        if (fetch->state == ZP_FETCH_PAUSED)
                fetch->device->engine->paused--;
        fetch->state = ZP_FETCH_QUEUED;
        fetch->queue_next = NULL;
        fetch->queue_prev = queue->last;
        *(queue->last ? &queue->last->queue_next : &queue->first) = fetch;
        queue->last = fetch;
}

static void dequeue(struct zp_fetch *fetch) {
        struct zp_queue *queue = &fetch->device->engine->queues[fetch->urgency];
        *(fetch->queue_prev ? &fetch->queue_prev->queue_next : &queue->first) = fetch->queue_next;
        *(fetch->queue_next ? &fetch->queue_next->queue_prev : &queue->last) = fetch->queue_prev;
        fetch->queue_next = fetch->queue_prev = NULL;
}

void zp_fetch_pause(struct zp_fetch *fetch, uint64_t resume_ms) {
        fetch->state = ZP_FETCH_PAUSED;
        fetch->resume_ms = resume_ms;
        fetch->device->engine->paused++;
        zp_device_wake_timer(fetch->device->engine);
}

static void make_urgent(struct zp_fetch *fetch, enum zp_device_urgency urgency) {
        if (urgency == ZP_DEVICE_DEMAND)
                fetch->was_demanded = true;
        if (urgency >= fetch->urgency)
                return;
        struct zp_device_engine *engine = fetch->device->engine;
        bool is_queued = fetch->state == ZP_FETCH_QUEUED;
        if (is_queued)
                dequeue(fetch);
        if (fetch->state == ZP_FETCH_UNDER_WAY) {
                engine->under_way[fetch->urgency]--;
                engine->under_way[urgency]++;
        }
        fetch->urgency = urgency;
        if (is_queued)
                zp_fetch_enqueue(fetch);
}

struct zp_fetch *zp_fetch_want(struct zp_device *device, uint32_t frame, enum zp_device_urgency urgency) {
        struct zp_fetch *fetch = zp_fetch_find(device, frame);
        if (fetch) {
                make_urgent(fetch, urgency);
                return fetch;
        }
        fetch = calloc(1, sizeof *fetch);
        if (!fetch)
                return NULL;
        fetch->device = device;
        fetch->number = frame;
        fetch->frame = zp_pack_index_frame(&device->index, frame);
        fetch->urgency = urgency;
        fetch->was_demanded = urgency == ZP_DEVICE_DEMAND;
        struct zp_fetch **bucket = bucket_of(device, frame);
        fetch->next = *bucket;
        *bucket = fetch;
        device->fetches++;
        zp_fetch_enqueue(fetch);
        return fetch;
}

void zp_fetch_drop(struct zp_fetch *fetch) {
        struct zp_device *device = fetch->device;
        struct zp_fetch **link = bucket_of(device, fetch->number);
        while (*link != fetch)
                link = &(*link)->next;
        *link = fetch->next;
        if (fetch->state == ZP_FETCH_QUEUED)
                dequeue(fetch);
        if (fetch->state == ZP_FETCH_PAUSED)
                device->engine->paused--;
        free(fetch);
        if (--device->fetches == 0)
                pthread_cond_broadcast(&device->engine->device_free);
}

/* Of a device of which nothing is under way, and somebody waits. */
static bool is_first(const struct zp_fetch *fetch) {
        return fetch->urgency == ZP_DEVICE_DEMAND && fetch->device->under_way == 0;
}

/* Demand leaves others' readers a frame each when the memory is full, in as much again: a server that hangs keeps up
 * its own readers alone, unless it hangs for very many devices. What nobody waits for leaves room for demand. */
static bool has_memory(const struct zp_device_engine *engine, const struct zp_fetch *fetch) {
        static const uint64_t quarters[ZP_DEVICE_URGENCIES] = { 4, 3, 2 };
        uint64_t limit = engine->options.memory_limit / 4 * (is_first(fetch) ? 8 : quarters[fetch->urgency]);
        return engine->memory_used == 0 || engine->memory_used + fetch->frame.packed_size <= limit;
}

/* What nobody waits for shall not fill the line when somebody comes: the origin puts so much of it into requests of
 * which it sends few at a time. */
static const uint32_t under_way_max[ZP_DEVICE_URGENCIES] = { UINT32_MAX, 64, 8 };

/* One for which there is memory goes before those for which there is none; but no device's first waits behind smaller
 * ones that came later. */
static struct zp_fetch *most_urgent(struct zp_device_engine *engine) {
        for (unsigned i = 0; i < ZP_DEVICE_URGENCIES; i++) {
                struct zp_fetch *fetch = engine->queues[i].first;
                while (i == ZP_DEVICE_DEMAND && fetch && !has_memory(engine, fetch) && !is_first(fetch))
                        fetch = fetch->queue_next;
                if (fetch || engine->queues[i].first)
                        return fetch;
        }
        return zp_ahead_next(engine);
}

struct zp_fetch *zp_fetch_take(struct zp_device_engine *engine) {
        struct zp_fetch *fetch = most_urgent(engine);
        if (!fetch || !has_memory(engine, fetch) || engine->under_way[fetch->urgency] >= under_way_max[fetch->urgency])
                return NULL;
        dequeue(fetch);
        fetch->device->under_way++;
        fetch->state = ZP_FETCH_UNDER_WAY;
        fetch->is_cancelled = false;
        engine->under_way[fetch->urgency]++;
        engine->memory_used += fetch->frame.packed_size;
        return fetch;
}

/* Those that do not move are dropped, one of those that do is returned. */
static struct zp_fetch *find_forsaken(struct zp_device_engine *engine, const struct zp_device *device) {
        for (unsigned i = 0; i < ZP_FETCH_BUCKETS; i++)
                for (struct zp_fetch *fetch = engine->buckets[i], *next; fetch; fetch = next) {
                        next = fetch->next;
                        bool matches = device ? fetch->device == device : fetch->was_demanded;
                        if (!matches || fetch->is_cancelled || zp_reads_await(fetch->device, fetch->number))
                                continue;
                        if (fetch->state == ZP_FETCH_UNDER_WAY)
                                return fetch;
                        zp_fetch_drop(fetch);
                }
        return NULL;
}

void zp_fetches_forsake(struct zp_device_engine *engine, struct zp_device *device) {
        for (struct zp_fetch *fetch; (fetch = find_forsaken(engine, device));) {
                struct zp_device *held = fetch->device;
                struct zp_device_origin *origin = held->origins[fetch->origin];
                fetch->is_cancelled = true;
                zp_device_hold(held);
                pthread_mutex_unlock(&engine->lock);
                if (origin->ops->cancel)
                        origin->ops->cancel(origin, fetch);
                pthread_mutex_lock(&engine->lock);
                zp_device_let_go(held);
        }
}
