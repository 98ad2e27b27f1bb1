/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts out of messages: what is none is refused, not cut off.
 */
#include "support.h"

#include "snapshotter/control/request.h"
#include "snapshots.pb-c.h"

static struct snap_request request;

static int drop_request(void **state) {
        (void) state;
        zp_arena_clear(&request.arena);
        return 0;
}

static int take(const char *data, size_t size, const char **out) {
        return snap_request_text(&request, (ProtobufCBinaryData){ size, (uint8_t *) data }, "key", out, &err);
}

static void assert_text(const char *text) {
        const char *out;
        assert_ok(take(text, strlen(text), &out));
        assert_string_equal(out, text);
}

static void texts_arrive(void **state) {
        (void) state;
        assert_text("");
        assert_text("default/7/web");
        assert_text("\x7f\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xef\xbf\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf");
}

static void what_is_no_text_is_refused(void **state) {
        (void) state;
        static const char *const bad[] = {
                "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xc3",     "\xe0\x9f\xbf",
                "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80", "\xe2\x82",
                "a\xff"
        };
        const char *out;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(take(bad[i], strlen(bad[i]), &out), -EINVAL);
        assert_int_equal(take("a\0b", 3, &out), -EINVAL);
        char *longest = calloc(1, 4098);
        memset(longest, 'x', 4097);
        assert_ok(take(longest, 4096, &out));
        assert_int_equal(take(longest, 4097, &out), -EINVAL);
        free(longest);
        assert_int_equal(snap_request_name(&request, (ProtobufCBinaryData){ 0, NULL }, "key", &out, &err), -EINVAL);
        assert_message_has("key: empty");
}

static int unpack(const void *data, size_t size) {
        Snap__CreateRequest *message;
        request.data = data;
        request.size = size;
        return snap_request_unpack(&request, &snap__create_request__descriptor, (ProtobufCMessage **) &message, &err);
}

static void bytes_that_are_no_message_are_refused(void **state) {
        (void) state;
        assert_int_equal(unpack("\x12\x03"
                                "key",
                                5),
                         0);
        assert_int_equal(unpack("", 0), 0);
        assert_int_equal(unpack("\x12\x05"
                                "key",
                                5),
                         -EINVAL);
        assert_int_equal(unpack("\xff\xff\xff\xff", 4), -EINVAL);
}

/* "labels" 300,000 times, each empty: 600 kB that want 30 MB. */
static void a_small_message_cannot_take_much_memory(void **state) {
        (void) state;
        size_t size = 600000;
        char *data = calloc(1, size);
        for (size_t i = 0; i < size; i += 2)
                data[i] = 4 << 3 | 2;
        assert_int_equal(unpack(data, size), -EINVAL);
        assert_true(request.arena.used_bytes <= SNAP_REQUEST_MEMORY);
        free(data);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(texts_arrive, drop_request),
                cmocka_unit_test_teardown(what_is_no_text_is_refused, drop_request),
                cmocka_unit_test_teardown(bytes_that_are_no_message_are_refused, drop_request),
                cmocka_unit_test_teardown(a_small_message_cannot_take_much_memory, drop_request),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
