/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "remote/sigv4.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MIDNIGHT 1369353600 /* 20130524T000000Z */

static const struct zp_sigv4_keys example_keys = {
        .access_key = "AKIAIOSFODNN7EXAMPLE",
        .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        .region = "us-east-1",
        .service = "s3",
};

static void expect_end(const struct zp_sigv4_keys *keys, const struct zp_sigv4_request *request, const char *end) {
        char *authorization = NULL;
        assert_int_equal(zp_sigv4_authorization(keys, request, &authorization, NULL), 0);
        assert_true(strlen(authorization) > strlen(end));
        assert_string_equal(authorization + strlen(authorization) - strlen(end), end);
        assert_int_equal(strncmp(authorization, "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/", 58), 0);
        free(authorization);
}

/* The examples of "Signature calculations for the authorization header" in Amazon's S3 API reference. */
static void signs_amazons_examples(void **state) {
        (void) state;
        struct zp_sigv4_request request = {
                .method = "GET",
                .host = "examplebucket.s3.amazonaws.com",
                .path = "/",
                .query = "lifecycle=",
                .payload = EMPTY,
                .time = MIDNIGHT,
        };
        expect_end(&example_keys, &request,
                   "/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
                   "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
        request.query = "max-keys=2&prefix=J";
        expect_end(&example_keys, &request,
                   ",Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

/* Expected: botocore's S3SigV4Auth for the same request. */
static void signs_tokens_ports_and_unusual_characters_as_botocore_does(void **state) {
        (void) state;
        struct zp_sigv4_keys keys = example_keys;
        keys.session_token = "FwoGZXIvYXdz/+==";
        keys.region = "eu-central-1";
        struct zp_buffer path = { 0 }, query = { 0 };
        assert_true(zp_sigv4_encode(&path, "/buck/a b/\xc3\xbc+~'(x)/c%", "/"));
        assert_string_equal(path.data, "/buck/a%20b/%C3%BC%2B~%27%28x%29/c%25");
        struct zp_sigv4_request request = {
                .method = "PUT",
                .host = "localhost:9000",
                .path = path.data,
                .query = "",
                .payload = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                .time = MIDNIGHT,
        };
        expect_end(&keys, &request,
                   "/eu-central-1/s3/aws4_request,"
                   "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"
                   "Signature=591e5757dab6adc69d02da57384c1410e5d6ce9dd799ebaa2eb15fca5a2c9a83");
        keys.session_token = NULL;
        struct zp_sigv4_parameter parameters[] = { { "prefix", "a b/\xc3\xbc&" },
                                                   { "list-type", "2" },
                                                   { "continuation-token", "1/abc+/=" } };
        assert_true(zp_sigv4_query(&query, parameters, 3));
        assert_string_equal(query.data, "continuation-token=1%2Fabc%2B%2F%3D&list-type=2&prefix=a%20b%2F%C3%BC%26");
        request = (struct zp_sigv4_request){
                .method = "GET",
                .host = "localhost:9000",
                .path = "/buck/",
                .query = query.data,
                .payload = EMPTY,
                .time = MIDNIGHT,
        };
        expect_end(&keys, &request, "Signature=16da6d458ed986af7fd8747698f78c283ebcbe4417457b39464de51fda62d5bc");
        free(path.data);
        free(query.data);
}

static void nothing_makes_no_query(void **state) {
        (void) state;
        struct zp_buffer query = { 0 };
        assert_true(zp_sigv4_query(&query, NULL, 0));
        assert_int_equal(query.size, 0);
        zp_buffer_clear(&query);
}

static void dates_are_utc(void **state) {
        (void) state;
        char date[ZP_SIGV4_DATE_SIZE];
        zp_sigv4_date(MIDNIGHT + 3661, date);
        assert_string_equal(date, "20130524T010101Z");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(signs_amazons_examples),
                cmocka_unit_test(signs_tokens_ports_and_unusual_characters_as_botocore_does),
                cmocka_unit_test(nothing_makes_no_query),
                cmocka_unit_test(dates_are_utc),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
