/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/sign.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "oci/artifact-manifest.h"
#include "ship/artifact.h"

static int put(struct zp_remote *remote, const char *data, size_t size, struct zp_error *err) {
        struct zp_digest digest;
        zp_digest_of(data, size, &digest);
        int r = zp_remote_has_blob(remote, &digest, size, err);
        return r == 0 ? zp_remote_put_blob(remote, &digest, size, NULL, zp_memory_read, (void *) data, NULL, err)
                      : (r < 0 ? r : 0);
}

static int publish(struct zp_remote *remote, const struct zp_signature *signature, uint64_t artifact_size,
                   struct zp_error *err) {
        zp_autofree char *document = NULL, *manifest = NULL;
        size_t document_size = 0, manifest_size = 0;
        int r = zp_signature_format(signature, &document, &document_size, err);
        if (r == 0)
                r = zp_signature_format_manifest(signature, artifact_size, &manifest, &manifest_size, err);
        if (r == 0)
                r = put(remote, ZP_EMPTY_CONFIG, strlen(ZP_EMPTY_CONFIG), err);
        if (r == 0)
                r = put(remote, document, document_size, err);
        if (r < 0)
                return r;
        struct zp_descriptor artifact = { (char *) ZP_OCI_MANIFEST_TYPE, signature->artifact, artifact_size };
        return zp_remote_publish(remote, &artifact, ZP_SIGNATURE_ARTIFACT_TYPE, manifest, manifest_size, err);
}

int zp_sign_published(struct zp_remote *remote, const struct zp_key *key, const struct zp_digest *artifact,
                      uint64_t artifact_size, const struct zp_digest *subject, struct zp_error *err) {
        struct zp_signature signature;
        char digest[ZP_DIGEST_TEXT_SIZE];
        int r = zp_signature_make(key, artifact, subject, &signature, err);
        if (r == 0)
                r = publish(remote, &signature, artifact_size, err);
        return r < 0 ? zp_error_wrap(err, "sign snapshot %s", zp_digest_text(artifact, digest)) : 0;
}

/* ---- finding ---- */

/* 1: a signature; 0: something else, which counts for nothing. */
static int read_signature(struct zp_remote *remote, const struct zp_remote_artifact *artifact, struct zp_signature *out,
                          struct zp_error *err) {
        const struct zp_descriptor *manifest = &artifact->manifest;
        const char *note = json_string_value(json_object_get(artifact->annotations, ZP_SIGNATURE_NOTE));
        zp_autofree char *body = NULL;
        if (note && zp_signature_parse_note(note, out, NULL) == 0)
                return 1;
        if (manifest->size > ZP_SIGNATURE_MANIFEST_LIMIT)
                return 0;
        struct zp_error problem = { 0 };
        int r = zp_remote_get_manifest(remote, manifest, &body, &problem);
        if (r == 0)
                r = zp_signature_parse_manifest(body, manifest->size, out, &problem);
        if (r == -EBADMSG || r == -ENOTSUP || r == -EFBIG || r == -ENOENT)
                return 0;
        if (r < 0)
                *err = problem;
        return r < 0 ? r : 1;
}

int zp_sign_find(struct zp_remote *remote, const struct zp_digest *artifact, struct zp_signature **out, size_t *count,
                 struct zp_error *err) {
        struct zp_remote_artifact *artifacts = NULL;
        size_t found = 0, used = 0;
        int r = zp_remote_find(remote, artifact, ZP_SIGNATURE_ARTIFACT_TYPE, &artifacts, &found, err);
        if (r < 0)
                return r;
        size_t wanted = found < ZP_SIGNATURES_MAX ? found : ZP_SIGNATURES_MAX;
        zp_autofree struct zp_signature *signatures = calloc(wanted + 1, sizeof *signatures);
        if (!signatures)
                r = zp_error_errno(err, ENOMEM, "signatures");
        for (size_t i = 0; r >= 0 && i < wanted; i++) {
                r = read_signature(remote, &artifacts[i], &signatures[used], err);
                used += r == 1;
        }
        zp_remote_artifacts_free(artifacts, found);
        if (r < 0)
                return zp_error_wrap(err, "signatures");
        *out = zp_steal(&signatures);
        *count = used;
        return 0;
}
