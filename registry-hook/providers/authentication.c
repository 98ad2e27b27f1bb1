/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/providers/authentication.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/cleanup.h"

static int refused(struct zp_error *err, const char *why) {
        return zp_error_set(err, EACCES, "not authenticated: %s", why);
}

/* Digests of both are compared, so that the time does not even tell the secret's length. */
static int equals_a_secret(const struct hook_endpoint *endpoint, const void *candidate, size_t size, bool *matches) {
        unsigned char given[EVP_MAX_MD_SIZE], secret[EVP_MAX_MD_SIZE];
        unsigned given_size, secret_size;
        if (!EVP_Digest(candidate, size, given, &given_size, EVP_sha256(), NULL))
                return -ENOMEM;
        for (size_t i = 0; i < endpoint->secret_count; i++) {
                size_t length = strlen(endpoint->secrets[i]);
                if (!EVP_Digest(endpoint->secrets[i], length, secret, &secret_size, EVP_sha256(), NULL))
                        return -ENOMEM;
                *matches |= (length > 0) & (CRYPTO_memcmp(given, secret, given_size) == 0);
        }
        OPENSSL_cleanse(secret, sizeof secret);
        return 0;
}

static int verdict(int r, bool matches, const char *why, struct zp_error *err) {
        if (r < 0)
                return zp_error_errno(err, -r, "authentication");
        return matches ? 0 : refused(err, why);
}

int hook_auth_compare(const struct hook_endpoint *endpoint, const char *candidate, struct zp_error *err) {
        bool matches = false;
        if (!candidate)
                return refused(err, "no secret was sent");
        int r = equals_a_secret(endpoint, candidate, strlen(candidate), &matches);
        return verdict(r, matches, "wrong secret", err);
}

/* What follows the scheme's name, or NULL. */
static const char *after_scheme(const char *header, const char *scheme) {
        size_t size = strlen(scheme);
        if (strncasecmp(header, scheme, size) != 0 || header[size] != ' ')
                return NULL;
        return header + size + strspn(header + size, " ");
}

static int try_basic(const struct hook_endpoint *endpoint, const char *base64, bool *matches) {
        zp_autofree uint8_t *decoded = NULL;
        size_t size;
        int r = zp_base64_decode(ZP_BASE64, base64, strlen(base64), &decoded, &size);
        if (r == -EBADMSG)
                return 0;
        return r < 0 ? r : equals_a_secret(endpoint, decoded, size, matches);
}

static int try_header(const struct hook_endpoint *endpoint, const char *header, bool *matches) {
        int r = equals_a_secret(endpoint, header, strlen(header), matches);
        const char *bearer = after_scheme(header, "Bearer"), *basic = after_scheme(header, "Basic");
        if (r == 0 && bearer)
                r = equals_a_secret(endpoint, bearer, strlen(bearer), matches);
        if (r == 0 && basic)
                r = try_basic(endpoint, basic, matches);
        return r;
}

static int check(const struct hook_endpoint *endpoint, const struct hook_request *request, const char *parameter,
                 struct zp_error *err) {
        const char *header = request->header(request->context, "Authorization");
        const char *token = request->header(request->context, "X-Zeropull-Token");
        bool matches = false;
        int r = 0;
        if (!header && !token && !parameter)
                return refused(err, "no secret was sent");
        if (header)
                r = try_header(endpoint, header, &matches);
        if (r == 0 && token)
                r = equals_a_secret(endpoint, token, strlen(token), &matches);
        if (r == 0 && parameter)
                r = equals_a_secret(endpoint, parameter, strlen(parameter), &matches);
        return verdict(r, matches, "wrong secret", err);
}

int hook_auth_header(const struct hook_endpoint *endpoint, const struct hook_request *request, struct zp_error *err) {
        return check(endpoint, request, NULL, err);
}

int hook_auth_token(const struct hook_endpoint *endpoint, const struct hook_request *request, struct zp_error *err) {
        return check(endpoint, request, request->query(request->context, "token"), err);
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool decode_hex(const char *text, unsigned char *out, size_t size) {
        if (strlen(text) != size * 2)
                return false;
        for (size_t i = 0; i < size; i++) {
                int high = hex_digit(text[i * 2]), low = hex_digit(text[i * 2 + 1]);
                if (high < 0 || low < 0)
                        return false;
                out[i] = (unsigned char) (high << 4 | low);
        }
        return true;
}

int hook_auth_hmac(const struct hook_endpoint *endpoint, enum hook_hmac algorithm, const char *signature,
                   const void *data, size_t size, struct zp_error *err) {
        const EVP_MD *md = algorithm == HOOK_HMAC_SHA1 ? EVP_sha1() : EVP_sha256();
        unsigned char given[EVP_MAX_MD_SIZE], expected[EVP_MAX_MD_SIZE];
        size_t length = (size_t) EVP_MD_get_size(md);
        bool matches = false;
        if (!signature)
                return refused(err, "no signature was sent");
        if (!decode_hex(signature, given, length))
                return refused(err, "the signature is malformed");
        for (size_t i = 0; i < endpoint->secret_count; i++) {
                const char *secret = endpoint->secrets[i];
                size_t secret_size = strlen(secret);
                if (!HMAC(md, secret, (int) secret_size, data, size, expected, NULL))
                        return zp_error_errno(err, ENOMEM, "authentication");
                matches |= (secret_size > 0) & (CRYPTO_memcmp(given, expected, length) == 0);
        }
        OPENSSL_cleanse(expected, sizeof expected);
        return matches ? 0 : refused(err, "wrong signature");
}
