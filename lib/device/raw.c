/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads of a device all of which is in a file on a file system that may hang: they end with their deadline however long
 * it hangs, and go to the origins when it does not answer or fails.
 */
#include "device/device-internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Between a read, the file, and who starts it; goes with the one that lets go last. */
struct zp_raw_read {
        struct zp_device *device; /* held until the file is done with it */
        /* guarded by the engine's lock */
        unsigned owners;
        struct zp_device_read *read; /* NULL: it is over */
};

/* Lock held. */
static void let_go(struct zp_raw_read *raw) {
        if (--raw->owners == 0)
                free(raw);
}

/* The read goes on without the file. Lock held. */
static struct zp_device_read *part(struct zp_raw_read *raw) {
        struct zp_device_read *read = zp_steal(&raw->read);
        if (read) {
                zp_read_delist(read);
                read->raw = NULL;
                let_go(raw);
        }
        return read;
}

static void on_done(void *context, int result, const void *bytes, const struct zp_error *err) {
        struct zp_raw_read *raw = context;
        struct zp_device *device = raw->device;
        struct zp_device_engine *engine = device->engine;
        pthread_mutex_lock(&engine->lock);
        struct zp_device_read *read = part(raw);
        if (read)
                snprintf(device->cause, sizeof device->cause, "%s", err ? err->message : "");
        pthread_mutex_unlock(&engine->lock);
        if (read && err)
                zp_device_notice(engine, "device %s: %s", device->hex, err->message);
        if (read)
                zp_read_take_raw(read, result, bytes);
        pthread_mutex_lock(&engine->lock);
        let_go(raw);
        zp_device_let_go(device);
        pthread_mutex_unlock(&engine->lock);
}

struct zp_raw_read *zp_raw_want(struct zp_device_read *read) {
        struct zp_raw_read *raw = malloc(sizeof *raw);
        if (!raw)
                return NULL;
        *raw = (struct zp_raw_read){ .device = read->device, .owners = 3, .read = read };
        read->raw = raw;
        zp_device_hold(read->device); /* for the file */
        zp_device_hold(read->device); /* for zp_raw_start() */
        return raw;
}

static bool is_same(const void *context, const void *raw) {
        return context == raw;
}

void zp_raw_start(struct zp_raw_read *raw, uint64_t offset, uint32_t size) {
        struct zp_device *device = raw->device;
        struct zp_device_engine *engine = device->engine;
        zp_slow_file_read(device->raw, offset, size, on_done, raw);
        pthread_mutex_lock(&engine->lock);
        bool is_over = !raw->read;
        pthread_mutex_unlock(&engine->lock);
        if (is_over) /* perhaps before the file had it: nobody else ends it then */
                zp_slow_file_cancel(device->raw, is_same, raw);
        pthread_mutex_lock(&engine->lock);
        let_go(raw);
        zp_device_let_go(device);
        pthread_mutex_unlock(&engine->lock);
}

void zp_raw_forsake(struct zp_raw_read *raw) {
        raw->read = NULL;
}

void zp_raw_end(struct zp_raw_read *raw) {
        struct zp_device_engine *engine = raw->device->engine;
        zp_slow_file_cancel(raw->device->raw, is_same, raw);
        pthread_mutex_lock(&engine->lock);
        let_go(raw);
        pthread_mutex_unlock(&engine->lock);
}
