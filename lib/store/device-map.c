/* SPDX-License-Identifier: Apache-2.0
 *
 * The block maps of devices: a cache where the device is here, of which a map can be made, and all there is to compare
 * with where it is not.
 */
#include "store/device-map.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/open-pack.h"
#include "store/store-internal.h"

#define MAP_FILE "device.map"

/* 1: read; 0: there is none that could be used. */
static int read_map(struct zp_store *store, const struct zp_device_record *device, struct zp_device_map *out) {
        uint64_t size = zp_block_map_size(device->device_size);
        zp_autoclose int fd = zp_store_open_device_file(store, &device->digest, MAP_FILE, NULL);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t) st.st_size != size)
                return 0;
        zp_autofree uint8_t *bytes = malloc((size_t) size);
        if (!bytes || zp_pread_all(fd, bytes, (size_t) size, 0, MAP_FILE, NULL) < 0 ||
            zp_block_map_parse(bytes, (size_t) size, &device->digest, device->device_size, MAP_FILE, &out->map, NULL) <
                    0)
                return 0;
        out->size = (size_t) size;
        out->bytes = zp_steal(&bytes);
        return 1;
}

static int make_map(struct zp_store *store, const struct zp_device_record *device, struct zp_pool *pool,
                    const struct zp_cancel *cancel, struct zp_device_map *out, struct zp_error *err) {
        struct zp_open_pack pack;
        int r = zp_store_open_pack(store, device, &pack, err);
        if (r < 0)
                return r;
        r = zp_block_map_make(pack.pack, &device->digest, pool, cancel, &out->bytes, &out->size, err);
        zp_open_pack_close(&pack);
        return r < 0 ? r
                     : zp_block_map_parse(out->bytes, out->size, &device->digest, device->device_size, "device.map",
                                          &out->map, err);
}

static int open_directory(struct zp_store *store, const struct zp_digest *device) {
        char hex[ZP_SHA256_HEX_SIZE];
        return openat(store->devices_fd, zp_digest_hex(device, hex), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* By way of tmp/: what a killed process leaves there is swept. A store that may not be written to is no failure: the
 * map is made again when it is wanted again. */
static void keep_map(struct zp_store *store, const struct zp_device_record *device, const struct zp_device_map *map) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        if (store->mode != ZP_STORE_WRITE || zp_staging_new(store, &staging, NULL) < 0 ||
            zp_staging_write(staging, MAP_FILE, map->bytes, map->size, NULL) < 0 || zp_staging_sync(staging, NULL) < 0)
                return;
        zp_autoclose int dir_fd = open_directory(store, &device->digest);
        if (dir_fd >= 0)
                (void) renameat(zp_staging_dir_fd(staging), MAP_FILE, dir_fd, MAP_FILE);
}

int zp_store_load_map(struct zp_store *store, const struct zp_device_record *device, struct zp_pool *pool,
                      const struct zp_cancel *cancel, struct zp_device_map *out, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        *out = (struct zp_device_map){ 0 };
        if (device->device_size / 4096 > ZP_LIMIT_BASE_BLOCKS)
                return 0;
        if (read_map(store, device, out) == 1)
                return 1;
        if (!device->is_complete)
                return 0;
        int r = make_map(store, device, pool, cancel, out, err);
        if (r < 0) {
                zp_device_map_clear(out);
                return zp_error_wrap(err, "device %s", zp_digest_text(&device->digest, text));
        }
        keep_map(store, device, out);
        return 1;
}

void zp_device_map_clear(struct zp_device_map *map) {
        free(map->bytes);
        *map = (struct zp_device_map){ 0 };
}

int zp_store_drop_map(struct zp_store *store, const struct zp_digest *device, struct zp_error *err) {
        zp_autoclose int dir_fd = open_directory(store, device);
        if (dir_fd < 0 || (unlinkat(dir_fd, MAP_FILE, 0) < 0 && errno != ENOENT))
                return zp_store_failed(store, MAP_FILE, err);
        return 0;
}
