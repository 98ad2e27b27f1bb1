// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/containerd/answer.h"

static void take(struct containerd_answer *answer, const char *line) {
        containerd_answer_take_header(answer, line, strlen(line));
}

static void expect_result(const char *status, int result) {
        struct containerd_answer answer = { 0 };
        take(&answer, status);
        assert_int_equal(containerd_answer_result(&answer, NULL), result);
}

/* Numbers of grpc/status.h. */
static void status_becomes_errno(void **state) {
        (void) state;
        expect_result("grpc-status: 0\r\n", 0);
        expect_result("Grpc-Status:5\r\n", -ENOENT);
        expect_result("grpc-status: 6\r\n", -EEXIST);
        expect_result("grpc-status: 14\r\n", -EAGAIN);
        expect_result("grpc-status: 2\r\n", -EIO);
        expect_result("grpc-status: 999\r\n", -EIO);
}

static void without_a_status_it_is_no_answer(void **state) {
        (void) state;
        expect_result("HTTP/2 200\r\n", -EPROTO);
        expect_result("grpc-status: \r\n", -EPROTO);
        expect_result("grpc-status: 0x\r\n", -EPROTO);
        expect_result("grpc-status: 99999999999999999999\r\n", -EPROTO);
        expect_result("grpc-status", -EPROTO);
        expect_result("grpc-statusx: 0\r\n", -EPROTO);
        expect_result("", -EPROTO);
}

static void expect_message(const char *line, const char *message) {
        struct containerd_answer answer = { 0 };
        struct zp_error err = { 0 };
        take(&answer, "grpc-status: 5\r\n");
        take(&answer, line);
        assert_int_equal(containerd_answer_result(&answer, &err), -ENOENT);
        assert_string_equal(err.message, message);
}

static void message_is_decoded(void **state) {
        (void) state;
        expect_message("grpc-message: no 100%25 caf%C3%A9\r\n", "no 100% caf\xc3\xa9");
        expect_message("grpc-message: %2\r\n", "%2");
        expect_message("grpc-message: %zz%4\r\n", "%zz%4");
        expect_message("grpc-message: a%0Ab%00c\r\n", "a?b");
        expect_message("grpc-message: \r\n", "gRPC status 5");
}

static void long_message_is_cut(void **state) {
        (void) state;
        struct containerd_answer answer = { 0 };
        char line[5000] = "grpc-message: ";
        memset(line + strlen(line), 'x', 4000);
        take(&answer, line);
        assert_int_equal(strlen(answer.message), sizeof answer.message - 1);
}

static void first_message_is_found(void **state) {
        (void) state;
        struct containerd_answer answer = { 0 };
        const uint8_t *data;
        size_t size;
        assert_true(containerd_answer_take_body(&answer, "\0\0\0\0\3", 5));
        assert_int_equal(containerd_answer_first(&answer, &data, &size, NULL), -EPROTO);
        assert_true(containerd_answer_take_body(&answer, "abc\0\0\0\0\1d", 9));
        assert_int_equal(containerd_answer_first(&answer, &data, &size, NULL), 0);
        assert_int_equal(size, 3);
        assert_memory_equal(data, "abc", 3);
        zp_buffer_clear(&answer.body);
}

static void expect_no_message(const void *body, size_t body_size) {
        struct containerd_answer answer = { 0 };
        const uint8_t *data;
        size_t size;
        assert_true(containerd_answer_take_body(&answer, body, body_size));
        assert_int_equal(containerd_answer_first(&answer, &data, &size, NULL), -EPROTO);
        zp_buffer_clear(&answer.body);
}

static void cut_or_compressed_message_is_refused(void **state) {
        (void) state;
        expect_no_message("", 0);
        expect_no_message("\0\0\0\0", 4);
        expect_no_message("\0\377\377\377\377a", 6);
        expect_no_message("\1\0\0\0\1a", 6);
}

static void endless_body_is_refused(void **state) {
        (void) state;
        struct containerd_answer answer = { 0 };
        static const char part[1u << 20];
        for (size_t i = 0; i < CONTAINERD_ANSWER_MAX / sizeof part; i++)
                assert_true(containerd_answer_take_body(&answer, part, sizeof part));
        assert_false(containerd_answer_take_body(&answer, part, 1));
        zp_buffer_clear(&answer.body);
}

static void size_is_big_endian(void **state) {
        (void) state;
        uint8_t header[CONTAINERD_FRAME_HEADER];
        containerd_frame_header(header, 0x01020304);
        assert_memory_equal(header, "\0\1\2\3\4", 5);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(status_becomes_errno),    cmocka_unit_test(without_a_status_it_is_no_answer),
                cmocka_unit_test(message_is_decoded),      cmocka_unit_test(long_message_is_cut),
                cmocka_unit_test(first_message_is_found),  cmocka_unit_test(cut_or_compressed_message_is_refused),
                cmocka_unit_test(endless_body_is_refused), cmocka_unit_test(size_is_big_endian),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
