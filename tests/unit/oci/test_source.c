/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "oci/source.h"

static void a_name_that_is_no_reference_gets_a_hint(void **state) {
        static const char *const names[] = { "./image.tar", "/var/image.tar", "dir:/var/image", "docker-daemon:a:1",
                                             "" };
        (void) state;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                struct zp_error err = { 0 };
                struct zp_source *source;
                assert_int_equal(zp_source_open(names[i], NULL, &source, &err), -EINVAL);
                assert_non_null(strstr(err.hint, "docker-archive:FILE"));
        }
}

static void another_transport_is_no_repository(void **state) {
        static const struct {
                const char *name, *message;
        } cases[] = {
                { "docker-daemon:busybox", "'docker-daemon' is not supported" },
                { "docker-daemon:busybox:1", "'docker-daemon' is not supported" },
                { "containers-storage:x", "'containers-storage' is not supported" },
                { "containers-storage:[overlay@/run]x", "'containers-storage' is not supported" },
                { "dir:x", "'dir' is not supported" },
                { "sif:x", "'sif' is not supported" },
                { "docker-archve:x.tar", "is 'docker-archive' meant?" },
                { "oci-achive:x.tar", "is 'oci-archive' meant?" },
                { "docker_archive:x", "is 'docker-archive' meant?" },
                { "oci-archive", "path is missing" },
                { "docker-archive", "path is missing" },
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_error err = { 0 };
                struct zp_source *source;
                assert_int_equal(zp_source_open(cases[i].name, NULL, &source, &err), -EINVAL);
                if (!strstr(err.message, cases[i].message))
                        fail_msg("%s: %s", cases[i].name, err.message);
                assert_non_null(strstr(err.hint, "oci:DIR"));
        }
}

static void a_bare_reference_means_a_registry(void **state) {
        (void) state;
        static const char *const names[] = {
                "busybox",           "docker://busybox", "docker.io/library/busybox:latest", "docker:dind", "dir/x:1",
                "docker-registry:2", "docker://dir:x",   "docker.io/library/docker-daemon:1"
        };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                struct zp_source *source;
                assert_int_equal(zp_source_open(names[i], NULL, &source, NULL), 0);
                assert_null(zp_source_local_path(source));
                zp_source_close(source);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_name_that_is_no_reference_gets_a_hint),
                cmocka_unit_test(another_transport_is_no_repository),
                cmocka_unit_test(a_bare_reference_means_a_registry),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
