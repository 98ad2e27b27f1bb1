/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known about registries.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "oci/learned.h"

static int make(void **state) {
        struct zp_learned *learned;
        assert_int_equal(zp_learned_new(&learned, NULL), 0);
        *state = learned;
        return 0;
}

static int drop(void **state) {
        zp_learned_free(*state);
        return 0;
}

static void lessons_are_known_of_the_host_that_gave_them(void **state) {
        struct zp_learned *l = *state;
        assert_false(zp_learned_knows(l, "a:5000", ZP_LESSON_HTTP));
        zp_learned_note(l, "a:5000", ZP_LESSON_HTTP);
        assert_true(zp_learned_knows(l, "a:5000", ZP_LESSON_HTTP));
        assert_false(zp_learned_knows(l, "a:5000", ZP_LESSON_NO_REFERRERS));
        assert_false(zp_learned_knows(l, "a:5001", ZP_LESSON_HTTP));
        zp_learned_note(l, "a:5000", ZP_LESSON_NO_REFERRERS);
        assert_true(zp_learned_knows(l, "a:5000", ZP_LESSON_HTTP));
        assert_true(zp_learned_knows(l, "a:5000", ZP_LESSON_NO_REFERRERS));
}

static void what_is_forgotten_can_be_learned_anew(void **state) {
        struct zp_learned *l = *state;
        zp_learned_forget(l, "a");
        zp_learned_note(l, "a", ZP_LESSON_HTTP);
        zp_learned_note(l, "b", ZP_LESSON_HTTP);
        zp_learned_forget(l, "a");
        assert_false(zp_learned_knows(l, "a", ZP_LESSON_HTTP));
        assert_true(zp_learned_knows(l, "b", ZP_LESSON_HTTP));
        zp_learned_note(l, "a", ZP_LESSON_HTTPS);
        assert_true(zp_learned_knows(l, "a", ZP_LESSON_HTTPS));
        assert_false(zp_learned_knows(l, "a", ZP_LESSON_HTTP));
}

static void there_is_room_for_the_last_hosts_only(void **state) {
        struct zp_learned *l = *state;
        char name[32];
        unsigned known = 0;
        for (unsigned i = 0; i < 10000; i++) {
                snprintf(name, sizeof name, "host-%u", i);
                zp_learned_note(l, name, ZP_LESSON_HTTP);
                assert_true(zp_learned_knows(l, name, ZP_LESSON_HTTP));
        }
        for (unsigned i = 0; i < 10000; i++) {
                snprintf(name, sizeof name, "host-%u", i);
                known += zp_learned_knows(l, name, ZP_LESSON_HTTP);
        }
        assert_in_range(known, 1, 256);
}

static void without_a_memory_nothing_is_known(void **state) {
        (void) state;
        zp_learned_note(NULL, "a", ZP_LESSON_HTTP);
        zp_learned_forget(NULL, "a");
        assert_false(zp_learned_knows(NULL, "a", ZP_LESSON_HTTP));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(lessons_are_known_of_the_host_that_gave_them, make, drop),
                cmocka_unit_test_setup_teardown(what_is_forgotten_can_be_learned_anew, make, drop),
                cmocka_unit_test_setup_teardown(there_is_room_for_the_last_hosts_only, make, drop),
                cmocka_unit_test(without_a_memory_nothing_is_known),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
