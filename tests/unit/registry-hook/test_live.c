/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "registry-hook/live.h"

static void count_wake(void *context) {
        ++*(int *) context;
}

static void a_watcher_hears_what_is_sent_from_then_on_and_is_woken_once(void **state) {
        (void) state;
        struct hook_live *live;
        int woken = 0;
        struct hook_watcher watcher = { .wake = count_wake, .context = &woken };
        zp_autobuffer struct zp_buffer out = { 0 };
        assert_int_equal(hook_live_new(&live, NULL), 0);
        hook_live_send(live, "build", "{\"id\": 0}");
        assert_true(hook_live_watch(live, &watcher));
        assert_false(hook_live_read(live, &watcher, 1000, &out));
        hook_live_send(live, "build", "{\"id\": 1}");
        hook_live_send(live, "build", "{\"id\": 2}");
        assert_int_equal(woken, 1);
        assert_true(hook_live_read(live, &watcher, 1000, &out));
        assert_string_equal(out.data, "id: 1\nevent: build\ndata: {\"id\": 1}\n\n"
                                      "id: 2\nevent: build\ndata: {\"id\": 2}\n\n");
        assert_false(hook_live_read(live, &watcher, 1000, &out));
        hook_live_send(live, "build", "{\"id\": 3}");
        assert_int_equal(woken, 2);
        hook_live_unwatch(live, &watcher);
        hook_live_send(live, "build", "{\"id\": 4}");
        assert_int_equal(woken, 2);
        hook_live_free(live);
}

static void a_slow_watcher_is_told_what_it_missed_and_holds_nobody_up(void **state) {
        (void) state;
        struct hook_live *live;
        int woken = 0;
        struct hook_watcher watcher = { .wake = count_wake, .context = &woken };
        zp_autobuffer struct zp_buffer out = { 0 };
        assert_int_equal(hook_live_new(&live, NULL), 0);
        assert_true(hook_live_watch(live, &watcher));
        for (int i = 0; i < 10000; i++)
                hook_live_send(live, "progress", "{}");
        assert_true(hook_live_read(live, &watcher, 100, &out));
        assert_int_equal(strncmp(out.data, "event: missed\n", 14), 0);
        assert_true(out.size < 1000); /* as much as was asked for */
        hook_live_unwatch(live, &watcher);
        hook_live_free(live);
}

static void the_end_wakes_everybody_and_nobody_waits_after_it(void **state) {
        (void) state;
        struct hook_live *live;
        int woken = 0;
        struct hook_watcher watcher = { .wake = count_wake, .context = &woken };
        zp_autobuffer struct zp_buffer out = { 0 };
        assert_int_equal(hook_live_new(&live, NULL), 0);
        assert_true(hook_live_watch(live, &watcher));
        assert_false(hook_live_read(live, &watcher, 100, &out));
        hook_live_end(live);
        assert_int_equal(woken, 1);
        assert_true(hook_live_read(live, &watcher, 100, &out));
        assert_int_equal(out.size, 0);
        hook_live_unwatch(live, &watcher);
        hook_live_free(live);
}

static void there_is_an_end_to_how_many_watch(void **state) {
        (void) state;
        struct hook_live *live;
        struct hook_watcher watchers[HOOK_WATCHERS_MAX + 1];
        assert_int_equal(hook_live_new(&live, NULL), 0);
        for (int i = 0; i < HOOK_WATCHERS_MAX; i++)
                assert_true(hook_live_watch(live, &watchers[i]));
        assert_false(hook_live_watch(live, &watchers[HOOK_WATCHERS_MAX]));
        hook_live_unwatch(live, &watchers[3]);
        assert_true(hook_live_watch(live, &watchers[HOOK_WATCHERS_MAX]));
        hook_live_free(live);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_watcher_hears_what_is_sent_from_then_on_and_is_woken_once),
                cmocka_unit_test(a_slow_watcher_is_told_what_it_missed_and_holds_nobody_up),
                cmocka_unit_test(the_end_wakes_everybody_and_nobody_waits_after_it),
                cmocka_unit_test(there_is_an_end_to_how_many_watch),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
