/* SPDX-License-Identifier: Apache-2.0
 *
 * The beginning and the end of a device.
 */
#include "device/device-internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void zp_device_hold(struct zp_device *device) {
        device->users++;
}

void zp_device_let_go(struct zp_device *device) {
        if (--device->users == 0)
                pthread_cond_broadcast(&device->engine->device_free);
}

static void close_origin(struct zp_device_origin *origin) {
        free(origin->name);
        origin->ops->close(origin);
}

/* Closes what a device consists of. */
static void dispose(struct zp_device *device) {
        for (unsigned i = 0; i < device->origin_count; i++)
                close_origin(device->origins[i]);
        if (device->has_record)
                zp_record_close(&device->record);
        if (device->raw)
                zp_slow_file_close(device->raw);
        if (device->index_bytes)
                munmap(device->index_bytes, device->index_size + 1);
        free(device);
}

static int read_index(struct zp_device *device, const struct zp_device_description *from, struct zp_error *err) {
        /* not from the heap: indexes live long, and would keep what was freed around them */
        void *bytes = mmap(NULL, from->index_size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (bytes == MAP_FAILED)
                return zp_error_errno(err, ENOMEM, "device '%s'", device->hex);
        device->index_bytes = bytes;
        device->index_size = from->index_size;
        memcpy(device->index_bytes, from->index, from->index_size);
        return zp_pack_index_parse(device->index_bytes, from->index_size, &from->digest, device->hex, &device->index,
                                   err);
}

static bool all_at_hand(const struct zp_device *device) {
        for (unsigned i = 0; i < device->origin_count; i++)
                if (!device->origins[i]->is_at_hand)
                        return false;
        return device->origin_count > 0;
}

/* A complete file elsewhere needs no copy, and origins at hand will never fill one. */
static void open_record(struct zp_device *device, int raw_fd) {
        struct zp_device_engine *engine = device->engine;
        struct zp_error err = { 0 };
        device->record.fd = -1;
        if (raw_fd >= 0) {
                device->record = (struct zp_record){ .fd = raw_fd, .device_size = device->index.device_size };
                pthread_mutex_init(&device->record.lock, NULL);
                device->has_record = device->is_finished = true;
                return;
        }
        if (engine->options.cache_fd < 0 || device->index.device_size == 0 || all_at_hand(device))
                return;
        int r = zp_record_open(engine->options.cache_fd, &device->digest, device->index.device_size,
                               device->index.frame_count, engine->boot_id, &device->record, &err);
        if (r < 0)
                zp_device_notice(engine, "blocks of a device are not kept: %s", err.message);
        device->has_record = r == 0;
        device->is_finished = r == 0 && !device->record.good;
        device->record.fd = r == 0 ? device->record.fd : -1;
}

static int open_slow(struct zp_device *device, int raw_fd, const struct zp_device_description *from,
                     struct zp_error *err) {
        device->record.fd = -1;
        return zp_slow_file_new(raw_fd, from->raw_readers, from->origin_count ? from->raw_patience_ms : UINT_MAX,
                                "unpacked file", &device->raw, err);
}

static void enlist(struct zp_device *device) {
        struct zp_device_engine *engine = device->engine;
        pthread_mutex_lock(&engine->lock);
        device->next = engine->devices;
        device->link = &engine->devices;
        if (device->next)
                device->next->link = &device->next;
        engine->devices = device;
        if (device->has_record && !device->is_finished) {
                engine->is_dirty = true; /* what a killed process left unsynced */
                engine->must_look |= device->record.missing == 0;
                pthread_cond_signal(&engine->keeper_wake);
        }
        pthread_mutex_unlock(&engine->lock);
}

int zp_device_open(struct zp_device_engine *engine, const struct zp_device_description *description,
                   struct zp_device **out, struct zp_error *err) {
        zp_autoclose int raw_fd = description->raw_fd;
        struct zp_device *device = calloc(1, sizeof *device);
        if (!device) {
                for (unsigned i = 0; i < description->origin_count; i++)
                        close_origin(description->origins[i]);
                return zp_error_errno(err, ENOMEM, "device");
        }
        device->engine = engine;
        device->digest = description->digest;
        device->origin_count = description->origin_count;
        memcpy(device->origins, description->origins, sizeof device->origins);
        zp_digest_hex(&device->digest, device->hex);
        int r = read_index(device, description, err);
        if (r == 0 && raw_fd >= 0 && description->raw_readers)
                r = open_slow(device, zp_steal_fd(&raw_fd), description, err);
        else if (r == 0)
                open_record(device, zp_steal_fd(&raw_fd));
        if (r < 0) {
                dispose(device);
                return r;
        }
        if (device->origin_count == 0 && !zp_device_is_complete(device)) {
                r = zp_error_set(err, ENOENT, "device '%s': it is not all here, and nobody has the rest", device->hex);
                dispose(device);
                return r;
        }
        enlist(device);
        *out = device;
        return 0;
}

void zp_device_close(struct zp_device *device) {
        if (!device)
                return;
        struct zp_device_engine *engine = device->engine;
        struct zp_device_read *finished = NULL;
        pthread_mutex_lock(&engine->lock);
        device->is_closing = true;
        zp_ahead_forget(device);
        zp_reads_fail(engine, device, 0, &finished);
        zp_fetches_forsake(engine, device);
        pthread_mutex_unlock(&engine->lock);
        zp_reads_finish(finished);
        pthread_mutex_lock(&engine->lock);
        while (device->fetches || device->users || device->reads)
                pthread_cond_wait(&engine->device_free, &engine->lock);
        zp_recent_forget(device);
        *device->link = device->next;
        if (device->next)
                device->next->link = device->link;
        pthread_mutex_unlock(&engine->lock);
        if (device->has_record && !device->is_finished && zp_record_is_unsynced(&device->record))
                zp_record_sync(&device->record, NULL); /* what is not synced is fetched again, no more */
        dispose(device);
}

uint64_t zp_device_size(const struct zp_device *device) {
        return device->index.device_size;
}

bool zp_device_is_idle(struct zp_device *device) {
        struct zp_device_engine *engine = device->engine;
        pthread_mutex_lock(&engine->lock);
        bool is_idle = !device->reads && !device->fetches && !device->users &&
                       !(device->wants_all && !zp_device_is_complete(device));
        for (struct zp_prefetch *range = engine->prefetches; range && is_idle; range = range->next)
                is_idle = range->device != device;
        pthread_mutex_unlock(&engine->lock);
        return is_idle;
}

bool zp_device_is_complete(const struct zp_device *device) {
        return device->index.device_size == 0 || device->raw || (device->has_record && device->record.missing == 0);
}

uint32_t zp_device_missing_frames(const struct zp_device *device) {
        return device->has_record && !device->record.is_broken ? device->record.missing : 0;
}

int zp_device_open_complete(int cache_fd, const struct zp_digest *digest, uint64_t device_size, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        return zp_record_open_complete(cache_fd, zp_digest_hex(digest, hex), device_size, err);
}
