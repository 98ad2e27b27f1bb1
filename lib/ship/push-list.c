/* SPDX-License-Identifier: Apache-2.0
 *
 * Which pieces an image has: of its layers, as they are added, their devices, and the image itself.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "ship/push-internal.h"
#include "store/whole-file.h"

static int not_there(const char *what, const struct zp_digest *digest, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        return zp_error_set(err, ENOENT, "%s %s is not in the store", what, zp_digest_text(digest, text));
}

static int add_device(struct zp_push *p, const struct zp_digest *digest, uint16_t number, struct zp_error *err) {
        struct zp_device_record record;
        int r = zp_store_find_device(p->store, digest, &record, err);
        if (r <= 0)
                return r < 0 ? r : not_there("device", digest, err);
        pthread_mutex_lock(&p->lock);
        bool is_known = zp_artifact_find_device(&p->artifact, digest) != NULL;
        if (!is_known && p->artifact.device_count == ZP_LIMIT_DEVICES) {
                r = zp_error_set(err, E2BIG, "the layers refer to more than %d devices", ZP_LIMIT_DEVICES);
        } else if (!is_known) {
                struct zp_artifact_device *device = &p->artifact.devices[p->artifact.device_count++];
                *device = (struct zp_artifact_device){ .digest = record.digest,
                                                       .index_size = record.index_size,
                                                       .device_size = record.device_size,
                                                       .pack_size = record.pack_size,
                                                       .pack_digest = record.pack_digest,
                                                       .level = (uint64_t) record.level };
                zp_push_add_piece(p, (struct zp_push_piece){ .kind = ZP_PIECE_DEVICE_PACK,
                                                             .device = device,
                                                             .number = number,
                                                             .is_known = record.has_pack_digest,
                                                             .stream = zp_push_find_stream_of(p, digest) });
                zp_push_add_piece(p, (struct zp_push_piece){ .kind = ZP_PIECE_DEVICE_INDEX,
                                                             .device = device,
                                                             .number = number,
                                                             .is_known = true });
                zp_push_add_piece(
                        p, (struct zp_push_piece){ .kind = ZP_PIECE_DEVICE_MAP, .device = device, .number = number });
                pthread_cond_broadcast(&p->more);
        }
        pthread_mutex_unlock(&p->lock);
        return r < 0 ? r : 0;
}

static void add_metadata(struct zp_push *p, const struct zp_layer_record *record, uint16_t number) {
        pthread_mutex_lock(&p->lock);
        if (!zp_artifact_find_layer(&p->artifact, &record->diff_id)) {
                struct zp_artifact_layer *layer = &p->artifact.layers[p->artifact.layer_count++];
                *layer = (struct zp_artifact_layer){
                        .diff_id = record->diff_id,
                        .tar_size = record->tar_size,
                        .entries = record->entries,
                        .metadata = { record->metadata_digest, record->metadata_size, record->blob_digest,
                                      record->blob_size },
                };
                strcpy(layer->recipe, record->recipe);
                zp_push_add_piece(p, (struct zp_push_piece){ .kind = ZP_PIECE_LAYER_METADATA,
                                                             .layer = layer,
                                                             .number = number,
                                                             .is_known = record->blob_size > 0 });
                pthread_cond_broadcast(&p->more);
        }
        pthread_mutex_unlock(&p->lock);
}

int zp_push_find_layer(struct zp_push *p, const struct zp_digest *layer, const struct zp_digest *diff_id,
                       struct zp_layer_record *out, struct zp_error *err) {
        int r = zp_store_find_layer(p->store, layer, diff_id, out, err);
        if (r < 0)
                return r;
        return r == 1 && zp_digest_equal(&out->diff_id, diff_id) ? 0 : not_there("layer", diff_id, err);
}

static int add_layer(struct zp_push *p, const struct zp_digest *layer, const struct zp_digest *diff_id, uint16_t number,
                     struct zp_error *err) {
        struct zp_layer_record record;
        int r = zp_push_find_layer(p, layer, diff_id, &record, err);
        for (uint16_t i = 0; r == 0 && i < record.device_count; i++)
                r = add_device(p, &record.devices[i], number, err);
        if (r == 0)
                add_metadata(p, &record, number);
        return r;
}

void zp_push_add_layer(struct zp_push *p, const struct zp_digest *layer, const struct zp_digest *diff_id,
                       uint16_t number) {
        struct zp_error err = { 0 };
        if (add_layer(p, layer, diff_id, number, &err) < 0)
                zp_push_note_failure(p, &err);
        else
                zp_push_start_threads(p, zp_push_threads_wanted(p));
}

/* The manifest's own bytes say how large it is, not what the disk made of them. */
static int describe_subject(struct zp_push *p, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        size_t size;
        int r = zp_store_read_image_file(p->store, &p->image->manifest_digest, "manifest.json", ZP_LIMIT_JSON_SIZE,
                                         &p->image->manifest_digest, &manifest, &size, err);
        if (r < 0)
                return r;
        p->artifact.subject_digest = p->image->manifest_digest;
        p->artifact.subject_size = size;
        p->artifact.subject_media_type = strdup(p->image->manifest_media_type);
        p->artifact.snapshot.digest = p->image->metadata_digest;
        p->artifact.snapshot.size = p->image->metadata_size;
        p->artifact.snapshot.blob_digest = p->image->blob_digest;
        p->artifact.snapshot.blob_size = p->image->blob_size;
        return p->artifact.subject_media_type ? 0 : zp_error_errno(err, ENOMEM, "push");
}

int zp_push_add_image(struct zp_push *p, struct zp_error *err) {
        int r = describe_subject(p, err);
        for (uint16_t i = 0; r == 0 && i < p->image->layer_count; i++)
                r = add_layer(p, &p->image->layers[i], &p->image->diff_ids[i], (uint16_t) (i + 1), err);
        if (r < 0)
                return r;
        pthread_mutex_lock(&p->lock);
        zp_push_add_piece(p, (struct zp_push_piece){ .kind = ZP_PIECE_SNAPSHOT_METADATA,
                                                     .is_known = p->artifact.snapshot.blob_size > 0 });
        zp_push_add_piece(p, (struct zp_push_piece){ .kind = ZP_PIECE_PREFETCH });
        p->is_all = true;
        pthread_cond_broadcast(&p->more);
        pthread_mutex_unlock(&p->lock);
        return 0;
}
