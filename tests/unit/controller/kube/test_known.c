/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "controller/kube/known.h"

static void put(struct zp_kube_known *known, const char *namespace, const char *name, const char *uid, unsigned mark) {
        struct zp_kube_known_object *object = zp_kube_known_put(known, namespace, name, uid, "1");
        assert_non_null(object);
        object->mark = mark;
}

static void objects_are_found_by_namespace_and_name(void **state) {
        (void) state;
        struct zp_kube_known known = { 0 };
        assert_null(zp_kube_known_find(&known, "a", "b"));
        put(&known, "a", "b", "u1", 0);
        put(&known, "ab", "", "u2", 0);
        put(&known, "", "ab", "u3", 0);
        put(&known, "b", "a", "u4", 0);
        assert_string_equal(zp_kube_known_find(&known, "a", "b")->uid, "u1");
        assert_string_equal(zp_kube_known_find(&known, "", "ab")->uid, "u3");
        assert_string_equal(zp_kube_known_find(&known, "b", "a")->uid, "u4");
        assert_null(zp_kube_known_find(&known, "", "b"));
        zp_kube_known_clear(&known);
}

static void the_later_version_takes_the_place_of_the_earlier(void **state) {
        (void) state;
        struct zp_kube_known known = { 0 };
        put(&known, "n", "x", "u1", 0);
        assert_non_null(zp_kube_known_put(&known, "n", "x", "u1", "2"));
        assert_int_equal(known.count, 1);
        assert_string_equal(zp_kube_known_find(&known, "n", "x")->resource_version, "2");
        zp_kube_known_clear(&known);
}

static void ten_thousand_are_kept_and_the_unmarked_taken_out(void **state) {
        (void) state;
        struct zp_kube_known known = { 0 };
        char name[32];
        for (unsigned i = 0; i < 10000; i++) {
                snprintf(name, sizeof name, "object-%u", i);
                put(&known, i % 2 ? "odd" : "even", name, "u", i % 10 == 0 ? 1 : 2);
        }
        assert_int_equal(known.count, 10000);
        unsigned taken = 0;
        size_t bucket = 0;
        for (struct zp_kube_known_object *object; (object = zp_kube_known_take_unmarked(&known, 2, &bucket)); taken++) {
                assert_int_equal(object->name[strlen(object->name) - 1], '0');
                free(object);
        }
        assert_int_equal(taken, 1000);
        assert_int_equal(known.count, 9000);
        assert_non_null(zp_kube_known_find(&known, "odd", "object-9999"));
        assert_null(zp_kube_known_find(&known, "even", "object-9990"));
        zp_kube_known_clear(&known);
        assert_int_equal(known.count, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(objects_are_found_by_namespace_and_name),
                cmocka_unit_test(the_later_version_takes_the_place_of_the_earlier),
                cmocka_unit_test(ten_thousand_are_kept_and_the_unmarked_taken_out),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
