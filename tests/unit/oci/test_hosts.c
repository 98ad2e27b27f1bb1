/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "oci/hosts.h"

static char directory[] = "/tmp/zeropull-hosts-XXXXXX";

static void put(const char *name, const char *text) {
        char path[300];
        snprintf(path, sizeof path, "%s/%s", directory, name);
        *strrchr(path, '/') = '\0';
        assert_int_equal(zp_make_directories(path, 0755, NULL), 0);
        path[strlen(path)] = '/';
        assert_int_equal(zp_replace_file(AT_FDCWD, path, text, strlen(text), 0644, NULL), 0);
}

static int setup(void **state) {
        (void) state;
        return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state) {
        (void) state;
        return zp_remove_tree(AT_FDCWD, directory, NULL);
}

static struct zp_hosts parse(const char *text) {
        struct zp_hosts hosts;
        struct zp_error err = { 0 };
        if (zp_hosts_parse(text, strlen(text), directory, &hosts, &err) < 0)
                fail_msg("%s", err.message);
        return hosts;
}

static void expect_base(const char *url, const char *base) {
        zp_autofree char *text = zp_format("server = \"%s\"", url);
        struct zp_hosts hosts = parse(text);
        assert_int_equal(hosts.count, 1);
        assert_string_equal(hosts.hosts[0].base, base);
        zp_hosts_clear(&hosts);
}

/* containerd's docs/hosts.md; "/v2" is added unless it is there. */
static void servers_become_what_requests_begin_with(void **state) {
        (void) state;
        expect_base("https://docker.io", "https://docker.io/v2");
        expect_base("https://docker.io/", "https://docker.io/v2");
        expect_base("docker.io:5000", "https://docker.io:5000/v2");
        expect_base("http://10.0.0.1:80", "http://10.0.0.1:80/v2");
        expect_base("https://mirror/us", "https://mirror/us/v2");
        expect_base("https://mirror/us/v2/", "https://mirror/us/v2");
        expect_base("https://[::1]:5000", "https://[::1]:5000/v2");
}

static void hosts_come_first_and_in_their_order(void **state) {
        (void) state;
        struct zp_hosts hosts = parse("server = \"https://s\"\n"
                                      "[host.\"https://b\"]\n  capabilities = [\"pull\"]\n"
                                      "[host.\"https://a/x\"]\n  capabilities = [\"Pull\", \"resolve\"]\n"
                                      "  override_path = true\n  skip_verify = true\n  dial_timeout = \"1m0.5s\"\n"
                                      "  proxy = \"socks5://p:1\"\n  future = \"x\"\n"
                                      "[host.\"https://a/x\".header]\n  X-A = [\"1\", \"2\"]\n  X-B = \"3\"\n");
        assert_int_equal(hosts.count, 3);
        const struct zp_host *b = &hosts.hosts[0], *a = &hosts.hosts[1], *s = &hosts.hosts[2];
        assert_string_equal(b->base, "https://b/v2");
        assert_true(b->can_pull && !b->can_resolve && !b->can_push && !b->skip_tls_verify);
        assert_string_equal(a->base, "https://a/x");
        assert_true(a->can_pull && a->can_resolve && !a->can_push && a->skip_tls_verify);
        assert_int_equal(a->connect_timeout_ms, 60500);
        assert_string_equal(a->proxy, "socks5://p:1");
        assert_string_equal(a->headers[0], "X-A: 1");
        assert_string_equal(a->headers[1], "X-A: 2");
        assert_string_equal(a->headers[2], "X-B: 3");
        assert_null(a->headers[3]);
        assert_string_equal(s->base, "https://s/v2");
        assert_true(s->can_pull && s->can_resolve && s->can_push);
        zp_hosts_clear(&hosts);
}

static void without_server_the_registry_comes_last(void **state) {
        (void) state;
        struct zp_hosts hosts = parse("capabilities = [\"pull\"]\nskip_verify = true\n[host.\"https://b\"]");
        assert_int_equal(hosts.count, 2);
        assert_null(hosts.hosts[1].base);
        assert_true(hosts.hosts[1].can_push && hosts.hosts[1].skip_tls_verify);
        zp_hosts_clear(&hosts);
}

#define PEM(what) "-----BEGIN " what "-----\n"

static void certificates_are_read_relative_to_the_file(void **state) {
        (void) state;
        put("a.pem", PEM("A"));
        put("b.pem", PEM("B"));
        struct zp_hosts hosts = parse("ca = [\"a.pem\", \"b.pem\"]\nclient = [[\"a.pem\", \"b.pem\"]]\n"
                                      "[host.\"https://x\"]\nca = \"a.pem\"\nclient = \"b.pem\"\n");
        assert_string_equal(hosts.hosts[1].ca_pem, PEM("A") "\n" PEM("B") "\n");
        assert_string_equal(hosts.hosts[1].client_pem, PEM("A") "\n");
        assert_string_equal(hosts.hosts[1].client_key_pem, PEM("B") "\n");
        assert_string_equal(hosts.hosts[0].ca_pem, PEM("A") "\n");
        assert_string_equal(hosts.hosts[0].client_key_pem, PEM("B") "\n");
        zp_hosts_clear(&hosts);
}

static void malformed_fields_are_refused(void **state) {
        (void) state;
        put("text", "no certificate");
        const char *const wrong[] = {
                "server = true",
                "server = \"ftp://x\"",
                "server = \"https://me:pw@x\"",
                "server = \"https://x?y\"",
                "host = \"x\"",
                "capabilities = \"pull\"",
                "capabilities = [\"fly\"]",
                "ca = true",
                "ca = \"missing\"",
                "ca = \"text\"",
                "client = [\"a\", \"b\"]",
                "client = [[\"a\"]]",
                "skip_verify = \"true\"",
                "override_path = \"x\"",
                "header = \"x\"",
                "[header]\n\"a b\" = \"x\"",
                "[header]\na = true",
                "dial_timeout = \"5\"",
                "dial_timeout = \"1h\"",
                "dial_timeout = \"-1s\"",
                "dial_timeout = \"0s\"",
                "dial_timeout = true",
                "proxy = \"ftp://x\"",
                "proxy = \"http://\"",
                "proxy = \"http://x/y\"",
                "[host.\"https://x\"]\nskip_verify = \"no\"",
        };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct zp_hosts hosts;
                struct zp_error err = { 0 };
                if (zp_hosts_parse(wrong[i], strlen(wrong[i]), directory, &hosts, &err) == 0)
                        fail_msg("accepted: %s", wrong[i]);
                assert_non_null(strstr(err.message, directory));
        }
}

static void expect_found(const char *registry, const char *base) {
        struct zp_hosts hosts;
        assert_int_equal(zp_hosts_load(directory, registry, &hosts, NULL), 0);
        assert_int_equal(hosts.count, base ? 1 : 0);
        if (base)
                assert_string_equal(hosts.hosts[0].base, base);
        zp_hosts_clear(&hosts);
}

static void directories_are_found_by_the_registrys_name(void **state) {
        (void) state;
        expect_found("none.example", NULL);
        put("r.example:5000/hosts.toml", "server = \"colon\"");
        expect_found("r.example:5000", "https://colon/v2");
        put("r.example_5000_/hosts.toml", "server = \"underscore\"");
        expect_found("r.example:5000", "https://underscore/v2");
        put("docker.io/hosts.toml", "server = \"docker\"");
        expect_found("docker.io", "https://docker/v2");
        put("_default/hosts.toml", "server = \"default\"");
        expect_found("none.example", "https://default/v2");
        expect_found("docker.io", "https://docker/v2");
}

/* docs.docker.com/engine/security/certificates */
static void dockers_certificate_files_do_without_a_hosts_toml(void **state) {
        (void) state;
        struct zp_hosts hosts;
        put("plain.example/ca.crt", PEM("CA"));
        put("plain.example/client.cert", PEM("C"));
        put("plain.example/client.key", PEM("K"));
        zp_autofree char *both = zp_format("/nonexistent:%s", directory);
        assert_int_equal(zp_hosts_load(both, "plain.example", &hosts, NULL), 0);
        assert_int_equal(hosts.count, 1);
        assert_null(hosts.hosts[0].base);
        assert_string_equal(hosts.hosts[0].ca_pem, PEM("CA") "\n");
        assert_string_equal(hosts.hosts[0].client_key_pem, PEM("K") "\n");
        assert_true(hosts.hosts[0].can_push);
        zp_hosts_clear(&hosts);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(servers_become_what_requests_begin_with),
                cmocka_unit_test(hosts_come_first_and_in_their_order),
                cmocka_unit_test(without_server_the_registry_comes_last),
                cmocka_unit_test(certificates_are_read_relative_to_the_file),
                cmocka_unit_test(malformed_fields_are_refused),
                cmocka_unit_test(directories_are_found_by_the_registrys_name),
                cmocka_unit_test(dockers_certificate_files_do_without_a_hosts_toml),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
