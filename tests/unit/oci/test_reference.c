/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: github.com/distribution/reference (its normalize_test.go and grammar).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/reference.h"

#define HEX "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

static void names_are_normalised_as_docker_does(void **state) {
        static const struct {
                const char *text, *expected;
        } cases[] = {
                { "busybox", "docker.io/library/busybox:latest" },
                { "busybox:1.36", "docker.io/library/busybox:1.36" },
                { "docker.io/busybox", "docker.io/library/busybox:latest" },
                { "index.docker.io/busybox", "docker.io/library/busybox:latest" },
                { "docker.io/library/busybox", "docker.io/library/busybox:latest" },
                { "acme/web", "docker.io/acme/web:latest" },
                { "acme/web/api:3", "docker.io/acme/web/api:3" },
                { "localhost/web", "localhost/web:latest" },
                { "localhost:5000/web", "localhost:5000/web:latest" },
                { "localhost:5000", "docker.io/library/localhost:5000" },
                { "registry.example:8080/a/b:T.1_2-3", "registry.example:8080/a/b:T.1_2-3" },
                { "127.0.0.1:5000/a", "127.0.0.1:5000/a:latest" },
                { "[::1]:5000/a:b", "[::1]:5000/a:b" },
                { "[2001:db8::1]/a", "[2001:db8::1]/a:latest" },
                { "Registry/a", "Registry/a:latest" },
                { "a.b/c__d/e-f--g.h", "a.b/c__d/e-f--g.h:latest" },
                { "busybox@sha256:" HEX, "docker.io/library/busybox@sha256:" HEX },
                { "a.b/c:1@sha256:" HEX, "a.b/c:1@sha256:" HEX },
                { "a.b:80/c@sha256:" HEX, "a.b:80/c@sha256:" HEX },
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_reference reference;
                struct zp_error err = { 0 };
                if (zp_reference_parse(cases[i].text, &reference, &err) != 0)
                        fail_msg("%s: %s", cases[i].text, err.message);
                char *text = zp_reference_text(&reference);
                assert_string_equal(text, cases[i].expected);
                free(text);
                zp_reference_clear(&reference);
        }
}

static void what_the_grammar_does_not_allow_is_refused(void **state) {
        static const char *const cases[] = {
                "",
                ":tag",
                "@sha256:" HEX,
                "Busybox",
                "a.b/Upper",
                "a//b",
                "/a",
                "a/",
                "a.b/",
                "a..b/c",
                "-a.b/c",
                "a-.b/c",
                "a___b",
                "a_.b",
                "a-",
                "_a",
                "a.b/c:",
                "a.b/c:.tag",
                "a.b/c:-tag",
                "a.b/c:t/d",
                "a.b:/c",
                "a.b:0/c",
                "a.b:65536/c",
                "a.b:x/c",
                "a b",
                "a\nb",
                "[::1/a",
                "[]/a",
                "[::1]x/a",
                "a@sha256:" HEX "0",
                "a@sha256:abc",
                "a@",
                "a@sha256:44136FA3",
                "a@sha256:" HEX "@sha256:" HEX,
                HEX,
                "docker://busybox",
                "a.b/c:12345678901234567890123456789012345678901234567890123456789012345678901234567890"
                "1234567890123456789012345678901234567890123456789",
                "\xc3\xa4.b/c",
                "a.b/\xc3\xa4",
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_reference reference;
                struct zp_error err = { 0 };
                if (zp_reference_parse(cases[i], &reference, &err) != -EINVAL)
                        fail_msg("'%s' was accepted", cases[i]);
                assert_true(err.message[0]);
        }
}

static void long_names_are_refused(void **state) {
        char text[2000];
        struct zp_reference reference;
        (void) state;
        memset(text, 'a', sizeof text);
        memcpy(text, "a.b/", 4);
        text[4 + 255] = '\0';
        assert_int_equal(zp_reference_parse(text, &reference, NULL), 0);
        zp_reference_clear(&reference);
        text[4 + 255] = 'a';
        text[4 + 256] = '\0';
        assert_int_equal(zp_reference_parse(text, &reference, NULL), -EINVAL);
        text[4 + 256] = 'a';
        text[1999] = '\0';
        assert_int_equal(zp_reference_parse(text, &reference, NULL), -EINVAL);
}

static void parts_are_told_apart(void **state) {
        struct zp_reference reference;
        (void) state;
        assert_int_equal(zp_reference_parse("h:5000/a/b:t@sha256:" HEX, &reference, NULL), 0);
        assert_string_equal(reference.registry, "h:5000");
        assert_string_equal(reference.repository, "a/b");
        assert_string_equal(reference.tag, "t");
        assert_true(reference.has_digest);
        zp_reference_clear(&reference);
        assert_int_equal(zp_reference_parse("a@sha256:" HEX, &reference, NULL), 0);
        assert_null(reference.tag);
        zp_reference_clear(&reference);
        assert_int_equal(zp_reference_parse("a@sha512:" HEX HEX, &reference, NULL), -ENOTSUP);
}

static void the_name_of_what_is_in_a_registry_says_where(void **state) {
        static const char *const others[] = { "dir:/srv/layout", "registry.example/web:3", "docker:/a/b", "" };
        struct zp_reference reference;
        struct zp_error err = { 0 };
        (void) state;
        assert_int_equal(zp_reference_of_name("docker://registry.example:5000/team/web", &reference, &err), 0);
        assert_string_equal(reference.registry, "registry.example:5000");
        assert_string_equal(reference.repository, "team/web");
        zp_reference_clear(&reference);
        assert_int_equal(zp_reference_of_name("docker://registry.example/Web", &reference, NULL), -EINVAL);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                assert_int_equal(zp_reference_of_name(others[i], &reference, &err), -ENOTSUP);
        assert_string_equal(err.message, "'' is not in a registry");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_normalised_as_docker_does),
                cmocka_unit_test(what_the_grammar_does_not_allow_is_refused),
                cmocka_unit_test(long_names_are_refused),
                cmocka_unit_test(parts_are_told_apart),
                cmocka_unit_test(the_name_of_what_is_in_a_registry_says_where),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
