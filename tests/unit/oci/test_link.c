/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "oci/link.h"

static void expect_next(const char *header, const char *expected) {
        char *out;
        assert_int_equal(zp_link_next(header, &out, NULL), 0);
        if (expected)
                assert_string_equal(out, expected);
        else
                assert_null(out);
        free(out);
}

/* Forms of RFC 8288, 3.5, and of distribution-spec 1.1. */
static void next_page_is_found_among_links(void **state) {
        (void) state;
        expect_next(NULL, NULL);
        expect_next("", NULL);
        expect_next("</v2/a/referrers/d?n=10&last=x>; rel=\"next\"", "/v2/a/referrers/d?n=10&last=x");
        expect_next("<https://h/x>;rel=next", "https://h/x");
        expect_next("<a>; rel=\"previous\"; title=\"a, b; rel=next\"", NULL);
        expect_next("<a>; rel=\"previous\", <b,c>; title=\"x\"; rel=\"next\"", "b,c");
        expect_next("<a>; REL=\"start NEXT\"", "a");
        expect_next("<a>; rel=\"nextish\", , <b>; crossorigin ; rel=next", "b");
        expect_next("<>; rel=next", "");
}

static void malformed_links_are_refused(void **state) {
        (void) state;
        char *out;
        const char *const wrong[] = { "x", "<a", "<a> b", "<b>; rel=prev x" };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                assert_int_equal(zp_link_next(wrong[i], &out, NULL), -EBADMSG);
                assert_null(out);
        }
}

static void unfinished_parameters_end(void **state) {
        (void) state;
        expect_next("<a>; rel=\"next", "a");
        expect_next("<a>;", NULL);
        expect_next("<a>; rel", NULL);
        expect_next("<a>; rel=", NULL);
        expect_next("<a>;;;=;=", NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(next_page_is_found_among_links),
                cmocka_unit_test(malformed_links_are_refused),
                cmocka_unit_test(unfinished_parameters_end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
