/* SPDX-License-Identifier: Apache-2.0
 *
 * The artifact a signature travels as.
 */
#include <openssl/evp.h>
#include <string.h>

#include "base/base64.h"
#include "oci/artifact-manifest.h"
#include "trust/signature.h"

#define WHAT "signature artifact"
#define BASE64_LIMIT ((ZP_SIGNATURE_DOCUMENT_LIMIT + 2) / 3 * 4)

static int bad(struct zp_error *err, const char *what) {
        return zp_error_set(err, EBADMSG, WHAT ": %s", what);
}

int zp_signature_format_manifest(const struct zp_signature *signature, uint64_t artifact_size, char **out, size_t *size,
                                 struct zp_error *err) {
        zp_autofree char *document = NULL;
        size_t document_size = 0;
        int r = zp_signature_format(signature, &document, &document_size, err);
        if (r < 0)
                return r;
        struct zp_digest digest;
        char digest_text[ZP_DIGEST_TEXT_SIZE], key[ZP_DIGEST_TEXT_SIZE], data[BASE64_LIMIT + 1];
        zp_digest_of(document, document_size, &digest);
        EVP_EncodeBlock((unsigned char *) data, (const unsigned char *) document, (int) document_size);
        json_t *layers =
                json_pack("[{s:s, s:s, s:I, s:s}]", "mediaType", ZP_SIGNATURE_DOCUMENT_TYPE, "digest",
                          zp_digest_text(&digest, digest_text), "size", (json_int_t) document_size, "data", data);
        json_t *notes = json_pack("{s:s, s:s}", ZP_SIGNATURE_KEY_NOTE, zp_digest_text(&signature->key, key),
                                  ZP_SIGNATURE_NOTE, data);
        struct zp_descriptor subject = { (char *) ZP_OCI_MANIFEST_TYPE, signature->artifact, artifact_size };
        return zp_artifact_manifest_format(ZP_SIGNATURE_ARTIFACT_TYPE, layers, &subject, notes, out, size, err);
}

/* -EBADMSG, -ENOMEM. */
static int decode(const char *base64, const char *what, uint8_t **out, size_t *out_size, struct zp_error *err) {
        size_t size = strlen(base64);
        int r = size == 0 || size > BASE64_LIMIT ? -EBADMSG : zp_base64_decode(ZP_BASE64, base64, size, out, out_size);
        if (r == -ENOMEM)
                return zp_error_errno(err, ENOMEM, WHAT);
        return r < 0 ? zp_error_set(err, EBADMSG, WHAT ": %s is not base64, or too long", what) : 0;
}

int zp_signature_parse_note(const char *note, struct zp_signature *out, struct zp_error *err) {
        zp_autofree uint8_t *document = NULL;
        size_t size;
        int r = decode(note, "its annotation", &document, &size, err);
        return r < 0 ? r : zp_signature_parse((const char *) document, size, out, err);
}

static int read_document(json_t *layer, struct zp_signature *out, struct zp_error *err) {
        const char *type = NULL, *data = NULL;
        struct zp_digest expected, actual;
        uint64_t expected_size = 0;
        int r = zp_json_text(layer, "mediaType", ZP_JSON_REQUIRED, WHAT, &type, err);
        if (r == 0 && strcmp(type, ZP_SIGNATURE_DOCUMENT_TYPE) != 0)
                r = bad(err, "a blob of an unknown type");
        if (r == 0)
                r = zp_json_digest(layer, "digest", WHAT, &expected, err);
        if (r == 0)
                r = zp_json_size(layer, "size", WHAT, &expected_size, err);
        if (r == 0)
                r = zp_json_text(layer, "data", ZP_JSON_REQUIRED, WHAT, &data, err);
        zp_autofree uint8_t *document = NULL;
        size_t size;
        if (r == 0)
                r = decode(data, "'data'", &document, &size, err);
        if (r < 0)
                return r;
        zp_digest_of(document, size, &actual);
        if (size != expected_size || !zp_digest_equal(&actual, &expected))
                return bad(err, "'data' is not what its digest and size say");
        return zp_signature_parse((const char *) document, size, out, err);
}

static int check_note(json_t *root, const struct zp_signature *signature, struct zp_error *err) {
        json_t *notes;
        struct zp_digest key;
        int r = zp_json_get(root, "annotations", JSON_OBJECT, ZP_JSON_REQUIRED, WHAT, &notes, err);
        if (r == 0)
                r = zp_json_digest(notes, ZP_SIGNATURE_KEY_NOTE, WHAT, &key, err);
        if (r == 0 && !zp_digest_equal(&key, &signature->key))
                r = bad(err, "its annotation names another key than the signature");
        return r;
}

static int read_manifest(json_t *root, struct zp_descriptor *subject, struct zp_signature *out, struct zp_error *err) {
        json_t *layers;
        int r = zp_artifact_manifest_read(root, ZP_SIGNATURE_ARTIFACT_TYPE, WHAT, &layers, subject, err);
        if (r == 0 && json_array_size(layers) != 1)
                r = bad(err, "it has not one blob");
        if (r == 0)
                r = read_document(json_array_get(layers, 0), out, err);
        if (r == 0)
                r = check_note(root, out, err);
        if (r == 0 && !zp_digest_equal(&subject->digest, &out->artifact))
                r = bad(err, "it lies beside another artifact than it signs");
        return r;
}

int zp_signature_parse_manifest(const char *body, size_t size, struct zp_signature *out, struct zp_error *err) {
        if (size > ZP_SIGNATURE_MANIFEST_LIMIT)
                return zp_error_set(err, EFBIG, WHAT ": larger than %d bytes", ZP_SIGNATURE_MANIFEST_LIMIT);
        zp_auto(json_decref) json_t *root = NULL;
        struct zp_descriptor subject = { 0 };
        struct zp_signature signature;
        int r = zp_json_load(body, size, WHAT, &root, err);
        if (r == 0)
                r = read_manifest(root, &subject, &signature, err);
        free(subject.media_type);
        if (r == 0)
                *out = signature;
        return r;
}
