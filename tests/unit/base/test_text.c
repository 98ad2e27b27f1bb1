/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"

static void ends_are_compared_to_the_last_character(void **state) {
        (void) state;
        assert_true(zp_ends_with("libc.so", ".so"));
        assert_true(zp_ends_with(".so", ".so"));
        assert_true(zp_ends_with("a", ""));
        assert_true(zp_ends_with("", ""));
        assert_false(zp_ends_with("libc.so.6", ".so"));
        assert_false(zp_ends_with("libc.SO", ".so"));
        assert_false(zp_ends_with("so", ".so"));
        assert_false(zp_ends_with("", ".so"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ends_are_compared_to_the_last_character),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
