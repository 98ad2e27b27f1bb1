/* SPDX-License-Identifier: Apache-2.0
 *
 * The documents of an image: index, manifest, config, of OCI (image-spec 1.1) and Docker (schema 2).
 */
#ifndef ZP_OCI_MANIFEST_H
#define ZP_OCI_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

struct zp_platform {
        char os[32], architecture[32], variant[32]; /* "" where not given */
        bool is_required; /* as a wish: without an index to choose from, no image for another one is taken */
};

/* Parses "os/architecture[/variant]", as in `--platform`. */
int zp_platform_parse(const char *text, struct zp_platform *out, struct zp_error *err);
/* The machine's own: linux and its architecture in Go's names, with the variant. */
struct zp_platform zp_platform_host(void);
/* "linux/arm64/v8"; returns `text`. */
char *zp_platform_text(const struct zp_platform *platform, char text[100]);

struct zp_descriptor {
        char *media_type;
        struct zp_digest digest;
        uint64_t size;
};

/* One image for one platform: all that the builder needs to know before it reads layers. */
struct zp_image {
        char *name;                       /* how the source names it, "docker://docker.io/library/x:1" */
        struct zp_digest manifest_digest; /* of the platform's manifest, not of an index */
        char *manifest;                   /* the document's bytes, exactly */
        size_t manifest_size;
        char *manifest_media_type;
        char *config;
        size_t config_size;
        struct zp_digest config_digest;
        struct zp_platform platform;
        uint16_t layer_count;         /* ≤ ZP_LIMIT_LAYERS */
        struct zp_descriptor *layers; /* lowest first */
        struct zp_digest *diff_ids;   /* as many, from the config */
};

void zp_image_clear(struct zp_image *image);

enum zp_document_kind { ZP_DOCUMENT_INDEX, ZP_DOCUMENT_MANIFEST };

/* What a document is, from its media type (may be NULL: then from the body). The body's "mediaType", where
 * given, must agree, and a document with both `manifests` and `layers` is refused (CVE-2021-41190). */
int zp_document_kind(const char *body, size_t size, const char *media_type, enum zp_document_kind *out,
                     struct zp_error *err);
/* Picks the manifest for `platform` from an index: os and architecture equal, variants by the rules of
 * containerd (arm v8 → v7 → v6 → v5; amd64 v1…), attestations (unknown/unknown) skipped. The entry may be
 * a nested index. -ENOENT lists what the index has. */
int zp_index_select(const char *body, size_t size, const struct zp_platform *platform, struct zp_descriptor *out,
                    struct zp_error *err);
/* Parses a manifest: config descriptor and layers (malloc'ed, the caller's). Foreign layers (`urls`) are
 * treated as any other; unknown layer media types are -ENOTSUP (an artifact is not an image); -EFBIG: a layer
 * larger than any can be, or more layers than ZP_LIMIT_LAYERS. */
int zp_manifest_parse(const char *body, size_t size, struct zp_descriptor *config, struct zp_descriptor **layers,
                      uint16_t *layer_count, struct zp_error *err);
/* Parses a config: platform (parts that are not given are "") and diffIDs (malloc'ed, the caller's). */
int zp_config_parse(const char *body, size_t size, struct zp_platform *platform, struct zp_digest **diff_ids,
                    uint16_t *count, struct zp_error *err);

#endif
