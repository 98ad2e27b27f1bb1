/* SPDX-License-Identifier: Apache-2.0
 *
 * The bundle, made of what was sent: the same artifact has the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ship/bundle.h"
#include "ship/push-internal.h"

static int append(void *context, const void *data, size_t size, struct zp_error *err) {
        uint8_t **at = context;
        (void) err;
        memcpy(*at, data, size);
        *at += size;
        return 0;
}

static bool is_prefetch(const struct zp_push *p, const struct zp_bundle_part *part) {
        return !part->layer && !part->device && p->artifact.prefetch_size > 0 && part->offset > 0;
}

void zp_push_keep_part(struct zp_push *p, struct zp_push_blob *blob) {
        pthread_mutex_lock(&p->lock);
        if (blob->data && p->kept_count < ZP_BUNDLE_PARTS_MAX && blob->size <= ZP_BUNDLE_SIZE_MAX - p->kept_size) {
                p->kept_size += blob->size;
                p->kept[p->kept_count].size = blob->size;
                p->kept[p->kept_count].digest = blob->digest;
                p->kept[p->kept_count++].data = zp_steal(&blob->data);
        }
        pthread_mutex_unlock(&p->lock);
}

void zp_push_clear_kept(struct zp_push *p) {
        for (unsigned i = 0; i < p->kept_count; i++)
                free(p->kept[i].data);
        p->kept_count = 0;
}

static bool put_kept(const struct zp_push *p, const struct zp_bundle_part *part, uint8_t *to) {
        for (unsigned i = 0; i < p->kept_count; i++)
                if (p->kept[i].size == part->size && zp_digest_equal(&p->kept[i].digest, &part->digest)) {
                        memcpy(to, p->kept[i].data, part->size);
                        return true;
                }
        return false;
}

/* 1: the store's, made again, is what was sent. 0: another version of zstd made that. */
static int put_made(struct zp_push *p, const struct zp_bundle_part *part, uint8_t *to, struct zp_error *err) {
        struct zp_artifact before = p->artifact;
        struct zp_artifact_metadata *metadata = part->layer ? &part->layer->metadata : &p->artifact.snapshot;
        struct zp_artifact_metadata sent = *metadata;
        struct zp_push_piece piece = { .kind = part->layer            ? ZP_PIECE_LAYER_METADATA
                                               : part->device         ? ZP_PIECE_DEVICE_INDEX
                                               : is_prefetch(p, part) ? ZP_PIECE_PREFETCH
                                                                      : ZP_PIECE_SNAPSHOT_METADATA,
                                       .layer = part->layer,
                                       .device = part->device };
        struct zp_push_blob blob = { .push = p, .fd = -1 };
        int r = zp_push_prepare(p, &piece, &blob, err);
        bool is_same = r == 1 && blob.size == part->size && zp_digest_equal(&blob.digest, &part->digest);
        if (is_same)
                memcpy(to, blob.data, part->size);
        /* preparing notes what was made; what was sent stands */
        *metadata = sent;
        p->artifact = before;
        zp_push_clear_blob(&blob);
        return r < 0 ? r : is_same;
}

/* What this push made, or the store has, or else the remote, to which it was sent once. */
static int put_part(struct zp_push *p, const struct zp_bundle_part *part, uint8_t *to, struct zp_error *err) {
        int r = zp_check_cancel(&p->stop, err);
        if (r < 0 || put_kept(p, part, to))
                return r;
        struct zp_error of_store = { 0 };
        struct zp_descriptor blob = { .digest = part->digest, .size = part->size };
        int made = put_made(p, part, to, &of_store);
        r = made == 1 ? 0 : zp_remote_get_whole(p->remote, &blob, append, &to, err);
        if (r < 0 && made < 0 && r != -ECANCELED) {
                *err = of_store;
                r = made;
        }
        return r;
}

int zp_push_make_bundle(struct zp_push *p, struct zp_push_blob *bundle, struct zp_error *err) {
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        *bundle = (struct zp_push_blob){ .push = p, .piece = p->piece_count, .fd = -1 };
        unsigned count = zp_bundle_list(&p->artifact, parts, &bundle->size);
        if (bundle->size == 0)
                return 0;
        bundle->data = malloc(bundle->size);
        int r = bundle->data ? 0 : zp_error_errno(err, ENOMEM, "bundle");
        for (unsigned i = 0; r == 0 && i < count; i++)
                r = put_part(p, &parts[i], bundle->data + parts[i].offset, err);
        if (r < 0)
                return zp_error_wrap(err, "bundle");
        zp_digest_of(bundle->data, bundle->size, &bundle->digest);
        p->artifact.bundle_digest = bundle->digest;
        p->artifact.bundle_size = bundle->size;
        return 0;
}
