/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "oci/scope.h"

static void scope_covers_what_it_names_and_nothing_else(void **state) {
        (void) state;
        const char *held = "repository:a/b:pull,push repository:host:5000/c:pull";
        assert_true(zp_scope_covers(held, "repository:a/b:pull"));
        assert_true(zp_scope_covers(held, "repository:a/b:push,pull"));
        assert_true(zp_scope_covers(held, "  repository:host:5000/c:pull repository:a/b:push "));
        assert_true(zp_scope_covers(held, ""));
        assert_false(zp_scope_covers(held, "repository:host:5000/c:push"));
        assert_false(zp_scope_covers(held, "repository:a:pull"));
        assert_false(zp_scope_covers(held, "repository:a/b:pus"));
        assert_false(zp_scope_covers(held, "repository:a/b:delete"));
        assert_false(zp_scope_covers("", "repository:a/b:pull"));
}

static void expect_merged(const char *held, const char *wanted, const char *expected) {
        char *out = zp_scope_merge(held, wanted);
        assert_string_equal(out, expected);
        assert_true(zp_scope_covers(out, wanted));
        free(out);
}

static void merged_scope_keeps_what_was_held(void **state) {
        (void) state;
        expect_merged("", "repository:a:pull", "repository:a:pull");
        expect_merged("repository:a:pull", "repository:a:pull", "repository:a:pull");
        expect_merged("repository:a:pull", "repository:a:pull,push", "repository:a:pull,push");
        expect_merged("repository:a:pull,push", "repository:a:pull", "repository:a:pull,push");
        expect_merged("repository:a:pull,push", "repository:b:pull", "repository:b:pull repository:a:pull,push");
        expect_merged("repository:a:pull", "repository:a:push repository:b:pull",
                      "repository:a:push,pull repository:b:pull");
        expect_merged("x", "y", "y x");
}

static void merged_scope_does_not_grow_for_ever(void **state) {
        (void) state;
        char *held = zp_scope_merge("", "");
        for (int i = 0; i < 1000; i++) {
                char wanted[40];
                snprintf(wanted, sizeof wanted, "repository:r%d:pull", i);
                char *merged = zp_scope_merge(held, wanted);
                assert_true(zp_scope_covers(merged, wanted));
                free(held);
                held = merged;
        }
        size_t spaces = 0;
        for (const char *p = held; *p; p++)
                spaces += *p == ' ';
        assert_true(spaces < 32);
        free(held);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(scope_covers_what_it_names_and_nothing_else),
                cmocka_unit_test(merged_scope_keeps_what_was_held),
                cmocka_unit_test(merged_scope_does_not_grow_for_ever),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
