/* SPDX-License-Identifier: Apache-2.0
 *
 * One worker: its start, its death, and how long to wait in between.
 */
#include "snapshotter/supervisor/supervisor-internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 10000
/* Who lived so long did not die of its start. */
#define LIVED_MS 10000

uint64_t snap_now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

void snap_log(const struct snap_supervisor_options *options, bool is_bad, const char *format, ...) {
        char line[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        if (options->log)
                options->log(options->context, is_bad, line);
}

/* Puts the descriptors where a worker looks for them: above all that are named, then down. */
static int place_descriptors(int fuse_fd, int ready_fd) {
        int ready = fcntl(ready_fd, F_DUPFD, SNAP_WORKER_READY_FD + 1);
        int fuse = fuse_fd >= 0 ? fcntl(fuse_fd, F_DUPFD, SNAP_WORKER_READY_FD + 1) : -1;
        if (ready < 0 || dup2(ready, SNAP_WORKER_READY_FD) < 0)
                return -1;
        close(ready);
        if (fuse_fd < 0) {
                close(SNAP_WORKER_FUSE_FD);
                return 0;
        }
        if (fuse < 0 || dup2(fuse, SNAP_WORKER_FUSE_FD) < 0)
                return -1;
        return close(fuse);
}

/* In the child. When the supervisor dies, so do its workers: the next one starts its own. */
static void become(const struct snap_worker *worker, pid_t parent, int fuse_fd, int ready_fd) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || place_descriptors(fuse_fd, ready_fd) < 0)
                _exit(127);
        execv(worker->argv[0], worker->argv);
        dprintf(STDERR_FILENO, "zeropull-snapshotter: start '%s': %s\n", worker->argv[0], strerror(errno));
        _exit(127);
}

static void pause_child(struct snap_child *child, bool was_killed) {
        uint64_t now = snap_now_ms();
        if (now - child->started_ms >= LIVED_MS || was_killed)
                child->failures = 0;
        uint64_t pause = child->failures < 8 ? (uint64_t) PAUSE_FIRST_MS << child->failures : PAUSE_MAX_MS;
        if (was_killed)
                pause = 0;
        else
                child->failures++;
        child->start_at_ms = now + (pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS);
}

void snap_child_start(struct snap_child *child, int fuse_fd, const struct snap_supervisor_options *options) {
        const struct snap_worker *worker = child->worker;
        int ready[2];
        child->started_ms = snap_now_ms();
        if (pipe2(ready, O_CLOEXEC) < 0) {
                snap_log(options, true, "start the %s: %s", worker->name, strerror(errno));
                pause_child(child, false);
                return;
        }
        pid_t parent = getpid(), pid = fork();
        if (pid == 0)
                become(worker, parent, worker->serves_devices ? fuse_fd : -1, ready[1]);
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

void snap_child_died(struct snap_child *child, int status, const struct snap_supervisor_options *options) {
        bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (child->is_ending && (status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)))
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

void snap_worker_ready(void) {
        if (write(SNAP_WORKER_READY_FD, "1", 1) > 0)
                close(SNAP_WORKER_READY_FD);
}
