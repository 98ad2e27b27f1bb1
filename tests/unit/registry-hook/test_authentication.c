/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is believed. Signatures to compare with: GitHub's documentation ("Validating webhook deliveries"), RFC 2202 for
 * HMAC-SHA1, RFC 7617 for Basic.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/hmac.h>

#include "corpus-fixture.h"
#include "registry-hook/providers/authentication.h"

#define SECRET "correct horse battery staple"

enum form { HEADER, TOKEN, GITHUB, JFROG, NEXUS };

/* One push of each provider, and how it is authenticated. */
static const struct {
        const char *payload;
        enum form form;
} providers[] = {
        { "distribution-push", HEADER }, { "gitlab-push", HEADER },  { "harbor-push", HEADER },
        { "harbor-cloudevent", HEADER }, { "quay-push", TOKEN },     { "docker-hub-push", TOKEN },
        { "github-package", GITHUB },    { "alibaba-push", TOKEN },  { "azure-push", TOKEN },
        { "ecr-push", HEADER },          { "google-insert", TOKEN }, { "jfrog-pushed", JFROG },
        { "nexus-created", NEXUS },      { "zot-updated", HEADER },  { "generic-plain", HEADER },
        { "azure-validation", TOKEN },   { "github-ping", GITHUB },
};
#define PROVIDERS (sizeof providers / sizeof *providers)

static const char *hex_hmac(const EVP_MD *md, const char *key, const void *data, size_t size, char *out) {
        unsigned char bytes[EVP_MAX_MD_SIZE];
        unsigned length;
        assert_non_null(HMAC(md, key, (int) strlen(key), data, size, bytes, &length));
        for (unsigned i = 0; i < length; i++)
                sprintf(out + 2 * i, "%02x", bytes[i]);
        return out;
}

/* Signs `body` as the provider does; `text` holds what the header points to. */
static void sign(struct provider_request *request, enum form form, const char *secret, const char *body, size_t size,
                 char text[512]) {
        switch (form) {
        case HEADER:
                snprintf(text, 512, "Bearer %s", secret);
                provider_request_set(request, "Authorization", text);
                break;
        case TOKEN:
                request->query.name = "token";
                request->query.value = strcpy(text, secret);
                break;
        case GITHUB:
                hex_hmac(EVP_sha256(), secret, body, size, stpcpy(text, "sha256="));
                provider_request_set(request, "X-Hub-Signature-256", text);
                break;
        case JFROG:
                provider_request_set(request, "X-JFrog-Event-Auth", hex_hmac(EVP_sha256(), secret, body, size, text));
                break;
        case NEXUS:
                provider_request_set(request, "X-Nexus-Webhook-Signature",
                                     hex_hmac(EVP_sha1(), secret, body, size, text));
        }
}

static void expect(const char *what, const char *name, struct provider_request *request, bool is_believed) {
        struct hook_result result = { 0 };
        hook_provider_receive(&request->endpoint, &request->request, &result);
        if (is_believed ? result.status >= 300 : result.status != 401)
                fail_msg("%s, %s: %u: %s", name, what, result.status, result.reason);
        if (!is_believed) {
                assert_int_equal(result.events.count, 0);
                assert_string_equal(result.answer, "");
        }
        assert_null(strstr(result.reason, "horse"));
        hook_events_clear(&result.events);
}

static void load(size_t i, struct provider_request *request) {
        corpus_load(providers[i].payload, request);
        request->endpoint.secrets[0] = SECRET;
        request->endpoint.secret_count = 1;
}

static void who_knows_the_secret_is_believed_and_nobody_else(void **state) {
        (void) state;
        static const char *const wrong[] = { "correct horse battery stapl", "correct horse battery staple!",
                                             "Correct horse battery staple", "correct", " " };
        for (size_t i = 0; i < PROVIDERS; i++) {
                const char *name = providers[i].payload;
                struct provider_request request;
                char text[512];
                load(i, &request);
                const char *body = request.request.body;
                size_t size = request.request.body_size;
                expect("nothing sent", name, &request, false);
                sign(&request, providers[i].form, SECRET, body, size, text);
                expect("signed", name, &request, true);
                for (size_t j = 0; j < sizeof wrong / sizeof *wrong; j++) {
                        sign(&request, providers[i].form, wrong[j], body, size, text);
                        expect(wrong[j], name, &request, false);
                }
                provider_request_clear(&request);
        }
}

static void every_configured_secret_is_good_while_they_are_exchanged(void **state) {
        (void) state;
        for (size_t i = 0; i < PROVIDERS; i++) {
                struct provider_request request;
                char text[512];
                load(i, &request);
                request.endpoint.secrets[0] = "old";
                request.endpoint.secrets[1] = SECRET;
                request.endpoint.secrets[2] = "next";
                request.endpoint.secret_count = 3;
                for (size_t j = 0; j < 3; j++) {
                        sign(&request, providers[i].form, request.endpoint.secrets[j], request.request.body,
                             request.request.body_size, text);
                        expect("one of three", providers[i].payload, &request, true);
                }
                sign(&request, providers[i].form, "older", request.request.body, request.request.body_size, text);
                expect("none of three", providers[i].payload, &request, false);
                provider_request_clear(&request);
        }
}

static void a_signature_is_good_for_its_own_bytes_only(void **state) {
        (void) state;
        for (size_t i = 0; i < PROVIDERS; i++) {
                struct provider_request request;
                char text[512];
                if (providers[i].form < GITHUB)
                        continue;
                load(i, &request);
                char *body = (char *) request.request.body;
                size_t size = request.request.body_size;
                sign(&request, providers[i].form, SECRET, body, size, text);
                for (size_t j = 0; j < size; j++) {
                        /* white space is not signed by Nexus, and a byte of it that becomes another is none */
                        body[j] ^= 1;
                        expect("a bit flipped", providers[i].payload, &request, false);
                        body[j] ^= 1;
                }
                size_t digits = strlen(text);
                for (size_t j = 0; j < digits; j++) {
                        text[digits - 1 - j] = '\0';
                        expect("cut", providers[i].payload, &request, false);
                }
                provider_request_clear(&request);
        }
}

static void an_empty_secret_is_nobodys(void **state) {
        (void) state;
        for (size_t i = 0; i < PROVIDERS; i++) {
                struct provider_request request;
                char text[512];
                load(i, &request);
                request.endpoint.secrets[0] = "";
                sign(&request, providers[i].form, "", request.request.body, request.request.body_size, text);
                expect("empty", providers[i].payload, &request, false);
                provider_request_clear(&request);
        }
}

static void the_url_carries_secrets_only_where_nothing_else_can(void **state) {
        (void) state;
        for (size_t i = 0; i < PROVIDERS; i++) {
                struct provider_request request;
                load(i, &request);
                request.query.name = "token";
                request.query.value = SECRET;
                expect("in the URL", providers[i].payload, &request, providers[i].form == TOKEN);
                provider_request_clear(&request);
        }
}

static void headers_are_understood_in_each_form(void **state) {
        (void) state;
        static const struct {
                const char *secret, *name, *value;
                bool is_believed;
        } cases[] = {
                /* RFC 7617, section 2 */
                { "Aladdin:open sesame", "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true },
                { "Aladdin:open sesame", "Authorization", "basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true },
                { "Aladdin:open sesame", "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", false },
                { "Aladdin:open sesame", "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==", false },
                { "Aladdin:open sesame", "Authorization", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==", false },
                { "open sesame", "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", false },
                { SECRET, "Authorization", SECRET, true },
                { SECRET, "authorization", "bearer " SECRET, true },
                { "Bearer abc", "Authorization", "Bearer abc", true },
                { SECRET, "X-Zeropull-Token", SECRET, true },
                { SECRET, "X-Zeropull-Token", "Bearer " SECRET, false },
                { SECRET, "Authorization", "Bearer" SECRET, false },
                { SECRET, "Authorization", "Bearer", false },
                { SECRET, "Authorization", "Basic ", false },
                { SECRET, "Authorization", "Basic !", false },
                { SECRET, "Authorization", "", false },
                { SECRET, "Proxy-Authorization", SECRET, false },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct provider_request request;
                corpus_load("generic-plain", &request);
                request.endpoint.secrets[0] = cases[i].secret;
                request.endpoint.secret_count = 1;
                provider_request_set(&request, cases[i].name, cases[i].value);
                expect(cases[i].value, cases[i].name, &request, cases[i].is_believed);
                provider_request_clear(&request);
        }
}

static void signatures_are_those_of_others(void **state) {
        (void) state;
        const struct hook_endpoint github = { .secrets = { "It's a Secret to Everybody" }, .secret_count = 1 };
        const struct hook_endpoint rfc2202 = { .secrets = { "Jefe" }, .secret_count = 1 };
        static const char hello[] = "Hello, World!", want[] = "what do ya want for nothing?";
        assert_int_equal(hook_auth_hmac(&github, HOOK_HMAC_SHA256,
                                        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", hello,
                                        strlen(hello), NULL),
                         0);
        assert_int_equal(hook_auth_hmac(&rfc2202, HOOK_HMAC_SHA1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79", want,
                                        strlen(want), NULL),
                         0);
        assert_int_equal(hook_auth_hmac(&rfc2202, HOOK_HMAC_SHA256, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79", want,
                                        strlen(want), NULL),
                         -EACCES);
}

static void nexus_may_sign_without_the_white_space_between_tokens(void **state) {
        (void) state;
        static const char sent[] = "{ \"component\": { \"format\": \"docker\",\r\n\t\"name\": \"app/web\",\n"
                                   "\"version\": \"1.0\", \"x\": \"a \\\" : b\\\\\" }, \"action\": \"CREATED\" }",
                          signed_[] = "{\"component\":{\"format\":\"docker\",\"name\":\"app/web\","
                                      "\"version\":\"1.0\",\"x\":\"a \\\" : b\\\\\"},\"action\":\"CREATED\"}";
        struct provider_request request;
        char text[512];
        corpus_load("nexus-created", &request);
        request.endpoint.secrets[0] = SECRET;
        request.endpoint.secret_count = 1;
        request.request.body = sent;
        request.request.body_size = strlen(sent);
        sign(&request, NEXUS, SECRET, signed_, strlen(signed_), text);
        expect("squeezed", "nexus", &request, true);
        sign(&request, NEXUS, SECRET, sent, strlen(sent), text);
        expect("as sent", "nexus", &request, true);
        provider_request_clear(&request);
}

static void jfrog_may_send_the_secret_itself(void **state) {
        (void) state;
        struct provider_request request;
        corpus_load("jfrog-pushed", &request);
        request.endpoint.secrets[0] = SECRET;
        request.endpoint.secret_count = 1;
        provider_request_set(&request, "X-JFrog-Event-Auth", SECRET);
        expect("plain", "jfrog", &request, true);
        provider_request_set(&request, "X-JFrog-Event-Auth", "Bearer " SECRET);
        expect("bearer", "jfrog", &request, false);
        provider_request_clear(&request);
}

static void the_wrong_secret_is_refused_before_the_body_is_looked_at(void **state) {
        (void) state;
        for (size_t i = 0; i < PROVIDERS; i++) {
                struct provider_request request;
                load(i, &request);
                request.request.body = "{";
                request.request.body_size = 1;
                expect("malformed", providers[i].payload, &request, false);
                provider_request_clear(&request);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(who_knows_the_secret_is_believed_and_nobody_else),
                cmocka_unit_test(every_configured_secret_is_good_while_they_are_exchanged),
                cmocka_unit_test(a_signature_is_good_for_its_own_bytes_only),
                cmocka_unit_test(an_empty_secret_is_nobodys),
                cmocka_unit_test(the_url_carries_secrets_only_where_nothing_else_can),
                cmocka_unit_test(headers_are_understood_in_each_form),
                cmocka_unit_test(signatures_are_those_of_others),
                cmocka_unit_test(nexus_may_sign_without_the_white_space_between_tokens),
                cmocka_unit_test(jfrog_may_send_the_secret_itself),
                cmocka_unit_test(the_wrong_secret_is_refused_before_the_body_is_looked_at),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
