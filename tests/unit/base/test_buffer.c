/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

static void bytes_are_kept_in_order_and_end_in_nul(void **state) {
        zp_autobuffer struct zp_buffer buffer = { 0 };
        (void) state;
        for (int i = 0; i < 1000; i++)
                assert_true(zp_buffer_append(&buffer, "a\0b", 3));
        assert_int_equal(buffer.size, 3000);
        for (int i = 0; i < 1000; i++)
                assert_memory_equal(buffer.data + 3 * i, "a\0b", 3);
        assert_int_equal(buffer.data[3000], '\0');
        assert_true(zp_buffer_text(&buffer, "end"));
        assert_string_equal(buffer.data + 3000, "end");
}

static void appending_nothing_gives_an_empty_string(void **state) {
        zp_autobuffer struct zp_buffer buffer = { 0 };
        (void) state;
        assert_true(zp_buffer_append(&buffer, NULL, 0));
        assert_string_equal(buffer.data, "");
        assert_int_equal(buffer.size, 0);
}

static void a_size_that_overflows_is_refused_and_changes_nothing(void **state) {
        zp_autobuffer struct zp_buffer buffer = { 0 };
        (void) state;
        assert_true(zp_buffer_text(&buffer, "kept"));
        assert_false(zp_buffer_append(&buffer, "x", SIZE_MAX));
        assert_false(zp_buffer_append(&buffer, "x", SIZE_MAX - 4));
        assert_false(zp_buffer_append(&buffer, "x", SIZE_MAX / 2 + 2));
        assert_string_equal(buffer.data, "kept");
        assert_int_equal(buffer.size, 4);
}

static void formatted_text_has_any_length(void **state) {
        char *text = zp_format("%s %0*d", "x", 5000, 7);
        (void) state;
        assert_int_equal(strlen(text), 5002);
        free(text);
}

static void memory_is_read_like_a_file(void **state) {
        (void) state;
        char out[4] = "";
        assert_int_equal(zp_memory_read((void *) "0123456789", 7, out, 3, NULL), 0);
        assert_string_equal(out, "789");
        assert_int_equal(zp_memory_read((void *) "0123456789", 0, out, 2, NULL), 0);
        assert_string_equal(out, "019");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(bytes_are_kept_in_order_and_end_in_nul),
                cmocka_unit_test(appending_nothing_gives_an_empty_string),
                cmocka_unit_test(a_size_that_overflows_is_refused_and_changes_nothing),
                cmocka_unit_test(formatted_text_has_any_length),
                cmocka_unit_test(memory_is_read_like_a_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
