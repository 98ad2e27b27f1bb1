/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket: nobody's that is in use is taken, a left-over one is replaced, and no stranger may connect.
 */
#include "support.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "snapshotter/control/socket.h"

static void it_is_for_its_owner_and_group(void **state) {
        (void) state;
        struct snap_socket one;
        struct stat st;
        assert_ok(snap_socket_listen("a/b/s.sock", &one, &err));
        assert_int_equal(stat("a/b/s.sock", &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0777, 0660);
        snap_socket_close(&one);
        assert_int_equal(stat("a/b/s.sock", &st), -1);
}

static void one_that_is_listened_at_is_left_alone(void **state) {
        (void) state;
        struct snap_socket one, two;
        struct stat before, after;
        assert_ok(snap_socket_listen("s.sock", &one, &err));
        assert_int_equal(stat("s.sock", &before), 0);
        assert_int_equal(snap_socket_listen("s.sock", &two, &err), -EADDRINUSE);
        assert_int_equal(stat("s.sock", &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        snap_socket_close(&one);
}

static void one_of_a_dead_process_is_replaced(void **state) {
        (void) state;
        struct snap_socket dead, one;
        assert_ok(snap_socket_listen("s.sock", &dead, &err));
        close(dead.fd); /* as a killed process: the path stays */
        assert_ok(snap_socket_listen("s.sock", &one, &err));
        /* and what is another's by now is not taken away */
        dead.fd = dup(one.fd);
        snap_socket_close(&dead);
        assert_int_equal(access("s.sock", F_OK), 0);
        snap_socket_close(&one);
}

/* Its worker still has the socket, and cannot end. */
static void one_of_a_dead_supervisor_is_replaced(void **state) {
        (void) state;
        struct snap_socket dead, one;
        int keep[2], status;
        assert_int_equal(pipe(keep), 0);
        pid_t supervisor = fork();
        if (supervisor == 0) {
                char byte;
                bool is_listening = snap_socket_listen("s.sock", &dead, &err) == 0;
                close(keep[1]);
                if (is_listening && fork() == 0)
                        _exit(read(keep[0], &byte, 1) < 0);
                _exit(!is_listening);
        }
        assert_int_equal(waitpid(supervisor, &status, 0), supervisor);
        assert_int_equal(status, 0);
        assert_ok(snap_socket_listen("s.sock", &one, &err));
        assert_int_equal(snap_socket_listen("s.sock", &dead, &err), -EADDRINUSE);
        snap_socket_close(&one);
        close(keep[0]);
        close(keep[1]);
}

static void something_else_is_left_alone(void **state) {
        (void) state;
        struct snap_socket one;
        write_text("s.sock", "precious");
        assert_int_equal(snap_socket_listen("s.sock", &one, &err), -EEXIST);
        assert_int_equal(access("s.sock", F_OK), 0);
}

static void a_path_that_does_not_fit_is_refused(void **state) {
        (void) state;
        struct snap_socket one;
        char path[120];
        memset(path, 'x', sizeof path - 1);
        path[sizeof path - 1] = '\0';
        assert_int_equal(snap_socket_listen(path, &one, &err), -ENAMETOOLONG);
        assert_int_equal(snap_socket_listen("", &one, &err), -EINVAL);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(it_is_for_its_owner_and_group, setup, teardown),
                cmocka_unit_test_setup_teardown(one_that_is_listened_at_is_left_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(one_of_a_dead_process_is_replaced, setup, teardown),
                cmocka_unit_test_setup_teardown(one_of_a_dead_supervisor_is_replaced, setup, teardown),
                cmocka_unit_test_setup_teardown(something_else_is_left_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(a_path_that_does_not_fit_is_refused, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
