/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected: sd_notify(3), of what NOTIFY_SOCKET can hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/notify.h"
#include "base/unix-socket.h"

static char directory[64], path[80];
static struct zp_error err;

static int setup(void **state) {
        (void) state;
        strcpy(directory, "/tmp/zeropull-test-XXXXXX");
        zp_error_clear(&err);
        if (!mkdtemp(directory))
                return -1;
        snprintf(path, sizeof path, "%s/notify", directory);
        return setenv("NOTIFY_SOCKET", path, 1);
}

static int teardown(void **state) {
        (void) state;
        unsetenv("NOTIFY_SOCKET");
        return zp_remove_tree(AT_FDCWD, directory, &err);
}

static void assert_received(int manager, const char *expected) {
        char text[32] = { 0 };
        assert_int_equal(recv(manager, text, sizeof text - 1, MSG_DONTWAIT), strlen(expected));
        assert_string_equal(text, expected);
}

static void a_manager_with_a_path_is_told(void **state) {
        (void) state;
        struct sockaddr_un address;
        zp_autoclose int manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(zp_unix_address(path, &address, &err), 0);
        assert_int_equal(bind(manager, (const struct sockaddr *) &address, sizeof address), 0);
        assert_int_equal(zp_notify_manager("READY=1", -1, &err), 0);
        assert_received(manager, "READY=1");
}

static void a_manager_with_an_abstract_name_is_told(void **state) {
        (void) state;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        zp_autoclose int manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", path);
        socklen_t length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) size);
        assert_int_equal(bind(manager, (const struct sockaddr *) &address, length), 0);
        char name[sizeof path + 1];
        snprintf(name, sizeof name, "@%s", path);
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        assert_int_equal(zp_notify_manager("STOPPING=1", -1, &err), 0);
        assert_received(manager, "STOPPING=1");
}

static void without_a_manager_nothing_fails(void **state) {
        (void) state;
        char long_path[200];
        memset(long_path, 'x', sizeof long_path - 1);
        long_path[sizeof long_path - 1] = '\0';
        long_path[0] = '/';
        const char *const none[] = { "", "/", "relative/notify", long_path };
        for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
                assert_int_equal(setenv("NOTIFY_SOCKET", none[i], 1), 0);
                assert_int_equal(zp_notify_manager("READY=1", -1, &err), 0);
        }
        unsetenv("NOTIFY_SOCKET");
        assert_int_equal(zp_notify_manager("READY=1", -1, &err), 0);
}

static void a_manager_that_is_gone_is_an_error(void **state) {
        (void) state;
        assert_int_equal(zp_notify_manager("READY=1", -1, &err), -ENOENT);
        assert_non_null(strstr(err.message, path));
        assert_int_equal(zp_notify_manager("READY=1", -1, NULL), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_manager_with_a_path_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(a_manager_with_an_abstract_name_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(without_a_manager_nothing_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(a_manager_that_is_gone_is_an_error, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
