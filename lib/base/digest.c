/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "sha256:"

static int hex_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

bool zp_digest_parse_hex(const char *hex, struct zp_digest *out) {
        for (size_t i = 0; i < ZP_SHA256_SIZE; i++) {
                int high = hex_value(hex[2 * i]);
                int low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);
                if (low < 0)
                        return false;
                out->bytes[i] = (uint8_t) (high << 4 | low);
        }
        return hex[ZP_SHA256_HEX_SIZE - 1] == '\0';
}

int zp_digest_parse(const char *text, struct zp_digest *out, struct zp_error *err) {
        if (strncmp(text, "sha512:", 7) == 0)
                return zp_error_set(err, ENOTSUP, "digest '%.200s': sha512 is not supported, only sha256", text);
        if (strncmp(text, PREFIX, strlen(PREFIX)) != 0 || !zp_digest_parse_hex(text + strlen(PREFIX), out))
                return zp_error_set(err, EINVAL, "digest '%.200s': not of the form sha256:<64 hex digits>", text);
        return 0;
}

char *zp_digest_hex(const struct zp_digest *digest, char hex[ZP_SHA256_HEX_SIZE]) {
        static const char digits[] = "0123456789abcdef";
        for (size_t i = 0; i < ZP_SHA256_SIZE; i++) {
                hex[2 * i] = digits[digest->bytes[i] >> 4];
                hex[2 * i + 1] = digits[digest->bytes[i] & 15];
        }
        hex[ZP_SHA256_HEX_SIZE - 1] = '\0';
        return hex;
}

char *zp_digest_text(const struct zp_digest *digest, char text[ZP_DIGEST_TEXT_SIZE]) {
        memcpy(text, PREFIX, strlen(PREFIX));
        zp_digest_hex(digest, text + strlen(PREFIX));
        return text;
}

bool zp_digest_equal(const struct zp_digest *a, const struct zp_digest *b) {
        return memcmp(a->bytes, b->bytes, ZP_SHA256_SIZE) == 0;
}

/* OpenSSL fails here only when memory is exhausted, half-way through a hash that no caller could
 * then trust: there is nothing sensible to return. */
static void must(int ok) {
        if (ok != 1) {
                fputs("zeropull: SHA-256 failed: out of memory\n", stderr);
                abort();
        }
}

void zp_digest_of(const void *data, size_t size, struct zp_digest *out) {
        must(EVP_Digest(data, size, out->bytes, NULL, EVP_sha256(), NULL));
}

struct zp_sha256 {
        EVP_MD_CTX *context;
};

struct zp_sha256 *zp_sha256_new(void) {
        struct zp_sha256 *hash = calloc(1, sizeof *hash);
        if (!hash)
                return NULL;
        hash->context = EVP_MD_CTX_new();
        if (!hash->context || EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
                zp_sha256_free(hash);
                return NULL;
        }
        return hash;
}

void zp_sha256_reset(struct zp_sha256 *hash) {
        must(EVP_DigestInit_ex(hash->context, NULL, NULL));
}

void zp_sha256_update(struct zp_sha256 *hash, const void *data, size_t size) {
        must(EVP_DigestUpdate(hash->context, data, size));
}

void zp_sha256_finish(struct zp_sha256 *hash, struct zp_digest *out) {
        must(EVP_DigestFinal_ex(hash->context, out->bytes, NULL));
        zp_sha256_reset(hash);
}

void zp_sha256_free(struct zp_sha256 *hash) {
        if (!hash)
                return;
        EVP_MD_CTX_free(hash->context);
        free(hash);
}
