/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/kube/client.h"

/* A port of ours where nobody listens. */
static int closed_port(int *socket_fd) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof address;
        *socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(*socket_fd, (struct sockaddr *) &address, size), 0);
        assert_int_equal(getsockname(*socket_fd, (struct sockaddr *) &address, &size), 0);
        return ntohs(address.sin_port);
}

static struct zp_kube_config *load_config(int port) {
        char path[] = "/tmp/test-client-XXXXXX";
        struct zp_kube_config *config;
        struct zp_error err = { 0 };
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        dprintf(fd,
                "apiVersion: v1\nkind: Config\ncurrent-context: t\n"
                "clusters: [{name: t, cluster: {server: 'https://127.0.0.1:%d', insecure-skip-tls-verify: true}}]\n"
                "users: [{name: t, user: {token: t}}]\ncontexts: [{name: t, context: {cluster: t, user: t}}]\n",
                port);
        close(fd);
        int r = zp_kube_config_load(&(struct zp_kube_config_choice){ .kubeconfig = path }, &config, &err);
        unlink(path);
        if (r < 0)
                fail_msg("%s", err.message);
        return config;
}

static bool may_not_write(void *context) {
        (void) context;
        return false;
}

static void who_may_not_write_may_read_however_it_asks(void **state) {
        (void) state;
        static const struct {
                const char *method;
                bool is_anybodys, is_sent;
        } cases[] = {
                { NULL, false, true },   { "GET", false, true },    { "POST", false, false },
                { "PUT", false, false }, { "PATCH", false, false }, { "DELETE", false, false },
                { "PATCH", true, true },
        };
        int fd, port = closed_port(&fd);
        struct zp_kube_config *config = load_config(port);
        const struct zp_kube_options options = { .config = config, .user_agent = "test", .may_write = may_not_write };
        struct zp_kube *kube;
        assert_int_equal(zp_kube_new(&options, &kube, NULL), 0);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                const struct zp_kube_request request = { .path = "/version",
                                                         .method = cases[i].method,
                                                         .timeout_ms = 1000,
                                                         .is_farewell = true, /* once */
                                                         .is_anybodys = cases[i].is_anybodys };
                struct zp_error err = { 0 };
                int r = zp_kube_call(kube, &request, NULL, &err);
                if (r != (cases[i].is_sent ? -ECONNREFUSED : -ECANCELED))
                        fail_msg("%zu: %d: %s", i, r, err.message);
        }
        zp_kube_free(kube);
        zp_kube_config_free(config);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(who_may_not_write_may_read_however_it_asks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
