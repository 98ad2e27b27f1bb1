/* SPDX-License-Identifier: Apache-2.0
 *
 * What is fetched before anybody waits for it: the frames in front of sequential readers, ranges that were announced,
 * and the rest of devices that are wanted whole.
 */
#include "device/device-internal.h"

#include <stdlib.h>

/* A sequential reader's window grows from one frame to this many bytes of frames. */
#define WINDOW_BYTES (UINT32_C(8) << 20)
/* So much of the time in which nothing was fetched in the background counts for what is fetched then. */
#define BURST_US 20000

static uint32_t window_max(const struct zp_device *device) {
        uint32_t frames = WINDOW_BYTES / device->index.frame_size;
        return frames ? frames : 1;
}

static bool is_missing(struct zp_device *device, uint32_t frame) {
        return !zp_device_has(device, frame) && !zp_fetch_find(device, frame) && !zp_recent_find(device, frame);
}

static void fetch_window(struct zp_device *device, uint32_t from, uint32_t count) {
        for (uint32_t i = 0; i < count && from + i < device->index.frame_count; i++)
                if (is_missing(device, from + i))
                        zp_fetch_want(device, from + i, ZP_DEVICE_AHEAD);
}

/* The stream that this read carries on: it begins in the frame where the last one ended, or in the next. */
static struct zp_stream *stream_of(struct zp_device *device, uint32_t first) {
        struct zp_stream *oldest = &device->streams[0];
        for (unsigned i = 0; i < ZP_STREAMS; i++) {
                struct zp_stream *stream = &device->streams[i];
                if (stream->used && (first == stream->next_frame || first + 1 == stream->next_frame))
                        return stream;
                if (stream->used < oldest->used)
                        oldest = stream;
        }
        *oldest = (struct zp_stream){ .next_frame = first };
        return oldest;
}

/* A reader whose blocks are here already needs no window: they may be here because it is known that nothing behind them
 * will be read. It gets one when it has to wait, and then fills it up when half of it is used: few requests. */
void zp_ahead_note(struct zp_device *device, uint32_t first, uint32_t count, bool has_missed) {
        struct zp_stream *stream = stream_of(device, first);
        uint32_t end = first + count;
        bool is_new = stream->used == 0;
        stream->used = ++device->read_count;
        if (end <= stream->next_frame)
                return; /* still in the same frame */
        stream->next_frame = end;
        if (is_new || (!stream->window && !has_missed))
                return;
        if (end + stream->window / 2 < stream->fetched_end)
                return;
        uint32_t grown = stream->window ? stream->window * 2 : 1;
        stream->window = grown < window_max(device) ? grown : window_max(device);
        stream->fetched_end = end + stream->window;
        fetch_window(device, end, stream->window);
}

/* Ranges announced, in their order. */
static struct zp_fetch *next_announced(struct zp_device_engine *engine) {
        while (engine->prefetches) {
                struct zp_prefetch *range = engine->prefetches;
                while (range->frame < range->end) {
                        uint32_t frame = range->frame++;
                        if (is_missing(range->device, frame))
                                return zp_fetch_want(range->device, frame, ZP_DEVICE_AHEAD);
                }
                engine->prefetches = range->next;
                if (!engine->prefetches)
                        engine->last_prefetch = &engine->prefetches;
                free(range);
        }
        return NULL;
}

/* Of a device that is not kept, there would be nothing left. */
static struct zp_fetch *next_wanted(struct zp_device *device) {
        if (!device->wants_all || !device->has_record || device->record.is_broken || !device->record.missing)
                return NULL;
        for (uint32_t i = 0; i < device->index.frame_count; i++) {
                uint32_t frame = device->background_next;
                device->background_next = (frame + 1) % device->index.frame_count;
                if (is_missing(device, frame))
                        return zp_fetch_want(device, frame, ZP_DEVICE_BACKGROUND);
        }
        return NULL;
}

/* Whoever could not spend what he had may do so later, but not much later: the timer is coarse, the limit is not. */
static void pay(struct zp_device_engine *engine, uint64_t now_us, uint32_t bytes) {
        uint64_t rate = engine->options.background_bytes_per_s, oldest_us = now_us - BURST_US;
        if (rate == 0)
                return;
        if (engine->background_paid_us < oldest_us)
                engine->background_paid_us = oldest_us;
        engine->background_paid_us += bytes * UINT64_C(1000000) / rate + 1;
}

static struct zp_fetch *next_background(struct zp_device_engine *engine) {
        uint64_t now = zp_monotonic_ms();
        if (now < engine->background_ready_ms || !zp_device_has_room(engine) || now * 1000 < engine->background_paid_us)
                return NULL;
        for (struct zp_device *device = engine->devices; device; device = device->next) {
                struct zp_fetch *fetch = next_wanted(device);
                if (!fetch)
                        continue;
                pay(engine, now * 1000, fetch->frame.packed_size);
                return fetch;
        }
        return NULL;
}

struct zp_fetch *zp_ahead_next(struct zp_device_engine *engine) {
        const struct zp_queue *queues = engine->queues;
        if (queues[ZP_DEVICE_DEMAND].first || queues[ZP_DEVICE_AHEAD].first || queues[ZP_DEVICE_BACKGROUND].first)
                return NULL;
        struct zp_fetch *fetch = next_announced(engine);
        bool is_busy = engine->under_way[ZP_DEVICE_DEMAND] || engine->under_way[ZP_DEVICE_AHEAD];
        return fetch || is_busy ? fetch : next_background(engine);
}

void zp_ahead_forget(struct zp_device *device) {
        struct zp_device_engine *engine = device->engine;
        for (struct zp_prefetch **link = &engine->prefetches; *link;) {
                struct zp_prefetch *range = *link;
                if (range->device == device) {
                        *link = range->next;
                        free(range);
                } else {
                        link = &range->next;
                }
        }
        engine->last_prefetch = &engine->prefetches;
        while (*engine->last_prefetch)
                engine->last_prefetch = &(*engine->last_prefetch)->next;
        device->wants_all = false;
}

void zp_device_prefetch(struct zp_device *device, uint64_t offset, uint64_t size) {
        struct zp_device_engine *engine = device->engine;
        if (offset >= device->index.device_size || size == 0 || device->raw)
                return;
        uint64_t left = device->index.device_size - offset, last = offset + (size < left ? size : left) - 1;
        struct zp_prefetch *range = malloc(sizeof *range);
        if (!range)
                return; /* it was only to be faster */
        *range = (struct zp_prefetch){ .device = device,
                                       .frame = (uint32_t) (offset / device->index.frame_size),
                                       .end = (uint32_t) (last / device->index.frame_size) + 1 };
        pthread_mutex_lock(&engine->lock);
        *engine->last_prefetch = range;
        engine->last_prefetch = &range->next;
        pthread_mutex_unlock(&engine->lock);
        zp_device_pump(engine);
}

void zp_device_complete(struct zp_device *device) {
        struct zp_device_engine *engine = device->engine;
        pthread_mutex_lock(&engine->lock);
        device->wants_all = true;
        zp_device_wake_timer(engine);
        pthread_mutex_unlock(&engine->lock);
}

void zp_device_complete_no_more(struct zp_device *device) {
        pthread_mutex_lock(&device->engine->lock);
        device->wants_all = false;
        pthread_mutex_unlock(&device->engine->lock);
}
