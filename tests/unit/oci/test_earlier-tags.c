/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tags count as earlier versions of an image.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "oci/earlier-tags.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void check(const char *tag, char *const *tags, size_t count, const char *const *want, size_t want_count) {
        const char *out[3];
        assert_int_equal(zp_earlier_tags(tag, tags, count, out, COUNT(out)), want_count);
        for (size_t i = 0; i < want_count; i++)
                assert_string_equal(out[i], want[i]);
}

static void the_nearest_come_first_and_no_more_than_wanted(void **state) {
        (void) state;
        static char *const tags[] = { "1.10.0", "1.2.3", "1.9.9", "2.0.0", "1.9.10", "0.9.0", "1.11.0" };
        static const char *const want[] = { "1.10.0", "1.9.10", "1.9.9" };
        check("1.11.0", tags, COUNT(tags), want, COUNT(want));
        check("1.10.1", tags, COUNT(tags), want, COUNT(want));
        check("0.9.0", tags, COUNT(tags), NULL, 0);
}

static void only_versions_of_the_same_kind_count(void **state) {
        (void) state;
        static char *const tags[] = { "1.9",      "1.9.1-alpine", "v1.9-alpine", "1.9-alpine",
                                      "1.9-slim", "1.9-alpin",    "1.9-alpine-", "",
                                      "-alpine",  "1.-alpine",    "latest" };
        static const char *const want[] = { "1.9-alpine" };
        check("1.10-alpine", tags, COUNT(tags), want, COUNT(want));
}

static void a_tag_without_a_number_has_no_earlier_one(void **state) {
        (void) state;
        static char *const tags[] = { "latest", "1.0", "main", "stable" };
        check("latest", tags, COUNT(tags), NULL, 0);
        check("", tags, COUNT(tags), NULL, 0);
}

static void numbers_may_be_of_any_length(void **state) {
        (void) state;
        static char *const tags[] = { "build-99999999999999999999999999999999999998", "build-007",
                                      "build-99999999999999999999999999999999999999", "build-7", "build-000" };
        static const char *const want[] = { "build-99999999999999999999999999999999999998", "build-007", "build-7" };
        check("build-99999999999999999999999999999999999999", tags, COUNT(tags), want, COUNT(want));
        static const char *const zero[] = { "build-000" };
        check("build-7", tags, COUNT(tags), zero, COUNT(zero)); /* 007 is no other version */
}

static void without_room_nothing_is_given(void **state) {
        (void) state;
        static char *const tags[] = { "1", "2" };
        assert_int_equal(zp_earlier_tags("3", tags, 2, NULL, 0), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_nearest_come_first_and_no_more_than_wanted),
                cmocka_unit_test(only_versions_of_the_same_kind_count),
                cmocka_unit_test(a_tag_without_a_number_has_no_earlier_one),
                cmocka_unit_test(numbers_may_be_of_any_length),
                cmocka_unit_test(without_room_nothing_is_given),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
