/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <sys/socket.h>

#include "monitor/monitor.h"

struct daemon {
        const char *trouble, *rest;
        bool has_no_memory;
};

static bool write_metrics(void *context, struct zp_buffer *out) {
        struct daemon *d = context;
        return zp_buffer_text(out, "up 1\n") && !d->has_no_memory;
}

static const char *unhealthy(void *context) {
        return ((struct daemon *) context)->trouble;
}

static const char *unready(void *context) {
        return ((struct daemon *) context)->rest;
}

static struct zp_monitor *start(const struct zp_monitor_options *options, unsigned *port) {
        struct zp_monitor *monitor = NULL;
        struct zp_error err = { 0 };
        if (zp_monitor_new(options, &monitor, port, &err) < 0)
                fail_msg("%s", err.message);
        return monitor;
}

/* Sends a request, and has its answer to the end. */
static void ask(unsigned port, const char *request, char answer[1024]) {
        const struct sockaddr_in to = { .sin_family = AF_INET,
                                        .sin_port = htons((uint16_t) port),
                                        .sin_addr = { htonl(INADDR_LOOPBACK) } };
        zp_autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        size_t used = 0;
        assert_int_equal(connect(fd, (const struct sockaddr *) &to, sizeof to), 0);
        assert_int_equal(write(fd, request, strlen(request)), strlen(request));
        for (ssize_t n; (n = read(fd, answer + used, 1023 - used)) > 0;)
                used += (size_t) n;
        answer[used] = '\0';
}

static void expect(unsigned port, const char *method, const char *path, int status, const char *body) {
        char request[128], start_of[32], answer[1024];
        snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
        snprintf(start_of, sizeof start_of, "HTTP/1.1 %d ", status);
        ask(port, request, answer);
        const char *end = strstr(answer, "\r\n\r\n");
        if (strncmp(answer, start_of, strlen(start_of)) != 0 || !end || strcmp(end + 4, body) != 0)
                fail_msg("%s %s: %s", method, path, answer);
}

static void each_path_has_its_answer(void **state) {
        (void) state;
        struct daemon d = { .rest = "the lists are not complete" };
        unsigned port;
        zp_auto(zp_monitor_free) struct zp_monitor *monitor = start(
                &(struct zp_monitor_options){ "127.0.0.1:0", write_metrics, unhealthy, unready, &d, { 0 } }, &port);
        expect(port, "GET", "/metrics", 200, "up 1\n");
        expect(port, "HEAD", "/metrics", 200, "");
        expect(port, "GET", "/healthz", 200, "ok\n");
        expect(port, "GET", "/readyz", 503, "the lists are not complete\n");
        expect(port, "GET", "/", 404, "there are /metrics, /healthz and /readyz\n");
        expect(port, "DELETE", "/metrics", 405, "GET is all there is\n");
        d = (struct daemon){ .trouble = "the root is gone", .has_no_memory = true };
        expect(port, "GET", "/metrics", 503, "out of memory\n");
        expect(port, "GET", "/healthz", 503, "the root is gone\n");
        expect(port, "GET", "/readyz", 200, "ok\n");
}

static void what_a_daemon_does_not_tell_is_well_or_not_there(void **state) {
        (void) state;
        struct daemon d = { 0 };
        unsigned port;
        zp_auto(zp_monitor_free) struct zp_monitor *monitor =
                start(&(struct zp_monitor_options){ .listen = "127.0.0.1:0", .metrics = write_metrics, .context = &d },
                      &port);
        expect(port, "GET", "/healthz", 200, "ok\n");
        expect(port, "GET", "/readyz", 404, "there are /metrics and /healthz\n");
}

static void a_body_is_thrown_away(void **state) {
        (void) state;
        struct daemon d = { 0 };
        unsigned port;
        char answer[1024];
        zp_auto(zp_monitor_free) struct zp_monitor *monitor =
                start(&(struct zp_monitor_options){ .listen = "127.0.0.1:0", .metrics = write_metrics, .context = &d },
                      &port);
        ask(port, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody", answer);
        assert_non_null(strstr(answer, "\r\n\r\nok\n"));
}

static void where_one_listens_no_other_does(void **state) {
        (void) state;
        struct daemon d = { 0 };
        unsigned port, other = 7;
        zp_auto(zp_monitor_free) struct zp_monitor *monitor =
                start(&(struct zp_monitor_options){ .listen = "127.0.0.1:0", .metrics = write_metrics, .context = &d },
                      &port);
        char listen[32];
        snprintf(listen, sizeof listen, "127.0.0.1:%u", port);
        struct zp_monitor *second = NULL;
        struct zp_error err = { 0 };
        assert_int_equal(zp_monitor_new(&(struct zp_monitor_options){ .listen = listen, .metrics = write_metrics },
                                        &second, &other, &err),
                         -EADDRINUSE);
        assert_null(second);
        assert_int_equal(other, 7);
        assert_int_equal(zp_monitor_new(&(struct zp_monitor_options){ .listen = "here", .metrics = write_metrics },
                                        &second, &other, &err),
                         -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_path_has_its_answer),
                cmocka_unit_test(what_a_daemon_does_not_tell_is_well_or_not_there),
                cmocka_unit_test(a_body_is_thrown_away),
                cmocka_unit_test(where_one_listens_no_other_does),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
