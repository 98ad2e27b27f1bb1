/* SPDX-License-Identifier: Apache-2.0
 *
 * What a push sends: each piece read from the store, checked against its records, made ready.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/limits.h"
#include "ship/frames.h"
#include "ship/metadata.h"
#include "ship/push-internal.h"
#include "store/device-map.h"

static int say_list_damaged(struct zp_error *err) {
        zp_error_set(err, EBADMSG, "'prefetch.json' in the store is damaged");
        zp_error_hint(err, "`zeropull verify` tells what else is; `zeropull build --rebuild` makes it anew");
        return -EBADMSG;
}

/* Of a file in the store, the bytes that its record tells of. What puts it right depends on what it is, and whence:
 * unlike zp_store_read_whole, this gives no hint. */
static int read_recorded(int fd, const char *file, uint64_t size, const struct zp_digest *digest, uint8_t **out,
                         struct zp_error *err) {
        zp_autofree uint8_t *data = size <= ZP_LIMIT_METADATA_SIZE ? malloc(size + 1) : NULL;
        if (!data)
                return zp_error_errno(err, ENOMEM, "read '%s'", file);
        int r = zp_pread_all(fd, data, size, 0, file, err);
        struct zp_digest actual;
        if (r < 0)
                return r;
        zp_digest_of(data, size, &actual);
        if (!zp_digest_equal(&actual, digest))
                return zp_error_set(err, EBADMSG, "'%s' in the store is damaged: its digest differs", file);
        *out = zp_steal(&data);
        return 0;
}

void zp_push_clear_blob(struct zp_push_blob *blob) {
        free(blob->data);
        if (blob->fd >= 0)
                close(blob->fd);
}

/* Of a device that is held by its index alone the remote has to have the data already. */
static int say_absent(struct zp_push *p, struct zp_error *err) {
        zp_error_set(err, ENODATA, "its data is neither here nor there");
        pthread_mutex_lock(&p->lock);
        bool is_built = !p->image || !p->image->is_fetched;
        pthread_mutex_unlock(&p->lock);
        if (is_built)
                zp_error_hint(err, "it is a base's: `zeropull pull --complete` of that image fetches it");
        return -ENODATA;
}

int zp_push_read_blob(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct zp_push_blob *blob = context;
        struct zp_push *p = blob->push;
        int r = zp_check_cancel(&p->stop, err);
        if (r < 0)
                return r;
        if (blob->data)
                memcpy(buffer, blob->data + offset, size);
        else if (blob->fd < 0)
                return say_absent(p, err);
        else if ((r = zp_pread_all(blob->fd, buffer, size, offset, "device.zst", err)) < 0)
                return r;
        if (offset + size <= blob->sent || !p->options.events.progress)
                return 0;
        blob->sent = offset + size;
        pthread_mutex_lock(&p->lock);
        p->options.events.progress(p->options.events.context, blob->piece, blob->sent);
        pthread_mutex_unlock(&p->lock);
        return 0;
}

static int open_file(struct zp_push *p, const struct zp_push_piece *piece, const char *file, struct zp_error *err) {
        return piece->device  ? zp_store_open_device_file(p->store, &piece->device->digest, file, err)
               : piece->layer ? zp_store_open_layer_file(p->store, &piece->layer->metadata.digest, file, err)
                              : zp_store_open_image_file(p->store, &p->image->manifest_digest, file, err);
}

static int prepare_metadata(struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob,
                            struct zp_error *err) {
        const char *file = piece->layer ? "layer.erofs" : "snapshot.erofs";
        struct zp_artifact_metadata *m = piece->layer ? &piece->layer->metadata : &p->artifact.snapshot;
        zp_autoclose int fd = open_file(p, piece, file, err);
        zp_autofree uint8_t *data = NULL;
        size_t packed_size = 0;
        int r = fd < 0 ? fd : read_recorded(fd, file, m->size, &m->digest, &data, err);
        if (r == 0)
                r = zp_metadata_compress(data, m->size, &blob->data, &packed_size, err);
        if (r == -EBADMSG || r == -ENODATA)
                zp_error_hint(err, "`zeropull build` of the image makes it anew; where it was fetched,"
                                   " `zeropull pull --complete` fetches it");
        if (r < 0)
                return r;
        blob->size = packed_size;
        zp_digest_of(blob->data, packed_size, &blob->digest);
        m->blob_digest = blob->digest;
        m->blob_size = blob->size;
        return 0;
}

static int prepare_index(struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob,
                         struct zp_error *err) {
        zp_autoclose int fd = open_file(p, piece, "device.idx", err);
        blob->size = piece->device->index_size;
        blob->digest = piece->device->digest;
        return fd < 0 ? fd : read_recorded(fd, "device.idx", blob->size, &blob->digest, &blob->data, err);
}

#define PIECE_SIZE (1u << 20)

/* Reads the pack once: its own digest, and all of it against the index. */
static int digest_pack(struct zp_push *p, const struct zp_pack_index *index, struct zp_push_blob *blob,
                       struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        zp_autofree uint8_t *buffer = malloc(PIECE_SIZE);
        struct zp_frames frames;
        int r = hash && buffer ? 0 : zp_error_errno(err, ENOMEM, "read 'device.zst'");
        if (r < 0 || (r = zp_frames_begin(&frames, index, err)) < 0)
                return r;
        r = zp_pack_check_end(blob->fd, index, "device.zst", err);
        for (uint64_t at = 0; r == 0 && at < index->pack_size;) {
                size_t part = (size_t) zp_min_u64(PIECE_SIZE, index->pack_size - at);
                r = zp_check_cancel(&p->stop, err);
                if (r == 0)
                        r = zp_pread_all(blob->fd, buffer, part, at, "device.zst", err);
                if (r == 0)
                        r = zp_frames_take(&frames, buffer, part, err);
                if (r == 0)
                        zp_sha256_update(hash, buffer, part);
                at += part;
        }
        zp_frames_clear(&frames);
        if (r == 0)
                zp_sha256_finish(hash, &blob->digest);
        return r;
}

/* The pack's file; of a device that is held by its index alone none, where another repository may have the data. */
static int open_pack(struct zp_push *p, const struct zp_push_piece *piece, int *fd, struct zp_error *err) {
        struct zp_device_record record;
        int r = zp_store_find_device(p->store, &piece->device->digest, &record, err);
        if (r == 1 && zp_device_is_lost(&record))
                return zp_error_set(err, ENODATA, "'device.zst' in the store was damaged");
        if (r == 1 && !record.is_complete)
                return piece->is_known && p->options.mount_from ? 0 : say_absent(p, err);
        if (r < 0)
                return r;
        *fd = zp_store_open_device_file(p->store, &piece->device->digest, "device.zst", err);
        return *fd < 0 ? *fd : 0;
}

static int prepare_pack(struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob,
                        struct zp_error *err) {
        struct zp_push_blob index_blob = { .push = p, .fd = -1 };
        struct zp_pack_index index;
        int r = open_pack(p, piece, &blob->fd, err);
        if (r < 0 || blob->fd < 0)
                return r;
        r = prepare_index(p, piece, &index_blob, err);
        if (r == 0)
                r = zp_pack_index_parse(index_blob.data, index_blob.size, NULL, "device.idx", &index, err);
        if (r == 0 && index.pack_size != piece->device->pack_size)
                r = zp_error_set(err, EBADMSG, "device.idx: its sizes are not the store's");
        blob->size = piece->device->pack_size;
        if (r == 0)
                r = digest_pack(p, &index, blob, err);
        if (r == 0)
                piece->device->pack_digest = blob->digest;
        zp_push_clear_blob(&index_blob);
        return r;
}

/* Not when the push is opened: a build confines itself after that, and threads that are there already it would not. */
static int make_pool(struct zp_push *p, struct zp_error *err) {
        pthread_mutex_lock(&p->lock);
        int r = p->pool ? 0 : zp_pool_new(zp_usable_cpus(), &p->pool, err);
        pthread_mutex_unlock(&p->lock);
        return r;
}

/* 0: there is none, and nothing to send. */
static int prepare_map(struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob,
                       struct zp_error *err) {
        struct zp_device_record record;
        struct zp_device_map map;
        int r = make_pool(p, err);
        if (r == 0)
                r = zp_store_find_device(p->store, &piece->device->digest, &record, err);
        if (r == 1)
                r = zp_store_load_map(p->store, &record, p->pool, &p->stop, &map, err);
        if (r <= 0)
                return r;
        blob->data = map.bytes;
        blob->size = map.size;
        zp_digest_of(map.bytes, map.size, &blob->digest);
        piece->device->map_digest = blob->digest;
        piece->device->map_size = blob->size;
        return 1;
}

static int prepare_prefetch(struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob,
                            struct zp_error *err) {
        zp_autoclose int fd = open_file(p, piece, "prefetch.json", NULL);
        if (fd < 0)
                return 0;
        off_t size = lseek(fd, 0, SEEK_END);
        if (size <= 0 || size > (off_t) ZP_LIMIT_JSON_SIZE)
                return say_list_damaged(err);
        blob->size = (uint64_t) size;
        blob->data = malloc((size_t) size);
        if (!blob->data)
                return zp_error_errno(err, ENOMEM, "prefetch.json");
        int r = zp_pread_all(fd, blob->data, (size_t) size, 0, "prefetch.json", err);
        if (r < 0)
                return r;
        zp_digest_of(blob->data, (size_t) size, &blob->digest);
        p->artifact.prefetch_digest = blob->digest;
        p->artifact.prefetch_size = blob->size;
        return 1;
}

int zp_push_prepare(struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob,
                    struct zp_error *err) {
        int r;
        switch (piece->kind) {
        case ZP_PIECE_DEVICE_MAP:
                return prepare_map(p, piece, blob, err);
        case ZP_PIECE_PREFETCH:
                return prepare_prefetch(p, piece, blob, err);
        case ZP_PIECE_DEVICE_PACK:
                r = prepare_pack(p, piece, blob, err);
                break;
        case ZP_PIECE_DEVICE_INDEX:
                r = prepare_index(p, piece, blob, err);
                break;
        default:
                r = prepare_metadata(p, piece, blob, err);
        }
        return r < 0 ? r : 1;
}
