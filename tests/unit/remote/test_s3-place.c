/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "remote/s3-internal.h"

/* "NAME=VALUE", up to a NULL: the environment of the test at hand. */
static const char *const *variables;

static char *variable(const char *name) {
        size_t size = strlen(name);
        for (const char *const *entry = variables; entry && *entry; entry++)
                if (strncmp(*entry, name, size) == 0 && (*entry)[size] == '=')
                        return (char *) *entry + size + 1;
        return NULL;
}

#define WITH(...) (variables = (const char *const[]){ __VA_ARGS__, NULL })

static void expect_place(const char *name, const char *base, const char *host, const char *path, const char *prefix) {
        struct zp_s3_place place = { 0 };
        struct zp_error err = { 0 };
        assert_int_equal(zp_s3_place_parse(name, variable, &place, &err), 0);
        assert_string_equal(place.base, base);
        assert_string_equal(place.host, host);
        assert_string_equal(place.base + place.path_at, path);
        assert_string_equal(place.prefix, prefix);
        zp_s3_place_clear(&place);
}

static void expect_error(const char *name, const char *part) {
        struct zp_s3_place place = { 0 };
        struct zp_error err = { 0 };
        assert_int_equal(zp_s3_place_parse(name, variable, &place, &err), -EINVAL);
        assert_non_null(strstr(err.message, part));
        assert_null(place.bucket);
}

static void amazons_buckets_are_host_names(void **state) {
        (void) state;
        variables = NULL;
        expect_place("acme-x", "https://acme-x.s3.us-east-1.amazonaws.com", "acme-x.s3.us-east-1.amazonaws.com", "",
                     "");
        WITH("AWS_REGION=eu-central-1", "AWS_DEFAULT_REGION=us-west-2");
        expect_place("acme/a/b", "https://acme.s3.eu-central-1.amazonaws.com", "acme.s3.eu-central-1.amazonaws.com", "",
                     "a/b/");
        WITH("AWS_DEFAULT_REGION=cn-north-1");
        expect_place("acme", "https://acme.s3.cn-north-1.amazonaws.com.cn", "acme.s3.cn-north-1.amazonaws.com.cn", "",
                     "");
}

/* Amazon's certificate is for one label below its name. */
static void a_bucket_that_no_certificate_covers_is_a_path(void **state) {
        (void) state;
        variables = NULL;
        expect_place("acme.example", "https://s3.us-east-1.amazonaws.com/acme.example", "s3.us-east-1.amazonaws.com",
                     "/acme.example", "");
        expect_place("Acme_Old", "https://s3.us-east-1.amazonaws.com/Acme_Old", "s3.us-east-1.amazonaws.com",
                     "/Acme_Old", "");
}

static void other_endpoints_get_paths_unless_asked_otherwise(void **state) {
        (void) state;
        WITH("AWS_ENDPOINT_URL=http://localhost:9000/");
        expect_place("acme/p/", "http://localhost:9000/acme", "localhost:9000", "/acme", "p/");
        WITH("AWS_ENDPOINT_URL=http://localhost:9000", "AWS_S3_ADDRESSING_STYLE=virtual");
        expect_place("acme", "http://acme.localhost:9000", "acme.localhost:9000", "", "");
        WITH("AWS_S3_ADDRESSING_STYLE=path");
        expect_place("acme", "https://s3.us-east-1.amazonaws.com/acme", "s3.us-east-1.amazonaws.com", "/acme", "");
        WITH("AWS_ENDPOINT_URL=https://a.example", "AWS_ENDPOINT_URL_S3=https://b.example/s3/");
        expect_place("acme", "https://b.example/s3/acme", "b.example", "/s3/acme", "");
}

/* curl leaves the scheme's own port out of the Host header, which is signed. */
static void default_ports_are_not_part_of_the_host(void **state) {
        (void) state;
        WITH("AWS_ENDPOINT_URL=https://b.example:443");
        expect_place("acme", "https://b.example/acme", "b.example", "/acme", "");
        WITH("AWS_ENDPOINT_URL=http://b.example:443");
        expect_place("acme", "http://b.example:443/acme", "b.example:443", "/acme", "");
}

static void malformed_names_are_refused(void **state) {
        (void) state;
        variables = NULL;
        static const char *const names[] = { "", "/", "ab", "a b", "../x", "-abc", "acme?x", "acme:80", "abc@d" };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                expect_error(names[i], "no name of a bucket");
        static const char *const prefixes[] = { "acme//a", "acme/a//b", "acme/..", "acme/a/./b", "acme/../b" };
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
                expect_error(prefixes[i], "part");
        expect_error("acme/a\nb", "control character");
        char name[800] = "acme/";
        memset(name + 5, 'x', 700);
        expect_error(name, "longer");
}

static void malformed_variables_are_refused(void **state) {
        (void) state;
        WITH("AWS_ACCESS_KEY_ID=x");
        expect_error("acme", "only one is set");
        WITH("AWS_SECRET_ACCESS_KEY=x");
        expect_error("acme", "only one is set");
        WITH("AWS_ACCESS_KEY_ID=x\r\nX: y", "AWS_SECRET_ACCESS_KEY=x");
        expect_error("acme", "AWS_ACCESS_KEY_ID");
        WITH("AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_SESSION_TOKEN=a b");
        expect_error("acme", "AWS_SESSION_TOKEN");
        WITH("AWS_REGION=a.evil.example/");
        expect_error("acme", "no region");
        WITH("AWS_S3_ADDRESSING_STYLE=both");
        expect_error("acme", "AWS_S3_ADDRESSING_STYLE");
        WITH("AWS_S3_ADDRESSING_STYLE=virtual");
        expect_error("acme.example", "host name");
        static const char *const endpoints[] = {
                "AWS_ENDPOINT_URL=localhost:9000", "AWS_ENDPOINT_URL=ftp://x",     "AWS_ENDPOINT_URL=http://u:p@x",
                "AWS_ENDPOINT_URL=http://x/?y=z",  "AWS_ENDPOINT_URL=http://x/#y", "AWS_ENDPOINT_URL=http://",
                "AWS_ENDPOINT_URL=http://[",
        };
        for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
                WITH(endpoints[i]);
                expect_error("acme", "endpoint");
        }
}

static void credentials_come_from_the_environment(void **state) {
        (void) state;
        struct zp_s3_place place = { 0 };
        WITH("AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=s", "AWS_SESSION_TOKEN=t");
        assert_int_equal(zp_s3_place_parse("acme", variable, &place, NULL), 0);
        assert_string_equal(place.access_key, "a");
        assert_string_equal(place.secret_key, "s");
        assert_string_equal(place.session_token, "t");
        zp_s3_place_clear(&place);
        WITH("AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=");
        assert_int_equal(zp_s3_place_parse("acme", variable, &place, NULL), 0);
        assert_null(place.access_key);
        zp_s3_place_clear(&place);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(amazons_buckets_are_host_names),
                cmocka_unit_test(a_bucket_that_no_certificate_covers_is_a_path),
                cmocka_unit_test(other_endpoints_get_paths_unless_asked_otherwise),
                cmocka_unit_test(default_ports_are_not_part_of_the_host),
                cmocka_unit_test(malformed_names_are_refused),
                cmocka_unit_test(malformed_variables_are_refused),
                cmocka_unit_test(credentials_come_from_the_environment),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
