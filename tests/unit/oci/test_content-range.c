/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "oci/content-range.h"

static void expect(const char *text, uint64_t start, uint64_t end, uint64_t total) {
        struct zp_content_range range;
        assert_true(zp_content_range_parse(text, &range));
        assert_int_equal(range.start, start);
        assert_int_equal(range.end, end);
        assert_int_equal(range.total, total);
}

/* RFC 9110, 14.4; a unit's case does not matter. */
static void range_says_which_bytes_have_come(void **state) {
        (void) state;
        expect("bytes 0-1023/146515", 0, 1024, 146515);
        expect("bytes 42-1233/1234", 42, 1234, 1234);
        expect("bytes 42-1233/*", 42, 1234, 0);
        expect("Bytes 0-0/1", 0, 1, 1);
        expect("bytes 9223372036854775807-9223372036854775807/*", INT64_MAX, UINT64_C(1) << 63, 0);
}

static void range_that_makes_no_sense_is_refused(void **state) {
        (void) state;
        const char *const wrong[] = {
                "",
                "bytes",
                "bytes ",
                "bytes */100",
                "bytes 0-5",
                "bytes 0-5/",
                "bytes -5/10",
                "bytes 5-4/10",
                "bytes 0-10/10",
                "bytes 0-5/10 ",
                "bytes 0 -5/10",
                "bytes  0-5/10",
                "bytes 0-5/0x10",
                "bytes +0-5/10",
                "bytes 0-5/**",
                "items 0-5/10",
                "bytes=0-5/10",
                "bytes 0-9223372036854775808/*",
                "bytes 0-5/99999999999999999999999",
        };
        struct zp_content_range range;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_false(zp_content_range_parse(wrong[i], &range));
        assert_false(zp_content_range_parse(NULL, &range));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(range_says_which_bytes_have_come),
                cmocka_unit_test(range_that_makes_no_sense_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
