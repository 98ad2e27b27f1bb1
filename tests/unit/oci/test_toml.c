/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "oci/toml.h"

static void expect(const char *toml, const char *json) {
        json_t *parsed = NULL, *expected = json_loads(json, 0, NULL);
        struct zp_error err = { 0 };
        assert_non_null(expected);
        if (zp_toml_parse(toml, strlen(toml), "t", &parsed, &err) < 0)
                fail_msg("%s: %s", toml, err.message);
        assert_true(json_equal(parsed, expected));
        json_decref(parsed);
        json_decref(expected);
}

static void expect_error(const char *toml, const char *message) {
        json_t *parsed = NULL;
        struct zp_error err = { 0 };
        assert_int_equal(zp_toml_parse(toml, strlen(toml), "t", &parsed, &err), -EINVAL);
        assert_string_equal(err.message, message);
}

/* toml.io/en/v1.0.0 */
static void values_are_read(void **state) {
        (void) state;
        expect("", "{}");
        expect("# nothing\n\n \t# more", "{}");
        expect("a = \"b\"", "{\"a\": \"b\"}");
        expect("a='\\b'\nb=true\r\nc = false # no\n", "{\"a\": \"\\\\b\", \"b\": true, \"c\": false}");
        expect("\"a b\" = \"\"\n'c.d' = ''\n1-_x = \"y\"", "{\"a b\": \"\", \"c.d\": \"\", \"1-_x\": \"y\"}");
        expect("a = [ ]\nb = [\"x\", [true,],\n # c\n 'y' # d\n , ]", "{\"a\": [], \"b\": [\"x\", [true], \"y\"]}");
        expect("a = \"\\t\\\"\\\\\\u00e9\\U0001F600\"", "{\"a\": \"\\t\\\"\\\\\\u00e9\\ud83d\\ude00\"}");
        expect("a = \"\xc3\xa9\"", "{\"a\": \"\\u00e9\"}");
}

static void numbers_are_read(void **state) {
        (void) state;
        expect("a = 0\nb = -17\nc = +1_000\nd = 0xff\ne = 0o755\nf = 0b101",
               "{\"a\":0,\"b\":-17,\"c\":1000,\"d\":255,\"e\":493,\"f\":5}");
        expect("a = 1.5\nb = -2e3\nc = [1, 2]", "{\"a\":1.5,\"b\":-2000.0,\"c\":[1,2]}");
}

static void arrays_of_tables_and_inline_tables_are_read(void **state) {
        (void) state;
        expect("[[a.b]]\nx = 1\n[a.b.c]\ny = 2\n[[a.b]]\n[a.b.c]\ny = 3",
               "{\"a\":{\"b\":[{\"x\":1,\"c\":{\"y\":2}},{\"c\":{\"y\":3}}]}}");
        expect("a = { }\nb = { x = 1, 'y z' = [ { } ] } # c", "{\"a\":{},\"b\":{\"x\":1,\"y z\":[{}]}}");
}

static void tables_are_read_in_order(void **state) {
        (void) state;
        expect("x = 'r'\n[a]\nx='1'\n[ a . \"b.c\" ]\nx='2'\n[d]",
               "{\"x\":\"r\",\"a\":{\"x\":\"1\",\"b.c\":{\"x\":\"2\"}},\"d\":{}}");
        expect("[a.b]\n[a]\nx='1'", "{\"a\":{\"b\":{},\"x\":\"1\"}}");
        json_t *parsed;
        const char *toml = "[h.z]\n[h.a]\n[h.m]\n", *key, *order[] = { "z", "a", "m" };
        assert_int_equal(zp_toml_parse(toml, strlen(toml), "t", &parsed, NULL), 0);
        json_t *value;
        size_t i = 0;
        json_object_foreach(json_object_get(parsed, "h"), key, value) assert_string_equal(key, order[i++]);
        json_decref(parsed);
}

static void what_is_wrong_is_told_with_its_line(void **state) {
        (void) state;
        expect_error("a = \"b\"\nb", "t:2: = is expected behind a key");
        expect_error("\n\na = 'b", "t:3: a string does not end");
        expect_error("a = 'b' c", "t:1: something stands behind what should end here");
        expect_error("a = 'b'\na = 'c'", "t:2: this key is there twice");
        expect_error("[a]\n[b]\n[a]", "t:3: this table is there twice");
        expect_error("a = 'b'\n[a]", "t:2: what was a value cannot be a table");
        expect_error("[a]\n[a.b]\n[c]\n[a]", "t:4: this table is there twice");
        expect_error("[[a]]\n[a]", "t:2: this table is there twice");
        expect_error("[a]\n[[a]]", "t:2: what was something else cannot be an array of tables");
        expect_error("a = ['x']\n[[a]]", "t:2: what was something else cannot be an array of tables");
        expect_error("[[a]]\n[a.b]\n[a.b]", "t:3: this table is there twice");
        expect_error("[[a]", "t:1: the table's name does not end with ]");
        expect_error("a = 1_", "t:1: not a number");
        expect_error("a = 0x", "t:1: not a number");
        expect_error("a = 1979-05-27", "t:1: not a number");
        expect_error("a = -inf", "t:1: not a number");
        expect_error("a = 99999999999999999999x", "t:1: not a number");
        expect_error("a = { b = 1", "t:1: an inline table does not end");
        expect_error("a = { b = 1, b = 2 }", "t:1: this key is there twice");
        expect_error("a = \"\"\"x\"\"\"", "t:1: multi-line strings are not supported");
        expect_error("a.b = 'c'", "t:1: dotted keys are not supported: use a [table]");
        expect_error("a = [\n'x'\n'y']", "t:3: a comma is missing between two values, or the array does not end");
        expect_error("a = [", "t:1: a value is expected");
        expect_error("a = [[[[[[[[[['x']]]]]]]]]]", "t:1: arrays nested too deeply");
        expect_error("[a.b.c.d.e.f.g.h.i]", "t:1: tables nested too deeply");
        expect_error("[a", "t:1: the table's name does not end with ]");
        expect_error("[]", "t:1: a key is expected");
        expect_error("a = \"\\x\"", "t:1: an escape that is not known here");
        expect_error("a = \"\\u00\"", "t:1: \\u and \\U want four and eight hexadecimal digits");
        expect_error("a = \"\\u0000\"", "t:1: an escape that stands for no character of a text");
        expect_error("a = \"\\ud800\"", "t:1: an escape that stands for no character of a text");
        expect_error("a = \"\x01\"", "t:1: a control character in a string");
        expect_error("a = \"\xff\"", "t:1: a string is not UTF-8");
        expect_error("# \x01", "t:1: a control character in a comment");
        expect_error("a = truely", "t:1: something stands behind what should end here");
        expect_error("= 'x'", "t:1: a key is expected");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_are_read),
                cmocka_unit_test(numbers_are_read),
                cmocka_unit_test(arrays_of_tables_and_inline_tables_are_read),
                cmocka_unit_test(tables_are_read_in_order),
                cmocka_unit_test(what_is_wrong_is_told_with_its_line),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
