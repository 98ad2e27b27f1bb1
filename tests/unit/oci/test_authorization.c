/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: RFC 7617, 2 and 2.1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "oci/authorization.h"

static void assert_basic(const char *user, const char *password, const char *expected) {
        zp_auto(zp_secret_free) char *value = zp_basic_authorization(user, password);
        assert_string_equal(value, expected);
}

static void a_user_and_a_password_are_told_in_base64(void **state) {
        (void) state;
        assert_basic("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_basic("test", "123\xc2\xa3", "Basic dGVzdDoxMjPCow==");
        assert_basic("", "", "Basic Og==");
        assert_basic("robot", NULL, "Basic cm9ib3Q6");
}

static void what_is_known_is_shown_without_asking_anybody(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        char *value = NULL;
        int64_t lifetime_s;
        struct zp_challenge basic = { .scheme = ZP_CHALLENGE_BASIC }, bearer = { .scheme = ZP_CHALLENGE_BEARER };
        struct zp_credentials known = { .username = "Aladdin",
                                        .password = "open sesame",
                                        .registry_token = "given.by-another" };
        struct zp_authorization_request request = { NULL, "registry.example", "https://registry.example", &basic,
                                                    &known };
        assert_int_equal(zp_authorization_obtain(&request, &value, &lifetime_s, &err), 0);
        assert_string_equal(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        zp_secret_free(value);
        request.challenge = &bearer;
        assert_int_equal(zp_authorization_obtain(&request, &value, &lifetime_s, &err), 0);
        assert_string_equal(value, "Bearer given.by-another");
        zp_secret_free(value);
        known.registry_token = "no\r\nheader: of ours";
        assert_int_equal(zp_authorization_obtain(&request, &value, &lifetime_s, &err), -EINVAL);
}

static void who_has_nothing_to_show_is_told_how_to_log_in(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        char *value = NULL;
        int64_t lifetime_s;
        struct zp_challenge basic = { .scheme = ZP_CHALLENGE_BASIC };
        struct zp_credentials nothing = { 0 };
        struct zp_authorization_request request = { NULL, "registry.example", "https://registry.example", &basic,
                                                    &nothing };
        assert_int_equal(zp_authorization_obtain(&request, &value, &lifetime_s, &err), -EACCES);
        assert_non_null(strstr(err.hint, "docker login registry.example"));
}

/* Before anything is sent: there is nothing here to send it with. */
static void a_realm_that_may_not_be_trusted_is_told_nothing(void **state) {
        (void) state;
        static const struct {
                char *realm;
                int result;
        } cases[] = {
                { "http://tokens.example/token", -EACCES },
                { "ftp://tokens.example/token", -EPROTO },
                { "", -EPROTO },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_error err = { 0 };
                char *value = NULL;
                int64_t lifetime_s;
                struct zp_challenge bearer = { ZP_CHALLENGE_BEARER, cases[i].realm, "", "" };
                struct zp_credentials known = { .username = "Aladdin", .password = "open sesame" };
                struct zp_authorization_request request = { NULL, "registry.example", "https://registry.example",
                                                            &bearer, &known };
                assert_int_equal(zp_authorization_obtain(&request, &value, &lifetime_s, &err), cases[i].result);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_user_and_a_password_are_told_in_base64),
                cmocka_unit_test(what_is_known_is_shown_without_asking_anybody),
                cmocka_unit_test(who_has_nothing_to_show_is_told_how_to_log_in),
                cmocka_unit_test(a_realm_that_may_not_be_trusted_is_told_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
