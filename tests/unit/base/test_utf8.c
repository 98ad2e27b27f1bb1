/* SPDX-License-Identifier: Apache-2.0
 *
 * What is UTF-8, and what becomes of what is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static const char good[] = "a\x7f\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xef\xbf\xbf \xf0\x90\x80\x80 "
                           "\xf4\x8f\xbf\xbf";

static void assert_mended(const char *text, const char *wanted) {
        char *copy = strdup(text);
        zp_utf8_mend(copy);
        assert_string_equal(copy, wanted);
        assert_true(zp_is_utf8(copy, strlen(copy)));
        free(copy);
}

static void characters_stay(void **state) {
        (void) state;
        assert_true(zp_is_utf8("", 0));
        assert_true(zp_is_utf8(good, strlen(good)));
        assert_false(zp_is_utf8("a\0b", 3));
        assert_mended("", "");
        assert_mended(good, good);
}

static void other_bytes_become_question_marks(void **state) {
        (void) state;
        static const char *const bad[][2] = {
                { "\x80", "?" },
                { "\xc0\x80", "??" },
                { "\xe0\x9f\xbf", "???" },
                { "\xed\xa0\x80", "???" },
                { "\xf4\x90\x80\x80", "????" },
                { "x\xe2\x82", "x??" }, /* a character of three bytes, cut */
                { "\xe2\x82z\xe2\x82\xac", "??z\xe2\x82\xac" },
                { "a\xff\xc3", "a??" },
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                assert_false(zp_is_utf8(bad[i][0], strlen(bad[i][0])));
                assert_mended(bad[i][0], bad[i][1]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(characters_stay),
                cmocka_unit_test(other_bytes_become_question_marks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
