/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "remote/s3-internal.h"

static const struct zp_s3_place place = { .bucket = "acme", .region = "us-east-1", .access_key = "AKIA" };

static int explain(int status, const char *body, struct zp_error *err) {
        struct zp_http_response response = { .status = status };
        struct zp_s3_failure failure;
        assert_true(zp_buffer_text(&response.body, body));
        zp_s3_failure_parse(&response, &failure);
        zp_http_response_clear(&response);
        *err = (struct zp_error){ 0 };
        return zp_s3_failure_error(&failure, status, &place, err);
}

static void an_error_says_what_the_server_said(void **state) {
        (void) state;
        struct zp_error err;
        assert_int_equal(explain(403,
                                 "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access &lt;Denied&gt;"
                                 "</Message></Error>",
                                 &err),
                         -EACCES);
        assert_string_equal(err.message, "the server answered 403 (AccessDenied: Access <Denied>)");
        assert_non_null(strstr(err.hint, "s3:PutObject"));
        assert_int_equal(explain(404, "<Error><Code>NoSuchBucket</Code></Error>", &err), -ENOENT);
        assert_non_null(strstr(err.hint, "'acme'"));
        assert_int_equal(explain(404, "<Error><Code>NoSuchUpload</Code></Error>", &err), -ESTALE);
        assert_int_equal(explain(503, "<Error><Code>SlowDown</Code></Error>", &err), -EBUSY);
        assert_int_equal(explain(500, "nonsense", &err), -EIO);
        assert_string_equal(err.message, "the server answered 500");
}

static void wrong_clocks_and_regions_are_told(void **state) {
        (void) state;
        struct zp_error err;
        assert_int_equal(
                explain(403,
                        "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message>"
                        "<ServerTime>2026-01-02T03:04:05Z</ServerTime></Error>",
                        &err),
                -EACCES);
        assert_non_null(strstr(err.hint, "clock"));
        assert_non_null(strstr(err.hint, "2026-01-02T03:04:05Z"));
        assert_int_equal(explain(400,
                                 "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
                                 &err),
                         -EACCES);
        assert_string_equal(err.hint, "set AWS_REGION=eu-west-1");
        assert_int_equal(explain(403, "<Error><Code>ExpiredToken</Code></Error>", &err), -EACCES);
        assert_non_null(strstr(err.hint, "temporary credentials"));
        assert_int_equal(explain(301, "", &err), -EIO);
        assert_non_null(strstr(err.hint, "AWS_REGION"));
}

static bool may_retry(int status, const char *body) {
        struct zp_http_response response = { .status = status };
        assert_true(zp_buffer_text(&response.body, body));
        bool may = zp_s3_may_retry(&response);
        zp_http_response_clear(&response);
        return may;
}

static void only_what_may_pass_is_tried_again(void **state) {
        (void) state;
        assert_true(may_retry(503, ""));
        assert_true(may_retry(500, ""));
        assert_true(may_retry(400, "<Error><Code>RequestTimeout</Code></Error>"));
        assert_true(may_retry(200, "<Error><Code>InternalError</Code></Error>"));
        assert_true(may_retry(400, "<Error><Code>XAmzContentSHA256Mismatch</Code></Error>"));
        assert_false(may_retry(400, "<Error><Code>InvalidArgument</Code></Error>"));
        assert_false(may_retry(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"));
        assert_false(may_retry(404, ""));
        assert_false(may_retry(200, ""));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_error_says_what_the_server_said),
                cmocka_unit_test(wrong_clocks_and_regions_are_told),
                cmocka_unit_test(only_what_may_pass_is_tried_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
