/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "oci/http-internal.h"

static void field(struct zp_http_response *response, const char *line) {
        assert_true(zp_http_read_field(response, line, strlen(line)));
}

static void fields_are_read_whatever_their_case_and_spaces(void **state) {
        (void) state;
        struct zp_http_response response = { 0 };
        zp_http_read_status_line(&response, "HTTP/1.1 202 Accepted\r\n", 23);
        field(&response, "LOCATION:  /v2/a/blobs/uploads/1?x=y \t\r\n");
        field(&response, "Range: 0-16777215\r\n");
        field(&response, "OCI-Chunk-Min-Length:5242880\r\n");
        field(&response, "oci-subject: sha256:00\r\n");
        field(&response, "ETag: \"sha256:11\"\n");
        field(&response, "Unheard-Of: x\r\n");
        field(&response, "nonsense\r\n");
        assert_int_equal(response.status, 202);
        assert_string_equal(response.location, "/v2/a/blobs/uploads/1?x=y");
        assert_string_equal(response.range, "0-16777215");
        assert_string_equal(response.oci_chunk_min_length, "5242880");
        assert_string_equal(response.oci_subject, "sha256:00");
        assert_string_equal(response.etag, "\"sha256:11\"");
        assert_null(response.retry_after);
        zp_http_response_clear(&response);
}

static void lists_are_joined_and_single_values_replaced(void **state) {
        (void) state;
        struct zp_http_response response = { 0 };
        field(&response, "Link: <a>; rel=prev\r\n");
        field(&response, "link: <b>; rel=next\r\n");
        field(&response, "Location: a\r\n");
        field(&response, "Location: b\r\n");
        assert_string_equal(response.links.data, "<a>; rel=prev, <b>; rel=next");
        assert_string_equal(response.location, "b");
        zp_http_response_clear(&response);
}

static void status_line_forgets_an_earlier_response(void **state) {
        (void) state;
        struct zp_http_response response = { 0 };
        zp_http_read_status_line(&response, "HTTP/1.1 307 x\r\n", 16);
        field(&response, "Location: a\r\n");
        zp_http_read_status_line(&response, "HTTP/2 99999999999999\r\n", 23);
        assert_null(response.location);
        assert_true(response.status >= 1000);
        zp_http_read_status_line(&response, "HTTP/2", 6);
        assert_int_equal(response.status, 0);
        zp_http_response_clear(&response);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fields_are_read_whatever_their_case_and_spaces),
                cmocka_unit_test(lists_are_joined_and_single_values_replaced),
                cmocka_unit_test(status_line_forgets_an_earlier_response),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
