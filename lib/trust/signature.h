/* SPDX-License-Identifier: Apache-2.0
 *
 * A signature over a snapshot: one Ed25519 key's word that this artifact is the snapshot of that image; and the
 * artifact it travels as. Format: docs/artifact-format.md.
 */
#ifndef ZP_TRUST_SIGNATURE_H
#define ZP_TRUST_SIGNATURE_H

#include "trust/key.h"

#define ZP_SIGNATURE_ARTIFACT_TYPE "application/vnd.zeropull.signature.v1"
#define ZP_SIGNATURE_DOCUMENT_TYPE "application/vnd.zeropull.signature.document.v1+json"
/* The manifest's annotation that tells the key, for choosing from a list; it proves nothing. */
#define ZP_SIGNATURE_KEY_NOTE "dev.zeropull.key"
/* The one that repeats the document in base64, so that a list of referrers has it. */
#define ZP_SIGNATURE_NOTE "dev.zeropull.signature"
/* Bytes of a document, and of a manifest with the document in it: three and five times the real sizes. */
#define ZP_SIGNATURE_DOCUMENT_LIMIT 1024
#define ZP_SIGNATURE_MANIFEST_LIMIT 8192

/* What a signature says, whether true or not. */
struct zp_signature {
        struct zp_digest artifact; /* of the snapshot artifact's manifest */
        struct zp_digest subject;  /* of the image's manifest, the artifact's subject */
        struct zp_digest key;      /* id of the key */
        uint8_t bytes[ZP_KEY_SIGNATURE_SIZE];
};

int zp_signature_make(const struct zp_key *key, const struct zp_digest *artifact, const struct zp_digest *subject,
                      struct zp_signature *out, struct zp_error *err);

/* 0 when one of the keys made the signature, and over this artifact and subject; *which (may be NULL) is its number.
 * -EBADMSG: it is over something else, or false. -ENOKEY: it claims a key that is not among them. */
int zp_signature_verify(const struct zp_signature *signature, const struct zp_digest *artifact,
                        const struct zp_digest *subject, struct zp_key *const *keys, size_t key_count, size_t *which,
                        struct zp_error *err);

/* The document. The same signature gives the same bytes; *out is malloc'ed and NUL-terminated. */
int zp_signature_format(const struct zp_signature *signature, char **out, size_t *size, struct zp_error *err);
/* Reads one from outside. Only the very bytes that zp_signature_format writes are accepted (else -EBADMSG; -ENOTSUP:
 * of another version): no two documents carry one signature, and nothing rides along. */
int zp_signature_parse(const char *body, size_t size, struct zp_signature *out, struct zp_error *err);

/* The manifest of the artifact that carries the document as its only blob. `artifact_size`: bytes of the snapshot
 * artifact's manifest. *out is malloc'ed and NUL-terminated. */
int zp_signature_format_manifest(const struct zp_signature *signature, uint64_t artifact_size, char **out, size_t *size,
                                 struct zp_error *err);
/* Reads such a manifest from outside, with the document in it, so that the blob need not be fetched. */
int zp_signature_parse_manifest(const char *body, size_t size, struct zp_signature *out, struct zp_error *err);
/* Reads what ZP_SIGNATURE_NOTE says. A signature proves itself, wherever it was found. */
int zp_signature_parse_note(const char *note, struct zp_signature *out, struct zp_error *err);

#endif
