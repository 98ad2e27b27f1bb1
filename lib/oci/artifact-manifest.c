/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/artifact-manifest.h"

#include <string.h>

static json_t *make_root(const char *artifact_type, const struct zp_descriptor *subject) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        return json_pack("{s:i, s:s, s:s, s:{s:s, s:s, s:i, s:s}, s:[], s:{s:s, s:s, s:I}}", "schemaVersion", 2,
                         "mediaType", ZP_OCI_MANIFEST_TYPE, "artifactType", artifact_type, "config", "mediaType",
                         "application/vnd.oci.empty.v1+json", "digest",
                         "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "size", 2, "data",
                         "e30=", "layers", "subject", "mediaType", subject->media_type, "digest",
                         zp_digest_text(&subject->digest, digest), "size", (json_int_t) subject->size);
}

int zp_artifact_manifest_format(const char *artifact_type, json_t *layers, const struct zp_descriptor *subject,
                                json_t *annotations, char **out, size_t *size, struct zp_error *err) {
        zp_auto(json_decref) json_t *root = make_root(artifact_type, subject);
        /* setting a member that is there keeps its place; a NULL value fails */
        bool is_whole = json_object_set_new(root, "layers", layers) == 0;
        if (annotations)
                is_whole &= json_object_set_new(root, "annotations", annotations) == 0;
        char *text = root && is_whole ? json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
        if (!text)
                return zp_error_errno(err, ENOMEM, "artifact manifest");
        *out = text;
        *size = strlen(text);
        return 0;
}

static int read_subject(json_t *json, const char *what, struct zp_descriptor *out, struct zp_error *err) {
        const char *type;
        int r = zp_json_text(json, "mediaType", ZP_JSON_REQUIRED, what, &type, err);
        if (r == 0)
                r = zp_json_digest(json, "digest", what, &out->digest, err);
        if (r == 0)
                r = zp_json_size(json, "size", what, &out->size, err);
        if (r == 0 && !(out->media_type = strdup(type)))
                r = zp_error_errno(err, ENOMEM, "%s", what);
        return r;
}

int zp_artifact_manifest_read(json_t *root, const char *artifact_type, const char *what, json_t **layers,
                              struct zp_descriptor *subject, struct zp_error *err) {
        const char *type = NULL;
        json_t *json;
        int r = zp_json_text(root, "artifactType", ZP_JSON_REQUIRED, what, &type, err);
        if (r == 0 && strcmp(type, artifact_type) != 0)
                r = zp_error_set(err, EBADMSG, "%s: its artifactType is '%.200s', not '%s'", what, type, artifact_type);
        if (r == 0)
                r = zp_json_get(root, "layers", JSON_ARRAY, ZP_JSON_REQUIRED, what, layers, err);
        if (r == 0)
                r = zp_json_get(root, "subject", JSON_OBJECT, ZP_JSON_REQUIRED, what, &json, err);
        return r < 0 ? r : read_subject(json, what, subject, err);
}
