/* SPDX-License-Identifier: Apache-2.0
 *
 * A registry that does not answer takes the time of some images, not of all.
 */
#include "support.h"

#include "snapshotter/control/silent.h"

static void a_registry_that_did_not_answer_twice_is_not_asked_for_a_while(void **state) {
        (void) state;
        zp_auto(snap_silent_free) struct snap_silent *silent = NULL;
        assert_ok(snap_silent_new(&silent, &err));
        snap_silent_note(silent, "r.example:5000/a/b:1", true);
        assert_ok(snap_silent_check(silent, "r.example:5000/c:1", &err));
        snap_silent_note(silent, "r.example:5000/a/c:1", true);
        assert_int_equal(snap_silent_check(silent, "r.example:5000/c:1", &err), -ETIMEDOUT);
        assert_message_has("the registry r.example:5000 was not asked");
        assert_ok(snap_silent_check(silent, "r.example/c:1", &err));
        snap_silent_note(silent, "r.example:5000/d:1", false); /* one that was asked before */
        assert_ok(snap_silent_check(silent, "r.example:5000/c:1", &err));
}

static void only_so_many_are_remembered(void **state) {
        (void) state;
        zp_auto(snap_silent_free) struct snap_silent *silent = NULL;
        char name[32];
        assert_ok(snap_silent_new(&silent, &err));
        for (int i = 0; i < 200; i++) {
                snprintf(name, sizeof name, "r%d.example/x", i);
                snap_silent_note(silent, name, true);
                snap_silent_note(silent, name, true);
                assert_int_equal(snap_silent_check(silent, name, &err), -ETIMEDOUT);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_registry_that_did_not_answer_twice_is_not_asked_for_a_while, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(only_so_many_are_remembered, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
