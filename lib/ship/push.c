/* SPDX-License-Identifier: Apache-2.0
 *
 * A push is a list of blobs that a few threads work through, and then the manifest.
 */
#include "ship/push.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/limits.h"
#include "pack/index.h"
#include "ship/artifact.h"

#define THREADS_MAX 16u
#define THREADS_DEFAULT 4u
/* Metadata is small and read by every start: worth a better level than data. */
#define METADATA_LEVEL 9

/* One thing to send; each is prepared by the thread that sends it. */
struct piece {
        enum { SNAPSHOT_METADATA, LAYER_METADATA, DEVICE_INDEX, DEVICE_PACK } kind;
        struct zp_artifact_layer *layer; /* NULL for the snapshot's */
        uint16_t number;                 /* of the layer, for messages */
};

struct push {
        struct zp_store *store;
        const struct zp_image_record *image;
        struct zp_remote *remote;
        const struct zp_push_options *options;
        struct zp_push_result *result;
        struct zp_artifact artifact;
        struct zp_cancel stop;
        struct piece pieces[1 + 3 * ZP_LIMIT_LAYERS];
        unsigned piece_count;

        pthread_mutex_t lock;
        unsigned next;               /* guarded by lock */
        struct zp_error first_error; /* guarded by lock */
};

/* ---- what is sent ---- */

/* A blob in memory or in a file. */
struct blob {
        struct push *push;
        unsigned piece;
        uint8_t *data; /* NULL: fd */
        int fd;
        uint64_t size, sent;
        struct zp_digest digest;
        const char *name;
};

static void clear_blob(struct blob *blob) {
        free(blob->data);
        if (blob->fd >= 0)
                close(blob->fd);
}

static int read_blob(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct blob *blob = context;
        struct push *p = blob->push;
        int r = zp_check_cancel(&p->stop, err);
        if (r < 0)
                return r;
        if (blob->data)
                memcpy(buffer, blob->data + offset, size);
        else if ((r = zp_pread_all(blob->fd, buffer, size, offset, blob->name, err)) < 0)
                return r;
        if (offset + size <= blob->sent || !p->options->events.progress)
                return 0;
        blob->sent = offset + size;
        pthread_mutex_lock(&p->lock);
        p->options->events.progress(p->options->events.context, blob->piece, blob->sent);
        pthread_mutex_unlock(&p->lock);
        return 0;
}

static int open_file(struct push *p, const struct piece *piece, const char *file, struct zp_error *err) {
        return piece->layer ? zp_store_open_layer_file(p->store, &piece->layer->diff_id, file, err)
                            : zp_store_open_image_file(p->store, &p->image->manifest_digest, file, err);
}

static int read_whole(int fd, const char *file, uint64_t size, const struct zp_digest *digest, uint8_t **out,
                      struct zp_error *err) {
        zp_autofree uint8_t *data = size <= ZP_LIMIT_METADATA_SIZE ? malloc(size + 1) : NULL;
        if (!data)
                return zp_error_errno(err, ENOMEM, "read '%s'", file);
        int r = zp_pread_all(fd, data, size, 0, file, err);
        struct zp_digest actual;
        zp_digest_of(data, size, &actual);
        if (r == 0 && !zp_digest_equal(&actual, digest)) {
                r = zp_error_set(err, EBADMSG, "'%s' in the store is damaged: its digest differs", file);
                zp_error_hint(err, "`zeropull build --rebuild` makes it anew");
        }
        if (r == 0)
                *out = zp_steal(&data);
        return r;
}

static int compress(const uint8_t *data, uint64_t size, struct blob *blob, struct zp_error *err) {
        size_t room = ZSTD_compressBound(size);
        blob->data = malloc(room);
        if (!blob->data)
                return zp_error_errno(err, ENOMEM, "compress metadata");
        size_t n = ZSTD_compress(blob->data, room, data, size, METADATA_LEVEL);
        if (ZSTD_isError(n))
                return zp_error_set(err, EIO, "compress metadata: %s", ZSTD_getErrorName(n));
        blob->size = n;
        zp_digest_of(blob->data, n, &blob->digest);
        return 0;
}

static int prepare_metadata(struct push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        const char *file = piece->layer ? "layer.erofs" : "snapshot.erofs";
        struct zp_artifact_metadata *m = piece->layer ? &piece->layer->metadata : &p->artifact.snapshot;
        zp_autoclose int fd = open_file(p, piece, file, err);
        zp_autofree uint8_t *data = NULL;
        int r = fd < 0 ? fd : read_whole(fd, file, m->size, &m->digest, &data, err);
        if (r == 0)
                r = compress(data, m->size, blob, err);
        m->blob_digest = blob->digest;
        m->blob_size = blob->size;
        return r;
}

static int prepare_index(struct push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        zp_autoclose int fd = open_file(p, piece, "device.idx", err);
        blob->size = piece->layer->index_size;
        blob->digest = piece->layer->index_digest;
        return fd < 0 ? fd : read_whole(fd, "device.idx", blob->size, &blob->digest, &blob->data, err);
}

/* Reads the pack once: its own digest, and every frame against the index. */
static int digest_pack(struct push *p, const struct zp_pack_index *index, struct blob *blob, struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        uint32_t room = zp_pack_packed_size_max(index->frame_size);
        zp_autofree uint8_t *buffer = malloc(room);
        uint64_t at = 0;
        int r = hash && buffer ? 0 : zp_error_errno(err, ENOMEM, "read 'device.zst'");
        for (uint32_t i = 0; r == 0 && i < index->frame_count; i++) {
                struct zp_pack_frame frame = zp_pack_index_frame(index, i);
                struct zp_digest actual;
                r = zp_pread_all(blob->fd, buffer, frame.packed_size, frame.packed_offset, "device.zst", err);
                zp_digest_of(buffer, frame.packed_size, &actual);
                if (r == 0 && !zp_digest_equal(&actual, &frame.digest))
                        r = zp_error_set(err, EBADMSG, "'device.zst' in the store is damaged at byte %ju",
                                         (uintmax_t) frame.packed_offset);
                if (r == 0)
                        r = zp_check_cancel(&p->stop, err);
                zp_sha256_update(hash, buffer, frame.packed_size);
                at = frame.packed_offset + frame.packed_size;
        }
        while (r == 0 && at < index->pack_size) { /* the seek table */
                size_t part = (size_t) zp_min_u64(room, index->pack_size - at);
                r = zp_pread_all(blob->fd, buffer, part, at, "device.zst", err);
                zp_sha256_update(hash, buffer, part);
                at += part;
        }
        if (r == 0)
                zp_sha256_finish(hash, &blob->digest);
        return r;
}

static int prepare_pack(struct push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        struct blob index_blob = { .push = p, .fd = -1 };
        struct zp_pack_index index;
        int r = prepare_index(p, piece, &index_blob, err);
        if (r == 0)
                r = zp_pack_index_parse(index_blob.data, index_blob.size, NULL, "device.idx", &index, err);
        if (r == 0 && (blob->fd = open_file(p, piece, "device.zst", err)) < 0)
                r = blob->fd;
        blob->size = piece->layer->pack_size;
        if (r == 0)
                r = digest_pack(p, &index, blob, err);
        piece->layer->pack_digest = blob->digest;
        clear_blob(&index_blob);
        return r;
}

/* ---- sending ---- */

static void describe(const struct piece *piece, char text[64]) {
        static const char *const parts[] = { "metadata", "metadata", "index", "data" };
        if (piece->layer)
                snprintf(text, 64, "layer %u, %s", piece->number, parts[piece->kind]);
        else
                snprintf(text, 64, "snapshot metadata");
}

static void tell_begin(struct push *p, unsigned number, const char *what, uint64_t size) {
        if (!p->options->events.begin)
                return;
        pthread_mutex_lock(&p->lock);
        p->options->events.begin(p->options->events.context, number, what, size);
        pthread_mutex_unlock(&p->lock);
}

static void count_blob(struct push *p, unsigned number, bool was_there, uint64_t sent) {
        pthread_mutex_lock(&p->lock);
        p->result->blobs_present += was_there;
        p->result->blobs_sent += !was_there;
        p->result->bytes_sent += sent;
        if (p->options->events.end)
                p->options->events.end(p->options->events.context, number, was_there);
        pthread_mutex_unlock(&p->lock);
}

static int send_blob(struct push *p, struct blob *blob, const char *what, struct zp_error *err) {
        uint64_t sent = 0;
        tell_begin(p, blob->piece, what, blob->size);
        int there = zp_remote_has_blob(p->remote, &blob->digest, blob->size, err);
        if (there < 0)
                return there;
        int r = there ? 0
                      : zp_remote_put_blob(p->remote, &blob->digest, blob->size, p->options->mount_from, read_blob,
                                           blob, &sent, err);
        if (r == 0)
                count_blob(p, blob->piece, there, sent);
        return r;
}

static int send_piece(struct push *p, unsigned number, struct zp_error *err) {
        const struct piece *piece = &p->pieces[number];
        struct blob blob = { .push = p, .piece = number, .fd = -1, .name = "device.zst" };
        char what[64];
        describe(piece, what);
        int r;
        if (piece->kind == DEVICE_PACK)
                r = prepare_pack(p, piece, &blob, err);
        else if (piece->kind == DEVICE_INDEX)
                r = prepare_index(p, piece, &blob, err);
        else
                r = prepare_metadata(p, piece, &blob, err);
        if (r == 0)
                r = send_blob(p, &blob, what, err);
        clear_blob(&blob);
        return r < 0 ? zp_error_wrap(err, "%s", what) : 0;
}

static void *send_pieces(void *context) {
        struct push *p = context;
        for (;;) {
                pthread_mutex_lock(&p->lock);
                unsigned number = p->next < p->piece_count ? p->next++ : UINT32_MAX;
                pthread_mutex_unlock(&p->lock);
                struct zp_error err = { 0 };
                if (number == UINT32_MAX || zp_cancelled(&p->stop))
                        return NULL;
                if (send_piece(p, number, &err) == 0)
                        continue;
                pthread_mutex_lock(&p->lock);
                if (p->first_error.code == 0) /* the others stop because of it */
                        p->first_error = err;
                pthread_mutex_unlock(&p->lock);
                atomic_store(&p->stop.requested, true);
        }
}

static int send_all(struct push *p, struct zp_error *err) {
        unsigned threads = p->options->threads ? p->options->threads : THREADS_DEFAULT, started = 0;
        if (threads > THREADS_MAX)
                threads = THREADS_MAX;
        pthread_t others[THREADS_MAX];
        while (started + 1 < threads && started + 1 < p->piece_count &&
               pthread_create(&others[started], NULL, send_pieces, p) == 0)
                started++;
        send_pieces(p);
        for (unsigned i = 0; i < started; i++)
                pthread_join(others[i], NULL);
        int r = zp_check_cancel(p->options->cancel, err);
        if (r == 0 && p->first_error.code) {
                *err = p->first_error;
                r = -err->code;
        }
        return r;
}

/* ---- the list ---- */

static void add_piece(struct push *p, unsigned kind, struct zp_artifact_layer *layer) {
        p->pieces[p->piece_count++] =
                (struct piece){ kind, layer, layer ? (uint16_t) (layer - p->artifact.layers + 1) : 0 };
}

static int add_layer(struct push *p, const struct zp_digest *diff_id, struct zp_error *err) {
        struct zp_layer_record record;
        char text[ZP_DIGEST_TEXT_SIZE];
        int found = zp_store_find_layer(p->store, diff_id, &record, err);
        if (found <= 0)
                return found < 0 ? found
                                 : zp_error_set(err, ENOENT, "layer %s is not in the store",
                                                zp_digest_text(diff_id, text));
        p->artifact.layers[p->artifact.layer_count++] = (struct zp_artifact_layer){
                .diff_id = record.diff_id,
                .tar_size = record.tar_size,
                .entries = record.entries,
                .metadata = { .digest = record.metadata_digest, .size = record.metadata_size },
                .device_size = record.device_size,
                .index_digest = record.index_digest,
                .index_size = record.index_size,
                .pack_size = record.pack_size,
        };
        return 0;
}

/* The large ones first, so that the last to finish is a small one. */
static int compare_packs(const void *a, const void *b) {
        const struct piece *x = a, *y = b;
        if (x->layer->pack_size != y->layer->pack_size)
                return x->layer->pack_size < y->layer->pack_size ? 1 : -1;
        return (int) x->number - (int) y->number;
}

static int list_pieces(struct push *p, struct zp_error *err) {
        p->artifact.layers = calloc(ZP_LIMIT_LAYERS, sizeof *p->artifact.layers);
        if (!p->artifact.layers)
                return zp_error_errno(err, ENOMEM, "push");
        for (uint16_t i = 0; i < p->image->layer_count; i++) {
                if (zp_artifact_find_layer(&p->artifact, &p->image->diff_ids[i]))
                        continue;
                int r = add_layer(p, &p->image->diff_ids[i], err);
                if (r < 0)
                        return r;
        }
        for (uint16_t i = 0; i < p->artifact.layer_count; i++)
                add_piece(p, DEVICE_PACK, &p->artifact.layers[i]);
        qsort(p->pieces, p->piece_count, sizeof *p->pieces, compare_packs);
        add_piece(p, SNAPSHOT_METADATA, NULL);
        for (uint16_t i = 0; i < p->artifact.layer_count; i++) {
                add_piece(p, LAYER_METADATA, &p->artifact.layers[i]);
                add_piece(p, DEVICE_INDEX, &p->artifact.layers[i]);
        }
        return 0;
}

static int describe_subject(struct push *p, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(p->store, &p->image->manifest_digest, "manifest.json", err);
        struct stat st;
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "manifest.json");
        p->artifact.subject_digest = p->image->manifest_digest;
        p->artifact.subject_size = (uint64_t) st.st_size;
        p->artifact.subject_media_type = strdup(p->image->manifest_media_type);
        p->artifact.snapshot.digest = p->image->metadata_digest;
        p->artifact.snapshot.size = p->image->metadata_size;
        return p->artifact.subject_media_type ? 0 : zp_error_errno(err, ENOMEM, "push");
}

static int read_empty_config(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) context;
        (void) err;
        memcpy(buffer, ZP_EMPTY_CONFIG + offset, size);
        return 0;
}

static int send_empty_config(struct push *p, struct zp_error *err) {
        struct zp_digest digest;
        uint64_t size = strlen(ZP_EMPTY_CONFIG);
        zp_digest_of(ZP_EMPTY_CONFIG, size, &digest);
        int there = zp_remote_has_blob(p->remote, &digest, size, err);
        return there ? (there < 0 ? there : 0)
                     : zp_remote_put_blob(p->remote, &digest, size, NULL, read_empty_config, NULL, NULL, err);
}

static int publish(struct push *p, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        size_t size;
        int r = send_empty_config(p, err);
        if (r == 0)
                r = zp_artifact_format(&p->artifact, &manifest, &size, err);
        if (r < 0)
                return r;
        zp_digest_of(manifest, size, &p->result->artifact_digest);
        p->result->artifact_size = size;
        struct zp_descriptor subject = { p->artifact.subject_media_type, p->artifact.subject_digest,
                                         p->artifact.subject_size };
        return zp_remote_publish(p->remote, &subject, ZP_ARTIFACT_TYPE, manifest, size, err);
}

int zp_push(struct zp_store *store, const struct zp_image_record *image, struct zp_remote *remote,
            const struct zp_push_options *options, struct zp_push_result *result, struct zp_error *err) {
        zp_autofree struct push *p = calloc(1, sizeof *p);
        if (!p)
                return zp_error_errno(err, ENOMEM, "push");
        *result = (struct zp_push_result){ 0 };
        p->store = store;
        p->image = image;
        p->remote = remote;
        p->options = options;
        p->result = result;
        p->stop.parent = options->cancel;
        pthread_mutex_init(&p->lock, NULL);
        int r = list_pieces(p, err);
        if (r == 0)
                r = describe_subject(p, err);
        if (r == 0)
                r = send_all(p, err);
        if (r == 0)
                r = publish(p, err);
        zp_artifact_clear(&p->artifact);
        pthread_mutex_destroy(&p->lock);
        return r < 0 ? zp_error_wrap(err, "push to %s", zp_remote_name(remote)) : 0;
}
