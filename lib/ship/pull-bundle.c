/* SPDX-License-Identifier: Apache-2.0
 *
 * An artifact's small blobs from its bundle.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ship/bundle.h"
#include "ship/pull-internal.h"

/* 1: the store has it, by its records. What is damaged is asked for by itself, then. */
static int is_known(struct zp_pull *p, const struct zp_bundle_part *part, struct zp_error *err) {
        struct zp_layer_record layer;
        struct zp_device_record device;
        if (part->layer)
                return zp_store_find_layer(p->store, &part->layer->metadata.digest, &part->layer->diff_id, &layer, err);
        return part->device ? zp_store_find_device(p->store, &part->device->digest, &device, err) : 0;
}

#define MANY_PARTS 8u

/* Of what is missing for an update most is small; a bundle that is fetched for a part of it has to spare something. */
static int is_worth(struct zp_pull *p, bool *out, struct zp_error *err) {
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        uint64_t size, missing_size = 0;
        unsigned missing = 0, count = zp_bundle_list(&p->artifact, parts, &size);
        for (unsigned i = 0; i < count; i++) {
                int r = is_known(p, &parts[i], err);
                if (r < 0)
                        return r;
                missing += !r;
                missing_size += r ? 0 : parts[i].size;
        }
        *out = missing == count || (missing >= MANY_PARTS && missing_size >= size / 2);
        return 0;
}

int zp_pull_fetch_bundle(struct zp_pull *p, struct zp_error *err) {
        struct zp_error why = { 0 };
        bool is_wanted = false;
        int r = p->artifact.bundle_size > 0 ? is_worth(p, &is_wanted, err) : 0;
        if (r < 0 || !is_wanted)
                return r;
        unsigned before = p->blobs;
        r = zp_pull_receive_whole(p, "bundle", &p->artifact.bundle_digest, p->artifact.bundle_size, &p->bundle, &why);
        if (r == -ECANCELED || r == -ETIMEDOUT) /* a registry that is silent is so about the parts, too */
                *err = why;
        if (r == 0 || r == -ECANCELED || r == -ETIMEDOUT)
                return r;
        if (p->options->events.put_off && p->blobs > before)
                p->options->events.put_off(p->options->events.context, p->blobs - 1, &why);
        return 0;
}

int zp_pull_take_from_bundle(struct zp_pull *p, const char *what, const struct zp_digest *digest, uint64_t size,
                             uint8_t **out, struct zp_error *err) {
        struct zp_digest actual;
        uint64_t offset;
        if (!p->bundle || !zp_bundle_find(&p->artifact, digest, size, &offset))
                return 0;
        zp_digest_of(p->bundle + offset, size, &actual);
        if (!zp_digest_equal(&actual, digest))
                return zp_error_set(err, EBADMSG, "%s: the bundle has another blob for it", what);
        *out = malloc(size);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "%s", what);
        memcpy(*out, p->bundle + offset, size);
        return 1;
}
