/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "oci/fetch.h"
#include "oci/response-error.h"

static char told[200];

static void tell(void *context, const char *text) {
        (void) context;
        snprintf(told, sizeof told, "%s", text);
}

static bool waits(struct zp_retry *retry, const struct zp_http_request *request, const char *retry_after) {
        struct zp_http *http;
        const struct zp_http_options options = { .notice = { .tell = tell } };
        struct zp_http_response response = { .status = 503, .retry_after = (char *) retry_after };
        struct zp_error reason = { 0 };
        told[0] = '\0';
        zp_response_error(&response, "example", &reason);
        assert_int_equal(zp_http_new(&options, &http, NULL), 0);
        bool result = zp_retry_wait(retry, http, request, &response, "example", &reason);
        zp_http_free(http);
        return result;
}

static void what_is_waited_for_is_told(void **state) {
        (void) state;
        struct zp_retry retry = { .failures = 1, .total = 1 };
        assert_true(waits(&retry, &(struct zp_http_request){ 0 }, "1"));
        assert_string_equal(told, "example: the server answered 503 and asks to wait 1 s; trying again (3 of 5)");
}

static void fifth_attempt_is_the_last(void **state) {
        (void) state;
        struct zp_retry retry = { .failures = 4, .total = 4 };
        assert_false(waits(&retry, &(struct zp_http_request){ 0 }, NULL));
        assert_string_equal(told, "");
}

static void more_than_a_minute_is_not_waited_for(void **state) {
        static const char *const values[] = { "61", "100000", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT" };
        (void) state;
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
                assert_false(waits(&(struct zp_retry){ 0 }, &(struct zp_http_request){ 0 }, values[i]));
}

static void no_attempt_begins_after_the_latest_moment(void **state) {
        (void) state;
        uint64_t now_ms = zp_retry_latest_ms() - 61000;
        assert_false(waits(&(struct zp_retry){ .latest_ms = now_ms }, &(struct zp_http_request){ 0 }, NULL));
        assert_false(waits(&(struct zp_retry){ .latest_ms = now_ms + 20000 }, &(struct zp_http_request){ 0 }, "30"));
        assert_true(waits(&(struct zp_retry){ .latest_ms = now_ms + 20000 }, &(struct zp_http_request){ 0 }, NULL));
}

static void cancelled_request_is_not_tried_again(void **state) {
        (void) state;
        struct zp_cancel cancel = { 0 };
        atomic_store(&cancel.requested, true);
        assert_false(waits(&(struct zp_retry){ 0 }, &(struct zp_http_request){ .cancel = &cancel }, "50"));
        assert_string_equal(told, "");
}

static void what_would_be_cancelled_by_then_is_not_waited_for(void **state) {
        (void) state;
        uint64_t now_ms = zp_retry_latest_ms() - 61000;
        struct zp_cancel outer = { .until_ms = now_ms + 20000 }, cancel = { .parent = &outer };
        const struct zp_http_request request = { .cancel = &cancel };
        assert_false(waits(&(struct zp_retry){ 0 }, &request, "30"));
        assert_string_equal(told, "");
        assert_true(waits(&(struct zp_retry){ 0 }, &request, NULL));
}

static void time_asked_for_is_read(void **state) {
        static const struct {
                const char *text;
                unsigned seconds;
        } cases[] = {
                { NULL, 0 },
                { "0", 0 },
                { "7", 7 },
                { "-7", 0 },
                { "", 0 },
                { "x", 0 },
                { "4294967296", UINT32_MAX },
                { "Thu, 01 Jan 1970 00:00:01 GMT", 0 },
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_http_response response = { .retry_after = (char *) cases[i].text };
                assert_int_equal(zp_http_retry_after_s(&response), cases[i].seconds);
        }
        char date[64];
        time_t then = time(NULL) + 600;
        struct tm tm;
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&then, &tm));
        unsigned seconds = zp_http_retry_after_s(&(struct zp_http_response){ .retry_after = date });
        assert_in_range(seconds, 500, 600);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_waited_for_is_told),
                cmocka_unit_test(fifth_attempt_is_the_last),
                cmocka_unit_test(more_than_a_minute_is_not_waited_for),
                cmocka_unit_test(no_attempt_begins_after_the_latest_moment),
                cmocka_unit_test(cancelled_request_is_not_tried_again),
                cmocka_unit_test(what_would_be_cancelled_by_then_is_not_waited_for),
                cmocka_unit_test(time_asked_for_is_read),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
