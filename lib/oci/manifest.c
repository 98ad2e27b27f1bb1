/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "oci/json.h"
#include "oci/manifest-internal.h"

#define MEDIA_TYPE_MAX 255 /* RFC 6838: 127 + '/' + 127 */

enum media_class { MEDIA_OTHER, MEDIA_INDEX, MEDIA_MANIFEST, MEDIA_CONFIG, MEDIA_LAYER, MEDIA_SCHEMA1 };

static const struct {
        const char *media_type;
        enum media_class class;
} media_types[] = {
        { "application/vnd.oci.image.index.v1+json", MEDIA_INDEX },
        { "application/vnd.docker.distribution.manifest.list.v2+json", MEDIA_INDEX },
        { "application/vnd.oci.image.manifest.v1+json", MEDIA_MANIFEST },
        { "application/vnd.docker.distribution.manifest.v2+json", MEDIA_MANIFEST },
        { "application/vnd.docker.distribution.manifest.v1+json", MEDIA_SCHEMA1 },
        { "application/vnd.docker.distribution.manifest.v1+prettyjws", MEDIA_SCHEMA1 },
        { "application/vnd.oci.image.config.v1+json", MEDIA_CONFIG },
        { "application/vnd.docker.container.image.v1+json", MEDIA_CONFIG },
        { "application/vnd.oci.image.layer.v1.tar", MEDIA_LAYER },
        { "application/vnd.oci.image.layer.v1.tar+gzip", MEDIA_LAYER },
        { "application/vnd.oci.image.layer.v1.tar+zstd", MEDIA_LAYER },
        { "application/vnd.oci.image.layer.nondistributable.v1.tar", MEDIA_LAYER },
        { "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", MEDIA_LAYER },
        { "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", MEDIA_LAYER },
        { "application/vnd.docker.image.rootfs.diff.tar", MEDIA_LAYER },
        { "application/vnd.docker.image.rootfs.diff.tar.gzip", MEDIA_LAYER },
        { "application/vnd.docker.image.rootfs.diff.tar.zstd", MEDIA_LAYER },
        { "application/vnd.docker.image.rootfs.foreign.diff.tar", MEDIA_LAYER },
        { "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", MEDIA_LAYER },
};

static enum media_class classify(const char *media_type) {
        for (size_t i = 0; i < sizeof media_types / sizeof *media_types; i++)
                if (strcmp(media_type, media_types[i].media_type) == 0)
                        return media_types[i].class;
        return MEDIA_OTHER;
}

bool zp_is_manifest_type(const char *media_type) {
        enum media_class class = classify(media_type);
        return class == MEDIA_INDEX || class == MEDIA_MANIFEST;
}

static int refuse_schema1(struct zp_error *err) {
        zp_error_set(err, ENOTSUP, "manifest: Docker schema 1, which is obsolete, is not supported");
        zp_error_hint(err, "push the image again with a current tool, e.g. `skopeo copy --format v2s2`");
        return -ENOTSUP;
}

/* What the members of the body say. */
static int kind_of_body(json_t *json, enum zp_document_kind *out, struct zp_error *err) {
        json_t *manifests, *layers, *config, *fs_layers;
        int r = zp_json_get(json, "manifests", JSON_ARRAY, ZP_JSON_OPTIONAL, "manifest", &manifests, err);
        if (r == 0)
                r = zp_json_get(json, "layers", JSON_ARRAY, ZP_JSON_OPTIONAL, "manifest", &layers, err);
        if (r == 0)
                r = zp_json_get(json, "config", JSON_OBJECT, ZP_JSON_OPTIONAL, "manifest", &config, err);
        if (r == 0)
                r = zp_json_get(json, "fsLayers", JSON_ARRAY, ZP_JSON_OPTIONAL, "manifest", &fs_layers, err);
        if (r < 0)
                return r;
        if (manifests && (layers || config || fs_layers))
                return zp_error_set(err, EBADMSG, "manifest: both an index and a manifest (CVE-2021-41190)");
        if (fs_layers && !layers && !config)
                return refuse_schema1(err);
        if (fs_layers)
                return zp_error_set(err, EBADMSG, "manifest: both schema 1 and schema 2");
        if (!manifests && !layers && !config)
                return zp_error_set(err, EBADMSG, "manifest: neither 'manifests' nor 'layers' is there");
        *out = manifests ? ZP_DOCUMENT_INDEX : ZP_DOCUMENT_MANIFEST;
        return 0;
}

/* "Type/Sub; charset=utf-8" → its class. */
static enum media_class classify_header(const char *value) {
        char media_type[MEDIA_TYPE_MAX + 1];
        size_t size = strcspn(value, "; \t");
        if (size >= sizeof media_type)
                return MEDIA_OTHER;
        memcpy(media_type, value, size);
        media_type[size] = '\0';
        return classify(media_type);
}

int zp_document_kind_of(json_t *json, const char *media_type, enum zp_document_kind *out, struct zp_error *err) {
        const char *inner;
        int r = zp_json_text(json, "mediaType", ZP_JSON_OPTIONAL, "manifest", &inner, err);
        if (r < 0)
                return r;
        enum media_class outer_class = media_type ? classify_header(media_type) : MEDIA_OTHER;
        enum media_class inner_class = inner ? classify(inner) : MEDIA_OTHER;
        if (outer_class == MEDIA_SCHEMA1 || inner_class == MEDIA_SCHEMA1)
                return refuse_schema1(err);
        if (inner && inner_class != MEDIA_INDEX && inner_class != MEDIA_MANIFEST)
                return zp_error_set(err, ENOTSUP, "manifest: media type '%.255s' is not an image's", inner);
        /* Registries and layouts that say application/json or octet-stream say nothing; but what is said
         * must be true. */
        if (inner && outer_class != MEDIA_OTHER && outer_class != inner_class)
                return zp_error_set(err, EBADMSG, "manifest: media type '%.255s' outside but '%.255s' inside",
                                    media_type, inner);
        r = kind_of_body(json, out, err);
        if (r < 0)
                return r;
        enum media_class said = inner ? inner_class : outer_class;
        enum media_class is = *out == ZP_DOCUMENT_INDEX ? MEDIA_INDEX : MEDIA_MANIFEST;
        if (said != MEDIA_OTHER && said != is)
                return zp_error_set(err, EBADMSG, "manifest: the media type does not agree with what is inside");
        return 0;
}

int zp_document_kind(const char *body, size_t size, const char *media_type, enum zp_document_kind *out,
                     struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        int r = zp_json_load(body, size, "manifest", &json, err);
        return r < 0 ? r : zp_document_kind_of(json, media_type, out, err);
}

int zp_descriptor_parse(json_t *json, const char *what, struct zp_descriptor *out, struct zp_error *err) {
        const char *media_type;
        struct zp_descriptor descriptor = { 0 };
        int r = zp_json_text(json, "mediaType", ZP_JSON_REQUIRED, what, &media_type, err);
        if (r == 0)
                r = zp_json_digest(json, "digest", what, &descriptor.digest, err);
        if (r == 0)
                r = zp_json_size(json, "size", what, &descriptor.size, err);
        if (r < 0)
                return r;
        if (strlen(media_type) > MEDIA_TYPE_MAX)
                return zp_error_set(err, EBADMSG, "%s: the media type is longer than %d bytes", what, MEDIA_TYPE_MAX);
        descriptor.media_type = strdup(media_type);
        if (!descriptor.media_type)
                return zp_error_errno(err, ENOMEM, "%s", what);
        *out = descriptor;
        return 0;
}

static int copy_part(json_t *json, const char *key, const char *what, char out[32], struct zp_error *err) {
        const char *text;
        int r = zp_json_text(json, key, ZP_JSON_OPTIONAL, what, &text, err);
        if (r < 0)
                return r;
        if (text && strlen(text) >= 32)
                return zp_error_set(err, EBADMSG, "%s: '%s' is too long", what, key);
        strcpy(out, text ? text : "");
        return 0;
}

int zp_platform_read(json_t *json, const char *what, struct zp_platform *out, struct zp_error *err) {
        struct zp_platform platform = { 0 };
        int r = copy_part(json, "os", what, platform.os, err);
        if (r == 0)
                r = copy_part(json, "architecture", what, platform.architecture, err);
        if (r == 0)
                r = copy_part(json, "variant", what, platform.variant, err);
        if (r < 0)
                return r;
        zp_platform_normalise(&platform);
        *out = platform;
        return 0;
}

static int check_layer(const struct zp_descriptor *layer, const char *what, struct zp_error *err) {
        if (layer->size > ZP_LIMIT_LAYER_SIZE)
                return zp_error_set(err, EFBIG, "%s: %ju bytes, more than %d TiB", what, (uintmax_t) layer->size,
                                    (int) (ZP_LIMIT_LAYER_SIZE >> 40));
        if (classify(layer->media_type) == MEDIA_LAYER)
                return 0;
        if (strstr(layer->media_type, "+encrypted")) {
                zp_error_set(err, ENOTSUP, "%s: is encrypted", what);
                zp_error_hint(err, "decrypt the image first, e.g. with `skopeo copy --decryption-key`");
                return -ENOTSUP;
        }
        return zp_error_set(err, ENOTSUP, "%s: media type '%s' is not a layer's", what, layer->media_type);
}

static void free_descriptors(struct zp_descriptor *descriptors, size_t count) {
        for (size_t i = 0; descriptors && i < count; i++)
                free(descriptors[i].media_type);
        free(descriptors);
}

static int parse_layers(json_t *array, struct zp_descriptor **out, uint16_t *count, struct zp_error *err) {
        size_t n = json_array_size(array);
        if (n > ZP_LIMIT_LAYERS)
                return zp_error_set(err, EFBIG, "manifest: too many layers: %zu, at most %d", n, ZP_LIMIT_LAYERS);
        struct zp_descriptor *layers = calloc(n + 1, sizeof *layers);
        if (!layers)
                return zp_error_errno(err, ENOMEM, "manifest");
        int r = 0;
        for (size_t i = 0; r == 0 && i < n; i++) {
                char what[32];
                snprintf(what, sizeof what, "manifest: layer %zu", i);
                r = zp_descriptor_parse(json_array_get(array, i), what, &layers[i], err);
                if (r == 0)
                        r = check_layer(&layers[i], what, err);
        }
        if (r < 0) {
                free_descriptors(layers, n);
                return r;
        }
        *out = layers;
        *count = (uint16_t) n;
        return 0;
}

int zp_manifest_parse(const char *body, size_t size, struct zp_descriptor *config, struct zp_descriptor **layers,
                      uint16_t *layer_count, struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        enum zp_document_kind kind;
        json_t *config_json, *layers_json;
        int r = zp_json_load(body, size, "manifest", &json, err);
        if (r == 0)
                r = zp_document_kind_of(json, NULL, &kind, err);
        if (r < 0)
                return r;
        if (kind != ZP_DOCUMENT_MANIFEST)
                return zp_error_set(err, EBADMSG, "manifest: is an index");
        r = zp_json_get(json, "config", JSON_OBJECT, ZP_JSON_REQUIRED, "manifest", &config_json, err);
        if (r == 0)
                r = zp_json_get(json, "layers", JSON_ARRAY, ZP_JSON_REQUIRED, "manifest", &layers_json, err);
        struct zp_descriptor descriptor = { 0 };
        if (r == 0)
                r = zp_descriptor_parse(config_json, "manifest: config", &descriptor, err);
        if (r < 0)
                return r;
        if (classify(descriptor.media_type) != MEDIA_CONFIG)
                r = zp_error_set(err, ENOTSUP, "manifest: an artifact, not an image: its config is '%s'",
                                 descriptor.media_type);
        if (r == 0)
                r = parse_layers(layers_json, layers, layer_count, err);
        if (r < 0)
                free(descriptor.media_type);
        else
                *config = descriptor;
        return r;
}

char *zp_manifest_media_type(const char *body, size_t size, const char *outer, const char *config_type) {
        zp_auto(json_decref) json_t *json = NULL;
        const char *inner = NULL;
        if (zp_json_load(body, size, "manifest", &json, NULL) == 0)
                zp_json_text(json, "mediaType", ZP_JSON_OPTIONAL, "manifest", &inner, NULL);
        if (inner)
                return strdup(inner);
        if (outer && classify_header(outer) == MEDIA_MANIFEST)
                return strndup(outer, strcspn(outer, "; \t"));
        bool is_docker = strncmp(config_type, "application/vnd.docker.", 23) == 0;
        return strdup(is_docker ? "application/vnd.docker.distribution.manifest.v2+json"
                                : "application/vnd.oci.image.manifest.v1+json");
}

static int parse_diff_ids(json_t *array, struct zp_digest **out, uint16_t *count, struct zp_error *err) {
        size_t n = json_array_size(array);
        if (n > ZP_LIMIT_LAYERS)
                return zp_error_set(err, ENOTSUP, "config: %zu diff_ids, more than %d", n, ZP_LIMIT_LAYERS);
        zp_autofree struct zp_digest *diff_ids = calloc(n + 1, sizeof *diff_ids);
        if (!diff_ids)
                return zp_error_errno(err, ENOMEM, "config");
        for (size_t i = 0; i < n; i++) {
                json_t *item = json_array_get(array, i);
                if (!json_is_string(item))
                        return zp_error_set(err, EBADMSG, "config: diff_ids[%zu] is not a string", i);
                int r = zp_digest_parse(json_string_value(item), &diff_ids[i], err);
                if (r == -EINVAL)
                        r = zp_error_set(err, EBADMSG, "'%.200s' is not a digest", json_string_value(item));
                if (r < 0) {
                        zp_error_wrap(err, "config: diff_ids[%zu]", i);
                        return r;
                }
        }
        *out = zp_steal(&diff_ids);
        *count = (uint16_t) n;
        return 0;
}

int zp_config_parse(const char *body, size_t size, struct zp_platform *platform, struct zp_digest **diff_ids,
                    uint16_t *count, struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        json_t *rootfs, *array;
        const char *type;
        int r = zp_json_load(body, size, "config", &json, err);
        if (r == 0)
                r = zp_platform_read(json, "config", platform, err);
        if (r == 0)
                r = zp_json_get(json, "rootfs", JSON_OBJECT, ZP_JSON_REQUIRED, "config", &rootfs, err);
        if (r == 0)
                r = zp_json_text(rootfs, "type", ZP_JSON_OPTIONAL, "config: rootfs", &type, err);
        if (r < 0)
                return r;
        if (type && strcmp(type, "layers") != 0)
                return zp_error_set(err, ENOTSUP, "config: rootfs of type '%.64s', not 'layers'", type);
        r = zp_json_get(rootfs, "diff_ids", JSON_ARRAY, ZP_JSON_REQUIRED, "config: rootfs", &array, err);
        return r < 0 ? r : parse_diff_ids(array, diff_ids, count, err);
}

void zp_image_clear(struct zp_image *image) {
        free(image->name);
        free(image->manifest);
        free(image->manifest_media_type);
        free(image->config);
        free(image->diff_ids);
        free_descriptors(image->layers, image->layer_count);
        *image = (struct zp_image){ 0 };
}
