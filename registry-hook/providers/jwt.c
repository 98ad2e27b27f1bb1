/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/providers/jwt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

#include "base/base64.h"
#include "oci/json.h"

#define TOKEN_MAX 16384 /* Google's have 1 KiB */
#define SKEW_S 60
#define MODULUS_MIN 256 /* bytes: RS256 wants 2048 bits (RFC 7518, 3.3) */
#define MODULUS_MAX 1024
#define EXPONENT_MAX 8

ZP_DEFINE_AUTO(EVP_PKEY, EVP_PKEY_free);
ZP_DEFINE_AUTO(EVP_PKEY_CTX, EVP_PKEY_CTX_free);
ZP_DEFINE_AUTO(EVP_MD_CTX, EVP_MD_CTX_free);
ZP_DEFINE_AUTO(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free);
ZP_DEFINE_AUTO(OSSL_PARAM, OSSL_PARAM_free);
ZP_DEFINE_AUTO(BIGNUM, BN_free);

static int refuse(struct zp_error *err, const char *why) {
        return zp_error_set(err, EACCES, "not authenticated: %s", why);
}

/* HEADER.CLAIMS.SIGNATURE */
struct parts {
        const char *text[3];
        size_t size[3];
};

static bool split(const char *token, struct parts *out) {
        for (int i = 0; i < 3; i++) {
                out->text[i] = token;
                out->size[i] = strcspn(token, ".");
                token += out->size[i];
                if (*token != (i < 2 ? '.' : '\0'))
                        return false;
                token++;
        }
        return true;
}

static int decode_json(const struct parts *parts, int part, json_t **out, struct zp_error *err) {
        zp_autofree uint8_t *bytes = NULL;
        size_t size;
        int r = zp_base64_decode(ZP_BASE64_URL, parts->text[part], parts->size[part], &bytes, &size);
        if (r == 0)
                r = zp_json_load((const char *) bytes, size, "token", out, err);
        return r == 0 || r == -ENOMEM ? r : refuse(err, "the token is malformed");
}

/* The key's id; another algorithm than the one we expect is not even looked at. */
static int read_header(const struct parts *parts, json_t **header, const char **kid, struct zp_error *err) {
        const char *algorithm;
        int r = decode_json(parts, 0, header, err);
        if (r < 0)
                return r;
        if (zp_json_text(*header, "alg", ZP_JSON_REQUIRED, "token", &algorithm, NULL) < 0 ||
            strcmp(algorithm, "RS256") != 0 || json_object_get(*header, "crit"))
                return refuse(err, "the token is not signed with RS256");
        if (zp_json_text(*header, "kid", ZP_JSON_REQUIRED, "token", kid, NULL) < 0)
                return refuse(err, "the token names no key");
        return 0;
}

static bool is_key(json_t *key, const char *kid) {
        const char *type = json_string_value(json_object_get(key, "kty"));
        const char *id = json_string_value(json_object_get(key, "kid"));
        const char *use = json_string_value(json_object_get(key, "use"));
        const char *algorithm = json_string_value(json_object_get(key, "alg"));
        return type && strcmp(type, "RSA") == 0 && id && strcmp(id, kid) == 0 && (!use || strcmp(use, "sig") == 0) &&
               (!algorithm || strcmp(algorithm, "RS256") == 0);
}

static BIGNUM *decode_number(json_t *key, const char *name, size_t min, size_t max) {
        zp_autofree uint8_t *bytes = NULL;
        size_t size;
        const char *text = json_string_value(json_object_get(key, name));
        if (!text || zp_base64_decode(ZP_BASE64_URL, text, strlen(text), &bytes, &size) < 0 || size < min || size > max)
                return NULL;
        return BN_bin2bn(bytes, (int) size, NULL);
}

/* RFC 7518, 6.3.1. NULL also for one that is malformed. */
static EVP_PKEY *make_key(json_t *key) {
        zp_auto(BN_free) BIGNUM *n = decode_number(key, "n", MODULUS_MIN, MODULUS_MAX);
        zp_auto(BN_free) BIGNUM *e = decode_number(key, "e", 1, EXPONENT_MAX);
        zp_auto(OSSL_PARAM_BLD_free) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        if (!n || !e || !builder || !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) ||
            !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e))
                return NULL;
        zp_auto(OSSL_PARAM_free) OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
        zp_auto(EVP_PKEY_CTX_free) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        EVP_PKEY *made = NULL;
        if (!parameters || !context || EVP_PKEY_fromdata_init(context) <= 0 ||
            EVP_PKEY_fromdata(context, &made, EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
                return NULL;
        return made;
}

static bool is_signed(const struct parts *parts, const char *token, EVP_PKEY *key) {
        zp_autofree uint8_t *signature = NULL;
        size_t size;
        zp_auto(EVP_MD_CTX_free) EVP_MD_CTX *context = EVP_MD_CTX_new();
        if (!context || zp_base64_decode(ZP_BASE64_URL, parts->text[2], parts->size[2], &signature, &size) < 0)
                return false;
        size_t signed_size = parts->size[0] + 1 + parts->size[1];
        return EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestVerify(context, signature, size, (const unsigned char *) token, signed_size) == 1;
}

static int check_signature(const struct parts *parts, const char *token, const char *kid, const char *keys,
                           size_t keys_size, struct zp_error *err) {
        zp_auto(json_decref) json_t *set = NULL;
        json_t *list, *key;
        size_t i;
        if (zp_json_load(keys, keys_size, "keys", &set, err) < 0 ||
            zp_json_get(set, "keys", JSON_ARRAY, ZP_JSON_REQUIRED, "keys", &list, err) < 0)
                return refuse(err, "the configured keys are not a JSON Web Key Set");
        json_array_foreach(list, i, key) {
                if (!is_key(key, kid))
                        continue;
                zp_auto(EVP_PKEY_free) EVP_PKEY *made = make_key(key);
                if (made && is_signed(parts, token, made))
                        return 0;
                return refuse(err, "wrong signature");
        }
        return refuse(err, "the token's key is not among the configured ones");
}

static bool is_one_of(const char *text, const char *const *list) {
        for (; *list; list++)
                if (strcmp(text, *list) == 0)
                        return true;
        return false;
}

static int check_time(json_t *claims, int64_t now_s, struct zp_error *err) {
        json_t *end = json_object_get(claims, "exp"), *start = json_object_get(claims, "iat");
        if (!json_is_integer(end) || json_integer_value(end) < now_s - SKEW_S)
                return refuse(err, "the token is over");
        if (!json_is_integer(start) || json_integer_value(start) > now_s + SKEW_S)
                return refuse(err, "the token is of another time");
        return 0;
}

static int check_claims(json_t *claims, const struct hook_jwt_expectation *expectation, struct zp_error *err) {
        const char *issuer = json_string_value(json_object_get(claims, "iss"));
        const char *audience = json_string_value(json_object_get(claims, "aud"));
        const char *email = json_string_value(json_object_get(claims, "email"));
        if (!issuer || !is_one_of(issuer, expectation->issuers))
                return refuse(err, "the token is by another issuer");
        if (expectation->audience && (!audience || strcmp(audience, expectation->audience) != 0))
                return refuse(err, "the token is for another audience");
        if (!expectation->email || !email || strcmp(email, expectation->email) != 0 ||
            !json_is_true(json_object_get(claims, "email_verified")))
                return refuse(err, "the token is another sender's");
        return check_time(claims, expectation->now_s, err);
}

int hook_jwt_verify(const char *token, const char *keys, size_t keys_size,
                    const struct hook_jwt_expectation *expectation, struct zp_error *err) {
        zp_auto(json_decref) json_t *header = NULL, *claims = NULL;
        struct parts parts;
        const char *kid = NULL;
        if (strlen(token) > TOKEN_MAX || !split(token, &parts))
                return refuse(err, "the token is malformed");
        int r = read_header(&parts, &header, &kid, err);
        if (r == 0)
                r = check_signature(&parts, token, kid, keys, keys_size, err);
        if (r == 0)
                r = decode_json(&parts, 1, &claims, err);
        return r < 0 ? r : check_claims(claims, expectation, err);
}
