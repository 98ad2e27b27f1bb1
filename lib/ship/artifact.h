/* SPDX-License-Identifier: Apache-2.0
 *
 * The manifest by which a snapshot lies beside its image: docs/artifact-format.md.
 */
#ifndef ZP_SHIP_ARTIFACT_H
#define ZP_SHIP_ARTIFACT_H

#include "base/cleanup.h"
#include "oci/manifest.h"
#include "store/store.h"

#define ZP_ARTIFACT_TYPE "application/vnd.zeropull.snapshot.v1"
/* The config of every artifact, which a registry wants to have as a blob too (image-spec, "empty descriptor"). */
#define ZP_EMPTY_CONFIG "{}"

/* A metadata file: what it is on a node, and the blob it travels as. */
struct zp_artifact_metadata {
        struct zp_digest digest; /* of the EROFS file */
        uint64_t size;
        struct zp_digest blob_digest; /* of it as one zstd frame */
        uint64_t blob_size;
};

struct zp_artifact_layer {
        struct zp_digest diff_id;
        char recipe[ZP_RECIPE_SIZE];
        uint64_t tar_size, entries;
        struct zp_artifact_metadata metadata;
};

struct zp_artifact_device {
        struct zp_digest digest; /* of its index: its name */
        uint64_t index_size;
        uint64_t device_size;
        struct zp_digest pack_digest;
        uint64_t pack_size;
        uint64_t level;              /* how the pack was made: struct zp_pack_options */
        struct zp_digest map_digest; /* of its block map */
        uint64_t map_size;           /* 0: there is none */
};

struct zp_artifact {
        char *subject_media_type;
        struct zp_digest subject_digest; /* the image's manifest */
        uint64_t subject_size;
        struct zp_artifact_metadata snapshot;
        struct zp_digest prefetch_digest; /* of what a start reads, as JSON (docs/profiles.md) */
        uint64_t prefetch_size;           /* 0: that is not known */
        struct zp_digest bundle_digest;   /* of all small blobs in one (ship/bundle.h) */
        uint64_t bundle_size;             /* 0: there is none */
        uint16_t layer_count;             /* distinct layers, lowest first */
        struct zp_artifact_layer *layers;
        uint16_t device_count; /* those of the layers, each once */
        struct zp_artifact_device *devices;
};

/* Room for as many layers and devices as there may be; to be cleared in any case. */
int zp_artifact_init(struct zp_artifact *artifact, struct zp_error *err);
void zp_artifact_clear(struct zp_artifact *artifact);

/* Writes the manifest; the same artifact gives the same bytes. *out malloc'ed and NUL-terminated. */
int zp_artifact_format(const struct zp_artifact *artifact, char **out, size_t *size, struct zp_error *err);
/* Reads one from outside; every field is checked. -EBADMSG: not what the format says. */
int zp_artifact_parse(const char *body, size_t size, struct zp_artifact *out, struct zp_error *err);
/* The layer of that diffID, or NULL. */
const struct zp_artifact_layer *zp_artifact_find_layer(const struct zp_artifact *artifact,
                                                       const struct zp_digest *diff_id);
/* The device of that name, or NULL. */
const struct zp_artifact_device *zp_artifact_find_device(const struct zp_artifact *artifact,
                                                         const struct zp_digest *digest);

#endif
