/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of sockets, connections to them, and what is sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/unix-socket.h"

static char directory[64];
static struct zp_error err;

static int setup(void **state) {
        (void) state;
        strcpy(directory, "/tmp/zeropull-test-XXXXXX");
        zp_error_clear(&err);
        return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static int teardown(void **state) {
        (void) state;
        return chdir("/") == 0 ? zp_remove_tree(AT_FDCWD, directory, &err) : -1;
}

static int bind_at(const char *path, int type) {
        struct sockaddr_un address;
        assert_int_equal(zp_unix_address(path, &address, &err), 0);
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (const struct sockaddr *) &address, sizeof address), 0);
        return fd;
}

static void a_connection_reaches_who_listens_and_ends_with_exec(void **state) {
        (void) state;
        static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
                char name[16], got[8] = { 0 };
                snprintf(name, sizeof name, "%zu.sock", i);
                zp_autoclose int listener = bind_at(name, types[i]);
                assert_int_equal(listen(listener, 1), 0);
                zp_autoclose int fd = zp_unix_connect(name, types[i], &err);
                assert_true(fd >= 0);
                zp_autoclose int peer = accept(listener, NULL, NULL);
                assert_int_equal(send(fd, "hello", 5, MSG_NOSIGNAL), 5);
                assert_int_equal(recv(peer, got, sizeof got, 0), 5);
                assert_string_equal(got, "hello");
                assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
                assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
        }
}

static void who_is_not_there_and_who_does_not_listen_are_told_apart(void **state) {
        (void) state;
        assert_int_equal(zp_unix_connect("nowhere.sock", SOCK_STREAM, &err), -ENOENT);
        assert_string_equal(err.message, "socket 'nowhere.sock': No such file or directory");
        zp_autoclose int deaf = bind_at("deaf.sock", SOCK_STREAM);
        assert_int_equal(zp_unix_connect("deaf.sock", SOCK_STREAM, NULL), -ECONNREFUSED);
}

static void who_does_not_want_to_wait_is_told_of_a_full_queue(void **state) {
        (void) state;
        zp_autoclose int listener = bind_at("full.sock", SOCK_STREAM);
        assert_int_equal(listen(listener, 0), 0);
        zp_autoclose int first = zp_unix_connect("full.sock", SOCK_STREAM | SOCK_NONBLOCK, &err);
        assert_true(first >= 0);
        assert_true(fcntl(first, F_GETFL) & O_NONBLOCK);
        assert_int_equal(zp_unix_connect("full.sock", SOCK_STREAM | SOCK_NONBLOCK, NULL), -EAGAIN);
}

static void the_longest_path_is_one_byte_shorter_than_the_address(void **state) {
        (void) state;
        struct sockaddr_un address;
        char path[sizeof address.sun_path + 1];
        memset(path, 'x', sizeof path);
        path[sizeof path - 1] = '\0';
        assert_int_equal(zp_unix_address(path, &address, &err), -ENAMETOOLONG);
        assert_non_null(strstr(err.message, "longer than 107 bytes"));
        assert_int_equal(zp_unix_connect(path, SOCK_STREAM, NULL), -ENAMETOOLONG);
        path[sizeof path - 2] = '\0';
        assert_int_equal(zp_unix_address(path, &address, NULL), 0);
        assert_int_equal(address.sun_family, AF_UNIX);
        assert_string_equal(address.sun_path, path);
}

static void an_empty_path_is_no_address(void **state) {
        (void) state;
        struct sockaddr_un address;
        assert_int_equal(zp_unix_address("", &address, NULL), -EINVAL);
        assert_int_equal(zp_unix_connect("", SOCK_STREAM, NULL), -EINVAL);
}

static void a_packet_brings_a_copy_of_a_descriptor_or_none(void **state) {
        (void) state;
        int pair[2], passed[2], copy;
        char text[16];
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr header;
        } control;
        struct iovec data = { .iov_base = text, .iov_len = sizeof text };
        struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes };
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(pipe2(passed, O_CLOEXEC), 0);
        assert_int_equal(zp_unix_send(pair[0], "with", passed[1], "peer", &err), 0);
        assert_int_equal(zp_unix_send(pair[0], "without", -1, "peer", &err), 0);
        message.msg_controllen = sizeof control.bytes;
        assert_int_equal(recvmsg(pair[1], &message, 0), 4);
        assert_memory_equal(text, "with", 4);
        assert_non_null(CMSG_FIRSTHDR(&message));
        assert_int_equal(CMSG_FIRSTHDR(&message)->cmsg_type, SCM_RIGHTS);
        memcpy(&copy, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof copy);
        assert_int_equal(write(copy, "x", 1), 1);
        assert_int_equal(read(passed[0], text, sizeof text), 1);
        message.msg_controllen = sizeof control.bytes;
        assert_int_equal(recvmsg(pair[1], &message, 0), 7);
        assert_null(CMSG_FIRSTHDR(&message));
        close(pair[1]);
        assert_int_equal(zp_unix_send(pair[0], "nobody", -1, "peer", &err), -EPIPE);
        assert_string_equal(err.message, "peer: Broken pipe");
        close(pair[0]);
        close(passed[0]);
        close(passed[1]);
        close(copy);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_connection_reaches_who_listens_and_ends_with_exec, setup, teardown),
                cmocka_unit_test_setup_teardown(who_is_not_there_and_who_does_not_listen_are_told_apart, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(who_does_not_want_to_wait_is_told_of_a_full_queue, setup, teardown),
                cmocka_unit_test(the_longest_path_is_one_byte_shorter_than_the_address),
                cmocka_unit_test(an_empty_path_is_no_address),
                cmocka_unit_test(a_packet_brings_a_copy_of_a_descriptor_or_none),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
