/* SPDX-License-Identifier: Apache-2.0 */
#include "store/open-pack.h"

#include "base/limits.h"
#include "store/whole-file.h"

/* The index of a pack with as many frames as there may be, with room to spare. */
#define INDEX_SIZE_MAX ((size_t) ZP_LIMIT_PACK_FRAMES * 64)

static int open_pack(struct zp_store *store, const struct zp_device_record *device, struct zp_open_pack *out,
                     struct zp_error *err) {
        if (zp_device_is_lost(device)) {
                zp_error_set(err, ENODATA, "its data is not here: it was damaged");
                zp_error_hint(err, "'zeropull build' of the image makes it again");
                return -ENODATA;
        }
        if (!device->is_complete)
                return zp_error_set(err, ENODATA, "its data is not here: it was fetched by its index alone");
        zp_autoclose int index_fd = zp_store_open_device_file(store, &device->digest, "device.idx", err);
        if (index_fd < 0)
                return index_fd;
        if (device->index_size > INDEX_SIZE_MAX)
                return zp_error_set(err, EFBIG, "store '%s': 'device.idx' has %llu bytes", zp_store_path(store),
                                    (unsigned long long) device->index_size);
        zp_autofree char *index = NULL;
        size_t index_size;
        int r = zp_store_read_whole(index_fd, "device.idx", device->index_size, &device->digest, &index, &index_size,
                                    err);
        if (r < 0)
                return r;
        out->fd = zp_store_open_device_file(store, &device->digest, "device.zst", err);
        if (out->fd < 0)
                return out->fd;
        r = zp_pack_open(out->fd, "device.zst", index, index_size, NULL, &out->pack, err);
        if (r == 0 && zp_pack_device_size(out->pack) != device->device_size)
                r = zp_error_set(err, EBADMSG, "'device.idx': its device size is not the recorded one");
        return r;
}

int zp_store_open_pack(struct zp_store *store, const struct zp_device_record *device, struct zp_open_pack *out,
                       struct zp_error *err) {
        *out = (struct zp_open_pack){ .fd = -1 };
        int r = open_pack(store, device, out, err);
        if (r < 0) {
                if (out->fd >= 0)
                        close(out->fd);
                zp_pack_close(out->pack);
                *out = (struct zp_open_pack){ .fd = -1 };
        }
        return r;
}

void zp_open_pack_close(struct zp_open_pack *pack) {
        if (!pack->pack)
                return;
        zp_pack_close(pack->pack);
        close(pack->fd);
        *pack = (struct zp_open_pack){ .fd = -1 };
}
