/* SPDX-License-Identifier: Apache-2.0
 *
 * Ed25519 keys as everybody keeps them: PKCS#8 in PEM (RFC 8410, RFC 7468), encrypted or not, and for the public half
 * SubjectPublicKeyInfo in PEM. `openssl genpkey -algorithm ed25519` makes the same.
 */
#ifndef ZP_TRUST_KEY_H
#define ZP_TRUST_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"

#define ZP_KEY_SIGNATURE_SIZE 64
/* A PEM file: a key takes 120 bytes, encrypted 400; people put remarks in front. */
#define ZP_KEY_FILE_LIMIT 65536
#define ZP_PASSPHRASE_SIZE 1024 /* with the final NUL */

/* One key, with or without its private half. Nothing changes it once it is made: threads may share it. */
struct zp_key;

/* Whoever can open an encrypted key: writes the passphrase of the key `name`, called only when it is needed. */
struct zp_passphrase {
        int (*ask)(void *argument, const char *name, char passphrase[ZP_PASSPHRASE_SIZE], struct zp_error *err);
        void *argument;
};

int zp_key_generate(struct zp_key **out, struct zp_error *err);
void zp_key_free(struct zp_key *key);
ZP_DEFINE_AUTO(struct zp_key, zp_key_free);

/* Loads a public key, or a private one. -EINVAL: not one PEM block with such a key, -ENOTSUP: a key of another
 * algorithm or in another format, -EACCES: a wrong passphrase, or encrypted and `passphrase` NULL. */
int zp_key_load(const char *path, const struct zp_passphrase *passphrase, struct zp_key **out, struct zp_error *err);
/* As zp_key_load, but one without a private half is -EINVAL. */
int zp_key_load_private(const char *path, const struct zp_passphrase *passphrase, struct zp_key **out,
                        struct zp_error *err);
/* As zp_key_load, but a private key is -EINVAL: it has no business where signatures are checked. */
int zp_key_load_public(const char *path, struct zp_key **out, struct zp_error *err);
/* As zp_key_load, from memory; `name` is for messages. */
int zp_key_parse(const char *pem, size_t size, const char *name, const struct zp_passphrase *passphrase,
                 struct zp_key **out, struct zp_error *err);
int zp_key_parse_public(const char *pem, size_t size, const char *name, struct zp_key **out, struct zp_error *err);

/* The key's name in signatures and policies: the SHA-256 of its DER SubjectPublicKeyInfo. */
const struct zp_digest *zp_key_id(const struct zp_key *key);
bool zp_key_is_private(const struct zp_key *key);
/* True when it was loaded from an encrypted file. */
bool zp_key_is_encrypted(const struct zp_key *key);

/* The public half in PEM; malloc'ed and NUL-terminated. */
int zp_key_format_public(const struct zp_key *key, char **out, size_t *size, struct zp_error *err);
/* Writes the public half, mode 0644. -EEXIST: a file is never replaced. */
int zp_key_save_public(const struct zp_key *key, const char *path, struct zp_error *err);
/* Writes the private key, mode 0600; encrypted (PBES2: PBKDF2 with HMAC-SHA-256, AES-256-CBC) unless `passphrase` is
 * NULL. -EEXIST: a file is never replaced. */
int zp_key_save_private(const struct zp_key *key, const char *path, const char *passphrase, struct zp_error *err);

/* Signs with a private key (pure Ed25519, RFC 8032). */
int zp_key_sign(const struct zp_key *key, const void *message, size_t size, uint8_t signature[ZP_KEY_SIGNATURE_SIZE],
                struct zp_error *err);
/* False also when memory is exhausted: what was not checked is not good. */
bool zp_key_verify(const struct zp_key *key, const void *message, size_t size,
                   const uint8_t signature[ZP_KEY_SIGNATURE_SIZE]);

#endif
