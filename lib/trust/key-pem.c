/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys in PEM, read and written.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <stdlib.h>
#include <string.h>

#include "base/create.h"
#include "trust/trust-internal.h"

/* OWASP's number for PBKDF2 with HMAC-SHA-256 (2023); a quarter of a second. */
#define PBKDF2_ITERATIONS 600000

/* ---- reading ---- */

/* One PEM block, in memory that is wiped when it is freed. */
struct block {
        char *label, *header;
        unsigned char *der;
        long size;
};

static void block_clear(struct block *block) {
        OPENSSL_secure_free(block->label);
        OPENSSL_secure_free(block->header);
        OPENSSL_secure_clear_free(block->der, (size_t) block->size);
        *block = (struct block){ 0 };
}

/* 1: there is one, 0: there is none, -1: what is there is damaged. */
static int next_block(BIO *bio, struct block *out) {
        ERR_clear_error();
        if (PEM_read_bio_ex(bio, &out->label, &out->header, &out->der, &out->size, PEM_FLAG_SECURE) == 1)
                return 1;
        *out = (struct block){ 0 };
        unsigned long reason = ERR_peek_last_error();
        ERR_clear_error();
        return ERR_GET_LIB(reason) == ERR_LIB_PEM && ERR_GET_REASON(reason) == PEM_R_NO_START_LINE ? 0 : -1;
}

static int only_block(const char *pem, size_t size, const char *name, struct block *out, struct zp_error *err) {
        if (size > ZP_KEY_FILE_LIMIT)
                return zp_error_set(err, EFBIG, "key '%s': larger than %d bytes", name, ZP_KEY_FILE_LIMIT);
        BIO *bio = BIO_new_mem_buf(pem, (int) size);
        if (!bio)
                return zp_error_errno(err, ENOMEM, "key '%s'", name);
        struct block more = { 0 };
        int first = next_block(bio, out);
        int second = first == 1 ? next_block(bio, &more) : 0;
        block_clear(&more);
        BIO_free(bio);
        if (first != 1 || second != 0)
                block_clear(out);
        if (first == 0)
                return zp_error_set(err, EINVAL, "key '%s': no PEM block ('-----BEGIN …') in it", name);
        if (first < 0 || second < 0)
                return zp_error_set(err, EINVAL, "key '%s': the PEM block is cut short or damaged", name);
        if (second > 0)
                return zp_error_set(err, EINVAL, "key '%s': more than one PEM block, and it is not clear which counts",
                                    name);
        return 0;
}

static int damaged(const char *name, const char *label, struct zp_error *err) {
        ERR_clear_error();
        return zp_error_set(err, EINVAL, "key '%s': what is in the PEM block is no %s", name, label);
}

/* Takes `pkey` over. */
static int accept_key(EVP_PKEY *pkey, const char *name, bool is_private, bool is_encrypted, struct zp_key **out,
                      struct zp_error *err) {
        if (EVP_PKEY_is_a(pkey, "ED25519"))
                return zp_key_new(pkey, is_private, is_encrypted, out, err);
        const char *type = EVP_PKEY_get0_type_name(pkey);
        zp_error_set(err, ENOTSUP, "key '%s': of the algorithm %s; only Ed25519 keys are used", name,
                     type ? type : "(unknown)");
        zp_error_hint(err, "'zeropull key generate FILE' makes one");
        EVP_PKEY_free(pkey);
        return -ENOTSUP;
}

static int read_public(const struct block *block, const char *name, struct zp_key **out, struct zp_error *err) {
        const unsigned char *at = block->der;
        EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, block->size);
        if (!pkey || at != block->der + block->size) {
                EVP_PKEY_free(pkey);
                return damaged(name, "public key", err);
        }
        return accept_key(pkey, name, false, false, out, err);
}

/* Takes `info` over; NULL is a failure of whoever made it. */
static int read_pkcs8(PKCS8_PRIV_KEY_INFO *info, const char *name, bool is_encrypted, struct zp_key **out,
                      struct zp_error *err) {
        EVP_PKEY *pkey = info ? EVP_PKCS82PKEY(info) : NULL;
        PKCS8_PRIV_KEY_INFO_free(info);
        return pkey ? accept_key(pkey, name, true, is_encrypted, out, err) : damaged(name, "private key", err);
}

static int read_private(const struct block *block, const char *name, struct zp_key **out, struct zp_error *err) {
        const unsigned char *at = block->der;
        PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, block->size);
        if (info && at != block->der + block->size) {
                PKCS8_PRIV_KEY_INFO_free(info);
                info = NULL;
        }
        return read_pkcs8(info, name, false, out, err);
}

static int decrypt(const X509_SIG *encrypted, const char *name, const struct zp_passphrase *passphrase,
                   struct zp_key **out, struct zp_error *err) {
        if (!passphrase)
                return zp_error_set(err, EACCES, "key '%s': encrypted, and there is no passphrase", name);
        char text[ZP_PASSPHRASE_SIZE] = "";
        int r = passphrase->ask(passphrase->argument, name, text, err);
        PKCS8_PRIV_KEY_INFO *info = r == 0 ? PKCS8_decrypt(encrypted, text, (int) strnlen(text, sizeof text)) : NULL;
        OPENSSL_cleanse(text, sizeof text);
        if (r == 0 && !info) {
                ERR_clear_error();
                r = zp_error_set(err, EACCES, "key '%s': the passphrase is wrong (or the file damaged)", name);
        }
        return r < 0 ? r : read_pkcs8(info, name, true, out, err);
}

static int read_encrypted(const struct block *block, const char *name, const struct zp_passphrase *passphrase,
                          struct zp_key **out, struct zp_error *err) {
        const unsigned char *at = block->der;
        X509_SIG *encrypted = d2i_X509_SIG(NULL, &at, block->size);
        int r = encrypted && at == block->der + block->size ? decrypt(encrypted, name, passphrase, out, err)
                                                            : damaged(name, "encrypted private key", err);
        X509_SIG_free(encrypted);
        return r;
}

static int other_format(const struct block *block, const char *name, struct zp_error *err) {
        zp_error_set(err, ENOTSUP,
                     "key '%s': a PEM block '%.64s'; only 'PUBLIC KEY', 'PRIVATE KEY' and 'ENCRYPTED PRIVATE KEY' are "
                     "keys here",
                     name, block->label);
        zp_error_hint(err, "'zeropull key generate FILE' makes one");
        return -ENOTSUP;
}

/* Legacy encryption and other remarks inside the block: RFC 7468 has none. */
static bool has_header(const struct block *block) {
        return block->header && block->header[0];
}

int zp_key_parse(const char *pem, size_t size, const char *name, const struct zp_passphrase *passphrase,
                 struct zp_key **out, struct zp_error *err) {
        struct block block = { 0 };
        int r = only_block(pem, size, name, &block, err);
        if (r < 0)
                return r;
        if (strcmp(block.label, PEM_STRING_PUBLIC) == 0 && !has_header(&block))
                r = read_public(&block, name, out, err);
        else if (strcmp(block.label, PEM_STRING_PKCS8INF) == 0 && !has_header(&block))
                r = read_private(&block, name, out, err);
        else if (strcmp(block.label, PEM_STRING_PKCS8) == 0 && !has_header(&block))
                r = read_encrypted(&block, name, passphrase, out, err);
        else
                r = other_format(&block, name, err);
        block_clear(&block);
        return r;
}

int zp_key_parse_public(const char *pem, size_t size, const char *name, struct zp_key **out, struct zp_error *err) {
        struct block block = { 0 };
        int r = only_block(pem, size, name, &block, err);
        if (r < 0)
                return r;
        if (strcmp(block.label, PEM_STRING_PUBLIC) == 0 && !has_header(&block)) {
                r = read_public(&block, name, out, err);
        } else if (strcmp(block.label, PEM_STRING_PKCS8INF) == 0 || strcmp(block.label, PEM_STRING_PKCS8) == 0) {
                r = zp_error_set(err, EINVAL, "key '%s': a private key, where a public one is needed", name);
                zp_error_hint(err, "'zeropull key show --public %s' prints the public half", name);
        } else {
                r = other_format(&block, name, err);
        }
        block_clear(&block);
        return r;
}

/* ---- writing ---- */

/* Takes what is in `bio` out of it, if `is_written`; frees `bio`. */
static int take_text(BIO *bio, bool is_written, char **out, size_t *size, struct zp_error *err) {
        char *data = NULL;
        long used = is_written ? BIO_get_mem_data(bio, &data) : 0;
        char *text = used > 0 ? strndup(data, (size_t) used) : NULL;
        BIO_free(bio);
        ERR_clear_error();
        if (!text)
                return zp_error_errno(err, ENOMEM, "write a key");
        *out = text;
        *size = (size_t) used;
        return 0;
}

int zp_key_format_public(const struct zp_key *key, char **out, size_t *size, struct zp_error *err) {
        BIO *bio = BIO_new(BIO_s_mem());
        return take_text(bio, bio && PEM_write_bio_PUBKEY(bio, key->pkey) == 1, out, size, err);
}

int zp_key_save_public(const struct zp_key *key, const char *path, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = zp_key_format_public(key, &text, &size, err);
        return r < 0 ? r : zp_create_file(path, text, size, 0644, err);
}

static bool write_encrypted(BIO *bio, PKCS8_PRIV_KEY_INFO *info, const char *passphrase) {
        X509_ALGOR *algorithm =
                PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), PBKDF2_ITERATIONS, NULL, 0, NULL, NID_hmacWithSHA256);
        X509_SIG *encrypted = algorithm ? PKCS8_set0_pbe(passphrase, (int) strlen(passphrase), info, algorithm) : NULL;
        if (!encrypted)
                X509_ALGOR_free(algorithm);
        bool is_written = encrypted && PEM_write_bio_PKCS8(bio, encrypted) == 1;
        X509_SIG_free(encrypted);
        return is_written;
}

static int format_private(const struct zp_key *key, const char *passphrase, char **out, size_t *size,
                          struct zp_error *err) {
        BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when freed */
        PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key->pkey);
        bool is_written = bio && info &&
                          (passphrase ? write_encrypted(bio, info, passphrase)
                                      : PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio, info) == 1);
        PKCS8_PRIV_KEY_INFO_free(info);
        return take_text(bio, is_written, out, size, err);
}

int zp_key_save_private(const struct zp_key *key, const char *path, const char *passphrase, struct zp_error *err) {
        if (!key->is_private)
                return zp_error_set(err, EINVAL, "write '%s': the key has no private half", path);
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = format_private(key, passphrase, &text, &size, err);
        if (r < 0)
                return r;
        r = zp_create_file(path, text, size, 0600, err);
        OPENSSL_cleanse(text, size);
        return r;
}
