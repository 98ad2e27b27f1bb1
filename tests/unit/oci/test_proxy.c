/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "oci/proxy.h"

/* "NAME=value" each; the stand-in for getenv. */
static const char *environment[6];

static char *variable(const char *name) {
        size_t size = strlen(name);
        for (size_t i = 0; environment[i]; i++)
                if (strncmp(environment[i], name, size) == 0 && environment[i][size] == '=')
                        return (char *) environment[i] + size + 1;
        return NULL;
}

static void expect(const char *url, const char *proxy) {
        char *found = NULL;
        assert_int_equal(zp_proxy_find(url, variable, &found, NULL), 0);
        if (proxy)
                assert_string_equal(found, proxy);
        else
                assert_null(found);
        free(found);
}

static void set(const char *a, const char *b, const char *c) {
        environment[0] = a;
        environment[1] = b;
        environment[2] = c;
}

static void proxy_is_the_schemes(void **state) {
        (void) state;
        set(NULL, NULL, NULL);
        expect("https://a.example", NULL);
        set("HTTP_PROXY=http://p:1", "HTTPS_PROXY=q:2", NULL);
        expect("http://a.example/x", "http://p:1");
        expect("https://a.example/x", "q:2");
        set("http_proxy=p", "https_proxy=socks5h://me:pw@q", "HTTPS_PROXY=");
        expect("http://a.example", "p");
        expect("https://a.example", "socks5h://me:pw@q");
        set("ALL_PROXY=p", NULL, NULL);
        expect("https://a.example", "p");
}

/* golang.org/x/net/http/httpproxy, as net/http has it: a proxy is of no use on the way to oneself. */
static void this_machine_is_never_reached_by_a_proxy(void **state) {
        (void) state;
        set("HTTP_PROXY=p", "HTTPS_PROXY=p", NULL);
        expect("http://localhost:5000", NULL);
        expect("https://127.0.0.1", NULL);
        expect("http://127.8.9.1:80", NULL);
        expect("http://[::1]:5000/v2/", NULL);
        expect("http://128.0.0.1", "p");
        expect("http://localhost.example", "p");
}

static void expect_direct(const char *list, const char *url, bool is_direct) {
        char text[200] = "NO_PROXY=";
        strcat(text, list);
        set("HTTP_PROXY=p", "HTTPS_PROXY=p", text);
        expect(url, is_direct ? NULL : "p");
}

static void exceptions_are_names_addresses_networks_and_ports(void **state) {
        (void) state;
        expect_direct("*", "http://a.example", true);
        expect_direct("a.example", "http://a.example", true);
        expect_direct("a.example", "http://A.EXAMPLE:5000", true);
        expect_direct("a.example", "http://b.a.example", true);
        expect_direct("a.example", "http://ba.example", false);
        expect_direct(".a.example", "http://b.a.example", true);
        expect_direct(".a.example", "http://a.example", false);
        expect_direct("*.a.example", "http://b.a.example", true);
        expect_direct("x, a.example ,y", "http://a.example", true);
        expect_direct("a.example:5000", "http://a.example:5000", true);
        expect_direct("a.example:5000", "http://a.example", false);
        expect_direct("a.example:443", "https://a.example", true);
        expect_direct("10.0.0.1", "http://10.0.0.1:5000", true);
        expect_direct("10.0.0.1:80", "http://10.0.0.1:5000", false);
        expect_direct("10.0.0.1", "http://10.0.0.11", false);
        expect_direct("10.0.0.0/8", "http://10.255.0.1", true);
        expect_direct("10.0.0.0/9", "http://10.255.0.1", false);
        expect_direct("0.0.0.0/0", "http://10.255.0.1", true);
        expect_direct("0.0.0.0/0", "http://[fd00::1]", false);
        expect_direct("fd00::/8", "http://[fd12::1]:80", true);
        expect_direct("fd00::1", "http://[fd00:0::1]:80", true);
        expect_direct("[fd00::1]", "http://[fd00::1]", true);
        expect_direct("[fd00::1]:81", "http://[fd00::1]:80", false);
        expect_direct("10.0.0.0/33", "http://10.0.0.1", false);
        expect_direct("10.0.0.0/", "http://10.0.0.1", false);
        expect_direct("0.0.1", "http://10.0.0.1", false);
        expect_direct("", "http://a.example", false);
}

static void malformed_proxy_is_refused_and_not_shown(void **state) {
        (void) state;
        const char *const wrong[] = { "HTTP_PROXY=ftp://me:secret@p",       "HTTP_PROXY=http://me:secret@p:port",
                                      "HTTP_PROXY=http://me:secret@p/path", "HTTP_PROXY=http://me:secret@p?q",
                                      "HTTP_PROXY=http://me:secret@",       "HTTP_PROXY=http://me:sec ret@p" };
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                char *found;
                struct zp_error err = { 0 };
                set(wrong[i], NULL, NULL);
                assert_int_equal(zp_proxy_find("http://a.example", variable, &found, &err), -EINVAL);
                assert_null(strstr(err.message, "ret"));
                assert_non_null(strstr(err.message, "HTTP_PROXY"));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(proxy_is_the_schemes),
                cmocka_unit_test(this_machine_is_never_reached_by_a_proxy),
                cmocka_unit_test(exceptions_are_names_addresses_networks_and_ports),
                cmocka_unit_test(malformed_proxy_is_refused_and_not_shown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
