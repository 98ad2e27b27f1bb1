/* SPDX-License-Identifier: Apache-2.0
 *
 * The small blobs of an artifact, without which nothing starts, end to end in one: a node that has none of them asks
 * once, however many layers an image has. docs/artifact-format.md, "The bundle".
 */
#ifndef ZP_SHIP_BUNDLE_H
#define ZP_SHIP_BUNDLE_H

#include "ship/artifact.h"

#define ZP_BUNDLE_PARTS_MAX (2u + ZP_LIMIT_LAYERS + ZP_LIMIT_DEVICES)

/* Bytes; where the parts take more there is none: it is not the requests that cost the time then, and each version of
 * an image has to be sent a bundle of its own. */
#define ZP_BUNDLE_SIZE_MAX (UINT64_C(4) << 20)

/* A blob of the artifact; just one of the pointers is set, or neither for the snapshot's metadata and prefetch list. */
struct zp_bundle_part {
        struct zp_artifact_layer *layer;   /* its metadata */
        struct zp_artifact_device *device; /* its index */
        struct zp_digest digest;
        uint64_t size, offset; /* in the bundle */
};

/* The artifact's parts in the order in which they lie in its bundle; returns their number. *size, in bytes, is of all,
 * or 0: so much that the artifact has no bundle. */
unsigned zp_bundle_list(const struct zp_artifact *artifact, struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX],
                        uint64_t *size);
/* Whether a blob is a part; *offset is where. */
bool zp_bundle_find(const struct zp_artifact *artifact, const struct zp_digest *digest, uint64_t size,
                    uint64_t *offset);

#endif
