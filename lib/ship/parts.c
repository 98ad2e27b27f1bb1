/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a snapshot without which nothing starts: its metadata, its layers, the indexes of their devices. What
 * the store does not have is fetched all at once; then the layers, which name devices, become part of the store.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "pack/block-map.h"
#include "pack/index.h"
#include "profile/prefetch.h"
#include "ship/metadata.h"
#include "ship/pull-internal.h"
#include "store/device-map.h"

/* Small blobs that are fetched at the same time: a round trip for them all, however many layers an image has.
 * Registries allow that many connections, or answer the last ones later. */
#define AT_ONCE_MAX (2u + 2u * ZP_LIMIT_LAYERS)
/* Each has a connection, which is some descriptors in itself, a directory and a file; directories are kept to the end.
 */
#define DESCRIPTORS_EACH 6u
#define DESCRIPTORS_KEPT (1u + ZP_LIMIT_LAYERS + ZP_LIMIT_DEVICES)

static unsigned at_once(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS_KEPT + AT_ONCE_MAX * DESCRIPTORS_EACH)
                return AT_ONCE_MAX;
        rlim_t left = limit.rlim_cur > DESCRIPTORS_KEPT ? limit.rlim_cur - DESCRIPTORS_KEPT : 0;
        return (unsigned) (left / DESCRIPTORS_EACH) + 1;
}

/* ---- a layer ---- */

/* 1: the store has the layer, converted from the same. */
static int find_layer(struct zp_pull *p, const struct zp_artifact_layer *layer, struct zp_layer_record *out,
                      struct zp_error *err) {
        int r = zp_store_find_layer(p->store, &layer->metadata.digest, &layer->diff_id, out, err);
        return r == 1 ? zp_digest_equal(&out->diff_id, &layer->diff_id) &&
                                zp_pull_is_intact(
                                        zp_store_open_layer_file(p->store, &out->metadata_digest, "layer.erofs", NULL),
                                        out->metadata_size, &out->metadata_digest)
                      : r;
}

static int stage_layer(struct zp_pull *p, uint16_t number, const char *what, struct zp_error *err) {
        const struct zp_artifact_layer *layer = &p->artifact.layers[number];
        struct zp_layer_record *record = &p->layers[number];
        *record = (struct zp_layer_record){ .metadata_digest = layer->metadata.digest,
                                            .metadata_size = layer->metadata.size,
                                            .blob_digest = layer->metadata.blob_digest,
                                            .blob_size = layer->metadata.blob_size,
                                            .diff_id = layer->diff_id,
                                            .tar_size = layer->tar_size,
                                            .entries = layer->entries,
                                            .is_fetched = true };
        strcpy(record->recipe, layer->recipe);
        int r = zp_staging_new(p->store, &p->for_layers[number], err);
        if (r < 0)
                return r;
        zp_autoclose int fd =
                zp_pull_receive_metadata(p, what, &layer->metadata, p->for_layers[number], "layer.erofs", err);
        if (fd < 0)
                return fd;
        r = zp_metadata_check_layer(fd, &p->artifact, layer, record, err);
        return r < 0 ? zp_error_wrap(err, "%s", what) : zp_staging_sync(p->for_layers[number], err);
}

static int pull_layer(struct zp_pull *p, uint16_t number, struct zp_error *err) {
        char what[64];
        snprintf(what, sizeof what, "layer %u, metadata", number + 1u);
        int found = find_layer(p, &p->artifact.layers[number], &p->layers[number], err);
        int r = found == 0 ? stage_layer(p, number, what, err) : found;
        if (r < 0)
                return r;
        pthread_mutex_lock(&p->lock);
        *(found ? &p->result->layers_reused : &p->result->layers_fetched) += 1;
        pthread_mutex_unlock(&p->lock);
        return 0;
}

/* ---- a device ---- */

/* The index must fit the artifact's own words about the pack, so that a reader may rely on either. */
static int check_index(const struct zp_artifact_device *device, const uint8_t *bytes, struct zp_pack_index *out,
                       struct zp_error *err) {
        int r = zp_pack_index_parse(bytes, device->index_size, &device->digest, "device.zst", out, err);
        if (r == 0 && (out->device_size != device->device_size || out->pack_size != device->pack_size))
                r = zp_error_set(err, EBADMSG, "index of 'device.zst': its sizes are not the artifact's");
        return r;
}

static int fetch_map(struct zp_pull *p, const struct zp_artifact_device *device, uint16_t number,
                     struct zp_staging *staging, struct zp_error *err) {
        zp_autofree uint8_t *bytes = NULL;
        struct zp_block_map map;
        char what[64];
        snprintf(what, sizeof what, "device %u, block map", number + 1u);
        int r = zp_pull_receive_whole(p, what, &device->map_digest, device->map_size, &bytes, err);
        if (r == 0)
                r = zp_block_map_parse(bytes, (size_t) device->map_size, &device->digest, device->device_size, what,
                                       &map, err);
        return r < 0 ? r : zp_staging_write(staging, "device.map", (char *) bytes, (size_t) device->map_size, err);
}

static int fetch_device(struct zp_pull *p, const struct zp_artifact_device *device, uint16_t number,
                        struct zp_error *err) {
        zp_autofree uint8_t *bytes = NULL;
        struct zp_pack_index index;
        char what[64];
        snprintf(what, sizeof what, "device %u, index", number + 1u);
        int r = zp_staging_new(p->store, &p->for_devices[number], err);
        struct zp_staging *staging = p->for_devices[number];
        if (r == 0)
                r = zp_pull_receive_whole(p, what, &device->digest, device->index_size, &bytes, err);
        if (r < 0)
                return r;
        r = check_index(device, bytes, &index, err);
        if (r == 0)
                r = zp_staging_write(staging, "device.idx", bytes, device->index_size, err);
        if (r < 0)
                return zp_error_wrap(err, "%s", what);
        p->new_devices[number] = (struct zp_device_record){ .digest = device->digest,
                                                            .index_size = device->index_size,
                                                            .pack_size = device->pack_size,
                                                            .device_size = device->device_size,
                                                            .pack_digest = device->pack_digest,
                                                            .has_pack_digest = true,
                                                            .frame_size = index.frame_size,
                                                            .level = (int) device->level,
                                                            .is_fetched = true };
        /* with the data it could be made as well, by reading all of that */
        if ((p->options->with_maps || p->options->is_complete) && device->map_size > 0)
                r = fetch_map(p, device, number, staging, err);
        return r < 0 ? r : zp_staging_sync(staging, err);
}

/* A device has one map. One that is here already, from whomever, must be the one that this artifact vouches for: else
 * one of the two is a lie. Of a device whose data is here it is made again. 1: it is here. */
static int check_map(struct zp_pull *p, const struct zp_artifact_device *device, bool has_data, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int fd = zp_store_open_device_file(p->store, &device->digest, "device.map", NULL);
        if (fd < 0)
                return has_data || device->map_size == 0;
        if (zp_pull_is_intact(fd, device->map_size, &device->map_digest))
                return 1;
        if (has_data)
                return zp_store_drop_map(p->store, &device->digest, err) < 0 ? -err->code : 1;
        return zp_error_set(err, EBADMSG, "device %s: its block map is not the one that is in the store",
                            zp_digest_text(&device->digest, text));
}

/* The index, which the name covers, says what these are. */
static int check_sizes(const struct zp_artifact_device *device, const struct zp_device_record *known,
                       struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        if (device->index_size == known->index_size && device->pack_size == known->pack_size &&
            device->device_size == known->device_size)
                return 0;
        return zp_error_set(err, EBADMSG, "device %s: its sizes are not the artifact's",
                            zp_digest_text(&device->digest, text));
}

/* The name covers the index, not the digest of the pack, and until somebody has read the data nobody knows who said the
 * right one: the later word takes the place of the earlier, for it is what is wanted now. Whoever lies spoils what is
 * fetched on demand until the next pull, and no complete pull, which goes by its own artifact (packs.c). */
static int note_pack(struct zp_pull *p, const struct zp_artifact_device *device, const struct zp_device_record *known,
                     struct zp_error *err) {
        if (known->is_complete ||
            (known->has_pack_digest && zp_digest_equal(&known->pack_digest, &device->pack_digest)))
                return 0;
        return zp_store_note_pack(p->store, &device->digest, &device->pack_digest, err);
}

static int pull_device(struct zp_pull *p, uint16_t number, struct zp_error *err) {
        const struct zp_artifact_device *device = &p->artifact.devices[number];
        struct zp_device_record known;
        int r = zp_store_find_device(p->store, &device->digest, &known, err);
        if (r < 0)
                return r;
        bool is_there =
                r == 1 && zp_pull_is_intact(zp_store_open_device_file(p->store, &known.digest, "device.idx", NULL),
                                            known.index_size, &known.digest);
        if (!is_there)
                return fetch_device(p, device, number, err);
        r = check_sizes(device, &known, err);
        if (r == 0)
                r = note_pack(p, device, &known, err);
        if (r < 0 || !p->options->with_maps)
                return r;
        r = check_map(p, device, known.is_complete, err);
        return r == 0 ? fetch_device(p, device, number, err) : r < 0 ? r : 0;
}

/* ---- the snapshot ---- */

/* What the list says of devices must fit the artifact; that they are the snapshot's is for whoever uses it to see. */
static int pull_prefetch(struct zp_pull *p, struct zp_error *err) {
        static const char what[] = "prefetch list";
        zp_autofree uint8_t *bytes = NULL;
        zp_autofree struct zp_prefetch_device *devices = calloc(ZP_LIMIT_DEVICES, sizeof *devices);
        struct zp_prefetch list = { 0 };
        if (!devices)
                return zp_error_errno(err, ENOMEM, "%s", what);
        for (uint16_t i = 0; i < p->artifact.device_count; i++)
                devices[i] = (struct zp_prefetch_device){ p->artifact.devices[i].digest,
                                                          p->artifact.devices[i].device_size };
        int r = zp_pull_receive_whole(p, what, &p->artifact.prefetch_digest, p->artifact.prefetch_size, &bytes, err);
        if (r == 0)
                r = zp_prefetch_parse((char *) bytes, (size_t) p->artifact.prefetch_size, what, devices,
                                      p->artifact.device_count, &list, err);
        zp_prefetch_clear(&list);
        return r < 0 ? r
                     : zp_staging_write(p->for_snapshot, "prefetch.json", (char *) bytes,
                                        (size_t) p->artifact.prefetch_size, err);
}

static int pull_snapshot(struct zp_pull *p, struct zp_error *err) {
        static const char what[] = "snapshot metadata";
        int r = zp_staging_write(p->for_snapshot, "manifest.json", p->image.manifest, p->image.manifest_size, err);
        if (r == 0)
                r = zp_staging_write(p->for_snapshot, "config.json", p->image.config, p->image.config_size, err);
        if (r < 0)
                return r;
        zp_autoclose int fd =
                zp_pull_receive_metadata(p, what, &p->artifact.snapshot, p->for_snapshot, "snapshot.erofs", err);
        if (fd < 0)
                return fd;
        r = zp_metadata_check_snapshot(fd, &p->artifact, err);
        return r < 0 ? zp_error_wrap(err, "%s", what) : zp_staging_sync(p->for_snapshot, err);
}

/* ---- all of them ---- */

static unsigned part_count(const struct zp_pull *p) {
        return 2u + p->artifact.layer_count + p->artifact.device_count;
}

/* A blob is in memory until it has been checked. */
static uint64_t memory_of(const struct zp_pull *p, unsigned part) {
        const struct zp_artifact *artifact = &p->artifact;
        if (part < 2)
                return part == 0 ? artifact->snapshot.blob_size : artifact->prefetch_size;
        part -= 2;
        if (part < artifact->layer_count)
                return artifact->layers[part].metadata.blob_size;
        const struct zp_artifact_device *device = &artifact->devices[part - artifact->layer_count];
        return device->index_size + device->map_size;
}

static int do_part(struct zp_pull *p, unsigned part, struct zp_error *err) {
        if (part == 0)
                return pull_snapshot(p, err);
        if (part == 1)
                return p->artifact.prefetch_size > 0 ? pull_prefetch(p, err) : 0;
        part -= 2;
        return part < p->artifact.layer_count ? pull_layer(p, (uint16_t) part, err)
                                              : pull_device(p, (uint16_t) (part - p->artifact.layer_count), err);
}

static int pull_part(struct zp_pull *p, unsigned part, struct zp_error *err) {
        uint64_t memory = memory_of(p, part);
        zp_pull_take_memory(p, memory);
        int r = do_part(p, part, err);
        zp_pull_give_memory(p, memory);
        return r;
}

static int pull_device_part(struct zp_pull *p, unsigned number, struct zp_error *err) {
        return pull_part(p, 2u + p->artifact.layer_count + number, err);
}

static int commit_devices(struct zp_pull *p, struct zp_error *err) {
        int r = 0;
        for (uint16_t n = 0; r == 0 && n < p->artifact.device_count; n++)
                if (p->for_devices[n])
                        r = zp_staging_commit_device(p->for_devices[n], &p->new_devices[n], err);
        return r;
}

int zp_pull_device_parts(struct zp_pull *p, struct zp_error *err) {
        int r = zp_pull_each(p, p->artifact.device_count, at_once(), pull_device_part, err);
        if (r == 0)
                r = zp_store_begin_batch(p->store, err);
        return r < 0 ? r : zp_store_end_batch(p->store, commit_devices(p, err), err);
}

static bool is_named(const struct zp_pull *p, const struct zp_digest *device) {
        for (uint16_t n = 0; n < p->artifact.layer_count; n++)
                for (uint16_t d = 0; d < p->layers[n].device_count; d++)
                        if (zp_digest_equal(&p->layers[n].devices[d], device))
                                return true;
        return false;
}

int zp_pull_parts(struct zp_pull *p, struct zp_error *err) {
        int r = zp_staging_new(p->store, &p->for_snapshot, err);
        if (r == 0)
                r = zp_pull_fetch_bundle(p, err);
        if (r == 0)
                r = zp_pull_each(p, part_count(p), at_once(), pull_part, err);
        free(p->bundle);
        p->bundle = NULL;
        for (uint16_t i = 0; r == 0 && i < p->artifact.device_count; i++)
                if (!is_named(p, &p->artifact.devices[i].digest))
                        r = zp_error_set(err, EBADMSG, "device %u is none of its layers'", i + 1u);
        return r;
}

int zp_pull_commit_parts(struct zp_pull *p, struct zp_error *err) {
        int r = commit_devices(p, err);
        for (uint16_t n = 0; r == 0 && n < p->artifact.layer_count; n++)
                if (p->for_layers[n])
                        r = zp_staging_commit_layer(p->for_layers[n], &p->layers[n], err);
        return r;
}
