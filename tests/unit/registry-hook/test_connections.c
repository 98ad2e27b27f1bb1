/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "registry-hook/clock.h"
#include "registry-hook/connections.h"

/* Whether the other end of the pair sees that it was shut down. */
static bool is_shut(int fd) {
        char byte;
        return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void who_is_waited_for_too_long_is_shut_down_and_who_waits_is_not(void **state) {
        (void) state;
        struct hook_connections *connections;
        int slow[2], served[2], gone[2];
        assert_int_equal(hook_connections_new(1000, 100, &connections, NULL), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, slow), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, served), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, gone), 0);
        struct hook_connection *a = hook_connections_add(connections, slow[0]);
        struct hook_connection *b = hook_connections_add(connections, served[0]);
        struct hook_connection *c = hook_connections_add(connections, gone[0]);
        hook_connections_set_waiting(connections, b, false);
        hook_connections_remove(connections, c);
        int64_t now = hook_monotonic_ms();
        hook_connections_end_slow(connections, now + 500);
        assert_false(is_shut(slow[1]));
        hook_connections_end_slow(connections, now + 2000);
        assert_true(is_shut(slow[1]));
        assert_false(is_shut(served[1]));
        assert_false(is_shut(gone[1]));
        hook_connections_set_waiting(connections, b, true); /* answered: it may ask again, in time */
        hook_connections_end_slow(connections, now + 5000);
        assert_true(is_shut(served[1]));
        hook_connections_remove(connections, a);
        hook_connections_remove(connections, b);
        hook_connections_free(connections);
        for (int i = 0; i < 2; i++) {
                close(slow[i]);
                close(served[i]);
                close(gone[i]);
        }
}

static void those_who_let_themselves_be_waited_for_keep_nobody_out(void **state) {
        (void) state;
        struct hook_connections *connections;
        struct hook_connection *all[3];
        int pairs[3][2];
        assert_int_equal(hook_connections_new(30000, 3, &connections, NULL), 0);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        for (size_t i = 0; i < 2; i++)
                all[i] = hook_connections_add(connections, pairs[i][0]);
        int64_t now = hook_monotonic_ms();
        hook_connections_end_slow(connections, now + HOOK_CROWDED_MS + 1000);
        assert_false(is_shut(pairs[0][1]));
        all[2] = hook_connections_add(connections, pairs[2][0]);
        hook_connections_set_waiting(connections, all[1], false);
        hook_connections_end_slow(connections, now + HOOK_CROWDED_MS - 1000);
        assert_false(is_shut(pairs[0][1]));
        assert_int_equal(send(pairs[2][1], "G", 1, 0), 1);
        hook_connections_end_slow(connections, now + HOOK_CROWDED_MS + 1000);
        assert_true(is_shut(pairs[0][1]));
        assert_false(is_shut(pairs[1][1]));
        assert_false(is_shut(pairs[2][1])); /* has said something that nobody has read yet */
        hook_connections_end_slow(connections, now + 31000);
        assert_true(is_shut(pairs[2][1])); /* however long it goes on */
        for (size_t i = 0; i < 3; i++) {
                hook_connections_remove(connections, all[i]);
                close(pairs[i][0]);
                close(pairs[i][1]);
        }
        hook_connections_free(connections);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(who_is_waited_for_too_long_is_shut_down_and_who_waits_is_not),
                cmocka_unit_test(those_who_let_themselves_be_waited_for_keep_nobody_out),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
