/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "oci/listen.h"

static void port_0_is_any_free_one(void **state) {
        (void) state;
        struct zp_listener listener;
        struct zp_error err = { 0 };
        int is_listening = 0;
        socklen_t size = sizeof is_listening;
        assert_int_equal(zp_listen("127.0.0.1:0", &listener, &err), 0);
        assert_true(listener.port > 0 && listener.is_loopback);
        assert_int_equal(getsockopt(listener.fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size), 0);
        assert_true(is_listening);
        close(listener.fd);
        assert_int_equal(zp_listen("0.0.0.0:0", &listener, &err), 0);
        assert_false(listener.is_loopback);
        close(listener.fd);
}

static void what_is_no_address_is_refused(void **state) {
        (void) state;
        static const char *const texts[] = { "",           "127.0.0.1",      "8480",
                                             "127.0.0.1:", "127.0.0.1:x",    "host.invalid:1",
                                             "[::1:1",     "127.0.0.1:99999" };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct zp_listener listener = { .fd = -1 };
                struct zp_error err = { 0 };
                if (zp_listen(texts[i], &listener, &err) != -EINVAL)
                        fail_msg("'%s': %s", texts[i], err.message);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(port_0_is_any_free_one),
                cmocka_unit_test(what_is_no_address_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
