/* SPDX-License-Identifier: Apache-2.0
 *
 * When a worker that died is started again.
 */
#include "../control/support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "snapshotter/supervisor/supervisor-internal.h"

static int die_of_its_start(void *context, int fd) {
        (void) context;
        (void) fd;
        raise(SIGKILL);
        return 0;
}

static int serve_and_die(void *context, int fd) {
        (void) context;
        (void) fd;
        snap_worker_ready();
        raise(SIGKILL);
        return 0;
}

static int end_badly(void *context, int fd) {
        (void) context;
        (void) fd;
        return 1;
}

static const struct snap_supervisor_options options = { 0 };

/* One life, after which it waits so long. */
static void live(struct snap_child *child, uint64_t pause_ms) {
        char byte;
        int status;
        snap_child_start(child, -1, &options);
        assert_true(child->pid > 0);
        child->was_ready = read(child->ready_fd, &byte, 1) == 1; /* as the supervisor's loop hears it */
        assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
        uint64_t before = zp_monotonic_ms();
        snap_child_died(child, status, &options);
        assert_in_range(child->start_at_ms, before + pause_ms, zp_monotonic_ms() + pause_ms);
        assert_int_equal(child->pid, 0);
}

static void begin(struct snap_worker *worker, struct snap_child *child, int (*run)(void *context, int fd)) {
        *worker = (struct snap_worker){ .name = "worker", .run = run };
        worker->listen_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        *child = (struct snap_child){ .worker = worker, .ready_fd = -1 };
}

static void one_that_is_killed_while_it_serves_is_missed_at_once(void **state) {
        struct snap_worker worker;
        struct snap_child child;
        (void) state;
        begin(&worker, &child, serve_and_die);
        for (int i = 0; i < 20; i++)
                live(&child, 0);
        close(worker.listen_fd);
}

static void one_that_is_killed_before_it_serves_waits_longer_each_time_up_to_a_second(void **state) {
        static const uint64_t pauses[] = { 100, 200, 400, 800, 1000, 1000 };
        struct snap_worker worker;
        struct snap_child child;
        (void) state;
        begin(&worker, &child, die_of_its_start);
        for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++)
                live(&child, pauses[i]);
        worker.run = serve_and_die;
        live(&child, 0);
        worker.run = die_of_its_start;
        live(&child, 100);
        close(worker.listen_fd);
}

static void one_that_fails_waits_up_to_ten_seconds(void **state) {
        static const uint64_t pauses[] = { 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };
        struct snap_worker worker;
        struct snap_child child;
        (void) state;
        begin(&worker, &child, end_badly);
        for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++)
                live(&child, pauses[i]);
        close(worker.listen_fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_that_is_killed_while_it_serves_is_missed_at_once),
                cmocka_unit_test(one_that_is_killed_before_it_serves_waits_longer_each_time_up_to_a_second),
                cmocka_unit_test(one_that_fails_waits_up_to_ten_seconds),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
