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
static int is_worth(struct zp_pull *p, const struct zp_artifact *artifact, bool *out, struct zp_error *err) {
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        uint64_t size, missing_size = 0;
        unsigned missing = 0, count = zp_bundle_list(artifact, parts, &size);
        *out = false;
        if (artifact->bundle_size == 0)
                return 0;
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

static int receive(struct zp_pull *p, const struct zp_artifact *artifact, uint8_t **out, struct zp_error *err) {
        return zp_pull_receive_whole(p, "bundle", &artifact->bundle_digest, artifact->bundle_size, out, err);
}

void zp_pull_fetch_ahead(void *context, const struct zp_descriptor *candidate, const char *manifest) {
        struct zp_pull *p = context;
        struct zp_artifact artifact;
        bool is_wanted;
        if (zp_artifact_parse(manifest, candidate->size, &artifact, NULL) < 0)
                return; /* whoever chooses among the artifacts will say so */
        if (is_worth(p, &artifact, &is_wanted, NULL) == 0 && is_wanted) {
                p->ahead.result = receive(p, &artifact, &p->ahead.data, &p->ahead.error);
                p->ahead.digest = artifact.bundle_digest;
                p->ahead.is_done = true;
        }
        zp_artifact_clear(&artifact);
}

void zp_pull_clear_ahead(struct zp_pull *p) {
        free(p->ahead.data);
        zp_error_clear(&p->ahead.error);
        p->ahead.data = NULL;
        p->ahead.is_done = false;
}

int zp_pull_fetch_bundle(struct zp_pull *p, struct zp_error *err) {
        struct zp_error why = { 0 };
        bool is_wanted = false;
        int r = is_worth(p, &p->artifact, &is_wanted, err);
        if (r < 0 || !is_wanted)
                return r;
        if (p->ahead.is_done && zp_digest_equal(&p->ahead.digest, &p->artifact.bundle_digest)) {
                r = p->ahead.result;
                why = p->ahead.error;
                p->bundle = zp_steal(&p->ahead.data);
        } else {
                r = receive(p, &p->artifact, &p->bundle, &why);
        }
        if (r == -ECANCELED || r == -ETIMEDOUT) /* a registry that is silent is so about the parts, too */
                *err = why;
        if (r == 0 || r == -ECANCELED || r == -ETIMEDOUT)
                return r;
        if (p->options->events.put_off)
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
