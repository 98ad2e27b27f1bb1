/* SPDX-License-Identifier: Apache-2.0
 *
 * One worker: its start, its death, and how long to wait in between.
 */
#include "snapshotter/supervisor/supervisor-internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/notify.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 10000
#define KILLED_PAUSE_MAX_MS 1000
/* Who lived so long did not die of its start. */
#define LIVED_MS 10000
/* In a worker. */
enum { SERVED_FD = 3, READY_FD };
static unsigned own_starts; /* of this process, when it is a worker */
static int ready_fd = -1;   /* of this process, when it is a worker that has not said yet that it is ready */
static bool is_alone;

void snap_log(const struct snap_supervisor_options *options, bool is_bad, const char *format, ...) {
        char line[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        if (options->log)
                options->log(options->context, is_bad, line);
}

/* Keeps these two and the standard ones: moves them above all that are named here, then down. */
static int keep_descriptors(int served_fd, int ready) {
        int moved_ready = fcntl(ready, F_DUPFD_CLOEXEC, READY_FD + 1);
        int moved_served = fcntl(served_fd, F_DUPFD_CLOEXEC, READY_FD + 1);
        if (moved_ready < 0 || moved_served < 0 || dup3(moved_ready, READY_FD, O_CLOEXEC) < 0 ||
            dup3(moved_served, SERVED_FD, O_CLOEXEC) < 0)
                return -1;
        return close_range(READY_FD + 1, ~0U, 0);
}

/* For ps(1): the command line is that of the supervisor otherwise. */
static void set_title(const struct snap_worker *worker, const struct snap_supervisor_options *options) {
        if (!options->title || !options->title_size)
                return;
        memset(options->title, 0, options->title_size);
        snprintf(options->title, options->title_size, "zeropull-snapshotter: %s", worker->name);
}

/* In the child. When the supervisor dies, so do its workers: the next one starts its own. */
static _Noreturn void become(const struct snap_worker *worker, pid_t parent, int served_fd, int ready,
                             const struct snap_supervisor_options *options) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || keep_descriptors(served_fd, ready) < 0)
                _exit(127);
        ready_fd = READY_FD;
        set_title(worker, options);
        exit(worker->run(worker->context, SERVED_FD));
}

/* One that is killed while it serves is missed at once. One that is killed before that, as where there is no memory for
 * it, would be started again without end. */
static void pause_child(struct snap_child *child, bool was_killed) {
        uint64_t now = zp_monotonic_ms();
        bool is_missed = was_killed && child->was_ready;
        if (now - child->started_ms >= LIVED_MS || is_missed)
                child->failures = 0;
        uint64_t pause = child->failures < 8 ? (uint64_t) PAUSE_FIRST_MS << child->failures : PAUSE_MAX_MS;
        uint64_t longest = was_killed ? KILLED_PAUSE_MAX_MS : PAUSE_MAX_MS;
        if (is_missed)
                pause = 0;
        else
                child->failures++;
        child->start_at_ms = now + (pause < longest ? pause : longest);
}

void snap_child_start(struct snap_child *child, int fuse_fd, const struct snap_supervisor_options *options) {
        const struct snap_worker *worker = child->worker;
        int ready[2];
        child->started_ms = zp_monotonic_ms();
        child->was_ready = false;
        child->starts++;
        if (pipe2(ready, O_CLOEXEC) < 0) {
                snap_log(options, true, "start the %s: %s", worker->name, strerror(errno));
                pause_child(child, false);
                return;
        }
        pid_t parent = getpid(), pid = fork();
        own_starts = pid == 0 ? child->starts : 0;
        if (pid == 0)
                become(worker, parent, worker->serves_devices ? fuse_fd : worker->listen_fd, ready[1], options);
        int code = errno;
        close(ready[1]);
        if (pid < 0) {
                close(ready[0]);
                snap_log(options, true, "start the %s: %s", worker->name, strerror(code));
                pause_child(child, false);
                return;
        }
        child->pid = pid;
        child->is_ending = false;
        child->ready_fd = ready[0];
}

static bool is_by_order(int status) {
        return status == 0 || (WIFSIGNALED(status) && (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGINT));
}

void snap_child_died(struct snap_child *child, int status, const struct snap_supervisor_options *options) {
        bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (child->is_ending && is_by_order(status))
                snap_log(options, false, "the %s ended", child->worker->name);
        else if (WIFSIGNALED(status))
                snap_log(options, true, "the %s was ended by signal %d (%s)", child->worker->name, WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
        else
                snap_log(options, WEXITSTATUS(status) != 0, "the %s ended with code %d", child->worker->name,
                         WEXITSTATUS(status));
        child->pid = 0;
        if (child->ready_fd >= 0)
                close(child->ready_fd);
        child->ready_fd = -1;
        pause_child(child, was_killed);
}

const char *snap_worker_journal(const char *path) {
        return access(path, F_OK) == 0 ? path : NULL;
}

void snap_worker_is_alone(void) {
        is_alone = true;
}

void snap_worker_ready(void) {
        if (is_alone)
                zp_notify_manager("READY=1", -1, NULL);
        if (ready_fd >= 0 && write(ready_fd, "1", 1) > 0)
                close(zp_steal_fd(&ready_fd));
}

unsigned snap_worker_starts(void) {
        return own_starts;
}
