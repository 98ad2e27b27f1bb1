/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of a push share.
 */
#ifndef ZP_SHIP_PUSH_INTERNAL_H
#define ZP_SHIP_PUSH_INTERNAL_H

#include <pthread.h>

#include "base/limits.h"
#include "base/pool.h"
#include "ship/bundle.h"
#include "ship/push.h"

#define ZP_PUSH_THREADS_MAX 16u

/* A pack that is sent while it is made. Guarded by push->lock, but for `pack` and `number`. */
struct zp_push_stream {
        struct zp_push_stream *next;
        struct zp_growing *pack;
        uint16_t number;         /* of the layer */
        bool is_complete;        /* `device` is known */
        struct zp_digest device; /* whose pack it is */
        enum { ZP_STREAM_OPEN, ZP_STREAM_SENT, ZP_STREAM_FAILED } state;
        struct zp_digest digest; /* once it is sent */
};

/* One blob to send; it is prepared by the thread that sends it. */
struct zp_push_piece {
        enum {
                ZP_PIECE_SNAPSHOT_METADATA,
                ZP_PIECE_LAYER_METADATA,
                ZP_PIECE_DEVICE_INDEX,
                ZP_PIECE_DEVICE_PACK,
                ZP_PIECE_DEVICE_MAP,
                ZP_PIECE_PREFETCH,
                ZP_PIECE_GROWING_PACK
        } kind;
        struct zp_artifact_layer *layer;   /* of a layer's metadata */
        struct zp_artifact_device *device; /* of an index or pack */
        uint16_t number;                   /* of the layer, for messages */
        bool is_known;                     /* the blob's digest and size, from an earlier push or a pull */
        bool is_taken;                     /* by a thread; guarded by push->lock */
        struct zp_push_stream *stream;     /* a growing pack, or the one that has sent this pack before */
};

struct zp_push {
        struct zp_store *store;
        struct zp_remote *remote;
        struct zp_push_options options;
        const struct zp_image_record *image; /* known at last; set with the lock held */
        struct zp_artifact artifact;         /* its layers and devices in the order in which they were added */
        struct zp_cancel stop;
        struct zp_pool *pool; /* makes block maps; NULL until there is one to make; guarded by lock until then */
        pthread_t threads[ZP_PUSH_THREADS_MAX];
        unsigned thread_count;

        pthread_mutex_t lock;
        pthread_cond_t more; /* pieces, or none will come any more */
        /* guarded by lock, as all below */
        struct zp_push_piece pieces[2 + ZP_LIMIT_LAYERS + 3 * ZP_LIMIT_DEVICES + ZP_LIMIT_LAYERS];
        unsigned piece_count;
        struct zp_push_stream *streams;
        unsigned stream_count;
        bool may_stream;
        bool is_all; /* no more pieces will come */
        /* small blobs that were made, for the bundle */
        struct {
                uint8_t *data;
                uint64_t size;
                struct zp_digest digest;
        } kept[ZP_BUNDLE_PARTS_MAX];
        unsigned kept_count;
        uint64_t kept_size;
        struct zp_push_result result;
        struct zp_error first_error; /* the others stop because of it */
        bool is_damaged;             /* reading a file of this device failed: */
        struct zp_digest damaged;
};

/* A blob in memory or in a file. */
struct zp_push_blob {
        struct zp_push *push;
        unsigned piece;
        uint8_t *data; /* NULL: fd */
        int fd;
        uint64_t size, sent;
        struct zp_digest digest;
};

/* push-blob.c */
/* Finds a piece's bytes, digest and size, and notes them in the artifact. 1: `blob` is to be sent; 0: there is no such
 * blob. It is to be cleared in any case. */
int zp_push_prepare(struct zp_push *push, const struct zp_push_piece *piece, struct zp_push_blob *blob,
                    struct zp_error *err);
/* As zp_remote_read: `context` is the blob. Tells the progress. */
int zp_push_read_blob(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err);
void zp_push_clear_blob(struct zp_push_blob *blob);

/* push-send.c: without push->lock */
/* `number` is the piece's in push->pieces, `piece` a copy of it. */
int zp_push_send_piece(struct zp_push *push, unsigned number, const struct zp_push_piece *piece, struct zp_error *err);
void zp_push_tell_begin(struct zp_push *push, unsigned number, const char *what, uint64_t size);
/* The remote has the blob now, or had it already. */
void zp_push_count_blob(struct zp_push *push, unsigned number, bool was_there, uint64_t sent);

/* A prepared blob, unless the remote has it. */
int zp_push_send_blob(struct zp_push *push, struct zp_push_blob *blob, const char *what, struct zp_error *err);

/* push-bundle.c */
/* Keeps what was sent, as long as that may become a bundle: `blob` has no data then. */
void zp_push_keep_part(struct zp_push *push, struct zp_push_blob *blob);
void zp_push_clear_kept(struct zp_push *push);
/* When all its parts have been sent. Notes it in the artifact; *bundle, to be cleared, is to be sent if it has a size.
 */
int zp_push_make_bundle(struct zp_push *push, struct zp_push_blob *bundle, struct zp_error *err);

/* push-grow.c */
/* Whether packs are sent before they are complete. What cannot be found out now will be told when the snapshot is
 * published: until then nothing is sent in vain. */
bool zp_push_is_worth_streaming(struct zp_push *push);
/* The stream that sends, or has sent, the pack of a device; NULL: none. With push->lock held. */
struct zp_push_stream *zp_push_find_stream_of(const struct zp_push *push, const struct zp_digest *device);
/* What fails here is sent again when it is complete. */
void zp_push_send_growing(struct zp_push *push, unsigned number, struct zp_push_stream *stream, const char *what);

/* push-threads.c */
/* With push->lock held. */
void zp_push_add_piece(struct zp_push *push, struct zp_push_piece piece);
/* Has all that is under way end; with push->lock held. */
void zp_push_stop(struct zp_push *push);
/* The first failure stops the others and is told. */
void zp_push_note_failure(struct zp_push *push, const struct zp_error *err);
unsigned zp_push_threads_wanted(const struct zp_push *push);
/* Has so many of them, as far as they can be had. */
void zp_push_start_threads(struct zp_push *push, unsigned wanted);
/* What a thread does, until there is nothing left and nothing more will come; `context` is the push. Returns NULL. */
void *zp_push_send_pieces(void *context);
/* No more pieces will come: waits for the threads. */
void zp_push_join_threads(struct zp_push *push);

/* push-damage.c */
/* The piece could not be read from the store: if that may be because a device is damaged, it is remembered. */
void zp_push_note_damage(struct zp_push *push, const struct zp_push_piece *piece, int result);
/* After a failure, once no thread is left: what is damaged of the image's devices that were built here is set aside, to
 * be built again, and `err` says so; push->result as well. */
void zp_push_set_damage_aside(struct zp_push *push, struct zp_error *err);

/* push-list.c */
/* All of push->image that was not added before: nothing more will come. */
int zp_push_add_image(struct zp_push *push, struct zp_error *err);
int zp_push_find_layer(struct zp_push *push, const struct zp_digest *layer, const struct zp_digest *diff_id,
                       struct zp_layer_record *out, struct zp_error *err);

/* push-publish.c: orders the artifact's parts and publishes it. All blobs have arrived, no thread is left. */
int zp_push_publish(struct zp_push *push, struct zp_error *err);

#endif
