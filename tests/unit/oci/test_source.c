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

static void a_bare_reference_means_a_registry(void **state) {
        (void) state;
        static const char *const names[] = { "busybox", "docker://busybox", "docker.io/library/busybox:latest" };
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
                cmocka_unit_test(a_bare_reference_means_a_registry),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
