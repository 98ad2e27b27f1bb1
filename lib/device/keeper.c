/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that waits for the disk so that nobody else does: it syncs what was kept, completes devices of which
 * nothing is missing, and keeps the directory of copies within its limit.
 */
#include "device/device-internal.h"

#include <stdlib.h>

/* What a loss of power may cost. */
#define SYNC_EVERY_MS 5000
/* How soon it is seen that others fill the disk. */
#define WATCH_EVERY_MS 10000

static void keep_device(struct zp_device *device) {
        struct zp_device_engine *engine = device->engine;
        struct zp_error err = { 0 };
        int r = 0;
        if (device->record.missing == 0 && !device->is_finished) {
                r = zp_record_finish(&device->record, engine->options.cache_fd, &err);
                device->is_finished = device->record.missing == 0; /* if not on disk, then in effect */
        } else if (zp_record_is_unsynced(&device->record)) {
                r = zp_record_sync(&device->record, &err);
        }
        if (r < 0)
                zp_device_notice(engine, "local copy of device %s", err.message);
}

/* All open devices with a copy, held. NULL: no memory, the next time then. */
static struct zp_device **hold_all(struct zp_device_engine *engine, size_t *count) {
        size_t size = 0;
        for (struct zp_device *device = engine->devices; device; device = device->next)
                size++;
        struct zp_device **devices = calloc(size + 1, sizeof *devices);
        *count = 0;
        for (struct zp_device *device = engine->devices; device && devices; device = device->next)
                if (device->has_record && !device->is_finished && !device->is_closing) {
                        zp_device_hold(device);
                        devices[(*count)++] = device;
                }
        return devices;
}

static void keep_devices(struct zp_device_engine *engine) {
        size_t count;
        zp_autofree struct zp_device **devices = hold_all(engine, &count);
        engine->is_dirty = false;
        pthread_mutex_unlock(&engine->lock);
        for (size_t i = 0; i < count; i++)
                keep_device(devices[i]);
        pthread_mutex_lock(&engine->lock);
        for (size_t i = 0; i < count; i++)
                zp_device_let_go(devices[i]);
}

/* A full disk gives back an eighth of the copies, a limit what is above it. */
static void keep_limit(struct zp_device_engine *engine) {
        uint64_t limit = engine->options.cache_limit ? engine->options.cache_limit : UINT64_MAX;
        bool is_full = engine->wants_room;
        engine->wants_room = false;
        engine->cache_written = 0;
        pthread_mutex_unlock(&engine->lock);
        uint64_t used = zp_cache_trim(engine, limit), target = used - used / 8;
        bool has_room = used <= limit;
        if (is_full && target < limit)
                has_room = zp_cache_trim(engine, target) < used;
        bool is_news = used > limit && !engine->is_over_limit; /* nobody else changes it */
        if (is_news)
                zp_device_notice(engine,
                                 "local copies take %llu bytes, the limit is %llu, and all are in use: blocks are "
                                 "served without being kept",
                                 (unsigned long long) used, (unsigned long long) limit);
        pthread_mutex_lock(&engine->lock);
        engine->is_over_limit = used > limit;
        if (is_full && has_room)
                engine->cache_full_until_ms = 0;
}

static void wait_for_work(struct zp_device_engine *engine) {
        uint64_t now = zp_monotonic_ms(), sync_ms = now + SYNC_EVERY_MS, watch_ms = now + WATCH_EVERY_MS;
        bool is_early = true;
        while (is_early && !engine->is_ending && !engine->must_look)
                is_early = zp_condition_wait_until(&engine->keeper_wake, &engine->lock,
                                                   engine->is_dirty ? sync_ms : watch_ms);
}

/* Without the lock: it is given back meanwhile. */
static void keep_reserve(struct zp_device_engine *engine) {
        pthread_mutex_unlock(&engine->lock);
        zp_cache_keep_reserve(engine);
        pthread_mutex_lock(&engine->lock);
}

void *zp_device_keeper(void *argument) {
        struct zp_device_engine *engine = argument;
        pthread_mutex_lock(&engine->lock);
        while (!engine->is_ending) {
                bool must_look = engine->must_look;
                engine->must_look = false;
                keep_devices(engine);
                if ((must_look || engine->is_over_limit) && engine->options.cache_fd >= 0)
                        keep_limit(engine);
                if (engine->options.cache_fd >= 0)
                        keep_reserve(engine);
                wait_for_work(engine);
        }
        pthread_mutex_unlock(&engine->lock);
        return NULL;
}
