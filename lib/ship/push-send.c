/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends one piece, unless the remote has it.
 */
#include <stdio.h>

#include "ship/push-internal.h"

static void describe(const struct zp_push_piece *piece, char text[64]) {
        static const char *const parts[] = { "metadata", "metadata", "index", "data", "block map", "", "data" };
        if (piece->kind == ZP_PIECE_PREFETCH)
                snprintf(text, 64, "prefetch list");
        else if (piece->kind != ZP_PIECE_SNAPSHOT_METADATA)
                snprintf(text, 64, "layer %u, %s", piece->number, parts[piece->kind]);
        else
                snprintf(text, 64, "snapshot metadata");
}

void zp_push_tell_begin(struct zp_push *p, unsigned number, const char *what, uint64_t size) {
        if (!p->options.events.begin)
                return;
        pthread_mutex_lock(&p->lock);
        p->options.events.begin(p->options.events.context, number, what, size);
        pthread_mutex_unlock(&p->lock);
}

void zp_push_count_blob(struct zp_push *p, unsigned number, bool was_there, uint64_t sent) {
        pthread_mutex_lock(&p->lock);
        p->result.blobs_present += was_there;
        p->result.blobs_sent += !was_there;
        p->result.bytes_sent += sent;
        if (p->options.events.end)
                p->options.events.end(p->options.events.context, number, was_there);
        pthread_mutex_unlock(&p->lock);
}

int zp_push_send_blob(struct zp_push *p, struct zp_push_blob *blob, const char *what, struct zp_error *err) {
        uint64_t sent = 0;
        zp_push_tell_begin(p, blob->piece, what, blob->size);
        int there = zp_remote_has_blob(p->remote, &blob->digest, blob->size, err);
        if (there < 0)
                return there;
        int r = there ? 0
                      : zp_remote_put_blob(p->remote, &blob->digest, blob->size, p->options.mount_from,
                                           zp_push_read_blob, blob, &sent, err);
        if (r == 0)
                zp_push_count_blob(p, blob->piece, there, sent);
        return r;
}

/* The digest and size of a blob that are known without a look at the file. */
static void take_known(const struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob) {
        const struct zp_artifact_metadata *m = piece->layer ? &piece->layer->metadata : &p->artifact.snapshot;
        blob->digest = piece->kind == ZP_PIECE_DEVICE_PACK    ? piece->device->pack_digest
                       : piece->kind == ZP_PIECE_DEVICE_INDEX ? piece->device->digest
                                                              : m->blob_digest;
        blob->size = piece->kind == ZP_PIECE_DEVICE_PACK    ? piece->device->pack_size
                     : piece->kind == ZP_PIECE_DEVICE_INDEX ? piece->device->index_size
                                                            : m->blob_size;
}

/* 1: the remote has the blob, which nobody needs to read then. */
static int is_there(struct zp_push *p, const struct zp_push_piece *piece, struct zp_push_blob *blob, const char *what,
                    struct zp_error *err) {
        if (!piece->is_known)
                return 0;
        take_known(p, piece, blob);
        int r = zp_remote_has_blob(p->remote, &blob->digest, blob->size, err);
        if (r == 1) {
                zp_push_tell_begin(p, blob->piece, what, blob->size);
                zp_push_count_blob(p, blob->piece, true, 0);
        }
        return r;
}

/* For the next push. What cannot be noted is found out again. */
static void note(struct zp_push *p, const struct zp_push_piece *piece, const struct zp_push_blob *blob) {
        if (piece->kind == ZP_PIECE_DEVICE_PACK)
                (void) zp_store_note_pack(p->store, &piece->device->digest, &blob->digest, NULL);
        else if (piece->kind == ZP_PIECE_LAYER_METADATA)
                (void) zp_store_note_layer_blob(p->store, &piece->layer->metadata.digest, &blob->digest, blob->size,
                                                NULL);
        else if (piece->kind == ZP_PIECE_SNAPSHOT_METADATA)
                (void) zp_store_note_image_blob(p->store, &p->image->manifest_digest, &p->image->metadata_digest,
                                                &blob->digest, blob->size, NULL);
}

int zp_push_send_piece(struct zp_push *p, unsigned number, const struct zp_push_piece *piece, struct zp_error *err) {
        struct zp_push_blob blob = { .push = p, .piece = number, .fd = -1 };
        char what[64];
        describe(piece, what);
        if (piece->kind == ZP_PIECE_GROWING_PACK) {
                zp_push_send_growing(p, number, piece->stream, what);
                return 0;
        }
        if (piece->stream && piece->stream->state == ZP_STREAM_SENT) {
                blob.digest = piece->device->pack_digest = piece->stream->digest;
                note(p, piece, &blob);
                return 0;
        }
        int r = is_there(p, piece, &blob, what, err);
        if (r != 0)
                return r < 0 ? zp_error_wrap(err, "%s", what) : 0;
        r = zp_push_prepare(p, piece, &blob, err);
        bool is_read = r >= 0;
        if (r == 1)
                r = zp_push_send_blob(p, &blob, what, err);
        if (!is_read || r == -ENODATA)
                zp_push_note_damage(p, piece, r);
        if (r == 0)
                note(p, piece, &blob);
        if (r == 0 && piece->kind != ZP_PIECE_DEVICE_MAP)
                zp_push_keep_part(p, &blob);
        zp_push_clear_blob(&blob);
        return r < 0 ? zp_error_wrap(err, "%s", what) : 0;
}
