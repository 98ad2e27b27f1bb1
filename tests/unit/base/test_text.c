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

static void controls_are_replaced_but_for_those_kept(void **state) {
        (void) state;
        char line[] = "a\x1b[2J\tb\x7f\n\303\244", lines[] = "a\n\tb\r\0c\n";
        zp_replace_controls(line, strlen(line), "");
        assert_string_equal(line, "a?[2J?b??\303\244");
        zp_replace_controls(lines, sizeof lines - 1, "\n\t");
        assert_memory_equal(lines, "a\n\tb??c\n", sizeof lines);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ends_are_compared_to_the_last_character),
                cmocka_unit_test(controls_are_replaced_but_for_those_kept),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
