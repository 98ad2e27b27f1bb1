/* SPDX-License-Identifier: Apache-2.0
 *
 * A frame's way: from an origin into memory, checked and decompressed by a worker, onto the disk, to all who wait.
 */
#include "device/device-internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "device/cache.h"

#define RETRY_MAX_MS 5000
#define BACKGROUND_RETRY_MAX_MS 60000
/* Other bytes than the index says: asked for once more, then it is an error. */
#define WRONG_MAX 2
/* While there is no room on the disk, nobody tries to write for so long. */
#define CACHE_FULL_MS 10000
/* The keeper counts the directory after so many bytes were written. */
#define LOOK_AFTER_BYTES (UINT64_C(32) << 20)

static uint64_t backoff_ms(uint64_t first, unsigned failures, uint64_t max) {
        uint64_t pause = failures < 16 ? first << failures : max;
        return pause < max ? pause : max;
}

static int decode(struct zp_worker *worker, const struct zp_fetch *fetch, struct zp_error *err) {
        if (!worker->decoder)
                worker->decoder = zp_pack_decoder_new();
        if (worker->size < fetch->frame.size) {
                free(worker->unpacked);
                worker->unpacked = malloc(fetch->frame.size);
                worker->size = worker->unpacked ? fetch->frame.size : 0;
        }
        if (!worker->decoder || !worker->unpacked)
                return -ENOMEM;
        const char *name = fetch->device->origins[fetch->origin]->name;
        return zp_pack_decode(worker->decoder, &fetch->frame, fetch->packed, worker->unpacked, name ? name : "pack",
                              err);
}

static bool may_keep(struct zp_fetch *fetch) {
        struct zp_device_engine *engine = fetch->device->engine;
        if (!fetch->device->has_record || fetch->device->record.is_broken ||
            fetch->device->origins[fetch->origin]->is_at_hand)
                return false;
        pthread_mutex_lock(&engine->lock);
        bool has_room = zp_device_has_room(engine);
        pthread_mutex_unlock(&engine->lock);
        return has_room;
}

static int check_reserve(const struct zp_device_engine *engine, struct zp_error *err) {
        return zp_cache_shortage(engine->options.cache_fd) ? zp_error_set(err, ENOSPC, "the disk is nearly full") : 0;
}

/* Whether the frame is on the disk now. */
static bool keep(struct zp_fetch *fetch, const uint8_t *unpacked) {
        struct zp_device *device = fetch->device;
        struct zp_device_engine *engine = device->engine;
        struct zp_error err = { 0 };
        if (!may_keep(fetch))
                return false;
        int r = check_reserve(engine, &err);
        if (r == 0)
                r = zp_record_put(&device->record, fetch->number, fetch->frame.device_offset, unpacked,
                                  fetch->frame.size, &err);
        if (r < 0)
                zp_device_notice(engine, "frames are served without being kept: %s", err.message);
        pthread_mutex_lock(&engine->lock);
        if (r < 0)
                engine->cache_full_until_ms = zp_monotonic_ms() + CACHE_FULL_MS;
        engine->wants_room |= r == -ENOSPC || r == -EDQUOT; /* a disk that fails has no more of it for fewer copies */
        engine->cache_written += r < 0 ? 0 : fetch->frame.size;
        bool is_new = !engine->is_dirty;
        engine->is_dirty = true;
        if (r < 0 || device->record.missing == 0 || engine->cache_written >= LOOK_AFTER_BYTES)
                engine->must_look = is_new = true;
        if (is_new)
                pthread_cond_signal(&engine->keeper_wake);
        pthread_mutex_unlock(&engine->lock);
        return r == 0;
}

/* The worker's buffer, if the frame is only in there. */
static uint8_t *take_unpacked(struct zp_worker *worker) {
        worker->size = 0;
        return zp_steal(&worker->unpacked);
}

static void succeed(struct zp_fetch *fetch, uint8_t *unkept, struct zp_device_read **finished) {
        struct zp_device *device = fetch->device;
        struct zp_device_statistics *statistics = &device->engine->statistics;
        statistics->fetched_frames++;
        statistics->fetched_bytes += fetch->frame.packed_size;
        statistics->ahead_frames += !fetch->was_demanded;
        statistics->unkept_frames += unkept != NULL;
        device->engine->background_failures = 0;
        device->cause[0] = '\0';
        zp_reads_settle(device, fetch->number, unkept, 0, finished);
        if (unkept)
                zp_recent_keep(device, fetch->number, unkept, fetch->frame.size);
        zp_fetch_drop(fetch);
}

static void fail_background(struct zp_device_engine *engine) {
        uint64_t pause = backoff_ms(engine->options.retry_ms, engine->background_failures++, BACKGROUND_RETRY_MAX_MS);
        engine->background_ready_ms = zp_monotonic_ms() + pause;
}

/* What is wrong comes from the next origin, what failed as well, whether anybody waits or not; the last one's successor
 * is the first, after a pause, while somebody waits. Whoever does gives up at its own deadline. */
static void fail(struct zp_fetch *fetch, int result, struct zp_device_read **finished) {
        struct zp_device *device = fetch->device;
        struct zp_device_engine *engine = device->engine;
        bool is_wrong = result == -EBADMSG, is_cancelled = fetch->is_cancelled;
        bool is_twice_wrong = is_wrong && ++fetch->wrong >= WRONG_MAX;
        bool has_other = !is_cancelled && !is_twice_wrong && fetch->origin + 1 < device->origin_count;
        engine->statistics.wrong_frames += is_wrong;
        engine->statistics.failed_fetches += !is_wrong && !is_cancelled;
        if (!is_cancelled && !has_other && fetch->urgency == ZP_DEVICE_BACKGROUND)
                fail_background(engine);
        if (is_twice_wrong)
                zp_reads_settle(device, fetch->number, NULL, -EIO, finished);
        if (device->is_closing || (!has_other && !zp_reads_await(device, fetch->number))) {
                zp_fetch_drop(fetch);
                return;
        }
        if (is_cancelled) { /* somebody came after it was given up */
                zp_fetch_enqueue(fetch);
                return;
        }
        fetch->origin = (fetch->origin + 1) % device->origin_count;
        if (is_wrong || fetch->origin != 0)
                zp_fetch_enqueue(fetch);
        else
                zp_fetch_pause(fetch, zp_monotonic_ms() +
                                              backoff_ms(engine->options.retry_ms, fetch->failures++, RETRY_MAX_MS));
}

/* In a worker, when the origin has ended. */
static void settle(void *argument, unsigned number) {
        struct zp_fetch *fetch = argument;
        struct zp_device_engine *engine = fetch->device->engine;
        struct zp_worker *worker = &engine->workers[number];
        struct zp_error err = { 0 };
        struct zp_device_read *finished = NULL;
        uint8_t *unkept = NULL;
        int r = fetch->result == -EBADMSG ? -EIO : fetch->result; /* only the digest says what is wrong */
        if (r == 0) {
                r = decode(worker, fetch, &err);
                if (r == -EBADMSG)
                        zp_device_notice(engine, "device %s: %s", fetch->device->hex, err.message);
                if (r == 0 && !keep(fetch, worker->unpacked))
                        unkept = take_unpacked(worker);
        }
        free(zp_steal(&fetch->packed));
        pthread_mutex_lock(&engine->lock);
        engine->memory_used -= fetch->frame.packed_size;
        engine->under_way[fetch->urgency]--;
        fetch->device->under_way--;
        if (r == -EBADMSG)
                snprintf(fetch->device->cause, sizeof fetch->device->cause, "%s", err.message);
        if (r == 0)
                succeed(fetch, unkept, &finished);
        else
                fail(fetch, r, &finished);
        pthread_mutex_unlock(&engine->lock);
        zp_reads_finish(finished);
        zp_device_pump(engine);
}

static void on_origin_done(void *context, int result, const struct zp_error *err) {
        struct zp_fetch *fetch = context;
        struct zp_device_engine *engine = fetch->device->engine;
        fetch->result = result;
        if (result < 0 && result != -ECANCELED && err) {
                pthread_mutex_lock(&engine->lock);
                snprintf(fetch->device->cause, sizeof fetch->device->cause, "%s", err->message);
                pthread_mutex_unlock(&engine->lock);
        }
        if (result < 0 && result != -ECANCELED)
                zp_device_notice(engine, "device %s: frame %u: %s", fetch->device->hex, fetch->number,
                                 err ? err->message : "cannot be fetched");
        zp_pool_submit(engine->pool, &fetch->item, settle, fetch);
}

/* Without the lock: what others may change meanwhile is given. */
static void start(struct zp_fetch *fetch, struct zp_device_origin *origin, enum zp_device_urgency urgency) {
        fetch->packed = malloc(fetch->frame.packed_size);
        if (!fetch->packed)
                on_origin_done(fetch, -ENOMEM, NULL);
        else
                origin->ops->read(origin, fetch->frame.packed_offset, fetch->frame.packed_size, fetch->packed, urgency,
                                  on_origin_done, fetch);
}

void zp_device_pump(struct zp_device_engine *engine) {
        pthread_mutex_lock(&engine->lock);
        for (struct zp_fetch *fetch; (fetch = zp_fetch_take(engine));) {
                struct zp_device *device = fetch->device;
                struct zp_device_origin *origin = device->origins[fetch->origin];
                enum zp_device_urgency urgency = fetch->urgency;
                if (origin->ops->look)
                        zp_device_wake_timer(engine);
                zp_device_hold(device);
                pthread_mutex_unlock(&engine->lock);
                start(fetch, origin, urgency);
                pthread_mutex_lock(&engine->lock);
                zp_device_let_go(device);
        }
        pthread_mutex_unlock(&engine->lock);
}
