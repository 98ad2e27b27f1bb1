/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "oci/byteranges.h"

#define TYPE "multipart/byteranges; boundary=B"

struct got {
        char text[256]; /* "position:bytes " for each run */
        uint64_t next;
        int refuse;
};

static int take(void *context, const struct zp_content_range *range, uint64_t position, const void *data, size_t size,
                struct zp_error *err) {
        struct got *got = context;
        (void) err;
        assert_true(size > 0 && position >= range->start && position + size <= range->end);
        size_t used = strlen(got->text);
        if (used == 0 || position != got->next)
                used += (size_t) snprintf(got->text + used, sizeof got->text - used, " %d:", (int) position);
        snprintf(got->text + used, sizeof got->text - used, "%.*s", (int) size, (const char *) data);
        got->next = position + size;
        return got->refuse;
}

/* In pieces of `piece` bytes. */
static int feed(const char *type, const char *body, size_t piece, struct got *got) {
        zp_auto(zp_byteranges_free) struct zp_byteranges *ranges = NULL;
        struct zp_error err = { 0 };
        int r = zp_byteranges_new(type, &ranges, &err);
        for (size_t size = strlen(body), part; size > 0 && r == 0; body += part, size -= part) {
                part = size < piece ? size : piece;
                r = zp_byteranges_feed(ranges, body, part, take, got, &err);
        }
        return r;
}

static void expect(const char *type, const char *body, int result, const char *text) {
        for (size_t piece = 1; piece <= strlen(body); piece++) {
                struct got got = { 0 };
                assert_int_equal(feed(type, body, piece, &got), result);
                assert_string_equal(got.text, text);
        }
}

#define PART(range, data) "\r\n--B\r\nContent-Type: a/b\r\nContent-Range: bytes " range "\r\n\r\n" data
#define END "\r\n--B--\r\n"

static void each_range_comes_with_its_place(void **state) {
        (void) state;
        expect(TYPE, PART("0-2/10", "abc") PART("7-8/10", "--") PART("3-4/*", "\r\n") END, 0, " 0:abc 7:-- 3:\r\n");
        expect(TYPE, "--B\ncontent-range:bytes 5-5/6\n\nx\n--B--", 0, " 5:x");
        expect(TYPE, PART("0-2/10", "abc") END "anything \x01 behind it", 0, " 0:abc");
}

static void boundary_is_found_in_the_type(void **state) {
        static const char body[] = "--x y\r\nContent-Range: bytes 0-0/1\r\n\r\na\r\n--x y--";
        static const char *const good[] = { "multipart/byteranges; boundary=\"x y\"",
                                            "Multipart/ByteRanges;charset=a ; BOUNDARY=\"x y\"; z=1" };
        static const char *const bad[] = { NULL,
                                           "",
                                           "multipart/byteranges",
                                           "multipart/byteranges; boundary=",
                                           "multipart/byteranges; boundary=\"x y",
                                           "multipart/byteranges; boundary=\"x\\y\"",
                                           "multipart/byterangesx; boundary=x",
                                           "text/html; boundary=x",
                                           "multipart/byteranges; xboundary=x" };
        (void) state;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
                expect(good[i], body, 0, " 0:a");
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                expect(bad[i], body, -EPROTO, "");
}

static void what_is_malformed_is_refused(void **state) {
        (void) state;
        expect(TYPE, "preamble\r\n--B\r\n", -EPROTO, "");
        expect(TYPE, "--Bx\r\n", -EPROTO, "");
        expect(TYPE, "--B--x\r\n", -EPROTO, "");
        expect(TYPE, "--B\r\nContent-Type: a/b\r\n\r\nabc", -EPROTO, "");
        expect(TYPE, "--B\r\nContent-Range: bytes 3-2/9\r\n", -EPROTO, "");
        expect(TYPE, "--B\r\nContent-Range: bytes 0-9/9\r\n", -EPROTO, "");
        expect(TYPE, "--B\r\nContent-Range: bytes 0-1/9\r\nContent-Range: bytes 0-1/9\r\n", -EPROTO, "");
        expect(TYPE, PART("0-2/10", "abc") "d" END, -EPROTO, " 0:abc");
        char lines[1200], line[1200];
        memset(lines, '\n', sizeof lines - 1);
        memset(line, 'x', sizeof line - 1);
        lines[sizeof lines - 1] = line[sizeof line - 1] = '\0';
        expect(TYPE, lines, -EPROTO, "");
        expect(TYPE, line, -EPROTO, "");
}

static void who_takes_may_end_it(void **state) {
        struct got got = { .refuse = -EBADMSG };
        (void) state;
        assert_int_equal(feed(TYPE, PART("0-2/10", "abc") END, 1000, &got), -EBADMSG);
        assert_string_equal(got.text, " 0:abc");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_range_comes_with_its_place),
                cmocka_unit_test(boundary_is_found_in_the_type),
                cmocka_unit_test(what_is_malformed_is_refused),
                cmocka_unit_test(who_takes_may_end_it),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
