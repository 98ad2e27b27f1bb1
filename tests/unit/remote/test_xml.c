/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "remote/xml.h"

static int collect(void *context, const char *path, const char *text, struct zp_error *err) {
        struct zp_buffer *seen = context;
        (void) err;
        return zp_buffer_text(seen, path) && zp_buffer_text(seen, "=") && zp_buffer_text(seen, text) &&
                               zp_buffer_text(seen, "\n")
                       ? 0
                       : -ENOMEM;
}

static int parse(const char *xml, struct zp_buffer *seen) {
        struct zp_error err = { 0 };
        int r = zp_xml_parse(xml, strlen(xml), collect, seen, &err);
        assert_int_equal(r, -err.code);
        return r;
}

static void elements_come_with_their_path_and_text(void **state) {
        (void) state;
        struct zp_buffer seen = { 0 };
        assert_int_equal(
                parse("<?xml version=\"1.0\"?>\n<a xmlns='http://x/'><b>1 &amp; 2</b><c><d/>x</c><b>\xc3\xbc&#65;"
                      "<![CDATA[<]]></b></a>\n",
                      &seen),
                0);
        assert_string_equal(seen.data, "/a/b=1 & 2\n/a/c/d=\n/a/c=x\n/a/b=\xc3\xbc"
                                       "A<\n/a=\n");
        zp_buffer_clear(&seen);
}

static void white_space_before_the_document_is_no_error(void **state) {
        (void) state;
        struct zp_buffer seen = { 0 };
        assert_int_equal(parse(" \r\n <?xml version=\"1.0\"?><a/>", &seen), 0);
        assert_string_equal(seen.data, "/a=\n");
        zp_buffer_clear(&seen);
}

static int refuse(void *context, const char *path, const char *text, struct zp_error *err) {
        (void) text;
        ++*(int *) context;
        return zp_error_set(err, EPERM, "no %s", path);
}

static void the_callers_error_ends_it(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        int calls = 0;
        assert_int_equal(zp_xml_parse("<a><b/><c/></a>", 15, refuse, &calls, &err), -EPERM);
        assert_int_equal(calls, 1);
        assert_string_equal(err.message, "no /a/b");
}

static void what_is_not_plain_xml_is_refused(void **state) {
        (void) state;
        static const char *const documents[] = {
                "",
                "x",
                "<a>",
                "<a></b>",
                "<a/><b/>",
                "<a>&unknown;</a>",
                "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
                "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
                "<a>\x01</a>",
                "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a></a></a></a></"
                "a></a>"
                "</a></a></a>",
        };
        for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
                struct zp_buffer seen = { 0 };
                assert_int_equal(parse(documents[i], &seen), -EBADMSG);
                zp_buffer_clear(&seen);
        }
}

static void long_names_and_texts_are_refused(void **state) {
        (void) state;
        struct zp_buffer seen = { 0 }, xml = { 0 };
        char run[9001];
        memset(run, 'x', sizeof run - 1);
        run[sizeof run - 1] = '\0';
        assert_true(zp_buffer_text(&xml, "<a>") && zp_buffer_text(&xml, run) && zp_buffer_text(&xml, "</a>"));
        assert_int_equal(parse(xml.data, &seen), -EBADMSG);
        xml.size = 0;
        run[300] = '\0';
        assert_true(zp_buffer_text(&xml, "<") && zp_buffer_text(&xml, run) && zp_buffer_text(&xml, "/>"));
        assert_int_equal(parse(xml.data, &seen), -EBADMSG);
        zp_buffer_clear(&xml);
        zp_buffer_clear(&seen);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(elements_come_with_their_path_and_text),
                cmocka_unit_test(white_space_before_the_document_is_no_error),
                cmocka_unit_test(the_callers_error_ends_it),
                cmocka_unit_test(what_is_not_plain_xml_is_refused),
                cmocka_unit_test(long_names_and_texts_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
