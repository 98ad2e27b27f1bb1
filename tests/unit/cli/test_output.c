/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cli/output.h"

static void escapes_to(const char *text, size_t size, const char *wanted) {
        char *got = NULL;
        size_t got_size;
        FILE *out = open_memstream(&got, &got_size);
        assert_non_null(out);
        cli_print_escaped(out, text, size);
        fclose(out);
        assert_string_equal(got, wanted);
        free(got);
}

static void ordinary_names_stay_as_they_are(void **state) {
        (void) state;
        escapes_to("usr/share/a b-ü€😀", strlen("usr/share/a b-ü€😀"), "usr/share/a b-ü€😀");
        escapes_to("", 0, "");
}

static void no_control_character_reaches_the_terminal(void **state) {
        (void) state;
        escapes_to("a\033[31mb", 7, "a\\033[31mb");
        escapes_to("\n\t\r\\\177", 5, "\\n\\t\\r\\\\\\177");
        escapes_to("\0", 1, "\\000");
        escapes_to("\xc2\x9b"
                   "0m",
                   4, "\\302\\2330m"); /* U+009B, a CSI in one character */
        escapes_to("\xe2\x80\xae"
                   "txt",
                   6, "\\342\\200\\256txt"); /* U+202E turns the direction */
}

/* RFC 3629: what is not UTF-8, including overlong forms and surrogates. */
static void invalid_utf8_is_escaped_byte_by_byte(void **state) {
        (void) state;
        escapes_to("\xff", 1, "\\377");
        escapes_to("\xc0\x80", 2, "\\300\\200");
        escapes_to("\xe0\x80\x80", 3, "\\340\\200\\200");
        escapes_to("\xed\xa0\x80", 3, "\\355\\240\\200");
        escapes_to("\xf4\x90\x80\x80", 4, "\\364\\220\\200\\200");
        escapes_to("\xe2\x82", 2, "\\342\\202"); /* cut short */
        escapes_to("\xe2"
                   "ab",
                   3, "\\342ab");
}

static void sizes_are_short_and_never_round_to_a_thousand(void **state) {
        (void) state;
        char text[CLI_SIZE_TEXT];
        assert_string_equal(cli_size_text(0, text), "0 B");
        assert_string_equal(cli_size_text(999, text), "999 B");
        assert_string_equal(cli_size_text(1000, text), "1.0 kB");
        assert_string_equal(cli_size_text(27300000, text), "27.3 MB");
        assert_string_equal(cli_size_text(999949999, text), "999.9 MB");
        assert_string_equal(cli_size_text(999950000, text), "1.0 GB");
        assert_string_equal(cli_size_text(UINT64_MAX, text), "18.4 EB");
}

static void ages_are_told_in_the_largest_unit(void **state) {
        (void) state;
        char text[CLI_AGE_TEXT];
        assert_string_equal(cli_age_text(100, 100, text), "just now");
        assert_string_equal(cli_age_text(200, 100, text), "just now"); /* a clock that was set back */
        assert_string_equal(cli_age_text(0, 60, text), "1 minute ago");
        assert_string_equal(cli_age_text(0, 7199, text), "1 hour ago");
        assert_string_equal(cli_age_text(0, 3 * 86400, text), "3 days ago");
        assert_string_equal(cli_age_text(0, 800 * 86400, text), "2 years ago");
}

static void times_are_iso_8601(void **state) {
        (void) state;
        char text[CLI_TIME_TEXT];
        assert_string_equal(cli_time_text(0, text), "1970-01-01T00:00:00Z");
        assert_string_equal(cli_time_text(1700000000, text), "2023-11-14T22:13:20Z");
        assert_string_equal(cli_time_text(INT64_MAX, text), "@9223372036854775807");
}

static void json_text_of_any_bytes_is_valid(void **state) {
        (void) state;
        json_t *text = cli_json_text("a\xff"
                                     "b",
                                     3);
        assert_string_equal(json_string_value(text), "a\xef\xbf\xbd"
                                                     "b");
        json_decref(text);
        text = cli_json_text("plain", 5);
        assert_string_equal(json_string_value(text), "plain");
        json_decref(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ordinary_names_stay_as_they_are),
                cmocka_unit_test(no_control_character_reaches_the_terminal),
                cmocka_unit_test(invalid_utf8_is_escaped_byte_by_byte),
                cmocka_unit_test(sizes_are_short_and_never_round_to_a_thousand),
                cmocka_unit_test(ages_are_told_in_the_largest_unit),
                cmocka_unit_test(times_are_iso_8601),
                cmocka_unit_test(json_text_of_any_bytes_is_valid),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
