/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/data/store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "profile/prefetch.h"
#include "store/store.h"

struct snap_store {
        char *path;
        pthread_mutex_t lock;
        struct zp_store *store; /* NULL: not opened yet; guarded by lock */
};

int snap_store_new(const char *path, struct snap_store **out, struct zp_error *err) {
        struct snap_store *store = calloc(1, sizeof *store);
        if (store)
                store->path = strdup(path);
        if (!store || !store->path) {
                free(store);
                return zp_error_errno(err, ENOMEM, "store '%s'", path);
        }
        pthread_mutex_init(&store->lock, NULL);
        *out = store;
        return 0;
}

void snap_store_free(struct snap_store *store) {
        if (!store)
                return;
        zp_store_close(store->store);
        pthread_mutex_destroy(&store->lock);
        free(store->path);
        free(store);
}

/* Once opened it stays so. */
static int open_store(struct snap_store *store, struct zp_store **out, struct zp_error *err) {
        pthread_mutex_lock(&store->lock);
        int r = store->store ? 0 : zp_store_open(store->path, ZP_STORE_READ, &store->store, err);
        *out = store->store;
        pthread_mutex_unlock(&store->lock);
        return r;
}

static int find_remote(void *context, const struct zp_digest *device, char **remote, struct zp_descriptor *pack,
                       struct zp_error *err) {
        struct zp_store *store;
        struct zp_device_record record;
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = open_store(context, &store, err);
        if (r == 0)
                r = zp_store_find_device(store, device, &record, err);
        if (r == 1 && !record.has_pack_digest)
                r = 0;
        if (r == 1)
                r = zp_store_find_device_origin(store, device, remote, err);
        if (r < 0)
                return r;
        if (r == 0)
                return zp_error_set(err, ENOENT, "device %s: no remote is known", zp_digest_text(device, text));
        *pack = (struct zp_descriptor){ .digest = record.pack_digest, .size = record.pack_size };
        return 0;
}

/* The devices of an image as the list of ranges is checked against. */
static int read_devices(struct zp_store *store, const struct zp_digest *image, struct zp_prefetch_device **out,
                        size_t *count, struct zp_error *err) {
        zp_autofree struct zp_device_record *records = NULL;
        int r = zp_store_list_devices_of(store, image, &records, count, err);
        if (r < 0)
                return r;
        *out = calloc(*count + 1, sizeof **out);
        if (!*out || *count > UINT16_MAX)
                return zp_error_errno(err, *out ? E2BIG : ENOMEM, "devices");
        for (size_t i = 0; i < *count; i++)
                (*out)[i] = (struct zp_prefetch_device){ records[i].digest, records[i].device_size };
        return 0;
}

static int read_list(struct zp_store *store, const struct zp_digest *image, char **text, size_t *size,
                     struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(store, image, "prefetch.json", err);
        if (fd < 0)
                return fd;
        off_t end = lseek(fd, 0, SEEK_END);
        if (end < 0 || end > (off_t) ZP_LIMIT_JSON_SIZE)
                return zp_error_set(err, EFBIG, "prefetch.json: too large");
        *size = (size_t) end;
        *text = malloc(*size + 1);
        return *text ? zp_pread_all(fd, *text, *size, 0, "prefetch.json", err)
                     : zp_error_errno(err, ENOMEM, "prefetch.json");
}

static int find_ranges(void *context, const struct zp_digest *image, snap_data_range range, void *argument,
                       struct zp_error *err) {
        struct zp_store *store;
        zp_autofree char *text = NULL;
        zp_autofree struct zp_prefetch_device *devices = NULL;
        struct zp_prefetch list = { 0 };
        size_t size = 0, count = 0;
        int r = open_store(context, &store, err);
        if (r == 0)
                r = read_list(store, image, &text, &size, err);
        if (r == 0)
                r = read_devices(store, image, &devices, &count, err);
        if (r == 0)
                r = zp_prefetch_parse(text, size, "prefetch.json", devices, (uint16_t) count, &list, err);
        for (uint32_t i = 0; r == 0 && i < list.count; i++)
                range(argument, &list.ranges[i].device, list.ranges[i].offset, list.ranges[i].length);
        zp_prefetch_clear(&list);
        return r;
}

struct snap_data_lookups snap_store_lookups(struct snap_store *store) {
        return (struct snap_data_lookups){ .find_remote = find_remote, .find_ranges = find_ranges, .context = store };
}

bool snap_store_is_in_use(void *context, const char *hex) {
        struct zp_store *store;
        struct zp_digest device;
        if (!zp_digest_parse_hex(hex, &device) || open_store(context, &store, NULL) < 0)
                return true;
        return zp_store_device_is_mounted(store, &device, NULL) != 0;
}
