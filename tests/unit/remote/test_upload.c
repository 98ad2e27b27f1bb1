/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "remote/registry-internal.h"

static void expect_received(const char *text, uint64_t expected) {
        uint64_t received = 77;
        assert_true(zp_upload_parse_range(text, &received));
        assert_int_equal(received, expected);
}

/* distribution-spec 1.1: "0-<end-of-range>", inclusive; "bytes=" is what some registries add. */
static void range_of_an_upload_says_how_much_has_arrived(void **state) {
        (void) state;
        expect_received("0-1023", 1024);
        expect_received("0-1", 2);
        expect_received("bytes=0-1023", 1024);
        expect_received("0-9223372036854775807", UINT64_C(1) << 63);
        expect_received("0-0", 0);
}

static void range_that_makes_no_sense_is_refused(void **state) {
        (void) state;
        uint64_t received;
        const char *const wrong[] = { "",
                                      "0",
                                      "0-",
                                      "-5",
                                      "1-5",
                                      "0--1",
                                      "0-5 ",
                                      "0-5/6",
                                      "0- 5",
                                      "0-0x10",
                                      "bytes 0-5",
                                      "bytes=0",
                                      "0-+5",
                                      "x",
                                      "0-9223372036854775808",
                                      "0-18446744073709551616" };
        assert_false(zp_upload_parse_range(NULL, &received));
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_false(zp_upload_parse_range(wrong[i], &received));
}

static void expect_location(const char *base, const char *location, const char *expected) {
        char *out = NULL;
        assert_int_equal(zp_upload_resolve(base, location, &out, NULL), expected ? 0 : -EPROTO);
        if (expected)
                assert_string_equal(out, expected);
        free(out);
}

static void upload_never_leaves_https(void **state) {
        (void) state;
        expect_location("https://h:5000/v2/", "http://h:5000/u?x", "https://h:5000/u?x");
        expect_location("https://h/v2/", "HTTP://H/u", "https://H/u");
        expect_location("https://h/v2/", "/u", "https://h/u");
        expect_location("https://h/v2/", "https://other/u", "https://other/u");
        expect_location("https://h/v2/", "http://other/u", NULL);
        expect_location("https://h/v2/", "http://h.other/u", NULL);
        expect_location("https://h/v2/", "http://h:80/u", NULL);
        expect_location("http://h/v2/", "http://h/u", "http://h/u");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(range_of_an_upload_says_how_much_has_arrived),
                cmocka_unit_test(range_that_makes_no_sense_is_refused),
                cmocka_unit_test(upload_never_leaves_https),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
