/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/convert.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/fingerprint.h"
#include "base/limits.h"
#include "builder/content.h"
#include "builder/ring.h"
#include "erofs/writer.h"
#include "layer/apply.h"
#include "layer/decompress.h"

/* ---- the reading thread: blob → inflate → ring ---- */

struct reading {
        const struct zp_convert_input *input;
        struct zp_ring *ring;
        struct zp_decompress *decompress;
        uint64_t blob_bytes;
};

static int give_buffer(void *context, size_t used, int is_last, uint8_t **data, size_t *size, struct zp_error *err) {
        struct reading *reading = context;
        zp_ring_publish(reading->ring, used);
        if (is_last)
                return 0;
        *data = zp_ring_acquire(reading->ring);
        *size = ZP_RING_BUFFER_SIZE;
        return *data ? 0 : zp_error_set(err, ECANCELED, "stopped");
}

static int take_blob(void *context, const void *data, size_t size, struct zp_error *err) {
        struct reading *reading = context;
        reading->blob_bytes += size;
        if (reading->input->progress)
                reading->input->progress(reading->input->context, reading->blob_bytes);
        int r = zp_check_cancel(reading->input->cancel, err);
        return r < 0 ? r : zp_decompress_push(reading->decompress, data, size, err);
}

/* The ring ends only after the blob's digest has been checked, so whoever reads it to the end without an error
 * has read what the manifest names. */
static void *read_blob(void *context) {
        struct reading *reading = context;
        struct zp_error err = { 0 };
        int r = zp_source_read_blob(reading->input->source, reading->input->blob, reading->input->cancel, take_blob,
                                    reading, &err);
        if (r == 0)
                r = zp_decompress_finish(reading->decompress, &err);
        if (r < 0 && err.code == 0)
                err.code = -r;
        zp_ring_end(reading->ring, r < 0 ? &err : NULL);
        return NULL;
}

/* ---- the converting thread: ring → digest → tar → tree and device ---- */

struct converting {
        const struct zp_convert_input *input;
        struct zp_ring *ring;
        struct zp_sha256 *hash; /* of the tar: the diffID */
        uint64_t tar_size;
};

static int64_t next_piece(void *context, const uint8_t **data, struct zp_error *err) {
        struct converting *c = context;
        int r = zp_check_cancel(c->input->cancel, err);
        if (r < 0)
                return r;
        int64_t size = zp_ring_next(c->ring, data, err);
        if (size <= 0)
                return size;
        c->tar_size += (uint64_t) size;
        if (c->tar_size > ZP_LIMIT_LAYER_SIZE)
                return zp_error_set(err, EFBIG, "uncompressed it is larger than %llu TiB",
                                    (unsigned long long) (ZP_LIMIT_LAYER_SIZE >> 40));
        zp_sha256_update(c->hash, *data, (size_t) size);
        return size;
}

int zp_check_diff_id(const struct zp_digest *claimed, const struct zp_digest *actual, struct zp_error *err) {
        char want[ZP_DIGEST_TEXT_SIZE], have[ZP_DIGEST_TEXT_SIZE];
        if (zp_digest_equal(actual, claimed))
                return 0;
        return zp_error_set(err, EBADMSG, "diffID differs: the config says %s, its content is %s",
                            zp_digest_text(claimed, want), zp_digest_text(actual, have));
}

static int check_diff_id(struct converting *c, struct zp_error *err) {
        struct zp_digest actual;
        zp_sha256_finish(c->hash, &actual);
        return zp_check_diff_id(c->input->diff_id, &actual, err);
}

static int write_metadata(struct zp_staging *staging, struct zp_tree *tree, const struct zp_erofs_device *devices,
                          struct zp_converted *converted, struct zp_error *err) {
        struct zp_layer_record *layer = &converted->layer;
        zp_autoclose int fd = zp_staging_create(staging, "layer.erofs", err);
        if (fd < 0)
                return fd;
        struct zp_erofs_options options = { .layout = ZP_EROFS_DEVICE_TABLE,
                                            .devices = devices,
                                            .device_count = layer->device_count,
                                            .is_layer = true };
        struct zp_erofs_result result;
        int r = zp_erofs_write(tree, &options, fd, "layer.erofs", &result, err);
        return r < 0 ? r : zp_fingerprint(fd, "layer.erofs", &layer->metadata_size, &layer->metadata_digest, err);
}

static void describe(const struct converting *c, const struct zp_apply_stats *stats, const struct zp_pack_info *info,
                     struct zp_converted *out) {
        *out = (struct zp_converted){
                .layer = { .diff_id = *c->input->diff_id, .tar_size = c->tar_size, .entries = stats->entries },
                .device = { .digest = info->index_digest,
                            .index_size = info->index_size,
                            .pack_size = info->pack_size,
                            .device_size = info->device_size,
                            .frame_size = c->input->pack.frame_size,
                            .level = c->input->pack.level,
                            .is_complete = true },
        };
}

/* What the device numbers of extents mean, for the layer's metadata and its record. */
static void list_devices(const struct converting *c, const uint16_t *numbers, uint16_t count, struct zp_converted *out,
                         struct zp_erofs_device *devices) {
        for (uint16_t i = 0; i < count; i++) {
                if (numbers[i] == ZP_PLACING_OWN)
                        devices[i] =
                                (struct zp_erofs_device){ out->device.digest, out->device.device_size / ZP_BLOCK_SIZE };
                else
                        devices[i] = (struct zp_erofs_device){ c->input->base->devices[numbers[i]].digest,
                                                               c->input->base->devices[numbers[i]].blocks };
                out->layer.devices[out->layer.device_count++] = devices[i].digest;
        }
}

/* The device's pack, where all that streams by goes; and with a profile the files that hot content needs. */
struct packs {
        const struct zp_convert_input *input;
        int pack_fd, index_fd, hot_fd, front_fd;
        int map_fd, front_map_fd; /* the packs' block maps; -1: none is wanted */
        struct zp_pack_writer *pack, *front;
        struct zp_placing *placing;
        struct zp_content *content;
};

static void close_packs(struct packs *p) {
        zp_content_free(p->content);
        zp_placing_free(p->placing);
        zp_pack_writer_free(p->front);
        zp_pack_writer_free(p->pack);
        int fds[] = { p->pack_fd, p->index_fd, p->hot_fd, p->front_fd, p->map_fd, p->front_map_fd };
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
}

static void tell_grown(void *context, uint64_t size) {
        const struct packs *p = context;
        p->input->pack_grown(p->input->context, p->pack_fd, size);
}

static int open_packs(const struct zp_convert_input *input, struct zp_staging *device, struct packs *p,
                      struct zp_error *err) {
        if ((p->pack_fd = zp_staging_create(device, "device.zst", err)) < 0 ||
            (p->index_fd = zp_staging_create(device, "device.idx", err)) < 0 ||
            (input->profile && (p->hot_fd = zp_staging_create(device, "hot", err)) < 0) ||
            (input->with_map && (p->map_fd = zp_staging_create(device, "map", err)) < 0))
                return -err->code;
        struct zp_placing_options options = { .base = input->base->table,
                                              .base_hot = input->recipe->hot,
                                              .base_hot_count = input->recipe->hot_count,
                                              .profile = input->profile,
                                              .hot_fd = p->hot_fd };
        int r = zp_pack_writer_new(p->pack_fd, "device.zst", &input->pack, input->pool, &p->pack, err);
        if (r == 0 && input->pack_grown && !input->profile)
                zp_pack_writer_watch(p->pack, tell_grown, p);
        if (r == 0)
                zp_pack_writer_map(p->pack, p->map_fd);
        if (r == 0)
                r = zp_placing_new(p->pack, &options, &p->placing, err);
        return r < 0 ? r : zp_content_new(p->pack, p->placing, &p->content, err);
}

static int rename_staged(struct zp_staging *staging, const char *from, const char *to, struct zp_error *err) {
        zp_autofree char *path = zp_staging_path(staging);
        zp_autofree char *from_path = path ? zp_format("%s/%s", path, from) : NULL;
        zp_autofree char *to_path = path ? zp_format("%s/%s", path, to) : NULL;
        if (!from_path || !to_path)
                return zp_error_errno(err, ENOMEM, "%s", to);
        return rename(from_path, to_path) == 0 ? 0 : zp_error_errno(err, errno, "rename '%s'", from_path);
}

/* The pack that starts with the hot content takes the place of the one that has the rest. */
static int open_front(const struct zp_convert_input *input, struct zp_staging *device, struct packs *p,
                      struct zp_error *err) {
        if ((p->front_fd = zp_staging_create(device, "front", err)) < 0 ||
            (input->with_map && (p->front_map_fd = zp_staging_create(device, "front-map", err)) < 0))
                return -err->code;
        int r = rename_staged(device, "front", "device.zst", err);
        if (r == 0)
                r = zp_pack_writer_new(p->front_fd, "device.zst", &input->pack, input->pool, &p->front, err);
        if (r == 0)
                zp_pack_writer_map(p->front, p->front_map_fd);
        return r;
}

static int finish_packs(const struct zp_convert_input *input, struct zp_staging *device, struct packs *p,
                        struct zp_pack_info *info, uint16_t *numbers, uint16_t *count, struct zp_error *err) {
        int r = zp_placing_has_hot(p->placing) ? open_front(input, device, p, err) : 0;
        if (r == 0)
                r = zp_placing_finish(p->placing, p->front, numbers, count, err);
        if (r == 0)
                r = zp_pack_writer_finish(p->front ? p->front : p->pack, p->index_fd, "device.idx", info, err);
        if (r == 0 && info->has_map)
                r = rename_staged(device, p->front ? "front-map" : "map", "device.map", err);
        return r;
}

static int fill(struct converting *c, struct zp_staging *device, struct zp_staging *layer, struct packs *packs,
                struct zp_converted *out, struct zp_error *err) {
        zp_auto(zp_tar_free) struct zp_tar *tar = NULL;
        zp_auto(zp_tree_free) struct zp_tree *tree = NULL;
        struct zp_apply_stats stats = { 0 };
        struct zp_pack_info info;
        uint16_t numbers[ZP_PLACING_DEVICES_MAX], count = 0;
        struct zp_erofs_device devices[ZP_PLACING_DEVICES_MAX];
        int r = open_packs(c->input, device, packs, err);
        if (r < 0 || (r = zp_tar_new(next_piece, c, &tar, err)) < 0 ||
            (r = zp_layer_apply(tar, zp_content_store, packs->content, &tree, &stats, err)) < 0 ||
            (r = check_diff_id(c, err)) < 0 ||
            (r = finish_packs(c->input, device, packs, &info, numbers, &count, err)) < 0)
                return r;
        describe(c, &stats, &info, out);
        /* a profile that named nothing in the layer had no part in it */
        struct zp_recipe recipe =
                zp_placing_is_named(packs->placing) ? *c->input->recipe : zp_recipe_without_profile(c->input->recipe);
        zp_recipe_format(&recipe, out->layer.recipe);
        list_devices(c, numbers, count, out, devices);
        return write_metadata(layer, tree, devices, out, err);
}

static int convert(struct converting *c, struct zp_staging *device, struct zp_staging *layer, struct zp_converted *out,
                   struct zp_error *err) {
        struct packs packs = { .input = c->input,
                               .pack_fd = -1,
                               .index_fd = -1,
                               .hot_fd = -1,
                               .front_fd = -1,
                               .map_fd = -1,
                               .front_map_fd = -1 };
        int r = fill(c, device, layer, &packs, out, err);
        close_packs(&packs);
        return r;
}

int zp_convert_layer(const struct zp_convert_input *input, struct zp_staging *device, struct zp_staging *layer,
                     struct zp_converted *out, struct zp_error *err) {
        zp_auto(zp_ring_free) struct zp_ring *ring = zp_ring_new();
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        zp_auto(zp_decompress_free) struct zp_decompress *decompress = NULL;
        struct reading reading = { .input = input, .ring = ring };
        struct converting converting = { .input = input, .ring = ring, .hash = hash };
        if (!ring || !hash)
                return zp_error_errno(err, ENOMEM, "layer");
        int r = zp_decompress_new(give_buffer, &reading, &decompress, err);
        if (r < 0)
                return r;
        reading.decompress = decompress;
        pthread_t thread;
        int code = pthread_create(&thread, NULL, read_blob, &reading);
        if (code)
                return zp_error_errno(err, code, "start thread");
        r = convert(&converting, device, layer, out, err);
        zp_ring_stop(ring);
        pthread_join(thread, NULL);
        return r;
}
