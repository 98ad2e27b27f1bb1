/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors: one harmless line, the cause kept, the innermost hint kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void failure_returns_its_negative_code(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        assert_int_equal(zp_error_set(&err, ENOENT, "file '%s'", "x"), -ENOENT);
        assert_int_equal(err.code, ENOENT);
        assert_string_equal(err.message, "file 'x'");
        assert_int_equal(zp_error_errno(&err, ENOSPC, "write '%s'", "y"), -ENOSPC);
        assert_string_equal(err.message, "write 'y': No space left on device");
}

static void caller_adds_context_in_front_of_the_cause(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        zp_error_set(&err, EBADMSG, "entry 'x': bad");
        zp_error_hint(&err, "look");
        assert_int_equal(zp_error_wrap(&err, "layer %d", 4), -EBADMSG);
        assert_string_equal(err.message, "layer 4: entry 'x': bad");
        assert_string_equal(err.hint, "look");
}

static void innermost_hint_stays(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        zp_error_set(&err, EIO, "x");
        zp_error_hint(&err, "first");
        zp_error_hint(&err, "second");
        assert_string_equal(err.hint, "first");
}

static void new_failure_forgets_the_old_hint(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        zp_error_set(&err, EIO, "x");
        zp_error_hint(&err, "old");
        zp_error_set(&err, EINVAL, "y");
        assert_string_equal(err.hint, "");
        zp_error_clear(&err);
        assert_int_equal(err.code, 0);
        assert_string_equal(err.message, "");
}

static void control_characters_become_question_marks(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        zp_error_set(&err, EINVAL, "name '%s'", "a\nb\x1b[31m\x7f\tc");
        assert_string_equal(err.message, "name 'a?b?[31m??c'");
        zp_error_wrap(&err, "in '%s'", "\r");
        assert_string_equal(err.message, "in '?': name 'a?b?[31m??c'");
        zp_error_hint(&err, "try '%s'", "\a");
        assert_string_equal(err.hint, "try '?'");
        zp_error_set(&err, EINVAL, "%s", "\xc3\xa4"); /* UTF-8 stays */
        assert_string_equal(err.message, "\xc3\xa4");
}

static void what_was_cut_in_a_character_is_text(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        char text[3000] = "";
        for (int i = 0; i < 900; i++)
                strcat(text, "\xe2\x82\xac"); /* three bytes each */
        zp_error_set(&err, EIO, "%.4s", text);
        assert_string_equal(err.message, "\xe2\x82\xac?");
        zp_error_hint(&err, "%.2s", text);
        assert_string_equal(err.hint, "??");
        zp_error_wrap(&err, "ab%.4s", text);
        assert_string_equal(err.message, "ab\xe2\x82\xac?: \xe2\x82\xac?");
        zp_error_set(&err, EIO, "a%s", text);
        assert_int_equal(strlen(err.message), ZP_ERROR_MESSAGE_MAX - 1);
        assert_string_equal(err.message + ZP_ERROR_MESSAGE_MAX - 6, "\xe2\x82\xac??");
        zp_error_errno(&err, EIO, "\xff");
        assert_string_equal(err.message, "?: Input/output error");
}

static void long_messages_are_cut_not_overrun(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        char text[3000];
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        zp_error_errno(&err, EIO, "%s", text);
        assert_int_equal(strlen(err.message), ZP_ERROR_MESSAGE_MAX - 1);
        zp_error_wrap(&err, "%s", text);
        assert_int_equal(strlen(err.message), ZP_ERROR_MESSAGE_MAX - 1);
        zp_error_hint(&err, "%s", text);
        assert_int_equal(strlen(err.hint), ZP_ERROR_HINT_MAX - 1);
}

static void nobody_has_to_listen(void **state) {
        (void) state;
        assert_int_equal(zp_error_set(NULL, EPERM, "x"), -EPERM);
        assert_int_equal(zp_error_errno(NULL, EPERM, "x"), -EPERM);
        assert_true(zp_error_wrap(NULL, "x") < 0);
        zp_error_hint(NULL, "x");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(failure_returns_its_negative_code),
                cmocka_unit_test(caller_adds_context_in_front_of_the_cause),
                cmocka_unit_test(innermost_hint_stays),
                cmocka_unit_test(new_failure_forgets_the_old_hint),
                cmocka_unit_test(control_characters_become_question_marks),
                cmocka_unit_test(what_was_cut_in_a_character_is_text),
                cmocka_unit_test(long_messages_are_cut_not_overrun),
                cmocka_unit_test(nobody_has_to_listen),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
