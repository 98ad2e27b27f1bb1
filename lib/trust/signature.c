/* SPDX-License-Identifier: Apache-2.0 */
#include "trust/signature.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "oci/json.h"

#define VERSION 1
#define WHAT "signature"
/* Base64 of 64 bytes, without the NUL. */
#define BASE64_SIZE 88

static int bad(struct zp_error *err, const char *what) {
        return zp_error_set(err, EBADMSG, WHAT ": %s", what);
}

/* ---- signing and checking ---- */

/* What is signed. No other meaning can have these bytes: the first line is ours alone, and a digest's text has one
 * length and no newline. */
#define MESSAGE_SIZE 180

static size_t format_message(const struct zp_digest *artifact, const struct zp_digest *subject,
                             char message[MESSAGE_SIZE]) {
        char artifact_text[ZP_DIGEST_TEXT_SIZE], subject_text[ZP_DIGEST_TEXT_SIZE];
        return (size_t) snprintf(message, MESSAGE_SIZE, "zeropull-signature-v1\n%s\n%s\n",
                                 zp_digest_text(artifact, artifact_text), zp_digest_text(subject, subject_text));
}

int zp_signature_make(const struct zp_key *key, const struct zp_digest *artifact, const struct zp_digest *subject,
                      struct zp_signature *out, struct zp_error *err) {
        char message[MESSAGE_SIZE];
        size_t size = format_message(artifact, subject, message);
        *out = (struct zp_signature){ .artifact = *artifact, .subject = *subject, .key = *zp_key_id(key) };
        return zp_key_sign(key, message, size, out->bytes, err);
}

int zp_signature_verify(const struct zp_signature *signature, const struct zp_digest *artifact,
                        const struct zp_digest *subject, struct zp_key *const *keys, size_t key_count, size_t *which,
                        struct zp_error *err) {
        if (!zp_digest_equal(&signature->artifact, artifact))
                return bad(err, "of another artifact");
        if (!zp_digest_equal(&signature->subject, subject))
                return bad(err, "of a snapshot of another image");
        char message[MESSAGE_SIZE], id[ZP_DIGEST_TEXT_SIZE];
        size_t size = format_message(artifact, subject, message);
        for (size_t i = 0; i < key_count; i++) {
                if (!zp_digest_equal(&signature->key, zp_key_id(keys[i])))
                        continue;
                if (!zp_key_verify(keys[i], message, size, signature->bytes))
                        return zp_error_set(err, EBADMSG, WHAT ": not made by the key %s it names",
                                            zp_digest_text(&signature->key, id));
                if (which)
                        *which = i;
                return 0;
        }
        return zp_error_set(err, ENOKEY, WHAT ": by the key %s, which is not a trusted one",
                            zp_digest_text(&signature->key, id));
}

/* ---- the document ---- */

int zp_signature_format(const struct zp_signature *signature, char **out, size_t *size, struct zp_error *err) {
        char artifact[ZP_DIGEST_TEXT_SIZE], subject[ZP_DIGEST_TEXT_SIZE], key[ZP_DIGEST_TEXT_SIZE];
        char base64[BASE64_SIZE + 1];
        EVP_EncodeBlock((unsigned char *) base64, signature->bytes, ZP_KEY_SIGNATURE_SIZE);
        zp_auto(json_decref) json_t *root = json_pack("{s:i, s:s, s:s, s:s, s:s}", "version", VERSION, "artifact",
                                                      zp_digest_text(&signature->artifact, artifact), "subject",
                                                      zp_digest_text(&signature->subject, subject), "key",
                                                      zp_digest_text(&signature->key, key), "signature", base64);
        char *text = root ? json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
        if (!text)
                return zp_error_errno(err, ENOMEM, WHAT);
        *out = text;
        *size = strlen(text);
        return 0;
}

static int read_version(json_t *root, struct zp_error *err) {
        uint64_t version;
        int r = zp_json_size(root, "version", WHAT, &version, err);
        if (r == 0 && version != VERSION)
                r = zp_error_set(err, ENOTSUP, WHAT ": version %llu; only %d is known", (unsigned long long) version,
                                 VERSION);
        return r;
}

static int read_bytes(json_t *root, uint8_t bytes[ZP_KEY_SIGNATURE_SIZE], struct zp_error *err) {
        const char *base64;
        int r = zp_json_text(root, "signature", ZP_JSON_REQUIRED, WHAT, &base64, err);
        if (r < 0)
                return r;
        zp_autofree uint8_t *decoded = NULL;
        size_t size;
        r = strlen(base64) == BASE64_SIZE ? zp_base64_decode(ZP_BASE64, base64, BASE64_SIZE, &decoded, &size)
                                          : -EBADMSG;
        if (r == -ENOMEM)
                return zp_error_errno(err, ENOMEM, WHAT);
        if (r < 0 || size != ZP_KEY_SIGNATURE_SIZE)
                return bad(err, "'signature' is not 64 bytes in base64");
        memcpy(bytes, decoded, ZP_KEY_SIGNATURE_SIZE);
        return 0;
}

static int check_form(const char *body, size_t size, const struct zp_signature *signature, struct zp_error *err) {
        zp_autofree char *expected = NULL;
        size_t expected_size = 0;
        int r = zp_signature_format(signature, &expected, &expected_size, err);
        if (r == 0 && (size != expected_size || memcmp(body, expected, size) != 0))
                r = bad(err, "not written the one way it is written: order, spaces, encoding or members differ");
        return r;
}

int zp_signature_parse(const char *body, size_t size, struct zp_signature *out, struct zp_error *err) {
        if (size > ZP_SIGNATURE_DOCUMENT_LIMIT)
                return zp_error_set(err, EFBIG, WHAT ": larger than %d bytes", ZP_SIGNATURE_DOCUMENT_LIMIT);
        zp_auto(json_decref) json_t *root = NULL;
        struct zp_signature signature = { 0 };
        int r = zp_json_load(body, size, WHAT, &root, err);
        if (r == 0)
                r = read_version(root, err);
        if (r == 0)
                r = zp_json_digest(root, "artifact", WHAT, &signature.artifact, err);
        if (r == 0)
                r = zp_json_digest(root, "subject", WHAT, &signature.subject, err);
        if (r == 0)
                r = zp_json_digest(root, "key", WHAT, &signature.key, err);
        if (r == 0)
                r = read_bytes(root, signature.bytes, err);
        if (r == 0)
                r = check_form(body, size, &signature, err);
        if (r == 0)
                *out = signature;
        return r;
}
