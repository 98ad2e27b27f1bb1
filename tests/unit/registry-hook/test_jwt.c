/* SPDX-License-Identifier: Apache-2.0
 *
 * ID tokens, made as Google makes them for Pub/Sub (cloud.google.com/pubsub/docs/authenticate-push-subscriptions), with
 * keys of our own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "corpus-fixture.h"
#include "registry-hook/providers/jwt.h"

#define NOW 1772600800
#define EMAIL "hook@acme.iam.gserviceaccount.com"
#define AUDIENCE "https://hook.acme.example/hooks/google"
#define HEADER "{\"alg\":\"RS256\",\"kid\":\"k1\",\"typ\":\"JWT\"}"
#define CLAIMS                                                                                                      \
        "{\"aud\":\"" AUDIENCE "\",\"azp\":\"113774264463038321964\",\"email\":\"" EMAIL                            \
        "\",\"email_verified\":true,\"exp\":1772604300,\"iat\":1772600700,\"iss\":\"https://accounts.google.com\"," \
        "\"sub\":\"113774264463038321964\"}"

static const char *const issuers[] = { "https://accounts.google.com", "accounts.google.com", NULL };
static EVP_PKEY *key, *other, *small;
static char *keys;

static char *encode(const void *data, size_t size) {
        char *out = malloc(size * 2 + 8);
        int length = EVP_EncodeBlock((unsigned char *) out, data, (int) size);
        while (length > 0 && out[length - 1] == '=')
                out[--length] = '\0';
        for (char *p = out; *p; p++)
                *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
        return out;
}

/* One member of a key set. */
static char *jwk(EVP_PKEY *pkey, const char *kid) {
        BIGNUM *n = NULL;
        unsigned char bytes[1024];
        assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n), 1);
        int size = BN_bn2bin(n, bytes);
        BN_free(n);
        zp_autofree char *text = encode(bytes, (size_t) size);
        return zp_format(
                "{\"alg\":\"RS256\",\"e\":\"AQAB\",\"kid\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\",\"use\":\"sig\"}", kid,
                text);
}

static char *make_token(const char *header, const char *claims, EVP_PKEY *pkey) {
        zp_autofree char *a = encode(header, strlen(header)), *b = encode(claims, strlen(claims));
        zp_autofree char *text = zp_format("%s.%s", a, b);
        unsigned char signature[1024];
        size_t size = sizeof signature;
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pkey), 1);
        assert_int_equal(EVP_DigestSign(context, signature, &size, (const unsigned char *) text, strlen(text)), 1);
        EVP_MD_CTX_free(context);
        zp_autofree char *c = encode(signature, size);
        return zp_format("%s.%s", text, c);
}

static int set_up(void **state) {
        (void) state;
        key = EVP_RSA_gen(2048);
        other = EVP_RSA_gen(2048);
        small = EVP_RSA_gen(1024);
        zp_autofree char *a = jwk(other, "k0"), *b = jwk(key, "k1"), *c = jwk(small, "k2");
        keys = zp_format("{\"keys\":[%s,%s,%s]}", a, b, c);
        return 0;
}

static int tear_down(void **state) {
        (void) state;
        EVP_PKEY_free(key);
        EVP_PKEY_free(other);
        EVP_PKEY_free(small);
        free(keys);
        return 0;
}

static struct hook_jwt_expectation expectation(void) {
        return (struct hook_jwt_expectation){ issuers, EMAIL, AUDIENCE, NOW };
}

static void expect(const char *token, const struct hook_jwt_expectation *expected, const char *message) {
        struct zp_error err = { 0 };
        int r = hook_jwt_verify(token, keys, strlen(keys), expected, &err);
        if (r != (message ? -EACCES : 0) || (message && !strstr(err.message, message)))
                fail_msg("expected '%s', got %d '%s'", message ? message : "no error", r, err.message);
}

static void a_token_of_the_configured_sender_is_good_until_it_is_over(void **state) {
        (void) state;
        zp_autofree char *token = make_token(HEADER, CLAIMS, key);
        struct hook_jwt_expectation expected = expectation();
        expect(token, &expected, NULL);
        expected.now_s = 1772604300 + 60;
        expect(token, &expected, NULL);
        expected.now_s++;
        expect(token, &expected, "over");
        expected.now_s = 1772600700 - 60;
        expect(token, &expected, NULL);
        expected.now_s--;
        expect(token, &expected, "another time");
        expected.now_s = NOW;
        expected.audience = NULL;
        expect(token, &expected, NULL);
        expected.audience = "https://hook.other.example/hooks/google";
        expect(token, &expected, "another audience");
        expected.audience = AUDIENCE;
        expected.email = "hook@other.iam.gserviceaccount.com";
        expect(token, &expected, "another sender's");
        expected.email = NULL;
        expect(token, &expected, "another sender's");
}

static char *replace(const char *text, const char *from, const char *to) {
        const char *at = strstr(text, from);
        assert_non_null(at);
        return zp_format("%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
}

static void claims_that_are_missing_or_other_are_refused(void **state) {
        (void) state;
        static const struct {
                const char *from, *to, *message;
        } cases[] = {
                { "\"email_verified\":true,", "", "another sender's" },
                { "\"email_verified\":true", "\"email_verified\":false", "another sender's" },
                { "\"email_verified\":true", "\"email_verified\":\"true\"", "another sender's" },
                { "\"email\":\"" EMAIL "\",", "", "another sender's" },
                { "\"email\":\"" EMAIL "\"", "\"email\":[\"" EMAIL "\"]", "another sender's" },
                { "\"email\":\"" EMAIL "\"", "\"email\":\"" EMAIL ".evil\"", "another sender's" },
                { "\"aud\":\"" AUDIENCE "\",", "", "another audience" },
                { "\"aud\":\"" AUDIENCE "\"", "\"aud\":[\"" AUDIENCE "\"]", "another audience" },
                { "https://accounts.google.com", "https://accounts.google.com.evil", "another issuer" },
                { "\"iss\":\"https://accounts.google.com\",", "", "another issuer" },
                { "\"exp\":1772604300,", "", "over" },
                { "\"exp\":1772604300", "\"exp\":\"1772604300\"", "over" },
                { "\"exp\":1772604300", "\"exp\":1e300", "over" },
                { "\"iat\":1772600700,", "", "another time" },
                { "\"iat\":1772600700", "\"iat\":1772600700,\"iat\":1", "malformed" },
                { "\"sub\":\"113774264463038321964\"}", "", "malformed" },
        };
        struct hook_jwt_expectation expected = expectation();
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                zp_autofree char *claims = replace(CLAIMS, cases[i].from, cases[i].to);
                zp_autofree char *token = make_token(HEADER, claims, key);
                expect(token, &expected, cases[i].message);
        }
}

static void other_keys_and_algorithms_are_refused(void **state) {
        (void) state;
        static const struct {
                const char *header, *message;
        } cases[] = {
                { "{\"alg\":\"none\",\"kid\":\"k1\"}", "not signed with RS256" },
                { "{\"alg\":\"HS256\",\"kid\":\"k1\"}", "not signed with RS256" },
                { "{\"alg\":\"rs256\",\"kid\":\"k1\"}", "not signed with RS256" },
                { "{\"alg\":\"RS512\",\"kid\":\"k1\"}", "not signed with RS256" },
                { "{\"kid\":\"k1\"}", "not signed with RS256" },
                { "{\"alg\":\"RS256\",\"kid\":\"k1\",\"crit\":[\"x\"],\"x\":1}", "not signed with RS256" },
                { "{\"alg\":\"RS256\"}", "names no key" },
                { "{\"alg\":\"RS256\",\"kid\":1}", "names no key" },
                { "{\"alg\":\"RS256\",\"kid\":\"k9\"}", "not among the configured" },
                { "{\"alg\":\"RS256\",\"kid\":\"k0\"}", "wrong signature" }, /* another's id */
                { "[]", "malformed" },
        };
        struct hook_jwt_expectation expected = expectation();
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                zp_autofree char *token = make_token(cases[i].header, CLAIMS, key);
                expect(token, &expected, cases[i].message);
        }
        zp_autofree char *by_other = make_token(HEADER, CLAIMS, other);
        expect(by_other, &expected, "wrong signature");
        zp_autofree char *by_small = make_token("{\"alg\":\"RS256\",\"kid\":\"k2\"}", CLAIMS, small);
        expect(by_small, &expected, "wrong signature");
}

/* With the public key, which everybody knows, as the key of an HMAC. */
static void an_hmac_under_the_public_key_is_no_signature(void **state) {
        (void) state;
        zp_autofree char *a = encode(HEADER, strlen(HEADER)), *b = encode(CLAIMS, strlen(CLAIMS));
        zp_autofree char *text = zp_format("%s.%s", a, b);
        unsigned char mac[EVP_MAX_MD_SIZE];
        unsigned size;
        HMAC(EVP_sha256(), keys, (int) strlen(keys), (const unsigned char *) text, strlen(text), mac, &size);
        zp_autofree char *c = encode(mac, size);
        zp_autofree char *token = zp_format("%s.%s", text, c);
        struct hook_jwt_expectation expected = expectation();
        expect(token, &expected, "wrong signature");
}

static void a_token_cut_or_changed_anywhere_is_refused(void **state) {
        (void) state;
        zp_autofree char *token = make_token(HEADER, CLAIMS, key);
        struct hook_jwt_expectation expected = expectation();
        size_t size = strlen(token);
        for (size_t i = 0; i < size; i++) {
                char kept = token[i];
                token[i] = kept == 'A' ? 'B' : 'A';
                expect(token, &expected, "not authenticated");
                token[i] = kept;
        }
        for (size_t i = size; i-- > 0;) {
                token[i] = '\0';
                expect(token, &expected, "not authenticated");
        }
        static const char *const malformed[] = { "", ".", "..", "...", "a.b.c.d", "e30.e30.", "e30.e30.e30" };
        for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
                expect(malformed[i], &expected, "not authenticated");
}

static void key_sets_that_are_none_refuse_everybody(void **state) {
        (void) state;
        static const char *const sets[] = {
                "",
                "[]",
                "{}",
                "{\"keys\":{}}",
                "{\"keys\":[]}",
                "{\"keys\":[1,null,\"k1\"]}",
                "{\"keys\":[{\"kid\":\"k1\",\"kty\":\"RSA\"}]}",
                "{\"keys\":[{\"kid\":\"k1\",\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
                "{\"keys\":[{\"kid\":\"k1\",\"kty\":\"oct\",\"k\":\"AQAB\"}]}",
        };
        zp_autofree char *token = make_token(HEADER, CLAIMS, key);
        struct hook_jwt_expectation expected = expectation();
        for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
                assert_int_equal(hook_jwt_verify(token, sets[i], strlen(sets[i]), &expected, NULL), -EACCES);
}

static unsigned status_with(struct provider_request *request, const char *authorization) {
        struct hook_result result = { 0 };
        provider_request_set(request, "Authorization", authorization);
        hook_provider_receive(&request->endpoint, &request->request, &result);
        size_t count = result.events.count;
        hook_events_clear(&result.events);
        assert_true((count > 0) == (result.status == 202));
        return result.status;
}

static void google_is_believed_by_its_token_where_keys_are_configured(void **state) {
        (void) state;
        struct provider_request request;
        corpus_load("google-insert", &request);
        request.endpoint.keys = keys;
        request.endpoint.keys_size = strlen(keys);
        request.endpoint.sender = EMAIL;
        request.endpoint.audience = AUDIENCE;
        zp_autofree char *token = make_token(HEADER, CLAIMS, key);
        zp_autofree char *header = zp_format("Bearer %s", token), *basic = zp_format("Basic %s", token);
        assert_int_equal(status_with(&request, header), 202);
        assert_int_equal(status_with(&request, header), 202);
        assert_int_equal(status_with(&request, token), 401);
        assert_int_equal(status_with(&request, basic), 401);
        assert_int_equal(status_with(&request, "Bearer "), 401);
        assert_int_equal(status_with(&request, NULL), 401);
        request.query.name = "token"; /* no way around it */
        request.query.value = "";
        assert_int_equal(status_with(&request, NULL), 401);
        request.endpoint.sender = NULL;
        assert_int_equal(status_with(&request, header), 401);
        provider_request_clear(&request);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_token_of_the_configured_sender_is_good_until_it_is_over),
                cmocka_unit_test(claims_that_are_missing_or_other_are_refused),
                cmocka_unit_test(other_keys_and_algorithms_are_refused),
                cmocka_unit_test(an_hmac_under_the_public_key_is_no_signature),
                cmocka_unit_test(a_token_cut_or_changed_anywhere_is_refused),
                cmocka_unit_test(key_sets_that_are_none_refuse_everybody),
                cmocka_unit_test(google_is_believed_by_its_token_where_keys_are_configured),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
