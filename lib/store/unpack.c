/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices unpacked for the kernel. A file in unpacked/ is complete: it was synced before it got its
 * name.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/open-pack.h"
#include "store/store-internal.h"

int zp_store_open_unpacked(struct zp_store *store, const struct zp_digest *device, struct zp_error *err) {
        char name[ZP_UNPACKED_NAME_SIZE];
        struct stat st;
        zp_unpacked_name(device, name);
        zp_autoclose int fd =
                openat(store->unpacked_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        bool is_other = fd < 0 && (errno == ELOOP || errno == ENXIO); /* a symbolic link; a socket */
        if (!is_other && (fd < 0 || fstat(fd, &st) < 0))
                return zp_error_errno(err, errno, "store '%s': open 'unpacked/%s'", store->path, name);
        if (is_other || !S_ISREG(st.st_mode))
                return zp_error_set(err, EBADMSG, "store '%s': 'unpacked/%s' is not a regular file", store->path, name);
        return zp_steal_fd(&fd);
}

/* The descriptor, -ENOENT without a message when it is not there, or of no use. */
static int open_unpacked(struct zp_store *store, const struct zp_device_record *device, struct zp_error *err) {
        struct stat st;
        zp_autoclose int fd = zp_store_open_unpacked(store, &device->digest, err);
        if (fd == -EBADMSG)
                zp_error_clear(err);
        if (fd < 0)
                return fd == -EBADMSG ? -ENOENT : fd;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "store '%s': the unpacked device", store->path);
        return (uint64_t) st.st_size == device->device_size ? zp_steal_fd(&fd) : -ENOENT;
}

static int unpack(struct zp_store *store, const struct zp_device_record *device, int out_fd, struct zp_pool *pool,
                  const struct zp_cancel *cancel, struct zp_error *err) {
        struct zp_open_pack pack;
        int r = zp_store_open_pack(store, device, &pack, err);
        if (r < 0)
                return r;
        r = ftruncate(out_fd, (off_t) device->device_size) < 0
                    ? zp_error_errno(err, errno, "store '%s': size the unpacked device", store->path)
                    : zp_pack_extract(pack.pack, out_fd, "device.raw", 0, pool, cancel, NULL, NULL, err);
        zp_open_pack_close(&pack);
        return r;
}

static int make(struct zp_store *store, const struct zp_device_record *device, struct zp_pool *pool,
                const struct zp_cancel *cancel, struct zp_error *err) {
        char name[ZP_UNPACKED_NAME_SIZE];
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        int r = zp_staging_new(store, &staging, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = zp_staging_create(staging, "device.raw", err);
        r = fd < 0 ? fd : unpack(store, device, fd, pool, cancel, err);
        if (r == 0)
                r = zp_sync(fd, "device.raw", err);
        /* what is in its place is of no use, and may be a directory */
        if (r == 0)
                r = zp_remove_tree(store->unpacked_fd, zp_unpacked_name(&device->digest, name), err);
        if (r < 0)
                return r;
        if (renameat(zp_staging_dir_fd(staging), "device.raw", store->unpacked_fd, name) < 0)
                return zp_error_errno(err, errno, "store '%s': rename to 'unpacked/%s'", store->path, name);
        return 0;
}

static int unpack_locked(struct zp_store *store, const struct zp_device_record *device, struct zp_pool *pool,
                         const struct zp_cancel *cancel, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = zp_store_lock(store, &device->digest, cancel, NULL, NULL, &lock, err);
        if (r < 0)
                return r;
        /* While we waited another may have unpacked it, or another removed it. */
        struct zp_device_record now;
        r = zp_store_find_device(store, &device->digest, &now, err);
        if (r <= 0)
                return r < 0 ? r : zp_error_set(err, ENOENT, "it is no longer in the store");
        r = open_unpacked(store, &now, err);
        if (r != -ENOENT)
                return r;
        r = make(store, &now, pool, cancel, err);
        if (r < 0)
                return r;
        r = open_unpacked(store, &now, err);
        return r == -ENOENT ? zp_error_errno(err, ENOENT, "the unpacked device") : r;
}

char *zp_unpacked_name(const struct zp_digest *device, char name[ZP_UNPACKED_NAME_SIZE]) {
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(name, ZP_UNPACKED_NAME_SIZE, "%s.raw", zp_digest_hex(device, hex));
        return name;
}

int zp_store_unpack_device(struct zp_store *store, const struct zp_digest *device, struct zp_pool *pool,
                           const struct zp_cancel *cancel, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        struct zp_device_record record;
        int r = zp_store_find_device(store, device, &record, err);
        if (r < 0)
                return r;
        if (r == 0)
                return zp_error_set(err, ENOENT, "device %s is not in the store", zp_digest_text(device, text));
        r = open_unpacked(store, &record, err);
        if (r == -ENOENT)
                r = unpack_locked(store, &record, pool, cancel, err);
        return r < 0 ? zp_error_wrap(err, "unpack device %s", zp_digest_text(device, text)) : r;
}
