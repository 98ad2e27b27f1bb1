/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/blobs.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "builder/build-internal.h"
#include "builder/convert.h"
#include "layer/decompress.h"
#include "oci/reference.h"
#include "store/whole-file.h"

#define BUFFER_SIZE (256u << 10)

/* ---- what is known ---- */

/* The blobs that the manifest of an image in the store names, as many as it has layers: out->layers. */
static int read_manifest(struct zp_store *store, const struct zp_image_record *image, struct zp_image *out,
                         struct zp_error *err) {
        struct zp_descriptor config = { 0 };
        zp_autofree char *text = NULL;
        size_t size;
        int r = zp_store_read_image_file(store, &image->manifest_digest, "manifest.json", ZP_LIMIT_JSON_SIZE,
                                         &image->manifest_digest, &text, &size, err);
        if (r == 0)
                r = zp_manifest_parse(text, size, &config, &out->layers, &out->layer_count, err);
        free(config.media_type);
        if (r == 0 && out->layer_count != image->layer_count) {
                zp_image_clear(out);
                r = zp_error_set(err, EBADMSG, "manifest.json does not have the layers of the snapshot");
        }
        return r;
}

/* *out: malloc'ed; NULL: the name is of nothing in a registry. */
static int find_repository(const char *name, char **out, struct zp_error *err) {
        struct zp_reference reference = { 0 };
        *out = NULL;
        if (zp_reference_of_name(name, &reference, NULL) < 0)
                return 0;
        *out = zp_format("%s/%s", reference.registry, reference.repository);
        zp_reference_clear(&reference);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "image '%s'", name);
}

int zp_blobs_prepare(struct zp_building *b, struct zp_error *err) {
        /* a base whose manifest cannot be read says nothing about blobs */
        if (b->options->base)
                (void) read_manifest(b->store, b->options->base, &b->of_base, NULL);
        return find_repository(b->image.name, &b->repository, err);
}

/* 1: none of the layer's data is in the store: who refers to it gets nothing by that. A layer that has none counts as
 * `if_empty`: its metadata is all of it. */
static int is_elsewhere(struct zp_store *store, const struct zp_digest *name, const struct zp_digest *diff_id,
                        int if_empty, struct zp_error *err) {
        struct zp_layer_record layer;
        int r = zp_store_find_layer(store, name, diff_id, &layer, err);
        if (r == 1 && layer.device_count == 0)
                return if_empty;
        for (uint16_t i = 0; r == 1 && i < layer.device_count; i++) {
                struct zp_device_record device;
                r = zp_store_find_device(store, &layer.devices[i], &device, err);
                if (r == 1 && device.is_complete)
                        return 0;
        }
        return r;
}

/* 1: the base has the layer, `name`, from such a blob. */
static int is_in_base(const struct zp_building *b, const struct zp_blob_record *blob, const struct zp_digest *name,
                      struct zp_error *err) {
        const struct zp_image_record *base = b->options->base;
        for (uint16_t i = 0; i < b->of_base.layer_count; i++)
                if (zp_digest_equal(&b->of_base.layers[i].digest, &blob->digest) &&
                    b->of_base.layers[i].size == blob->size && zp_digest_equal(&base->diff_ids[i], &blob->diff_id) &&
                    zp_digest_equal(&base->layers[i], name))
                        return is_elsewhere(b->store, name, &blob->diff_id, 0, err);
        return 0;
}

static struct zp_blob_record record_of(const struct zp_building *b, uint16_t layer) {
        const struct zp_descriptor *blob = &b->image.layers[layer];
        return (struct zp_blob_record){ b->repository, blob->digest, blob->size, b->image.diff_ids[layer] };
}

int zp_blob_is_known(const struct zp_building *b, uint16_t layer, struct zp_error *err) {
        struct zp_blob_record blob = record_of(b, layer);
        /* what a directory or an archive holds may be another thing the next time */
        int r = b->repository ? zp_store_has_blob(b->store, &blob, err) : 0;
        return r == 0 ? is_in_base(b, &blob, &b->names[layer], err) : r;
}

int zp_blobs_are_known(struct zp_store *store, const struct zp_image_record *image, const char *name,
                       struct zp_error *err) {
        zp_autofree char *repository = NULL;
        struct zp_image of_image = { 0 };
        int r = find_repository(name, &repository, err);
        if (r < 0 || !repository)
                return r < 0 ? r : 1;
        r = read_manifest(store, image, &of_image, err);
        if (r == 0)
                r = 1;
        for (uint16_t i = 0; r == 1 && i < image->layer_count; i++) {
                const struct zp_descriptor *blob = &of_image.layers[i];
                struct zp_blob_record record = { repository, blob->digest, blob->size, image->diff_ids[i] };
                r = zp_store_has_blob(store, &record, err);
                if (r == 0)
                        r = is_elsewhere(store, &image->layers[i], &image->diff_ids[i], 1, err);
        }
        zp_image_clear(&of_image);
        return r;
}

int zp_blob_note(struct zp_building *b, uint16_t layer, struct zp_error *err) {
        struct zp_blob_record blob = record_of(b, layer);
        return b->repository ? zp_store_note_blob(b->store, &blob, err) : 0;
}

/* ---- finding out ---- */

struct checking {
        const struct zp_building *build;
        struct zp_decompress *decompress;
        struct zp_sha256 *hash; /* of the tar */
        uint8_t *buffer;
        uint64_t blob_bytes, tar_size;
        zp_blob_progress progress;
        void *context;
};

static int take_tar(void *context, size_t used, int is_last, uint8_t **data, size_t *size, struct zp_error *err) {
        struct checking *c = context;
        zp_sha256_update(c->hash, c->buffer, used);
        c->tar_size += used;
        if (c->tar_size > ZP_LIMIT_LAYER_SIZE)
                return zp_error_set(err, EFBIG, "uncompressed it is larger than %llu TiB",
                                    (unsigned long long) (ZP_LIMIT_LAYER_SIZE >> 40));
        if (!is_last) {
                *data = c->buffer;
                *size = BUFFER_SIZE;
        }
        return zp_check_cancel(&c->build->stop, err);
}

static int take_blob(void *context, const void *data, size_t size, struct zp_error *err) {
        struct checking *c = context;
        c->blob_bytes += size;
        if (c->progress)
                c->progress(c->context, c->blob_bytes);
        return zp_decompress_push(c->decompress, data, size, err);
}

int zp_blob_check(struct zp_building *b, uint16_t layer, zp_blob_progress progress, void *context,
                  struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        zp_auto(zp_decompress_free) struct zp_decompress *decompress = NULL;
        zp_autofree uint8_t *buffer = malloc(BUFFER_SIZE);
        struct checking checking = {
                .build = b, .hash = hash, .buffer = buffer, .progress = progress, .context = context
        };
        struct zp_digest actual;
        if (!hash || !buffer)
                return zp_error_errno(err, ENOMEM, "layer");
        int r = zp_decompress_new(take_tar, &checking, &decompress, err);
        if (r < 0)
                return r;
        checking.decompress = decompress;
        r = zp_source_read_blob(b->source, &b->image.layers[layer], &b->stop, take_blob, &checking, err);
        if (r == 0)
                r = zp_decompress_finish(decompress, err);
        if (r < 0)
                return r;
        zp_sha256_finish(hash, &actual);
        r = zp_check_diff_id(&b->image.diff_ids[layer], &actual, err);
        return r < 0 ? r : zp_blob_note(b, layer, err);
}
