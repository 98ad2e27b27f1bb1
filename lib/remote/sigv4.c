/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define DAY_SIZE 8 /* "20130524", how a date starts */

void zp_sigv4_date(time_t time, char date[ZP_SIGV4_DATE_SIZE]) {
        struct tm tm = { 0 };
        gmtime_r(&time, &tm);
        if (strftime(date, ZP_SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
                snprintf(date, ZP_SIGV4_DATE_SIZE, "19700101T000000Z");
}

bool zp_sigv4_encode(struct zp_buffer *buffer, const char *text, const char *keep) {
        static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        for (; *text; text++) {
                char code[4];
                bool plain = strchr(unreserved, *text) || strchr(keep, *text);
                snprintf(code, sizeof code, "%%%02X", (unsigned char) *text);
                if (!zp_buffer_append(buffer, plain ? text : code, plain ? 1 : 3))
                        return false;
        }
        return true;
}

static int compare(const void *left, const void *right) {
        const struct zp_sigv4_parameter *a = left, *b = right;
        int r = strcmp(a->name, b->name);
        return r ? r : strcmp(a->value, b->value);
}

bool zp_sigv4_query(struct zp_buffer *buffer, struct zp_sigv4_parameter *parameters, size_t count) {
        if (count > 0)
                qsort(parameters, count, sizeof *parameters, compare);
        for (size_t i = 0; i < count; i++)
                if (!zp_buffer_text(buffer, i ? "&" : "") || !zp_sigv4_encode(buffer, parameters[i].name, "") ||
                    !zp_buffer_text(buffer, "=") || !zp_sigv4_encode(buffer, parameters[i].value, ""))
                        return false;
        return true;
}

/* The headers that the signature covers. */
static char *signed_names(const struct zp_sigv4_keys *keys) {
        return zp_format("host;x-amz-content-sha256;x-amz-date%s", keys->session_token ? ";x-amz-security-token" : "");
}

static char *canonical_request(const struct zp_sigv4_keys *keys, const struct zp_sigv4_request *request,
                               const char *date, const char *names) {
        const char *token = keys->session_token;
        return zp_format("%s\n%s\n%s\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n%s%s%s\n%s\n%s", request->method,
                         request->path, request->query, request->host, request->payload, date,
                         token ? "x-amz-security-token:" : "", token ? token : "", token ? "\n" : "", names,
                         request->payload);
}

static bool hmac(uint8_t key[ZP_SHA256_SIZE], const char *text, size_t size) {
        unsigned length = ZP_SHA256_SIZE;
        uint8_t out[ZP_SHA256_SIZE];
        if (!HMAC(EVP_sha256(), key, ZP_SHA256_SIZE, (const uint8_t *) text, size, out, &length))
                return false;
        memcpy(key, out, sizeof out);
        return true;
}

/* HMACs chained over day, region, service, "aws4_request" and then the string to sign. */
static bool compute(const struct zp_sigv4_keys *keys, const char *date, const char *string_to_sign,
                    struct zp_digest *out) {
        zp_autofree char *secret = zp_format("AWS4%s", keys->secret_key);
        unsigned length = ZP_SHA256_SIZE;
        bool ok = secret && HMAC(EVP_sha256(), secret, (int) strlen(secret), (const uint8_t *) date, DAY_SIZE,
                                 out->bytes, &length);
        ok = ok && hmac(out->bytes, keys->region, strlen(keys->region)) &&
             hmac(out->bytes, keys->service, strlen(keys->service)) && hmac(out->bytes, "aws4_request", 12) &&
             hmac(out->bytes, string_to_sign, strlen(string_to_sign));
        if (secret)
                explicit_bzero(secret, strlen(secret));
        return ok;
}

int zp_sigv4_authorization(const struct zp_sigv4_keys *keys, const struct zp_sigv4_request *request, char **out,
                           struct zp_error *err) {
        char date[ZP_SIGV4_DATE_SIZE], hex[ZP_SHA256_HEX_SIZE];
        struct zp_digest digest;
        zp_sigv4_date(request->time, date);
        zp_autofree char *scope = zp_format("%.*s/%s/%s/aws4_request", DAY_SIZE, date, keys->region, keys->service);
        zp_autofree char *names = signed_names(keys);
        zp_autofree char *canonical = names ? canonical_request(keys, request, date, names) : NULL;
        if (!scope || !canonical)
                return zp_error_errno(err, ENOMEM, "sign a request");
        zp_digest_of(canonical, strlen(canonical), &digest);
        zp_autofree char *string_to_sign =
                zp_format(ALGORITHM "\n%s\n%s\n%s", date, scope, zp_digest_hex(&digest, hex));
        if (!string_to_sign || !compute(keys, date, string_to_sign, &digest))
                return zp_error_errno(err, ENOMEM, "sign a request");
        *out = zp_format(ALGORITHM " Credential=%s/%s,SignedHeaders=%s,Signature=%s", keys->access_key, scope, names,
                         zp_digest_hex(&digest, hex));
        return *out ? 0 : zp_error_errno(err, ENOMEM, "sign a request");
}
