/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin's side of NRI, byte by byte as containerd's side says it. The bytes are written by hand, from the
 * descriptions of ttrpc and of NRI's API.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "controller/node/nri-calls.h"

static struct zp_error err;
static char seen[200];

/* ---- protocol buffers ---- */

static void put_field(struct zp_buffer *out, unsigned number, const void *data, size_t size) {
        char head[3] = { (char) (number << 3 | 2), (char) (size & 127), 0 };
        size_t head_size = 2;
        assert_true(size < 16384);
        if (size > 127) {
                head[1] = (char) (head[1] | 128);
                head[2] = (char) (size >> 7);
                head_size = 3;
        }
        assert_true(zp_buffer_append(out, head, head_size) && zp_buffer_append(out, data, size));
}

static void put_text(struct zp_buffer *out, unsigned number, const char *text) {
        put_field(out, number, text, strlen(text));
}

static void put_request(struct zp_buffer *out, const char *method, const struct zp_buffer *payload) {
        put_text(out, 1, "nri.pkg.api.v1alpha1.Plugin");
        put_text(out, 2, method);
        if (payload)
                put_field(out, 3, payload->data, payload->size);
}

static void put_container(struct zp_buffer *out, const char *wish) {
        zp_autobuffer struct zp_buffer entry = { 0 }, pod = { 0 }, container = { 0 };
        put_text(&entry, 1, "zeropull.dev/acceleration");
        put_text(&entry, 2, wish);
        put_text(&pod, 1, "sandbox");
        put_text(&pod, 2, "web");
        put_text(&pod, 4, "team");
        put_field(&pod, 6, entry.data, entry.size);
        put_text(&container, 1, "0123");
        put_text(&container, 3, "main");
        put_text(&container, 7, "an argument, which is skipped");
        put_field(out, 1, pod.data, pod.size);
        put_field(out, 2, container.data, container.size);
}

/* ---- the plugin ---- */

static int check(void *context, const struct node_nri_container *c, struct zp_error *e) {
        (void) context;
        snprintf(seen, sizeof seen, "%s %s %s/%s %s", c->id, c->name, c->namespace, c->pod,
                 c->annotation ? c->annotation : "-");
        return c->annotation && strcmp(c->annotation, "no") == 0 ? zp_error_set(e, EPERM, "because") : 0;
}

static const struct node_nri_options options = { .annotation = "zeropull.dev/acceleration", .check = check };

static void expect_answer(const char *method, const struct zp_buffer *payload, const char *expected, size_t size) {
        zp_autobuffer struct zp_buffer request = { 0 }, answer = { 0 };
        put_request(&request, method, payload);
        assert_int_equal(node_nri_answer(&options, request.data, request.size, &answer, &err), 0);
        assert_int_equal(answer.size, size);
        assert_memory_equal(answer.data ? answer.data : "", expected, size);
}

static void only_containers_that_are_made_are_asked_for(void **state) {
        (void) state;
        expect_answer("Configure", NULL, "\x12\x02\x10\x08", 4); /* payload {events: 1 << 3} */
}

static void a_list_in_parts_is_taken_in_parts(void **state) {
        (void) state;
        zp_autobuffer struct zp_buffer more = { 0 };
        assert_true(zp_buffer_append(&more, "\x18\x01", 2)); /* {more: true} */
        expect_answer("Synchronize", &more, "\x12\x02\x10\x01", 4);
        expect_answer("Synchronize", NULL, "", 0);
}

static void a_container_is_made_or_the_reason_is_told(void **state) {
        (void) state;
        zp_autobuffer struct zp_buffer yes = { 0 }, no = { 0 };
        put_container(&yes, "yes");
        expect_answer("CreateContainer", &yes, "", 0);
        assert_string_equal(seen, "0123 main team/web yes");
        put_container(&no, "no");
        expect_answer("CreateContainer", &no,
                      "\x0a\x0b\x08\x09\x12\x07"
                      "because",
                      13); /* {9, "because"} */
}

static void what_is_unknown_is_not_implemented(void **state) {
        (void) state;
        expect_answer("Other", NULL, "\x0a\x02\x08\x0c", 4);
        expect_answer("Shutdown", NULL, "", 0);
}

static void malformed_messages_are_errors(void **state) {
        (void) state;
        zp_autobuffer struct zp_buffer out = { 0 }, request = { 0 }, empty = { 0 };
        assert_int_equal(node_nri_answer(&options, "\xff\xff", 2, &out, &err), -EBADMSG);
        assert_true(zp_buffer_append(&empty, "", 0));
        put_request(&request, "CreateContainer", &empty);
        assert_int_equal(node_nri_answer(&options, request.data, request.size, &out, &err), -EBADMSG);
        assert_int_equal(node_nri_registered("\x0a\x06\x08\x05\x12\x02no", 8, &err), -EPERM);
        assert_non_null(strstr(err.message, "no"));
        assert_int_equal(node_nri_registered("", 0, &err), 0);
}

/* ---- the connection ---- */

static int served;
static struct zp_cancel cancel;

static void *serve(void *context) {
        struct node_nri_options o = options;
        struct zp_error e = { 0 };
        o.cancel = &cancel;
        served = node_nri_serve(&o, *(int *) context, &e);
        close(*(int *) context);
        return NULL;
}

static void read_exactly(int fd, char *data, size_t size) {
        for (size_t at = 0; at < size;) {
                ssize_t n = read(fd, data + at, size - at);
                assert_true(n > 0);
                at += (size_t) n;
        }
}

/* A frame with a message on the plugin's connection, or some of it. */
static void send_frame(int fd, const char *data, size_t size) {
        char header[8] = { 0, 0, 0, 1, 0, 0, (char) (size >> 8), (char) size };
        assert_int_equal(write(fd, header, 8), 8);
        assert_int_equal(write(fd, data, size), (ssize_t) size);
}

static void messages_come_through_however_they_are_cut(void **state) {
        (void) state;
        int fds[2];
        pthread_t thread;
        char data[200];
        zp_autobuffer struct zp_buffer request = { 0 }, message = { 0 };
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(pthread_create(&thread, NULL, serve, &fds[0]), 0);
        read_exactly(fds[1], data, 18); /* to connection 2: stream 1, a request */
        assert_memory_equal(data, "\0\0\0\2", 4);
        assert_memory_equal(data + 12, "\0\0\0\1\1\0", 6);
        size_t size = (size_t) (unsigned char) data[11];
        read_exactly(fds[1], data, size);
        assert_memory_equal(data + size - 14,
                            "\x0a\x08"
                            "zeropull"
                            "\x12\x02"
                            "50",
                            14);
        put_request(&request, "Configure", NULL);
        char header[10] = { 0, 0, 0, (char) request.size, 0, 0, 0, 9, 1, 0 };
        assert_true(zp_buffer_append(&message, header, 10) && zp_buffer_append(&message, request.data, request.size));
        send_frame(fds[1], message.data, 3);
        send_frame(fds[1], message.data + 3, message.size - 3);
        read_exactly(fds[1], data, 22);
        assert_memory_equal(data, "\0\0\0\1\0\0\0\x0e\0\0\0\4\0\0\0\x09\2\0\x12\2\x10\x08", 22);
        close(fds[1]);
        pthread_join(thread, NULL);
        assert_int_equal(served, 0);
}

static void what_is_too_large_ends_the_connection(void **state) {
        (void) state;
        int fds[2];
        pthread_t thread;
        char data[100];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(pthread_create(&thread, NULL, serve, &fds[0]), 0);
        read_exactly(fds[1], data, 18);
        send_frame(fds[1], "\x7f\xff\xff\xff\0\0\0\1\1\0", 10);
        pthread_join(thread, NULL);
        close(fds[1]);
        assert_int_equal(served, -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_containers_that_are_made_are_asked_for),
                cmocka_unit_test(a_list_in_parts_is_taken_in_parts),
                cmocka_unit_test(a_container_is_made_or_the_reason_is_told),
                cmocka_unit_test(what_is_unknown_is_not_implemented),
                cmocka_unit_test(malformed_messages_are_errors),
                cmocka_unit_test(messages_come_through_however_they_are_cut),
                cmocka_unit_test(what_is_too_large_ends_the_connection),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
