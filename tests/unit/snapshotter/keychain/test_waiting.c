/* SPDX-License-Identifier: Apache-2.0
 *
 * What the node's agent answers, as pullers; the agent is played.
 */
#include "../control/support.h"

#include <pthread.h>
#include <time.h>

#include "base/buffer.h"
#include "snapshotter/keychain/exchange.h"
#include "snapshotter/keychain/listener.h"
#include "snapshotter/keychain/waiting.h"

static const char *answer;
static char question[200];

static void accepted(void *context, int fd) {
        (void) context;
        zp_autobuffer struct zp_buffer asked = { 0 };
        assert_true(snap_exchange_receive(fd, sizeof question - 1, &asked));
        snprintf(question, sizeof question, "%s", asked.data);
        snap_exchange_send(fd, answer, strlen(answer));
        close(fd);
}

struct asked {
        struct snap_puller *pullers;
        size_t count;
        int result;
};

static const struct snap_waiting_patience no_wait = { .answer_ms = 5000 };

static struct asked ask(const char *text) {
        struct asked out = { 0 };
        zp_autofree char *path = zp_format("%s/agent.sock", directory);
        zp_auto(snap_keychain_free) struct snap_keychain *keychain = NULL;
        zp_auto(snap_listener_free) struct snap_listener *listener = NULL;
        assert_ok(snap_keychain_new(&keychain, &err));
        answer = text;
        if (text)
                assert_ok(snap_listener_new(path, accepted, NULL, &listener, &err));
        out.result = snap_waiting_pullers(path, keychain, "r.example/web:1", &no_wait, &out.pullers, &out.count, &err);
        return out;
}

static void each_puller_counts_once_and_is_one_that_waits(void **state) {
        (void) state;
        struct asked a =
                ask("{\"pullers\": [{\"username\": \"u\", \"password\": \"p\"}, {}, {\"identityToken\": \"t\"},"
                    " {\"username\": \"u\", \"password\": \"p\"}]}");
        assert_int_equal(a.result, 0);
        assert_string_equal(question, "r.example/web:1");
        assert_int_equal(a.count, 3);
        assert_string_equal(a.pullers[0].credentials.password, "p");
        assert_true(zp_credentials_are_empty(&a.pullers[1].credentials));
        assert_string_equal(a.pullers[2].credentials.identity_token, "t");
        for (size_t i = 0; i < a.count; i++)
                assert_true(a.pullers[i].is_waiting);
        assert_memory_not_equal(a.pullers[0].fingerprint, a.pullers[2].fingerprint, sizeof a.pullers[0].fingerprint);
        snap_pullers_free(a.pullers, a.count);
}

static void nobody_is_an_answer_too(void **state) {
        (void) state;
        struct asked a = ask("{\"pullers\": []}");
        assert_int_equal(a.result, 0);
        assert_int_equal(a.count, 0);
        snap_pullers_free(a.pullers, a.count);
}

static void what_makes_no_sense_is_no_answer(void **state) {
        (void) state;
        static const char *const answers[] = {
                "{", "[]", "{}", "{\"pullers\": {}}", "{\"pullers\": [1]}", "{\"pullers\": [{}, {\"username\": 1}]}"
        };
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
                struct asked a = ask(answers[i]);
                assert_int_equal(a.result, -EBADMSG);
                assert_null(a.pullers);
                assert_int_equal(a.count, 0);
        }
        assert_int_equal(ask("").result, -EHOSTDOWN);
}

static void an_agent_that_is_away_is_told_as_such(void **state) {
        (void) state;
        assert_int_equal(ask(NULL).result, -EHOSTDOWN);
        assert_non_null(strstr(err.message, "cannot be asked who pulls"));
}

/* An agent that is away is not asked again for a while. */
static void what_is_wrong_here_is_not_told_as_an_agent_that_is_away(void **state) {
        (void) state;
        struct snap_puller *pullers;
        size_t count;
        char path[200];
        memset(path, 'x', sizeof path);
        path[0] = '/';
        path[sizeof path - 1] = '\0';
        assert_int_equal(snap_waiting_pullers(path, NULL, "r.example/web:1", &no_wait, &pullers, &count, &err),
                         -ENAMETOOLONG);
        assert_message_has("cannot be asked who pulls");
}

static void *begin_later(void *path) {
        const struct timespec pause = { .tv_nsec = 300000000 };
        struct snap_listener *listener = NULL;
        struct zp_error unused = { 0 };
        nanosleep(&pause, NULL);
        return snap_listener_new(path, accepted, NULL, &listener, &unused) == 0 ? listener : NULL;
}

static void an_agent_that_begins_a_little_later_is_waited_for(void **state) {
        (void) state;
        const struct snap_waiting_patience patience = { .begin_ms = 60000, .answer_ms = 5000 };
        zp_autofree char *path = zp_format("%s/agent.sock", directory);
        zp_auto(snap_keychain_free) struct snap_keychain *keychain = NULL;
        struct asked a = { 0 };
        pthread_t thread;
        void *listener;
        answer = "{\"pullers\": [{}]}";
        assert_ok(snap_keychain_new(&keychain, &err));
        assert_int_equal(pthread_create(&thread, NULL, begin_later, path), 0);
        a.result = snap_waiting_pullers(path, keychain, "r.example/web:1", &patience, &a.pullers, &a.count, &err);
        pthread_join(thread, &listener);
        assert_non_null(listener);
        snap_listener_free(listener);
        assert_int_equal(a.result, 0);
        assert_int_equal(a.count, 1);
        snap_pullers_free(a.pullers, a.count);
}

static void who_is_told_to_end_waits_for_no_agent(void **state) {
        (void) state;
        const struct zp_cancel cancel = { .requested = true };
        const struct snap_waiting_patience patience = { .begin_ms = 600000, .answer_ms = 5000, .cancel = &cancel };
        struct snap_puller *pullers;
        size_t count;
        assert_int_equal(
                snap_waiting_pullers("/nowhere/agent.sock", NULL, "r.example/web:1", &patience, &pullers, &count, &err),
                -ECANCELED);
}

/* ---- one that does not come to an end ---- */

static atomic_bool is_over;
static struct zp_cancel asking;

/* A blank now and then, until nobody listens any more. */
static void dawdle(void *context, int fd) {
        const struct timespec pause = { .tv_nsec = 20000000 };
        bool *cancels = context;
        for (int i = 0; snap_exchange_send(fd, " ", 1); i++) {
                if (i == 10 && cancels)
                        atomic_store(&asking.requested, true);
                nanosleep(&pause, NULL);
        }
        atomic_store(&is_over, true);
        close(fd);
}

static int ask_who_dawdles(unsigned answer_ms, bool *cancels) {
        const struct snap_waiting_patience patience = { .answer_ms = answer_ms, .cancel = &asking };
        zp_autofree char *path = zp_format("%s/agent.sock", directory);
        zp_auto(snap_keychain_free) struct snap_keychain *keychain = NULL;
        zp_auto(snap_listener_free) struct snap_listener *listener = NULL;
        struct snap_puller *pullers;
        size_t count;
        atomic_store(&asking.requested, false);
        atomic_store(&is_over, false);
        assert_ok(snap_keychain_new(&keychain, &err));
        assert_ok(snap_listener_new(path, dawdle, cancels, &listener, &err));
        return snap_waiting_pullers(path, keychain, "r.example/web:1", &patience, &pullers, &count, &err);
}

static void an_agent_that_dawdles_has_its_time_once(void **state) {
        (void) state;
        assert_int_equal(ask_who_dawdles(300, NULL), -EHOSTDOWN);
        assert_true(is_over);
}

static void who_is_told_to_end_waits_for_no_answer(void **state) {
        (void) state;
        bool cancels = true;
        assert_int_equal(ask_who_dawdles(3600000, &cancels), -ECANCELED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(each_puller_counts_once_and_is_one_that_waits, setup, teardown),
                cmocka_unit_test_setup_teardown(nobody_is_an_answer_too, setup, teardown),
                cmocka_unit_test_setup_teardown(what_makes_no_sense_is_no_answer, setup, teardown),
                cmocka_unit_test_setup_teardown(an_agent_that_is_away_is_told_as_such, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_wrong_here_is_not_told_as_an_agent_that_is_away, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(an_agent_that_begins_a_little_later_is_waited_for, setup, teardown),
                cmocka_unit_test_setup_teardown(who_is_told_to_end_waits_for_no_agent, setup, teardown),
                cmocka_unit_test_setup_teardown(an_agent_that_dawdles_has_its_time_once, setup, teardown),
                cmocka_unit_test_setup_teardown(who_is_told_to_end_waits_for_no_answer, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
