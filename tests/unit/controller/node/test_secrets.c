/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "controller/kube/client.h"
#include "controller/node/secrets.h"
#include "oci/json.h"

static json_t *auths;
static struct zp_error err;

static int begin(void **state) {
        (void) state;
        auths = json_object();
        err = (struct zp_error){ 0 };
        return 0;
}

static int end(void **state) {
        (void) state;
        json_decref(auths);
        return 0;
}

static int add(const char *type, const char *key, const char *data) {
        zp_auto(json_decref) json_t *secret =
                json_pack("{s:{s:s}, s:s, s:{s:s}}", "metadata", "name", "pull", "type", type, "data", key, data);
        return node_secret_add(secret, auths, &err);
}

/* base64(1) of {"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"evil"} and of {"r.example":{"auth":"eDp5"}} */
static const char modern[] = "eyJhdXRocyI6eyJyLmV4YW1wbGUiOnsiYXV0aCI6ImRUcHcifX0sImNyZWRzU3RvcmUiOiJldmlsIn0=";
static const char legacy[] = "eyJyLmV4YW1wbGUiOnsiYXV0aCI6ImVEcDUifX0=";

static const char *auth_of(const char *registry) {
        const char *auth = json_string_value(json_object_get(json_object_get(auths, registry), "auth"));
        return auth ? auth : "";
}

static void credentials_come_from_both_kinds_and_the_first_counts(void **state) {
        (void) state;
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", modern), 0);
        assert_string_equal(auth_of("r.example"), "dTpw");
        assert_int_equal(add("kubernetes.io/dockercfg", ".dockercfg", legacy), 0);
        assert_string_equal(auth_of("r.example"), "dTpw");
        json_object_clear(auths);
        assert_int_equal(add("kubernetes.io/dockercfg", ".dockercfg", legacy), 0);
        assert_string_equal(auth_of("r.example"), "eDp5");
}

static void nothing_but_credentials_is_taken(void **state) {
        (void) state;
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", modern), 0);
        assert_int_equal(json_object_size(auths), 1); /* no credsStore: it would name a program */
}

static void what_is_no_pull_secret_is_refused_without_its_content(void **state) {
        (void) state;
        assert_int_equal(add("Opaque", ".dockerconfigjson", modern), -EBADMSG);
        assert_int_equal(add("kubernetes.io/dockerconfigjson", "other", modern), -EBADMSG);
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "no base64"), -EBADMSG);
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "c2VjcmV0IGl0c2VsZg=="), -EBADMSG);
        assert_null(strstr(err.message, "secret itself"));
        assert_int_equal(json_object_size(auths), 0);
}

/* ---- an API server that has one good secret, one of another kind, and one that is nobody's business ---- */

static int listener;

static void answer(int connection) {
        char request[4096] = "";
        size_t size = 0;
        ssize_t n = 0;
        while (!strstr(request, "\r\n\r\n") && size < sizeof request - 1 &&
               (n = read(connection, request + size, sizeof request - 1 - size)) > 0)
                request[size += (size_t) n] = '\0';
        int status = strstr(request, "/secrets/forbidden ") ? 403
                     : strstr(request, "/secrets/missing ") ? 404
                     : strstr(request, "/secrets/later ")   ? 500
                                                            : 200;
        bool is_good = strstr(request, "/secrets/pull ");
        zp_autofree char *body =
                status == 200 ? zp_format("{\"kind\": \"Secret\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": "
                                          "\"s\"}, \"type\": "
                                          "\"%s\", \"data\": {\".dockerconfigjson\": \"%s\"}}",
                                          is_good ? "kubernetes.io/dockerconfigjson" : "Opaque", modern)
                              : zp_format("{\"kind\": \"Status\", \"apiVersion\": \"v1\", \"code\": %d}", status);
        dprintf(connection,
                "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                status, strlen(body), body);
}

static void *serve(void *context) {
        int connection;
        while ((connection = accept(listener, NULL, NULL)) >= 0) {
                answer(connection);
                close(connection);
        }
        return context;
}

static pthread_t server;
static struct zp_kube_config *config;
static struct zp_kube *kube;

static int begin_server(void **state) {
        char path[] = "/tmp/zeropull-secrets-XXXXXX";
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof address;
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (begin(state) < 0 || bind(listener, (struct sockaddr *) &address, size) < 0 || listen(listener, 8) < 0 ||
            getsockname(listener, (struct sockaddr *) &address, &size) < 0)
                return -1;
        int fd = mkstemp(path);
        dprintf(fd,
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
                "clusters: [{name: k, cluster: {server: \"http://127.0.0.1:%d\"}}]\n"
                "users: [{name: u, user: {token: t}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n",
                ntohs(address.sin_port));
        close(fd);
        const struct zp_kube_config_choice choice = { .kubeconfig = path };
        int r = zp_kube_config_load(&choice, &config, &err);
        unlink(path);
        const struct zp_kube_options options = { .config = config, .user_agent = "test" };
        if (r < 0 || zp_kube_new(&options, &kube, &err) < 0) {
                print_error("%s\n", err.message);
                return -1;
        }
        return -pthread_create(&server, NULL, serve, NULL);
}

static int end_server(void **state) {
        shutdown(listener, SHUT_RDWR);
        pthread_join(server, NULL);
        close(listener);
        zp_kube_free(kube);
        zp_kube_config_free(config);
        return end(state);
}

static char *read_all(const char *list, struct zp_error *unread) {
        zp_auto(json_decref) json_t *secrets = json_loads(list, 0, NULL);
        char *text = NULL;
        *unread = (struct zp_error){ 0 };
        assert_non_null(secrets);
        if (node_secrets_read(kube, secrets, 0, &text, unread, &err) < 0)
                fail_msg("%s", err.message);
        return text;
}

#define SECRET(NAME) "{\"namespace\": \"ns\", \"name\": \"" NAME "\"}"

static void secrets_that_cannot_be_read_keep_no_others_from_being_used(void **state) {
        (void) state;
        struct zp_error unread;
        char *text = read_all("[" SECRET("missing") "," SECRET("forbidden") "," SECRET("opaque") "," SECRET("pull") "]",
                              &unread);
        assert_non_null(text);
        assert_non_null(strstr(text, "dTpw"));
        assert_non_null(strstr(unread.message, "ns/missing"));
        node_secret_free(text);
}

static void one_that_may_be_readable_later_is_no_absent_one_to_who_is_in_a_hurry(void **state) {
        (void) state;
        struct zp_error unread;
        zp_auto(json_decref) json_t *secrets =
                json_loads("[" SECRET("missing") "," SECRET("later") "," SECRET("pull") "]", 0, NULL);
        char *text = NULL;
        assert_true(node_secrets_read(kube, secrets, 3000, &text, &unread, &err) < 0);
        assert_null(text);
        assert_non_null(strstr(err.message, "ns/later"));
        text = read_all("[" SECRET("later") "," SECRET("pull") "]", &unread);
        assert_non_null(text);
        node_secret_free(text);
}

static void a_secret_that_cannot_be_read_is_named(void **state) {
        (void) state;
        struct zp_error unread;
        assert_null(read_all("[" SECRET("opaque") "]", &unread));
        assert_int_equal(unread.code, EBADMSG);
        assert_non_null(strstr(unread.message, "ns/opaque"));
        assert_null(read_all("[" SECRET("forbidden") "]", &unread));
        assert_int_equal(unread.code, EPERM);
        char *text = read_all("[" SECRET("pull") "]", &unread);
        assert_non_null(text);
        assert_int_equal(unread.code, 0);
        node_secret_free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(credentials_come_from_both_kinds_and_the_first_counts, begin, end),
                cmocka_unit_test_setup_teardown(nothing_but_credentials_is_taken, begin, end),
                cmocka_unit_test_setup_teardown(what_is_no_pull_secret_is_refused_without_its_content, begin, end),
                cmocka_unit_test_setup_teardown(secrets_that_cannot_be_read_keep_no_others_from_being_used,
                                                begin_server, end_server),
                cmocka_unit_test_setup_teardown(one_that_may_be_readable_later_is_no_absent_one_to_who_is_in_a_hurry,
                                                begin_server, end_server),
                cmocka_unit_test_setup_teardown(a_secret_that_cannot_be_read_is_named, begin_server, end_server),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
