/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "base/buffer.h"
#include "snapshotter/mounts/mounts-internal.h"

int snap_plain_device(struct snap_mounts *mounts, const struct zp_digest *device, struct zp_error *err) {
        return zp_store_open_unpacked(mounts->store, device, err);
}

static struct snap_missing *missing_of(struct snap_mounts *mounts, uint64_t base_id) {
        return &mounts->missing[base_id % SNAP_MISSING_MAX];
}

bool snap_misses_device(struct snap_mounts *mounts, const struct snap_base *base) {
        struct stat st;
        pthread_mutex_lock(&mounts->lock);
        struct snap_missing missing = *missing_of(mounts, base->id);
        pthread_mutex_unlock(&mounts->lock);
        zp_autoclose int meta_fd = missing.base_id == base->id ? snap_base_metadata_there(mounts, base) : -ENOENT;
        if (meta_fd < 0 || fstat(meta_fd, &st) < 0 || st.st_dev != missing.dev || st.st_ino != missing.inode ||
            st.st_ctim.tv_sec != missing.changed.tv_sec || st.st_ctim.tv_nsec != missing.changed.tv_nsec)
                return false;
        zp_autoclose int fd = snap_plain_device(mounts, &missing.device, NULL);
        return fd == -ENOENT;
}

void snap_note_missing(struct snap_mounts *mounts, uint64_t base_id, int meta_fd, const struct zp_digest *device) {
        struct stat st;
        if (fstat(meta_fd, &st) < 0)
                return;
        pthread_mutex_lock(&mounts->lock);
        *missing_of(mounts, base_id) = (struct snap_missing){
                .base_id = base_id, .device = *device, .dev = st.st_dev, .inode = st.st_ino, .changed = st.st_ctim
        };
        pthread_mutex_unlock(&mounts->lock);
}

int snap_served_device(struct snap_mounts *mounts, const struct zp_digest *device, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        if (!mounts->devices)
                return zp_error_set(err, ENODEV, "device '%s': not all of it is here, and there is no data plane",
                                    zp_digest_hex(device, hex));
        zp_autofree char *path = zp_format("%s/%s", mounts->devices, zp_digest_hex(device, hex));
        if (!path)
                return zp_error_errno(err, ENOMEM, "device");
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                return fd;
        /* what the data plane does not know is not what the store has lost */
        return zp_error_errno(err, errno == ENOENT ? ENODEV : errno, "device '%s'", path);
}
