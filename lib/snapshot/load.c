/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/load.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fingerprint.h"
#include "layer/tree.h"
#include "store/whole-file.h"

#define SNAPSHOT_FILE "snapshot.erofs"
#define LAYER_FILE "layer.erofs"

void zp_loaded_clear(struct zp_loaded *loaded) {
        zp_tree_free(loaded->tree);
        free(loaded->devices);
        free(loaded->data);
        *loaded = (struct zp_loaded){ 0 };
}

static int load(int fd, const char *name, uint64_t size, const struct zp_digest *digest, struct zp_loaded *out,
                struct zp_error *err) {
        *out = (struct zp_loaded){ 0 };
        int r = fd < 0 ? fd : zp_store_read_whole(fd, name, size, digest, &out->data, &out->size, err);
        if (r < 0)
                return r;
        r = zp_erofs_load(out->data, out->size, &out->tree, &out->devices, &out->device_count, err);
        if (r < 0) {
                zp_error_wrap(err, "%s", name);
                zp_loaded_clear(out);
        }
        return r;
}

int zp_snapshot_load(struct zp_store *store, const struct zp_image_record *image, struct zp_loaded *out,
                     struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(store, &image->manifest_digest, SNAPSHOT_FILE, err);
        return load(fd, SNAPSHOT_FILE, image->metadata_size, &image->metadata_digest, out, err);
}

int zp_snapshot_load_layer(struct zp_store *store, const struct zp_layer_record *layer, struct zp_loaded *out,
                           struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_layer_file(store, &layer->metadata_digest, LAYER_FILE, err);
        return load(fd, LAYER_FILE, layer->metadata_size, &layer->metadata_digest, out, err);
}

static int is_intact(int fd, const char *name, const struct zp_digest *digest, struct zp_error *err) {
        struct zp_digest actual;
        uint64_t size;
        if (fd < 0)
                return fd == -ENOENT ? 0 : zp_error_errno(err, -fd, "open '%s'", name);
        int r = zp_fingerprint(fd, name, &size, &actual, err);
        return r < 0 ? r : zp_digest_equal(&actual, digest);
}

int zp_snapshot_is_intact(struct zp_store *store, const struct zp_image_record *image, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(store, &image->manifest_digest, SNAPSHOT_FILE, NULL);
        return is_intact(fd, SNAPSHOT_FILE, &image->metadata_digest, err);
}

int zp_snapshot_layer_is_intact(struct zp_store *store, const struct zp_layer_record *layer, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_layer_file(store, &layer->metadata_digest, LAYER_FILE, NULL);
        return is_intact(fd, LAYER_FILE, &layer->metadata_digest, err);
}

int zp_snapshot_load_new(int fd, uint64_t size, struct zp_loaded *out, struct zp_error *err) {
        return load(fd, SNAPSHOT_FILE, size, NULL, out, err);
}
