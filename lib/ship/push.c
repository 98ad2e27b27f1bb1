/* SPDX-License-Identifier: Apache-2.0
 *
 * A push is a list of pieces that a few threads work through, the largest first, and then the manifest.
 */
#include "ship/push.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/limits.h"
#include "ship/artifact.h"
#include "ship/frames.h"
#include "ship/growing.h"
#include "ship/metadata.h"
#include "store/device-map.h"

#define THREADS_MAX 16u
#define THREADS_DEFAULT 4u
#define PIECE_SIZE (1u << 20)

/* A pack that is sent while it is made. Guarded by push->lock, but for `pack` and `number`. */
struct stream {
        struct stream *next;
        struct zp_growing *pack;
        uint16_t number;         /* of the layer */
        bool is_complete;        /* `device` is known */
        struct zp_digest device; /* whose pack it is */
        enum { STREAM_OPEN, STREAM_SENT, STREAM_FAILED } state;
        struct zp_digest digest; /* once it is sent */
};

/* One blob to send; it is prepared by the thread that sends it. */
struct piece {
        enum { SNAPSHOT_METADATA, LAYER_METADATA, DEVICE_INDEX, DEVICE_PACK, DEVICE_MAP, PREFETCH, GROWING_PACK } kind;
        struct zp_artifact_layer *layer;   /* of a layer's metadata */
        struct zp_artifact_device *device; /* of an index or pack */
        uint16_t number;                   /* of the layer, for messages */
        bool is_known;                     /* the blob's digest and size, from an earlier push or a pull */
        bool is_taken;                     /* by a thread; guarded by push->lock */
        struct stream *stream;             /* a growing pack, or the one that has sent this pack before */
};

struct zp_push {
        struct zp_store *store;
        struct zp_remote *remote;
        struct zp_push_options options;
        const struct zp_image_record *image; /* known at last; set with the lock held */
        struct zp_artifact artifact;         /* its layers and devices in the order in which they were added */
        struct zp_cancel stop;
        struct zp_pool *pool; /* makes block maps; NULL until there is one to make; guarded by lock until then */
        pthread_t threads[THREADS_MAX];
        unsigned thread_count;

        pthread_mutex_t lock;
        pthread_cond_t more; /* pieces, or none will come any more */
        /* guarded by lock, as all below */
        struct piece pieces[2 + ZP_LIMIT_LAYERS + 3 * ZP_LIMIT_DEVICES + ZP_LIMIT_LAYERS];
        unsigned piece_count;
        struct stream *streams;
        unsigned stream_count;
        bool may_stream;
        bool is_all; /* no more pieces will come */
        struct zp_push_result result;
        struct zp_error first_error; /* the others stop because of it */
};

/* ---- what is sent ---- */

/* A blob in memory or in a file. */
struct blob {
        struct zp_push *push;
        unsigned piece;
        uint8_t *data; /* NULL: fd */
        int fd;
        uint64_t size, sent;
        struct zp_digest digest;
};

static void clear_blob(struct blob *blob) {
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

static int read_blob(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct blob *blob = context;
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

static int open_file(struct zp_push *p, const struct piece *piece, const char *file, struct zp_error *err) {
        return piece->device  ? zp_store_open_device_file(p->store, &piece->device->digest, file, err)
               : piece->layer ? zp_store_open_layer_file(p->store, &piece->layer->metadata.digest, file, err)
                              : zp_store_open_image_file(p->store, &p->image->manifest_digest, file, err);
}

static int say_damaged(const char *file, struct zp_error *err) {
        zp_error_set(err, EBADMSG, "'%s' in the store is damaged: its digest differs", file);
        zp_error_hint(err, "`zeropull verify` tells what else is; `zeropull build --rebuild` makes it anew");
        return -EBADMSG;
}

static int read_whole(int fd, const char *file, uint64_t size, const struct zp_digest *digest, uint8_t **out,
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
                return say_damaged(file, err);
        *out = zp_steal(&data);
        return 0;
}

static int prepare_metadata(struct zp_push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        const char *file = piece->layer ? "layer.erofs" : "snapshot.erofs";
        struct zp_artifact_metadata *m = piece->layer ? &piece->layer->metadata : &p->artifact.snapshot;
        zp_autoclose int fd = open_file(p, piece, file, err);
        zp_autofree uint8_t *data = NULL;
        size_t packed_size = 0;
        int r = fd < 0 ? fd : read_whole(fd, file, m->size, &m->digest, &data, err);
        if (r == 0)
                r = zp_metadata_compress(data, m->size, &blob->data, &packed_size, err);
        if (r < 0)
                return r;
        blob->size = packed_size;
        zp_digest_of(blob->data, packed_size, &blob->digest);
        m->blob_digest = blob->digest;
        m->blob_size = blob->size;
        return 0;
}

static int prepare_index(struct zp_push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        zp_autoclose int fd = open_file(p, piece, "device.idx", err);
        blob->size = piece->device->index_size;
        blob->digest = piece->device->digest;
        return fd < 0 ? fd : read_whole(fd, "device.idx", blob->size, &blob->digest, &blob->data, err);
}

/* Reads the pack once: its own digest, and every frame against the index. */
static int digest_pack(struct zp_push *p, const struct zp_pack_index *index, struct blob *blob, struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        zp_autofree uint8_t *buffer = malloc(PIECE_SIZE);
        struct zp_frames frames;
        int r = hash && buffer ? 0 : zp_error_errno(err, ENOMEM, "read 'device.zst'");
        if (r < 0 || (r = zp_frames_begin(&frames, index, err)) < 0)
                return r;
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
        if (r == -EBADMSG)
                zp_error_hint(err, "`zeropull build --rebuild` makes it anew");
        return r;
}

/* The pack's file; of a device that is held by its index alone none, where another repository may have the data. */
static int open_pack(struct zp_push *p, const struct piece *piece, int *fd, struct zp_error *err) {
        struct zp_device_record record;
        int r = zp_store_find_device(p->store, &piece->device->digest, &record, err);
        if (r == 1 && !record.is_complete)
                return piece->is_known && p->options.mount_from ? 0 : say_absent(p, err);
        if (r < 0)
                return r;
        *fd = zp_store_open_device_file(p->store, &piece->device->digest, "device.zst", err);
        return *fd < 0 ? *fd : 0;
}

static int prepare_pack(struct zp_push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        struct blob index_blob = { .push = p, .fd = -1 };
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
        clear_blob(&index_blob);
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
static int prepare_map(struct zp_push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
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

static int prepare_prefetch(struct zp_push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        zp_autoclose int fd = open_file(p, piece, "prefetch.json", NULL);
        if (fd < 0)
                return 0;
        off_t size = lseek(fd, 0, SEEK_END);
        if (size <= 0 || size > (off_t) ZP_LIMIT_JSON_SIZE)
                return say_damaged("prefetch.json", err);
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

/* ---- sending ---- */

static void describe(const struct piece *piece, char text[64]) {
        static const char *const parts[] = { "metadata", "metadata", "index", "data", "block map", "", "data" };
        if (piece->kind == PREFETCH)
                snprintf(text, 64, "prefetch list");
        else if (piece->kind != SNAPSHOT_METADATA)
                snprintf(text, 64, "layer %u, %s", piece->number, parts[piece->kind]);
        else
                snprintf(text, 64, "snapshot metadata");
}

static void tell_begin(struct zp_push *p, unsigned number, const char *what, uint64_t size) {
        if (!p->options.events.begin)
                return;
        pthread_mutex_lock(&p->lock);
        p->options.events.begin(p->options.events.context, number, what, size);
        pthread_mutex_unlock(&p->lock);
}

static void count_blob(struct zp_push *p, unsigned number, bool was_there, uint64_t sent) {
        pthread_mutex_lock(&p->lock);
        p->result.blobs_present += was_there;
        p->result.blobs_sent += !was_there;
        p->result.bytes_sent += sent;
        if (p->options.events.end)
                p->options.events.end(p->options.events.context, number, was_there);
        pthread_mutex_unlock(&p->lock);
}

static int send_blob(struct zp_push *p, struct blob *blob, const char *what, struct zp_error *err) {
        uint64_t sent = 0;
        tell_begin(p, blob->piece, what, blob->size);
        int there = zp_remote_has_blob(p->remote, &blob->digest, blob->size, err);
        if (there < 0)
                return there;
        int r = there ? 0
                      : zp_remote_put_blob(p->remote, &blob->digest, blob->size, p->options.mount_from, read_blob, blob,
                                           &sent, err);
        if (r == 0)
                count_blob(p, blob->piece, there, sent);
        return r;
}

/* The digest and size of a blob that are known without a look at the file. */
static void take_known(const struct zp_push *p, const struct piece *piece, struct blob *blob) {
        const struct zp_artifact_metadata *m = piece->layer ? &piece->layer->metadata : &p->artifact.snapshot;
        blob->digest = piece->kind == DEVICE_PACK    ? piece->device->pack_digest
                       : piece->kind == DEVICE_INDEX ? piece->device->digest
                                                     : m->blob_digest;
        blob->size = piece->kind == DEVICE_PACK    ? piece->device->pack_size
                     : piece->kind == DEVICE_INDEX ? piece->device->index_size
                                                   : m->blob_size;
}

/* 1: the remote has the blob, which nobody needs to read then. */
static int is_there(struct zp_push *p, const struct piece *piece, struct blob *blob, const char *what,
                    struct zp_error *err) {
        if (!piece->is_known)
                return 0;
        take_known(p, piece, blob);
        int r = zp_remote_has_blob(p->remote, &blob->digest, blob->size, err);
        if (r == 1) {
                tell_begin(p, blob->piece, what, blob->size);
                count_blob(p, blob->piece, true, 0);
        }
        return r;
}

/* For the next push. What cannot be noted is found out again. */
static void note(struct zp_push *p, const struct piece *piece, const struct blob *blob) {
        if (piece->kind == DEVICE_PACK)
                (void) zp_store_note_pack(p->store, &piece->device->digest, &blob->digest, NULL);
        else if (piece->kind == LAYER_METADATA)
                (void) zp_store_note_layer_blob(p->store, &piece->layer->metadata.digest, &blob->digest, blob->size,
                                                NULL);
        else if (piece->kind == SNAPSHOT_METADATA)
                (void) zp_store_note_image_blob(p->store, &p->image->manifest_digest, &p->image->metadata_digest,
                                                &blob->digest, blob->size, NULL);
}

/* 1: `blob` is to be sent; 0: there is no such blob. */
static int prepare(struct zp_push *p, const struct piece *piece, struct blob *blob, struct zp_error *err) {
        int r;
        switch (piece->kind) {
        case DEVICE_MAP:
                return prepare_map(p, piece, blob, err);
        case PREFETCH:
                return prepare_prefetch(p, piece, blob, err);
        case DEVICE_PACK:
                r = prepare_pack(p, piece, blob, err);
                break;
        case DEVICE_INDEX:
                r = prepare_index(p, piece, blob, err);
                break;
        default:
                r = prepare_metadata(p, piece, blob, err);
        }
        return r < 0 ? r : 1;
}

struct stream_progress {
        struct zp_push *push;
        unsigned piece;
};

static void tell_progress(void *context, uint64_t bytes_sent) {
        struct stream_progress *progress = context;
        struct zp_push *p = progress->push;
        if (!p->options.events.progress)
                return;
        pthread_mutex_lock(&p->lock);
        p->options.events.progress(p->options.events.context, progress->piece, bytes_sent);
        pthread_mutex_unlock(&p->lock);
}

/* What fails here is sent again when it is complete. */
static void send_growing(struct zp_push *p, unsigned number, struct stream *stream, const char *what) {
        struct stream_progress progress = { p, number };
        struct zp_growing_sending sending = { p->remote, &p->stop, tell_progress, &progress };
        struct zp_digest digest;
        struct zp_error err = { 0 };
        uint64_t sent;
        tell_begin(p, number, what, 0);
        int r = zp_growing_send(stream->pack, &sending, &digest, &sent, &err);
        if (r == 0)
                count_blob(p, number, false, sent);
        pthread_mutex_lock(&p->lock);
        stream->state = r == 0 ? STREAM_SENT : STREAM_FAILED;
        stream->digest = digest;
        if (r < 0)
                p->result.bytes_sent += sent;
        if (r < 0 && r != -ECANCELED && p->options.events.put_off)
                p->options.events.put_off(p->options.events.context, number, &err);
        pthread_cond_broadcast(&p->more);
        pthread_mutex_unlock(&p->lock);
}

static int send_piece(struct zp_push *p, unsigned number, const struct piece *piece, struct zp_error *err) {
        struct blob blob = { .push = p, .piece = number, .fd = -1 };
        char what[64];
        describe(piece, what);
        if (piece->kind == GROWING_PACK) {
                send_growing(p, number, piece->stream, what);
                return 0;
        }
        if (piece->stream && piece->stream->state == STREAM_SENT) {
                blob.digest = piece->device->pack_digest = piece->stream->digest;
                note(p, piece, &blob);
                return 0;
        }
        int r = is_there(p, piece, &blob, what, err);
        if (r != 0)
                return r < 0 ? zp_error_wrap(err, "%s", what) : 0;
        r = prepare(p, piece, &blob, err);
        if (r == 1)
                r = send_blob(p, &blob, what, err);
        if (r == 0)
                note(p, piece, &blob);
        clear_blob(&blob);
        return r < 0 ? zp_error_wrap(err, "%s", what) : 0;
}

/* Called with p->lock held. */
static void stop(struct zp_push *p) {
        atomic_store(&p->stop.requested, true);
        for (struct stream *stream = p->streams; stream; stream = stream->next)
                zp_growing_abandon(stream->pack);
        pthread_cond_broadcast(&p->more);
}

static void note_failure(struct zp_push *p, const struct zp_error *err) {
        pthread_mutex_lock(&p->lock);
        if (p->first_error.code == 0)
                p->first_error = *err;
        stop(p);
        pthread_mutex_unlock(&p->lock);
}

static uint64_t piece_size(const struct piece *piece) {
        return piece->kind == GROWING_PACK ? UINT64_MAX : piece->kind == DEVICE_PACK ? piece->device->pack_size : 0;
}

/* Whether somebody may take it. A pack that is being sent already waits: the thread that sends it comes back. */
static bool is_free(const struct piece *piece) {
        return !piece->is_taken &&
               (piece->kind == GROWING_PACK || !piece->stream || piece->stream->state != STREAM_OPEN);
}

/* Takes the largest piece that nobody has; with p->lock held. */
static struct piece *take_piece(struct zp_push *p) {
        struct piece *best = NULL;
        for (unsigned i = 0; i < p->piece_count; i++)
                if (is_free(&p->pieces[i]) && (!best || piece_size(&p->pieces[i]) > piece_size(best)))
                        best = &p->pieces[i];
        if (best)
                best->is_taken = true;
        return best;
}

static void *send_pieces(void *context) {
        struct zp_push *p = context;
        for (;;) {
                struct piece *piece, copy = { 0 };
                pthread_mutex_lock(&p->lock);
                while (!(piece = take_piece(p)) && !p->is_all && !zp_cancelled(&p->stop))
                        pthread_cond_wait(&p->more, &p->lock);
                if (piece)
                        copy = *piece;
                pthread_mutex_unlock(&p->lock);
                struct zp_error err = { 0 };
                if (!piece || zp_cancelled(&p->stop))
                        return NULL;
                if (send_piece(p, (unsigned) (piece - p->pieces), &copy, &err) < 0)
                        note_failure(p, &err);
        }
}

static void start_threads(struct zp_push *p, unsigned wanted) {
        pthread_mutex_lock(&p->lock);
        while (p->thread_count < wanted && pthread_create(&p->threads[p->thread_count], NULL, send_pieces, p) == 0)
                p->thread_count++;
        pthread_mutex_unlock(&p->lock);
}

static unsigned threads_wanted(const struct zp_push *p) {
        unsigned threads = p->options.threads ? p->options.threads : THREADS_DEFAULT;
        return threads < THREADS_MAX ? threads : THREADS_MAX;
}

static void join_threads(struct zp_push *p) {
        pthread_mutex_lock(&p->lock);
        p->is_all = true;
        pthread_cond_broadcast(&p->more);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->thread_count; i++)
                pthread_join(p->threads[i], NULL);
        p->thread_count = 0;
}

/* ---- the list ---- */

static int not_there(const char *what, const struct zp_digest *digest, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        return zp_error_set(err, ENOENT, "%s %s is not in the store", what, zp_digest_text(digest, text));
}

/* Called with p->lock held. */
static void add_piece(struct zp_push *p, struct piece piece) {
        p->pieces[p->piece_count++] = piece;
}

/* The one that sends, or has sent, the pack of a device; with p->lock held. */
static struct stream *find_stream_of(const struct zp_push *p, const struct zp_digest *device) {
        struct stream *stream = p->streams;
        while (stream && !(stream->is_complete && zp_digest_equal(&stream->device, device)))
                stream = stream->next;
        return stream;
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
                add_piece(p, (struct piece){ .kind = DEVICE_PACK,
                                             .device = device,
                                             .number = number,
                                             .is_known = record.has_pack_digest,
                                             .stream = find_stream_of(p, digest) });
                add_piece(p,
                          (struct piece){ .kind = DEVICE_INDEX, .device = device, .number = number, .is_known = true });
                add_piece(p, (struct piece){ .kind = DEVICE_MAP, .device = device, .number = number });
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
                add_piece(p, (struct piece){ .kind = LAYER_METADATA,
                                             .layer = layer,
                                             .number = number,
                                             .is_known = record->blob_size > 0 });
                pthread_cond_broadcast(&p->more);
        }
        pthread_mutex_unlock(&p->lock);
}

static int find_layer(struct zp_push *p, const struct zp_digest *layer, const struct zp_digest *diff_id,
                      struct zp_layer_record *out, struct zp_error *err) {
        int r = zp_store_find_layer(p->store, layer, diff_id, out, err);
        if (r < 0)
                return r;
        return r == 1 && zp_digest_equal(&out->diff_id, diff_id) ? 0 : not_there("layer", diff_id, err);
}

static int add_layer(struct zp_push *p, const struct zp_digest *layer, const struct zp_digest *diff_id, uint16_t number,
                     struct zp_error *err) {
        struct zp_layer_record record;
        int r = find_layer(p, layer, diff_id, &record, err);
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
                note_failure(p, &err);
        else
                start_threads(p, threads_wanted(p));
}

/* ---- packs that are being made ---- */

static struct stream *find_stream(const struct zp_push *p, uint16_t number) {
        struct stream *stream = p->streams;
        while (stream && stream->number != number)
                stream = stream->next;
        return stream;
}

/* Leaves a thread for blobs that are complete; with p->lock held. */
static bool has_thread_for_stream(const struct zp_push *p) {
        unsigned open = 0;
        for (const struct stream *stream = p->streams; stream; stream = stream->next)
                open += stream->state == STREAM_OPEN;
        return open + 1 < threads_wanted(p);
}

/* Where it cannot be begun, the pack is sent when it is complete; with p->lock held. */
static struct stream *begin_stream(struct zp_push *p, uint16_t number, int fd) {
        if (!p->may_stream || zp_cancelled(&p->stop) || p->stream_count == ZP_LIMIT_LAYERS || !has_thread_for_stream(p))
                return NULL;
        struct stream *stream = calloc(1, sizeof *stream);
        if (!stream || zp_growing_new(fd, &stream->pack, NULL) < 0) {
                free(stream);
                return NULL;
        }
        stream->number = number;
        stream->next = p->streams;
        p->streams = stream;
        p->stream_count++;
        add_piece(p, (struct piece){ .kind = GROWING_PACK, .number = number, .stream = stream });
        pthread_cond_broadcast(&p->more);
        return stream;
}

void zp_push_grow(struct zp_push *p, uint16_t number, int fd, uint64_t size) {
        if (size < ZP_PUSH_GROWING_MIN)
                return;
        pthread_mutex_lock(&p->lock);
        struct stream *stream = find_stream(p, number);
        bool is_new = !stream;
        if (is_new)
                stream = begin_stream(p, number, fd);
        if (stream)
                zp_growing_extend(stream->pack, size);
        pthread_mutex_unlock(&p->lock);
        if (is_new && stream)
                start_threads(p, threads_wanted(p));
}

void zp_push_grown(struct zp_push *p, uint16_t number, const struct zp_device_record *device) {
        pthread_mutex_lock(&p->lock);
        struct stream *stream = find_stream(p, number);
        if (stream && device) {
                stream->device = device->digest;
                stream->is_complete = true;
                zp_growing_complete(stream->pack, device->pack_size);
        } else if (stream) {
                zp_growing_abandon(stream->pack);
        }
        pthread_mutex_unlock(&p->lock);
}

/* What cannot be found out now will be told when the snapshot is published: until then nothing is sent in vain. */
static bool is_worth_streaming(struct zp_push *p) {
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        if (!p->options.growing_for)
                return false;
        int r = zp_remote_find(p->remote, p->options.growing_for, ZP_ARTIFACT_TYPE, &artifacts, &count, NULL);
        zp_remote_artifacts_free(artifacts, count);
        return r == 0 && count == 0;
}

/* The manifest's own bytes say how large it is, not what the disk made of them. */
static int describe_subject(struct zp_push *p, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(p->store, &p->image->manifest_digest, "manifest.json", err);
        zp_autofree uint8_t *manifest = NULL;
        off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
        if (fd < 0)
                return fd;
        if (size < 0 || (uint64_t) size > ZP_LIMIT_JSON_SIZE)
                return say_damaged("manifest.json", err);
        int r = read_whole(fd, "manifest.json", (uint64_t) size, &p->image->manifest_digest, &manifest, err);
        if (r < 0)
                return r;
        p->artifact.subject_digest = p->image->manifest_digest;
        p->artifact.subject_size = (uint64_t) size;
        p->artifact.subject_media_type = strdup(p->image->manifest_media_type);
        p->artifact.snapshot.digest = p->image->metadata_digest;
        p->artifact.snapshot.size = p->image->metadata_size;
        p->artifact.snapshot.blob_digest = p->image->blob_digest;
        p->artifact.snapshot.blob_size = p->image->blob_size;
        return p->artifact.subject_media_type ? 0 : zp_error_errno(err, ENOMEM, "push");
}

static int add_image(struct zp_push *p, struct zp_error *err) {
        int r = describe_subject(p, err);
        for (uint16_t i = 0; r == 0 && i < p->image->layer_count; i++)
                r = add_layer(p, &p->image->layers[i], &p->image->diff_ids[i], (uint16_t) (i + 1), err);
        if (r < 0)
                return r;
        pthread_mutex_lock(&p->lock);
        add_piece(p, (struct piece){ .kind = SNAPSHOT_METADATA, .is_known = p->artifact.snapshot.blob_size > 0 });
        add_piece(p, (struct piece){ .kind = PREFETCH });
        p->is_all = true;
        pthread_cond_broadcast(&p->more);
        pthread_mutex_unlock(&p->lock);
        return 0;
}

/* ---- the manifest ---- */

static void order_layer(struct zp_push *p, const struct zp_layer_record *record, struct zp_artifact *ordered) {
        if (!zp_artifact_find_layer(ordered, &record->diff_id))
                ordered->layers[ordered->layer_count++] = *zp_artifact_find_layer(&p->artifact, &record->diff_id);
        for (uint16_t i = 0; i < record->device_count; i++)
                if (!zp_artifact_find_device(ordered, &record->devices[i]))
                        ordered->devices[ordered->device_count++] =
                                *zp_artifact_find_device(&p->artifact, &record->devices[i]);
}

/* The artifact's layers and devices as the format has them: the image's distinct ones, lowest first. */
static int order_parts(struct zp_push *p, struct zp_error *err) {
        struct zp_artifact ordered;
        struct zp_layer_record record;
        int r = zp_artifact_init(&ordered, err);
        for (uint16_t i = 0; r == 0 && i < p->image->layer_count; i++)
                if ((r = find_layer(p, &p->image->layers[i], &p->image->diff_ids[i], &record, err)) == 0)
                        order_layer(p, &record, &ordered);
        if (r == 0) {
                ordered.subject_media_type = zp_steal(&p->artifact.subject_media_type);
                ordered.subject_digest = p->artifact.subject_digest;
                ordered.subject_size = p->artifact.subject_size;
                ordered.snapshot = p->artifact.snapshot;
                ordered.prefetch_digest = p->artifact.prefetch_digest;
                ordered.prefetch_size = p->artifact.prefetch_size;
                struct zp_artifact added = p->artifact;
                p->artifact = ordered;
                ordered = added;
        }
        zp_artifact_clear(&ordered);
        return r;
}

/* 1: the remote has the snapshot as which the image was fetched. */
static int find_original(struct zp_push *p, struct zp_error *err) {
        const struct zp_digest *original = &p->image->artifact_digest;
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        int r = zp_remote_find(p->remote, &p->image->manifest_digest, ZP_ARTIFACT_TYPE, &artifacts, &count, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < count && r == 0; i++)
                if (zp_digest_equal(&artifacts[i].manifest.digest, original)) {
                        p->result.artifact_digest = *original;
                        p->result.artifact_size = artifacts[i].manifest.size;
                        r = 1;
                }
        zp_remote_artifacts_free(artifacts, count);
        return r;
}

/* What was fetched is published as what it was: under its own digest, which signatures are over. What is not here
 * without the data (block maps) would make another of it. */
static int keep_original(struct zp_push *p, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = find_original(p, err);
        if (r != 0)
                return r < 0 ? r : 0;
        zp_error_set(err, ENOTSUP,
                     "%s does not have snapshot %s, as which it was fetched, and this would be another one",
                     zp_remote_name(p->remote), zp_digest_text(&p->image->artifact_digest, text));
        zp_error_hint(err, "`zeropull pull --complete` fetches what is missing; or `zeropull build` makes one from the "
                           "image itself");
        return -ENOTSUP;
}

static int publish(struct zp_push *p, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        size_t size;
        int r = order_parts(p, err);
        if (r == 0)
                r = zp_artifact_format(&p->artifact, &manifest, &size, err);
        if (r < 0)
                return r;
        zp_digest_of(manifest, size, &p->result.artifact_digest);
        p->result.artifact_size = size;
        if (p->image->has_artifact_digest && !zp_digest_equal(&p->result.artifact_digest, &p->image->artifact_digest))
                return keep_original(p, err);
        struct zp_descriptor subject = { p->artifact.subject_media_type, p->artifact.subject_digest,
                                         p->artifact.subject_size };
        return zp_remote_publish(p->remote, &subject, ZP_ARTIFACT_TYPE, manifest, size, err);
}

/* ---- the whole ---- */

static int read_empty_config(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) context;
        (void) err;
        memcpy(buffer, &ZP_EMPTY_CONFIG[offset], size);
        return 0;
}

/* Sent even if it is there: that shows whether one may. */
static int send_empty_config(struct zp_push *p, struct zp_error *err) {
        struct zp_digest digest;
        uint64_t size = strlen(ZP_EMPTY_CONFIG);
        zp_digest_of(ZP_EMPTY_CONFIG, size, &digest);
        return zp_remote_put_blob(p->remote, &digest, size, NULL, read_empty_config, NULL, NULL, err);
}

static int fail(const struct zp_push *p, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        bool is_named = p->image->names && p->image->names[0];
        return zp_error_wrap(err, "push %s",
                             is_named ? p->image->names[0] : zp_digest_text(&p->image->manifest_digest, digest));
}

int zp_push_open(struct zp_store *store, struct zp_remote *remote, const struct zp_push_options *options,
                 struct zp_push **out, struct zp_error *err) {
        struct zp_push *p = calloc(1, sizeof *p);
        if (!p)
                return zp_error_errno(err, ENOMEM, "push");
        p->store = store;
        p->remote = remote;
        p->options = *options;
        p->stop.parent = options->cancel;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->more, NULL);
        int r = zp_artifact_init(&p->artifact, err);
        if (r == 0)
                r = send_empty_config(p, err);
        p->may_stream = r == 0 && is_worth_streaming(p);
        if (r < 0)
                zp_push_close(p);
        else
                *out = p;
        return r;
}

void zp_push_close(struct zp_push *p) {
        pthread_mutex_lock(&p->lock);
        stop(p);
        pthread_mutex_unlock(&p->lock);
        join_threads(p);
        for (struct stream *next, *stream = p->streams; stream; stream = next) {
                next = stream->next;
                zp_growing_free(stream->pack);
                free(stream);
        }
        zp_pool_free(p->pool);
        zp_artifact_clear(&p->artifact);
        pthread_cond_destroy(&p->more);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

int zp_push_finish(struct zp_push *p, const struct zp_image_record *image, struct zp_push_result *result,
                   struct zp_error *err) {
        pthread_mutex_lock(&p->lock);
        p->image = image;
        pthread_mutex_unlock(&p->lock);
        int r = add_image(p, err);
        if (r < 0)
                return fail(p, err);
        start_threads(p, threads_wanted(p) - 1);
        send_pieces(p);
        join_threads(p);
        r = zp_check_cancel(p->options.cancel, err);
        if (r == 0 && p->first_error.code) {
                *err = p->first_error;
                r = -err->code;
        }
        if (r == 0)
                r = publish(p, err);
        *result = p->result;
        return r < 0 ? fail(p, err) : 0;
}

int zp_push(struct zp_store *store, const struct zp_image_record *image, struct zp_remote *remote,
            const struct zp_push_options *options, struct zp_push_result *result, struct zp_error *err) {
        zp_auto(zp_push_close) struct zp_push *p = NULL;
        int r = zp_push_open(store, remote, options, &p, err);
        return r < 0 ? r : zp_push_finish(p, image, result, err);
}
