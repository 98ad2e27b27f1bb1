/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "oci/url.h"

static void only_this_machine_is_loopback(void **state) {
        (void) state;
        assert_true(zp_is_loopback("localhost"));
        assert_true(zp_is_loopback("LOCALHOST:5000"));
        assert_true(zp_is_loopback("127.0.0.1:5000"));
        assert_true(zp_is_loopback("127.255.3.4"));
        assert_true(zp_is_loopback("[::1]:5000"));
        assert_true(zp_is_loopback("::1"));
        assert_false(zp_is_loopback("localhost.example"));
        assert_false(zp_is_loopback("127.0.0.1.example:80"));
        assert_false(zp_is_loopback("128.0.0.1"));
        assert_false(zp_is_loopback("[::2]:5000"));
        assert_false(zp_is_loopback(""));
}

static void origins_are_compared_with_scheme_and_port(void **state) {
        (void) state;
        assert_true(zp_url_same_origin("https://a/x", "https://A:443/y?z"));
        assert_true(zp_url_same_origin("http://a:80/", "http://a/"));
        assert_false(zp_url_same_origin("https://a/", "http://a/"));
        assert_false(zp_url_same_origin("https://a/", "https://a:444/"));
        assert_false(zp_url_same_origin("https://a/", "https://b/"));
        assert_false(zp_url_same_origin("https://a/", "https://a.b/"));
        assert_false(zp_url_same_origin("https://a/", "https://a@b/"));
        assert_false(zp_url_same_origin("https://a/", "nonsense :"));
}

static void a_host_is_meant_with_its_port(void **state) {
        (void) state;
        assert_true(zp_url_is_at("https://a/x", "A"));
        assert_true(zp_url_is_at("https://a:443/x", "a"));
        assert_true(zp_url_is_at("http://a/x", "a:80"));
        assert_true(zp_url_is_at("https://a:5000/v2/", "a:5000"));
        assert_true(zp_url_is_at("https://[::1]:5000/v2/", "[::1]:5000"));
        assert_false(zp_url_is_at("https://a:444/x", "a"));
        assert_false(zp_url_is_at("https://b/x", "a"));
        assert_false(zp_url_is_at("https://a.b/x", "a"));
        assert_false(zp_url_is_at("https://a@b/x", "a"));
        assert_false(zp_url_is_at("nonsense :", "a"));
}

static void a_services_url_is_http_and_nothing_but_a_place(void **state) {
        (void) state;
        static const char *const good[] = { "https://a", "http://a:80/", "https://[::1]:443/x", "HTTPS://a.b/x/y" },
                                 *const bad[] = { "",
                                                  "a",
                                                  "ftp://a",
                                                  "https://",
                                                  "https://u@a",
                                                  "https://u:p@a",
                                                  "https://a?b=c",
                                                  "https://a#b",
                                                  "https://a:99999",
                                                  "http://a b" };
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
                assert_int_equal(zp_url_check_service(good[i], NULL), 0);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                if (zp_url_check_service(bad[i], NULL) != -EINVAL)
                        fail_msg("'%s' was taken", bad[i]);
}

static void expect_target(const char *base, const char *location, const char *expected) {
        char *out = NULL;
        int r = zp_url_resolve(base, location, &out, NULL);
        assert_int_equal(r, expected ? 0 : -EPROTO);
        if (expected)
                assert_string_equal(out, expected);
        free(out);
}

static void redirects_are_resolved_and_never_lead_to_plain_http(void **state) {
        (void) state;
        expect_target("https://a/v2/x", "/y?z=1", "https://a/y?z=1");
        expect_target("https://a/v2/x", "y", "https://a/v2/y");
        expect_target("https://a/v2/x", "//b/y", "https://b/y");
        expect_target("http://a/v2/x", "https://b/y", "https://b/y");
        expect_target("http://a/v2/x", "http://b/y", "http://b/y");
        expect_target("https://a/v2/x", "http://a/y", NULL);
        expect_target("https://a/v2/x", "http://127.0.0.1/y", NULL);
        expect_target("https://127.0.0.1/v2/x", "http://localhost:1/y", "http://localhost:1/y");
        expect_target("https://a/v2/x", "file:///etc/passwd", NULL);
        expect_target("https://a/v2/x", "ftp://a/y", NULL);
        expect_target("https://a/v2/x", "https://user:password@a/y", NULL);
}

static void expect_query(const char *url, const char *expected) {
        char *out = zp_url_with_query(url, "digest", "sha256:0a&b");
        assert_string_equal(out, expected);
        free(out);
}

static void query_is_appended_to_what_is_there(void **state) {
        (void) state;
        expect_query("https://a/u/1", "https://a/u/1?digest=sha256%3A0a%26b");
        expect_query("https://a/u/1?", "https://a/u/1?digest=sha256%3A0a%26b");
        expect_query("https://a/u/1?_state=x%3D%3D", "https://a/u/1?_state=x%3D%3D&digest=sha256%3A0a%26b");
        expect_query("https://a/u/1?x&", "https://a/u/1?x&digest=sha256%3A0a%26b");
        expect_query("https://a/u/1?x#part?", "https://a/u/1?x&digest=sha256%3A0a%26b");
}

static void secrets_in_urls_are_not_told(void **state) {
        static const char *const locations[] = { "http://b/y?secret", "ftp://b/y?secret", "https://u:secret@b/y",
                                                 "http://u:secret@b:x/?secret" };
        (void) state;
        for (size_t i = 0; i < sizeof locations / sizeof *locations; i++) {
                struct zp_error err = { 0 };
                char *out;
                assert_int_equal(zp_url_resolve("https://a/v2/x", locations[i], &out, &err), -EPROTO);
                assert_null(strstr(err.message, "secret"));
        }
}

static void host_for_a_message_has_neither_user_nor_path(void **state) {
        static const char *const cases[][2] = {
                { "https://registry.example/v2/", "registry.example" },
                { "http://127.0.0.1:5000/v2/a@b", "127.0.0.1:5000" },
                { "https://user:secret@host:1?x", "host:1" },
                { "https://a@b@[::1]:5000#x", "[::1]:5000" },
                { "x", "x" },
                { "", "" },
        };
        (void) state;
        char text[ZP_URL_HOST_SIZE], url[1000] = "https://";
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_string_equal(zp_url_host(cases[i][0], text), cases[i][1]);
        memset(url + 8, 'a', sizeof url - 9);
        assert_int_equal(strlen(zp_url_host(url, text)), ZP_URL_HOST_SIZE - 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_this_machine_is_loopback),
                cmocka_unit_test(origins_are_compared_with_scheme_and_port),
                cmocka_unit_test(a_host_is_meant_with_its_port),
                cmocka_unit_test(a_services_url_is_http_and_nothing_but_a_place),
                cmocka_unit_test(redirects_are_resolved_and_never_lead_to_plain_http),
                cmocka_unit_test(query_is_appended_to_what_is_there),
                cmocka_unit_test(host_for_a_message_has_neither_user_nor_path),
                cmocka_unit_test(secrets_in_urls_are_not_told),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
