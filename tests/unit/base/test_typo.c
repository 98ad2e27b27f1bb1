/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/typo.h"

static unsigned distance(const char *a, const char *b) {
        return zp_typo_distance(a, strlen(a), b, strlen(b));
}

static void what_was_put_in_left_out_or_replaced_is_counted(void **state) {
        (void) state;
        assert_int_equal(distance("", ""), 0);
        assert_int_equal(distance("", "abc"), 3);
        assert_int_equal(distance("build", "build"), 0);
        assert_int_equal(distance("biuld", "build"), 2);
        assert_int_equal(distance("buld", "build"), 1);
        assert_int_equal(distance("kitten", "sitting"), 3);
        assert_int_equal(distance("sitting", "kitten"), 3);
}

static void long_words_are_no_typos(void **state) {
        char word[ZP_TYPO_SIZE_MAX + 2];
        (void) state;
        memset(word, 'a', sizeof word);
        assert_int_equal(zp_typo_distance(word, ZP_TYPO_SIZE_MAX, word, ZP_TYPO_SIZE_MAX), 0);
        assert_int_equal(zp_typo_distance(word, ZP_TYPO_SIZE_MAX + 1, "a", 1), UINT_MAX);
        assert_int_equal(zp_typo_distance("a", 1, word, ZP_TYPO_SIZE_MAX + 1), UINT_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_put_in_left_out_or_replaced_is_counted),
                cmocka_unit_test(long_words_are_no_typos),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
