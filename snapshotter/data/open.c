/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/data/data-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"

/* A read that takes so long hangs. */
#define PATIENCE_MS 10000

static void add_pack(struct zp_device_description *description, struct snap_files *files) {
        struct zp_device_origin *origin;
        char hex[ZP_SHA256_HEX_SIZE];
        if (files->pack_fd < 0)
                return;
        int fd = zp_steal_fd(&files->pack_fd);
        int r = files->pack_readers ? zp_device_origin_slow_file(fd, files->is_pack_at_hand, files->pack_readers,
                                                                 PATIENCE_MS, &origin, NULL)
                                    : zp_device_origin_file(fd, files->is_pack_at_hand, &origin, NULL);
        if (r < 0)
                return;
        zp_digest_hex(&description->digest, hex);
        origin->name = zp_format("%s/devices/%s/device.zst", files->pack_store, hex);
        description->origins[description->origin_count++] = origin;
}

void snap_remote_clear(struct snap_remote *remote) {
        free(remote->name);
        *remote = (struct snap_remote){ 0 };
}

/* Somebody may have the database locked, for as long as he hangs. */
static int find_remote(struct snap_data *data, const struct zp_digest *device, struct snap_remote *remote,
                       struct zp_error *err) {
        const struct snap_data_lookups *lookups = &data->options->lookups;
        struct snap_remote found = { 0 };
        int r = lookups->find_remote(lookups->context, device, &found.name, &found.pack, err);
        free(found.pack.media_type);
        found.pack.media_type = NULL;
        if (r < 0 && r != -ENOENT && remote->name) {
                if (err)
                        zp_error_clear(err);
                return 0;
        }
        if (r < 0 && r != -ENOENT)
                return r;
        snap_remote_clear(remote);
        if (r == 0)
                *remote = found;
        return r;
}

static bool has_data(const struct zp_device_description *description) {
        return description->raw_fd >= 0 || description->origin_count;
}

/* What is not known of a remote leaves the device to its other places; if there are none, that is the error. */
static int add_remote(struct snap_data *data, struct snap_remote *remote, struct zp_device_description *description,
                      struct zp_error *err) {
        if (!data->options->lookups.find_remote)
                return 0;
        int r = find_remote(data, &description->digest, remote, err);
        struct zp_range_blob *blob = NULL;
        if (r == 0)
                r = zp_range_blob_open(data->reader, remote->name, &remote->pack, &blob, err);
        struct zp_device_origin *origin;
        if (r == 0)
                r = zp_device_origin_range(blob, &origin, err);
        if (r < 0)
                return has_data(description) || r == -ENOENT ? 0 : r;
        origin->name = strdup(remote->name);
        description->origins[description->origin_count++] = origin;
        return 0;
}

int snap_device_open(struct snap_data *data, const struct zp_digest *digest, struct snap_remote *remote,
                     struct zp_device **out, struct zp_error *err) {
        struct snap_files files;
        int r = snap_files_find(data, digest, &files, err);
        if (r < 0)
                return r;
        struct zp_device_description description = { .digest = *digest,
                                                     .index = files.index,
                                                     .index_size = files.index_size,
                                                     .raw_fd = zp_steal_fd(&files.raw_fd),
                                                     .raw_readers = files.raw_readers,
                                                     .raw_patience_ms = PATIENCE_MS };
        add_pack(&description, &files);
        r = add_remote(data, remote, &description, err);
        if (r == 0 && files.is_partial && !has_data(&description) && !snap_device_is_whole(data, digest))
                r = zp_error_set(err, ETIMEDOUT, "a preload does not answer, and no other place has its data");
        if (r == 0) /* else nothing is open */
                r = zp_device_open(data->engine, &description, out, err);
        snap_files_clear(&files);
        return r;
}
