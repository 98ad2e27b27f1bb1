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

/* From the store; where that has lost it, or another version of zstd made the blob that was sent, what was sent. */
static int put_part(struct zp_push *p, const struct zp_bundle_part *part, uint8_t *to, struct zp_error *err) {
        struct zp_artifact_metadata *metadata = part->layer ? &part->layer->metadata : &p->artifact.snapshot;
        struct zp_artifact_metadata sent = *metadata;
        struct zp_push_piece piece = { .kind = part->layer            ? ZP_PIECE_LAYER_METADATA
                                               : part->device         ? ZP_PIECE_DEVICE_INDEX
                                               : is_prefetch(p, part) ? ZP_PIECE_PREFETCH
                                                                      : ZP_PIECE_SNAPSHOT_METADATA,
                                       .layer = part->layer,
                                       .device = part->device };
        struct zp_push_blob blob = { .push = p, .fd = -1 };
        struct zp_error unwanted = { 0 };
        bool is_same = zp_push_prepare(p, &piece, &blob, &unwanted) == 1 && blob.size == part->size &&
                       zp_digest_equal(&blob.digest, &part->digest);
        if (is_same)
                memcpy(to, blob.data, part->size);
        *metadata = sent;
        zp_push_clear_blob(&blob);
        struct zp_descriptor descriptor = { .digest = part->digest, .size = part->size };
        return is_same ? 0 : zp_remote_get_whole(p->remote, &descriptor, append, &to, err);
}

int zp_push_send_bundle(struct zp_push *p, struct zp_error *err) {
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        struct zp_push_blob bundle = { .push = p, .piece = p->piece_count, .fd = -1 };
        unsigned count = zp_bundle_list(&p->artifact, parts, &bundle.size);
        if (bundle.size == 0)
                return 0;
        bundle.data = malloc(bundle.size);
        int r = bundle.data ? 0 : zp_error_errno(err, ENOMEM, "bundle");
        for (unsigned i = 0; r == 0 && i < count; i++)
                r = put_part(p, &parts[i], bundle.data + parts[i].offset, err);
        if (r == 0) {
                zp_digest_of(bundle.data, bundle.size, &bundle.digest);
                p->artifact.bundle_digest = bundle.digest;
                p->artifact.bundle_size = bundle.size;
                r = zp_push_send_blob(p, &bundle, "bundle", err);
        }
        zp_push_clear_blob(&bundle);
        return r < 0 ? zp_error_wrap(err, "bundle") : 0;
}
