/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: RFC 4648, section 10; RFC 7515, appendix C.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/error.h"

static void expect(enum zp_base64 form, const char *text, const char *bytes, size_t size) {
        zp_autofree uint8_t *out = NULL;
        size_t out_size;
        if (zp_base64_decode(form, text, strlen(text), &out, &out_size) != 0)
                fail_msg("'%s' was refused", text);
        assert_int_equal(out_size, size);
        assert_memory_equal(out, bytes, size);
        assert_int_equal(out[size], 0);
}

static void the_rfcs_examples_are_decoded(void **state) {
        (void) state;
        static const struct {
                const char *padded, *bare, *bytes;
        } vectors[] = {
                { "", "", "" },
                { "Zg==", "Zg", "f" },
                { "Zm8=", "Zm8", "fo" },
                { "Zm9v", "Zm9v", "foo" },
                { "Zm9vYg==", "Zm9vYg", "foob" },
                { "Zm9vYmE=", "Zm9vYmE", "fooba" },
                { "Zm9vYmFy", "Zm9vYmFy", "foobar" },
        };
        for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
                expect(ZP_BASE64, vectors[i].padded, vectors[i].bytes, strlen(vectors[i].bytes));
                expect(ZP_BASE64_URL, vectors[i].bare, vectors[i].bytes, strlen(vectors[i].bytes));
        }
        expect(ZP_BASE64_URL, "A-z_4ME", "\x03\xec\xff\xe0\xc1", 5);
        expect(ZP_BASE64, "A+z/4ME=", "\x03\xec\xff\xe0\xc1", 5);
}

static void refuse(enum zp_base64 form, const char *text) {
        uint8_t *out;
        size_t size;
        if (zp_base64_decode(form, text, strlen(text), &out, &size) != -EBADMSG)
                fail_msg("'%s' was not refused", text);
}

static void there_is_one_way_to_write_each_run_of_bytes(void **state) {
        (void) state;
        static const char *const padded[] = { "Z",    "Zg",   "Zg=",    "Zh==", "Zm9=",     "Z===",  "====",    "=",
                                              "Zg= ", " Zg=", "Zg==\n", "A-z_", "Zg==Zg==", "Zm9v=", "Zm9v====" };
        static const char *const bare[] = { "Z", "Zh", "Zm9", "Zg==", "A+z/", "Zm9v\n", "Zm9vZ", "Zg " };
        for (size_t i = 0; i < sizeof padded / sizeof *padded; i++)
                refuse(ZP_BASE64, padded[i]);
        for (size_t i = 0; i < sizeof bare / sizeof *bare; i++)
                refuse(ZP_BASE64_URL, bare[i]);
}

static void lines_may_be_broken_anywhere_where_it_is_said_so(void **state) {
        (void) state;
        expect(ZP_BASE64_WRAPPED, " Zm9v\r\n\tYg= =\n", "foob", 4);
        expect(ZP_BASE64_WRAPPED, "Zm9v", "foo", 3);
        expect(ZP_BASE64_WRAPPED, "\n", "", 0);
        refuse(ZP_BASE64_WRAPPED, "Zm9v\nYg=");
        refuse(ZP_BASE64_WRAPPED, "Zm9v\vYmFy");
        uint8_t *out;
        size_t size;
        assert_int_equal(zp_base64_decode(ZP_BASE64_WRAPPED, "Zm9\0v", 5, &out, &size), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_rfcs_examples_are_decoded),
                cmocka_unit_test(there_is_one_way_to_write_each_run_of_bytes),
                cmocka_unit_test(lines_may_be_broken_anywhere_where_it_is_said_so),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
