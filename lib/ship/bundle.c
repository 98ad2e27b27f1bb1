/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/bundle.h"

struct listing {
        struct zp_bundle_part *parts;
        unsigned count;
        uint64_t size;
};

static void add(struct listing *l, const struct zp_digest *digest, uint64_t size, struct zp_artifact_layer *layer,
                struct zp_artifact_device *device) {
        l->parts[l->count++] = (struct zp_bundle_part){ layer, device, *digest, size, l->size };
        /* none is larger than a few GiB, and there are some hundred at most */
        l->size += size;
}

unsigned zp_bundle_list(const struct zp_artifact *artifact, struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX],
                        uint64_t *size) {
        struct listing l = { .parts = parts };
        add(&l, &artifact->snapshot.blob_digest, artifact->snapshot.blob_size, NULL, NULL);
        if (artifact->prefetch_size > 0)
                add(&l, &artifact->prefetch_digest, artifact->prefetch_size, NULL, NULL);
        for (uint16_t i = 0; i < artifact->layer_count; i++) {
                struct zp_artifact_layer *layer = &artifact->layers[i];
                add(&l, &layer->metadata.blob_digest, layer->metadata.blob_size, layer, NULL);
        }
        for (uint16_t i = 0; i < artifact->device_count; i++) {
                struct zp_artifact_device *device = &artifact->devices[i];
                add(&l, &device->digest, device->index_size, NULL, device);
        }
        *size = l.size <= ZP_BUNDLE_SIZE_MAX ? l.size : 0;
        return l.count;
}

bool zp_bundle_find(const struct zp_artifact *artifact, const struct zp_digest *digest, uint64_t size,
                    uint64_t *offset) {
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        uint64_t whole;
        unsigned count = zp_bundle_list(artifact, parts, &whole);
        for (unsigned i = 0; i < count; i++)
                if (parts[i].size == size && zp_digest_equal(&parts[i].digest, digest)) {
                        *offset = parts[i].offset;
                        return true;
                }
        return false;
}
