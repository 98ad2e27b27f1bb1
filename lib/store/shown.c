/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices that mounted file systems read, whoever made their metadata: the table in an EROFS names its devices. The
 * snapshotter mounts the first layers of an image so, and no image of the store is that.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "erofs/reader.h"
#include "store/store-internal.h"

/* Only a file that nobody else can change is mapped: one that became shorter meanwhile would kill the process. */
static int read_table(int fd, struct zp_erofs_device **devices, uint16_t *count) {
        struct stat st;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) ||
            (st.st_uid != 0 && st.st_uid != geteuid()))
                return -EBADMSG;
        void *data = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
                return -errno;
        int r = zp_erofs_read_devices(data, (size_t) st.st_size, devices, count, NULL);
        munmap(data, (size_t) st.st_size);
        return r;
}

/* A mounted image of another store reads that store's devices, and no preload's that has the same. */
static bool has_itself(const char *store, const struct zp_digest *device) {
        char hex[ZP_SHA256_HEX_SIZE];
        zp_digest_hex(device, hex);
        zp_autofree char *pack = store ? zp_format("%s/devices/%s/device.zst", store, hex) : NULL;
        return pack && access(pack, F_OK) == 0;
}

static int append(struct zp_mounts *mounts, const struct zp_erofs_device *devices, uint16_t count, const char *store,
                  const char *point) {
        if (count == 0)
                return 0;
        struct zp_shown *all = reallocarray(mounts->devices, mounts->device_count + count, sizeof *all);
        if (!all)
                return -ENOMEM;
        mounts->devices = all;
        for (uint16_t i = 0; i < count; i++)
                if (!has_itself(store, &devices[i].digest))
                        all[mounts->device_count++] = (struct zp_shown){ devices[i].digest, point };
        return 0;
}

int zp_mounts_add_devices(struct zp_mounts *mounts, const char *file, const char *store, const char *point,
                          struct zp_error *err) {
        zp_autofree struct zp_erofs_device *devices = NULL;
        uint16_t count = 0;
        zp_autoclose int fd = open(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 || read_table(fd, &devices, &count) < 0)
                return 0; /* not of our making: its devices have no names */
        return append(mounts, devices, count, store, point) < 0 ? zp_error_errno(err, ENOMEM, "mounts") : 0;
}

/* Where a device is shown by a file system that is no image's; NULL: nowhere. */
static const char *shown_at(const struct zp_mounts *mounts, const struct zp_digest *device) {
        for (size_t i = 0; i < mounts->device_count; i++)
                if (zp_digest_equal(&mounts->devices[i].digest, device))
                        return mounts->devices[i].point;
        return NULL;
}

bool zp_mounts_show_device(const struct zp_mounts *mounts, const struct zp_digest *device) {
        return shown_at(mounts, device) != NULL;
}

int zp_mounts_of_only(struct zp_store *store, const struct zp_mounts *mounts, const struct zp_digest *manifest_digest,
                      const char **point, struct zp_error *err) {
        zp_autofree struct zp_digest *devices = NULL;
        size_t count = 0;
        *point = NULL;
        if (mounts->device_count == 0)
                return 0;
        int r = zp_records_get_digests(store,
                                       "SELECT DISTINCT device FROM image_layers JOIN layer_devices USING (layer)"
                                       " WHERE image = ?1 AND device NOT IN (SELECT device FROM image_layers"
                                       " JOIN layer_devices USING (layer) WHERE image != ?1)",
                                       manifest_digest, &devices, &count, err);
        for (size_t i = 0; r == 0 && i < count && !*point; i++)
                *point = shown_at(mounts, &devices[i]);
        return r;
}

static int list_in_use(struct zp_store *store, const struct zp_mounts *mounts, struct zp_digest **out, size_t *count,
                       struct zp_error *err) {
        zp_autofree struct zp_digest *all = NULL;
        size_t total = 0;
        int r = zp_records_get_digests(store, "SELECT digest FROM devices", NULL, &all, &total, err);
        for (size_t i = 0; r >= 0 && i < total; i++) {
                r = zp_mounts_of_device(store, mounts, &all[i], err);
                if (r == 1)
                        all[(*count)++] = all[i];
        }
        if (r >= 0)
                *out = zp_steal(&all);
        return r < 0 ? r : 0;
}

int zp_store_list_mounted_devices(struct zp_store *store, struct zp_digest **out, size_t *count, struct zp_error *err) {
        struct zp_mounts mounts = { 0 };
        *count = 0;
        int r = zp_store_begin_read(store, err);
        if (r < 0)
                return r;
        r = zp_mounts_read(store, &mounts, err);
        if (r == 0)
                r = list_in_use(store, &mounts, out, count, err);
        zp_mounts_clear(&mounts);
        return zp_store_end(store, r, NULL, err);
}
