/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>

#include "base/file.h"
#include "controller/kube/kube-internal.h"

#define CONFIG                                                                                                       \
        "apiVersion: v1\nkind: Config\ncurrent-context: one\npreferences: {colors: true}\n"                          \
        "contexts:\n- name: one\n  context: {cluster: c, user: u, namespace: ns}\n"                                  \
        "- name: bare\n  context: {cluster: c, user: '', namespace: null}\n"                                         \
        "clusters:\n- name: c\n  cluster: {server: 'https://k.example:6443/path/', certificate-authority: ca.crt}\n" \
        "users:\n- name: u\n  user: {token: secret, client-certificate-data: Q0VSVA==, client-key-data: S0\n    VZ}\n"

static int load_files(const char *const texts[][2], size_t count, const char *context, struct zp_kube_config *config,
                      struct zp_error *err) {
        struct zp_kube_files *files = zp_kube_files_new(&config->arena);
        int r = 0;
        for (size_t i = 0; i < count && r == 0; i++)
                r = zp_kube_files_parse(files, texts[i][1], strlen(texts[i][1]), texts[i][0], err);
        return r < 0 ? r : zp_kube_files_choose(files, context, config, err);
}

static int load(const char *text, const char *context, struct zp_kube_config *config, struct zp_error *err) {
        const char *const texts[][2] = { { "/etc/kube/config", text } };
        return load_files(texts, 1, context, config, err);
}

static void expect_refusal(const char *text, int code, const char *message) {
        struct zp_kube_config config = { 0 };
        struct zp_error err = { 0 };
        int r = load(text, NULL, &config, &err);
        if (r == 0)
                r = zp_kube_config_check(&config, &err);
        assert_int_equal(r, code);
        if (!strstr(err.message, message))
                fail_msg("'%s' is not in '%s'", message, err.message);
        assert_null(strstr(err.message, "secret"));
        zp_arena_clear(&config.arena);
}

static void the_current_context_is_taken_apart(void **state) {
        (void) state;
        struct zp_kube_config config = { 0 };
        assert_int_equal(load(CONFIG, NULL, &config, NULL), 0);
        assert_string_equal(zp_kube_config_server(&config), "https://k.example:6443/path/");
        assert_string_equal(zp_kube_config_namespace(&config), "ns");
        assert_string_equal(config.cluster.authority.file, "/etc/kube/ca.crt");
        assert_string_equal(config.user.token, "secret");
        assert_string_equal(config.user.certificate.text, "CERT");
        assert_string_equal(config.user.key.text, "KEY");
        assert_null(config.user.exec.command);
        zp_arena_clear(&config.arena);
}

static void another_context_can_be_named_and_may_be_nobody(void **state) {
        (void) state;
        struct zp_kube_config config = { 0 };
        assert_int_equal(load(CONFIG, "bare", &config, NULL), 0);
        assert_null(config.user.token);
        assert_string_equal(zp_kube_config_namespace(&config), "default");
        zp_arena_clear(&config.arena);
        struct zp_error err = { 0 };
        assert_int_equal(load(CONFIG, "two", &config, &err), -EINVAL);
        assert_non_null(strstr(err.message, "'two'"));
        zp_arena_clear(&config.arena);
}

static void of_several_files_the_first_definition_counts(void **state) {
        (void) state;
        const char *const texts[][2] = {
                { "/a/config", "users:\n- {name: u, user: {tokenFile: token}}\ncurrent-context: ''\n" },
                { "b/config", CONFIG },
                { "/c/config", "current-context: other\nusers: [{name: u, user: {token: late}}]\n"
                               "clusters: [{name: d, cluster: {server: 'https://d'}}]\n" },
        };
        struct zp_kube_config config = { 0 };
        assert_int_equal(load_files(texts, 3, NULL, &config, NULL), 0);
        assert_string_equal(config.user.token_file, "/a/token");
        assert_null(config.user.token);
        assert_string_equal(config.cluster.authority.file, "b/ca.crt");
        zp_arena_clear(&config.arena);
}

static void json_is_read_as_well(void **state) {
        (void) state;
        struct zp_kube_config config = { 0 };
        assert_int_equal(
                load("{\"current-context\": \"a\", \"clusters\": [{\"name\": \"a\", \"cluster\": {\"server\": "
                     "\"https://a\", \"insecure-skip-tls-verify\": true, \"tls-server-name\": \"k\", \"proxy-url\": "
                     "\"http://p:1\"}}], \"users\": [], \"contexts\": [{\"name\": \"a\", \"context\": {\"cluster\": "
                     "\"a\"}}]}",
                     NULL, &config, NULL),
                0);
        assert_true(config.cluster.skip_tls_verify);
        assert_string_equal(config.cluster.tls_server_name, "k");
        assert_string_equal(config.cluster.proxy, "http://p:1");
        zp_arena_clear(&config.arena);
}

static void exec_plugins_are_understood(void **state) {
        (void) state;
        struct zp_kube_config config = { 0 };
        assert_int_equal(
                load("current-context: a\nclusters: [{name: a, cluster: {server: 'https://a'}}]\n"
                     "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
                     "users:\n- name: a\n  user:\n    exec:\n      apiVersion: client.authentication.k8s.io/v1beta1\n"
                     "      command: bin/login\n      args: [get, '', --x]\n      installHint: none\n"
                     "      env: [{name: A, value: b=c}, {name: B, value: ''}]\n      provideClusterInfo: true\n",
                     NULL, &config, NULL),
                0);
        const struct zp_kube_exec *exec = &config.user.exec;
        assert_string_equal(exec->command, "/etc/kube/bin/login");
        assert_string_equal(exec->arguments[0], "/etc/kube/bin/login");
        assert_string_equal(exec->arguments[2], "");
        assert_string_equal(exec->arguments[3], "--x");
        assert_null(exec->arguments[4]);
        assert_string_equal(exec->environment[0], "A=b=c");
        assert_string_equal(exec->environment[1], "B=");
        assert_null(exec->environment[2]);
        assert_true(exec->wants_cluster);
        zp_arena_clear(&config.arena);
}

#define WITH_USER(user)                                                               \
        "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n" \
        "clusters: [{name: a, cluster: {server: 'https://a'}}]\nusers:\n- name: a\n  user: " user "\n"
#define WITH_CLUSTER(cluster)                                                         \
        "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n" \
        "users: [{name: a, user: {token: secret}}]\nclusters:\n- name: a\n  cluster: " cluster "\n"

static void what_is_wrong_is_said_with_its_line(void **state) {
        (void) state;
        expect_refusal("", -EINVAL, "/etc/kube/config:1: the kubeconfig is empty");
        expect_refusal("[]", -EINVAL, "not a mapping");
        expect_refusal("a: [", -EINVAL, "/etc/kube/config:");
        expect_refusal("kind: Config\n", -EINVAL, "no current context");
        expect_refusal("current-context: x\n", -EINVAL, "'x'");
        expect_refusal("users: {}\n", -EINVAL, ":1: users: not a list");
        expect_refusal(WITH_USER("{client-key-data: '?secret?'}"), -EINVAL, ":6: client-key-data: not base64");
        expect_refusal(WITH_USER("{client-certificate-data: AGE=}"), -EINVAL, "not base64");
        expect_refusal(WITH_USER("{token: [secret]}"), -EINVAL, ":6: token: not a single value");
        expect_refusal(WITH_USER("{as: admin, token: secret}"), -EINVAL, "'as' is not supported");
        expect_refusal(WITH_USER("{auth-provider: {name: gcp}}"), -EINVAL, "'auth-provider' is not supported");
        expect_refusal(WITH_USER("{exec: {command: x}}"), -EINVAL, "apiVersion");
        expect_refusal(WITH_USER("{exec: {apiVersion: client.authentication.k8s.io/v1}}"), -EINVAL, "'command'");
        expect_refusal(WITH_USER("{client-certificate: x}"), -EINVAL, "together only");
        expect_refusal(WITH_CLUSTER("{}"), -EINVAL, "no cluster with a server");
        expect_refusal(WITH_CLUSTER("{server: 'ftp://a'}"), -EINVAL, "not an https URL");
        expect_refusal(WITH_CLUSTER("{server: 'https://'}"), -EINVAL, "not an https URL");
        expect_refusal(WITH_CLUSTER("{server: 'https://u:secret@a'}"), -EINVAL, "more than an address");
        expect_refusal(WITH_CLUSTER("{server: 'https://a/?x=y'}"), -EINVAL, "more than an address");
        expect_refusal(WITH_CLUSTER("{server: 'https://a', insecure-skip-tls-verify: maybe}"), -EINVAL, "neither true");
        expect_refusal(WITH_CLUSTER("{server: 'https://a', insecure-skip-tls-verify: true, certificate-authority: x}"),
                       -EINVAL, "which?");
}

static void credentials_go_by_tls_or_stay_on_this_machine(void **state) {
        (void) state;
        expect_refusal(WITH_CLUSTER("{server: 'http://k.example'}"), -EINVAL, "plain HTTP");
        expect_refusal(WITH_CLUSTER("{server: 'http://127.0.0.1.k.example'}"), -EINVAL, "plain HTTP");
        struct zp_kube_config config = { 0 };
        assert_int_equal(load(WITH_CLUSTER("{server: 'http://127.0.0.1:8001'}"), NULL, &config, NULL), 0);
        assert_int_equal(zp_kube_config_check(&config, NULL), 0);
        zp_arena_clear(&config.arena);
}

static void a_pod_finds_its_service_account(void **state) {
        (void) state;
        char directory[] = "/tmp/kube-config-XXXXXX";
        assert_non_null(mkdtemp(directory));
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(zp_replace_file(fd, "namespace", "prod\n", 5, 0644, NULL), 0);
        struct zp_kube_config *config;
        assert_int_equal(zp_kube_config_in_cluster(directory, "fd00::1", "443", &config, NULL), 0);
        assert_string_equal(zp_kube_config_server(config), "https://[fd00::1]:443");
        assert_string_equal(zp_kube_config_namespace(config), "prod");
        assert_string_equal(config->user.token_file + strlen(directory), "/token");
        assert_string_equal(config->cluster.authority.file + strlen(directory), "/ca.crt");
        zp_kube_config_free(config);
        assert_int_equal(zp_kube_config_in_cluster("/nonexistent", "10.0.0.1", "443", &config, NULL), -ENOENT);
        close(fd);
        assert_int_equal(zp_remove_tree(AT_FDCWD, directory, NULL), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_current_context_is_taken_apart),
                cmocka_unit_test(another_context_can_be_named_and_may_be_nobody),
                cmocka_unit_test(of_several_files_the_first_definition_counts),
                cmocka_unit_test(json_is_read_as_well),
                cmocka_unit_test(exec_plugins_are_understood),
                cmocka_unit_test(what_is_wrong_is_said_with_its_line),
                cmocka_unit_test(credentials_go_by_tls_or_stay_on_this_machine),
                cmocka_unit_test(a_pod_finds_its_service_account),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
