/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: RFC 9110 (11.6.1) and what registries send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "oci/challenge.h"

static void expect(const char *header, enum zp_challenge_scheme scheme, const char *realm, const char *service,
                   const char *scope) {
        struct zp_challenge challenge;
        struct zp_error err = { 0 };
        if (zp_challenge_parse(header, &challenge, &err) != 0)
                fail_msg("%s: %s", header, err.message);
        assert_int_equal(challenge.scheme, scheme);
        assert_string_equal(challenge.realm, realm);
        assert_string_equal(challenge.service, service);
        assert_string_equal(challenge.scope, scope);
        zp_challenge_clear(&challenge);
}

static void registries_are_understood(void **state) {
        (void) state;
        expect("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
               "scope=\"repository:library/busybox:pull,push\"",
               ZP_CHALLENGE_BEARER, "https://auth.docker.io/token", "registry.docker.io",
               "repository:library/busybox:pull,push");
        expect("Basic realm=\"Registry Realm\"", ZP_CHALLENGE_BASIC, "Registry Realm", "", "");
        expect("Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\",scope=\"repository:user/image:pull\",error="
               "\"invalid_token\"",
               ZP_CHALLENGE_BEARER, "https://ghcr.io/token", "ghcr.io", "repository:user/image:pull");
        expect("bearer REALM = https , Service=\"a\\\"b\\\\c\"", ZP_CHALLENGE_BEARER, "https", "a\"b\\c", "");
        expect("Basic", ZP_CHALLENGE_BASIC, "", "", "");
        expect("Bearer realm=\"\"", ZP_CHALLENGE_BEARER, "", "", "");
}

static void bearer_is_preferred_among_several(void **state) {
        (void) state;
        expect("Basic realm=\"b\", Bearer realm=\"t\",service=\"s\"", ZP_CHALLENGE_BEARER, "t", "s", "");
        expect("Bearer realm=\"t\",service=\"s\", Basic realm=\"b\"", ZP_CHALLENGE_BEARER, "t", "s", "");
        expect("Negotiate YIIabc+/==, Basic realm=\"b\"", ZP_CHALLENGE_BASIC, "b", "", "");
        expect("Negotiate, , Basic realm=\"b\"", ZP_CHALLENGE_BASIC, "b", "", "");
        expect("Digest realm=\"d\", qop=\"auth, auth-int\", Basic realm=\"b\"", ZP_CHALLENGE_BASIC, "b", "", "");
        expect("Basic realm=\"1\", Basic realm=\"2\"", ZP_CHALLENGE_BASIC, "1", "", "");
}

static void malformed_challenges_are_refused(void **state) {
        static const char *const cases[] = {
                "Bearer realm=\"x",
                "Bearer realm=\"x\\",
                "Bearer realm=\"a\",service=",
                "Bearer realm=\"a\" service=\"b\"",
                "Bearer realm=\"a\",realm=\"b\"",
                "=",
                "\"Bearer\"",
                "Bearer realm=\"a\x01\"",
                "Bearer (",
                "Bearer =x",
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_challenge challenge;
                if (zp_challenge_parse(cases[i], &challenge, NULL) != -EBADMSG)
                        fail_msg("'%s' was not refused", cases[i]);
        }
}

static void other_schemes_are_named_in_the_error(void **state) {
        struct zp_challenge challenge;
        struct zp_error err = { 0 };
        (void) state;
        assert_int_equal(zp_challenge_parse("Negotiate", &challenge, &err), -ENOTSUP);
        assert_non_null(strstr(err.message, "Negotiate"));
        assert_int_equal(zp_challenge_parse("", &challenge, &err), -ENOTSUP);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(registries_are_understood),
                cmocka_unit_test(bearer_is_preferred_among_several),
                cmocka_unit_test(malformed_challenges_are_refused),
                cmocka_unit_test(other_schemes_are_named_in_the_error),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
