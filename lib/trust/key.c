/* SPDX-License-Identifier: Apache-2.0 */
#include "trust/key.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "trust/trust-internal.h"

int zp_key_new(EVP_PKEY *pkey, bool is_private, bool is_encrypted, struct zp_key **out, struct zp_error *err) {
        uint8_t *der = NULL;
        int size = i2d_PUBKEY(pkey, &der);
        struct zp_key *key = size > 0 ? calloc(1, sizeof *key) : NULL;
        if (key) {
                *key = (struct zp_key){ .pkey = pkey, .is_private = is_private, .is_encrypted = is_encrypted };
                zp_digest_of(der, (size_t) size, &key->id);
        }
        OPENSSL_free(der);
        if (!key) {
                EVP_PKEY_free(pkey);
                return zp_error_errno(err, ENOMEM, "key");
        }
        *out = key;
        return 0;
}

void zp_key_free(struct zp_key *key) {
        if (!key)
                return;
        EVP_PKEY_free(key->pkey); /* wipes the private half */
        free(key);
}

int zp_key_generate(struct zp_key **out, struct zp_error *err) {
        EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        if (!pkey) {
                ERR_clear_error();
                return zp_error_set(err, EIO, "OpenSSL cannot generate an Ed25519 key");
        }
        return zp_key_new(pkey, true, false, out, err);
}

const struct zp_digest *zp_key_id(const struct zp_key *key) {
        return &key->id;
}
bool zp_key_is_private(const struct zp_key *key) {
        return key->is_private;
}
bool zp_key_is_encrypted(const struct zp_key *key) {
        return key->is_encrypted;
}

/* ---- loading from files ---- */

int zp_key_load(const char *path, const struct zp_passphrase *passphrase, struct zp_key **out, struct zp_error *err) {
        char *pem = NULL;
        size_t size = 0;
        int r = zp_read_file(AT_FDCWD, path, ZP_KEY_FILE_LIMIT, &pem, &size, err);
        if (r < 0)
                return r;
        r = zp_key_parse(pem, size, path, passphrase, out, err);
        OPENSSL_cleanse(pem, size);
        free(pem);
        return r;
}

int zp_key_load_private(const char *path, const struct zp_passphrase *passphrase, struct zp_key **out,
                        struct zp_error *err) {
        zp_auto(zp_key_free) struct zp_key *key = NULL;
        int r = zp_key_load(path, passphrase, &key, err);
        if (r < 0)
                return r;
        if (!key->is_private)
                return zp_error_set(err, EINVAL, "key '%s': a public key, where a private one is needed", path);
        *out = zp_steal(&key);
        return 0;
}

int zp_key_load_public(const char *path, struct zp_key **out, struct zp_error *err) {
        zp_autofree char *pem = NULL;
        size_t size = 0;
        int r = zp_read_file(AT_FDCWD, path, ZP_KEY_FILE_LIMIT, &pem, &size, err);
        if (r < 0)
                return r;
        r = zp_key_parse_public(pem, size, path, out, err);
        OPENSSL_cleanse(pem, size); /* somebody may have given a private key */
        return r;
}

/* ---- signatures ---- */

int zp_key_sign(const struct zp_key *key, const void *message, size_t size, uint8_t signature[ZP_KEY_SIGNATURE_SIZE],
                struct zp_error *err) {
        if (!key->is_private)
                return zp_error_set(err, EINVAL, "a public key cannot sign");
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        size_t signature_size = ZP_KEY_SIGNATURE_SIZE;
        bool is_signed = context && EVP_DigestSignInit(context, NULL, NULL, NULL, key->pkey) == 1 &&
                         EVP_DigestSign(context, signature, &signature_size, message, size) == 1 &&
                         signature_size == ZP_KEY_SIGNATURE_SIZE;
        EVP_MD_CTX_free(context);
        ERR_clear_error();
        return is_signed ? 0 : zp_error_set(err, EIO, "OpenSSL cannot sign");
}

bool zp_key_verify(const struct zp_key *key, const void *message, size_t size,
                   const uint8_t signature[ZP_KEY_SIGNATURE_SIZE]) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        bool is_good = context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key->pkey) == 1 &&
                       EVP_DigestVerify(context, signature, ZP_KEY_SIGNATURE_SIZE, message, size) == 1;
        EVP_MD_CTX_free(context);
        ERR_clear_error();
        return is_good;
}
