/* SPDX-License-Identifier: Apache-2.0
 *
 * What one finds out counts for the others, for as long as it was said to, and for the same puller.
 */
#include "support.h"

#include <pthread.h>

#include "snapshotter/control/answers.h"

static struct snap_answers *answers;
static const struct snap_question question = { .manifest_digest = { { 1 } }, .reference = "r.example/a:1" };

static int begin_test(void **state) {
        return setup(state) == 0 ? snap_answers_new(&answers, &err) : -1;
}

static int end_test(void **state) {
        snap_answers_free(answers);
        return teardown(state);
}

static void an_answer_is_for_the_same_question_alone(void **state) {
        (void) state;
        size_t slot, other;
        struct snap_question by_another = question, elsewhere = question, about_another = question;
        by_another.puller[15] = 1;
        elsewhere.reference = "r.example/b:1";
        about_another.manifest_digest.bytes[31] = 1;
        assert_int_equal(snap_answers_ask(answers, &question, &slot, NULL), SNAP_ANSWER_UNKNOWN);
        snap_answers_give(answers, slot, SNAP_ANSWER_GOOD, 1000, NULL);
        assert_int_equal(snap_answers_ask(answers, &question, &other, NULL), SNAP_ANSWER_GOOD);
        assert_int_equal(snap_answers_ask(answers, &by_another, &other, NULL), SNAP_ANSWER_UNKNOWN);
        snap_answers_give(answers, other, SNAP_ANSWER_BAD, 1000, NULL);
        assert_int_equal(snap_answers_ask(answers, &by_another, &other, NULL), SNAP_ANSWER_BAD);
        assert_int_equal(snap_answers_ask(answers, &elsewhere, &other, NULL), SNAP_ANSWER_UNKNOWN);
        snap_answers_give(answers, other, SNAP_ANSWER_UNKNOWN, 1000, NULL);
        assert_int_equal(snap_answers_ask(answers, &about_another, &other, NULL), SNAP_ANSWER_UNKNOWN);
        snap_answers_give(answers, other, SNAP_ANSWER_UNKNOWN, 1000, NULL);
        assert_int_equal(snap_answers_ask(answers, &question, &other, NULL), SNAP_ANSWER_GOOD);
}

static void an_answer_ends_with_its_time_and_when_it_does_not_hold(void **state) {
        (void) state;
        size_t slot;
        assert_int_equal(snap_answers_ask(answers, &question, &slot, NULL), SNAP_ANSWER_UNKNOWN);
        snap_answers_give(answers, slot, SNAP_ANSWER_GOOD, 0, NULL);
        assert_int_equal(snap_answers_ask(answers, &question, &slot, NULL), SNAP_ANSWER_UNKNOWN);
        snap_answers_give(answers, slot, SNAP_ANSWER_GOOD, 1000, NULL);
        snap_answers_forget(answers, &question.manifest_digest);
        assert_int_equal(snap_answers_ask(answers, &question, &slot, NULL), SNAP_ANSWER_UNKNOWN);
        snap_answers_give(answers, slot, SNAP_ANSWER_BAD, 1000, NULL);
        snap_answers_forget(answers, &question.manifest_digest);
        assert_int_equal(snap_answers_ask(answers, &question, &slot, NULL), SNAP_ANSWER_BAD);
}

static void why_an_answer_is_bad_is_told_with_it(void **state) {
        (void) state;
        size_t slot;
        struct zp_error why = { 0 }, told = { 0 };
        assert_int_equal(snap_answers_ask(answers, &question, &slot, &told), SNAP_ANSWER_UNKNOWN);
        zp_error_set(&why, EACCES, "not trusted");
        snap_answers_give(answers, slot, SNAP_ANSWER_BAD, 1000, &why);
        assert_int_equal(snap_answers_ask(answers, &question, &slot, &told), SNAP_ANSWER_BAD);
        assert_int_equal(told.code, EACCES);
        assert_string_equal(told.message, "not trusted");
}

static void *ask(void *context) {
        size_t slot;
        *(enum snap_answer *) context = snap_answers_ask(answers, &question, &slot, NULL);
        return NULL;
}

static void others_wait_for_the_one_who_finds_out(void **state) {
        (void) state;
        pthread_t threads[4];
        enum snap_answer got[4];
        size_t slot;
        assert_int_equal(snap_answers_ask(answers, &question, &slot, NULL), SNAP_ANSWER_UNKNOWN);
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, ask, &got[i]), 0);
        snap_answers_give(answers, slot, SNAP_ANSWER_GOOD, 1000, NULL);
        for (int i = 0; i < 4; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(got[i], SNAP_ANSWER_GOOD);
        }
}

static void old_answers_make_room(void **state) {
        (void) state;
        struct snap_question many = question;
        size_t slot;
        for (int i = 0; i < 1000; i++) {
                memcpy(many.puller, &i, sizeof i);
                assert_int_equal(snap_answers_ask(answers, &many, &slot, NULL), SNAP_ANSWER_UNKNOWN);
                snap_answers_give(answers, slot, SNAP_ANSWER_GOOD, 1000, NULL);
        }
        assert_int_equal(snap_answers_ask(answers, &many, &slot, NULL), SNAP_ANSWER_GOOD);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(an_answer_is_for_the_same_question_alone, begin_test, end_test),
                cmocka_unit_test_setup_teardown(an_answer_ends_with_its_time_and_when_it_does_not_hold, begin_test,
                                                end_test),
                cmocka_unit_test_setup_teardown(why_an_answer_is_bad_is_told_with_it, begin_test, end_test),
                cmocka_unit_test_setup_teardown(others_wait_for_the_one_who_finds_out, begin_test, end_test),
                cmocka_unit_test_setup_teardown(old_answers_make_room, begin_test, end_test),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
