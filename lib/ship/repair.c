/* SPDX-License-Identifier: Apache-2.0
 *
 * What of an image in the store is not what its digests say, so that a complete pull fetches it again.
 */
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fingerprint.h"
#include "ship/pull-internal.h"

bool zp_pull_is_intact(int fd, uint64_t size, const struct zp_digest *digest) {
        zp_autoclose int file = fd;
        struct zp_digest actual;
        uint64_t actual_size;
        return file >= 0 && zp_fingerprint(file, "file", &actual_size, &actual, NULL) == 0 && actual_size == size &&
               zp_digest_equal(&actual, digest);
}

/* A document, whose size is not recorded. */
static bool has_digest(int fd, const struct zp_digest *digest) {
        struct stat st;
        if (fd >= 0 && fstat(fd, &st) < 0)
                close(zp_steal_fd(&fd));
        return fd >= 0 && zp_pull_is_intact(fd, (uint64_t) st.st_size, digest);
}

static bool is_layer_intact(const struct zp_pull *p, uint16_t number) {
        const struct zp_image_record *image = &p->result->image;
        struct zp_layer_record layer;
        return zp_store_find_layer(p->store, &image->layers[number], &image->diff_ids[number], &layer, NULL) == 1 &&
               zp_pull_is_intact(zp_store_open_layer_file(p->store, &layer.metadata_digest, "layer.erofs", NULL),
                                 layer.metadata_size, &layer.metadata_digest);
}

bool zp_pull_metadata_is_intact(const struct zp_pull *p) {
        const struct zp_image_record *image = &p->result->image;
        const struct zp_digest *digest = &image->manifest_digest;
        bool is = has_digest(zp_store_open_image_file(p->store, digest, "manifest.json", NULL), digest) &&
                  has_digest(zp_store_open_image_file(p->store, digest, "config.json", NULL), &image->config_digest) &&
                  zp_pull_is_intact(zp_store_open_image_file(p->store, digest, "snapshot.erofs", NULL),
                                    image->metadata_size, &image->metadata_digest);
        for (uint16_t i = 0; is && i < image->layer_count; i++)
                is = is_layer_intact(p, i);
        for (size_t i = 0; is && i < p->device_count; i++)
                is = zp_pull_is_intact(zp_store_open_device_file(p->store, &p->devices[i].digest, "device.idx", NULL),
                                       p->devices[i].index_size, &p->devices[i].digest);
        return is;
}

/* 1: it is, or cannot be read. Whose digest nobody has noted, nobody can be asked for. *fd is the pack's, negative: it
 * is missing. */
static int is_pack_damaged(const struct zp_pull *p, const struct zp_device_record *device, int *fd,
                           struct zp_error *err) {
        struct zp_digest digest;
        uint64_t size;
        if (!device->is_complete || !device->has_pack_digest)
                return 0;
        int r = *fd = zp_store_open_device_file(p->store, &device->digest, "device.zst", err);
        if (r >= 0)
                r = zp_fingerprint(*fd, "device.zst", &size, &digest, err);
        if (r < 0 && r != -ENOENT && r != -EIO)
                return r;
        if (r < 0)
                zp_error_clear(err);
        return r < 0 || size != device->pack_size || !zp_digest_equal(&digest, &device->pack_digest);
}

/* Under its lock: others may be at it, too. */
static int set_aside(struct zp_pull *p, struct zp_device_record *device, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        struct zp_device_record now;
        int r = zp_store_lock(p->store, &device->digest, &p->stop, p->options->events.waiting,
                              p->options->events.context, &lock, err);
        if (r == 0)
                r = zp_store_find_device(p->store, &device->digest, &now, err);
        bool is_damaged = r == 0; /* it is gone */
        zp_autoclose int fd = -1;
        if (r == 1) {
                r = is_pack_damaged(p, &now, &fd, err);
                is_damaged = r == 1;
        }
        if (r == 1)
                r = zp_store_set_pack_aside(p->store, &device->digest, fd, err);
        if (r == 0 && is_damaged)
                device->is_complete = false;
        return r;
}

static int check_pack(struct zp_pull *p, unsigned number, struct zp_error *err) {
        struct zp_device_record *device = &p->devices[number];
        zp_autoclose int fd = -1;
        int r = is_pack_damaged(p, device, &fd, err);
        return r == 1 ? set_aside(p, device, err) : r;
}

int zp_pull_check_packs(struct zp_pull *p, struct zp_error *err) {
        return zp_pull_each(p, (unsigned) p->device_count, zp_pull_threads(p), check_pack, err);
}
