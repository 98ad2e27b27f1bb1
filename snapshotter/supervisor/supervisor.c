/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor's loop, and where it gets /dev/fuse from.
 */
#include "snapshotter/supervisor/supervisor-internal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/notify.h"
#include "base/resident.h"
#include "blockfs/blockfs.h"
#include "mount/erofs_mount.h"

#define FD_NAME "fuse"
#define FUSE_VARIABLE "ZEROPULL_FUSE_FD"
#define LISTEN_VARIABLE "ZEROPULL_LISTEN_FD"
/* Set by who keeps the descriptor for a successor in another mount namespace: there the mount seems unused. */
#define STAYS_VARIABLE "ZEROPULL_MOUNT_STAYS"
/* How long a worker may take to end once it is killed. */
#define KILLED_MS 2000

enum order { ORDER_NONE, ORDER_END, ORDER_REPLACE };

struct supervisor {
        const struct snap_supervisor_options *options;
        struct snap_child children[SNAP_WORKERS_MAX];
        int fuse_fd, signal_fd;
        bool has_reported;
        enum order order;
};

/* A descriptor whose file system is gone says so. */
static bool is_alive(int fuse_fd) {
        struct pollfd fd = { .fd = fuse_fd, .events = POLLIN };
        return poll(&fd, 1, 0) >= 0 && !(fd.revents & (POLLERR | POLLNVAL));
}

int snap_supervisor_take_listener(void) {
        return snap_handed_take(LISTEN_VARIABLE);
}

bool snap_supervisor_is_successor(void) {
        return snap_manager_has_left() || getenv(FUSE_VARIABLE);
}

void snap_supervisor_do_without(void) {
        zp_autoclose int fd = snap_manager_take(FD_NAME), handed = snap_handed_take(FUSE_VARIABLE);
        (void) fd;
        (void) handed;
        snap_worker_is_alone();
}

static int take_over(const char *directory) {
        zp_autoclose int fd = snap_manager_take(FD_NAME), handed = snap_handed_take(FUSE_VARIABLE);
        if (fd < 0)
                fd = zp_steal_fd(&handed);
        if (fd >= 0 && zp_blockfs_is_mounted(directory, NULL) > 0 && is_alive(fd))
                return zp_steal_fd(&fd);
        return -1;
}

/* Of the last mount nothing shall be left: its requests had the same numbers. */
static int begin_journal(const char *path, bool can_resend, struct zp_error *err) {
        if (unlink(path) < 0 && errno != ENOENT)
                return zp_error_errno(err, errno, "remove '%s'", path);
        zp_autoclose int fd = can_resend ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return can_resend || fd >= 0 ? 0 : zp_error_errno(err, errno, "create '%s'", path);
}

static int get_fuse(struct supervisor *s, struct zp_error *err) {
        const struct snap_supervisor_options *options = s->options;
        bool can_resend;
        s->fuse_fd = take_over(options->mount_directory);
        if (s->fuse_fd >= 0) {
                snap_log(options, false, "took over the mount on %s", options->mount_directory);
                return 0;
        }
        /* a dead mount is not a directory one can make */
        int r = zp_blockfs_is_mounted(options->mount_directory, err);
        if (r == 0)
                r = zp_make_directories(options->mount_directory, 0700, err);
        if (r < 0)
                return r;
        s->fuse_fd = zp_blockfs_mount(options->mount_directory, &can_resend, err);
        if (s->fuse_fd < 0)
                return s->fuse_fd;
        r = begin_journal(options->journal, can_resend, err);
        if (r < 0)
                return r;
        if (options->mounted_anew)
                options->mounted_anew(options->context);
        zp_notify_manager("FDSTORE=1\nFDNAME=" FD_NAME, s->fuse_fd, NULL);
        return 0;
}

static int watch_signals(struct supervisor *s, struct zp_error *err) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return s->signal_fd < 0 ? zp_error_errno(err, errno, "signals") : 0;
}

/* By number, not all there are: the process may have children of an earlier life. */
static void reap(struct supervisor *s) {
        for (unsigned i = 0; i < s->options->worker_count; i++) {
                struct snap_child *child = &s->children[i];
                int status;
                /* a signal to the whole group has come to them, too */
                child->is_ending |= s->order == ORDER_END;
                if (child->pid && waitpid(child->pid, &status, WNOHANG) == child->pid)
                        snap_child_died(child, status, s->options);
        }
}

static void read_signals(struct supervisor *s) {
        struct signalfd_siginfo info;
        while (read(s->signal_fd, &info, sizeof info) == sizeof info)
                if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
                        s->order = ORDER_END;
                else if (info.ssi_signo == SIGHUP && s->order == ORDER_NONE)
                        s->order = ORDER_REPLACE;
        reap(s);
}

static void hear_ready(struct supervisor *s, struct snap_child *child) {
        char byte;
        if (read(child->ready_fd, &byte, 1) == 1)
                child->was_ready = true;
        close(child->ready_fd);
        child->ready_fd = -1;
        bool all = true;
        for (unsigned i = 0; i < s->options->worker_count; i++)
                all &= s->children[i].was_ready;
        if (all && !s->has_reported) {
                s->has_reported = true;
                zp_notify_manager("READY=1", -1, NULL);
                snap_log(s->options, false, "all workers are ready");
                zp_resident_rest();
        }
}

/* Waits until something happens or `until_ms` is there. */
static void wait_for_news(struct supervisor *s, uint64_t until_ms) {
        struct pollfd fds[1 + SNAP_WORKERS_MAX] = { { .fd = s->signal_fd, .events = POLLIN } };
        uint64_t now = zp_monotonic_ms();
        for (unsigned i = 0; i < s->options->worker_count; i++)
                fds[1 + i] = (struct pollfd){ .fd = s->children[i].ready_fd, .events = POLLIN };
        int timeout = until_ms == UINT64_MAX ? -1 : until_ms > now ? (int) (until_ms - now) : 0;
        if (poll(fds, 1 + s->options->worker_count, timeout) <= 0)
                return;
        for (unsigned i = 0; i < s->options->worker_count; i++)
                if (fds[1 + i].revents)
                        hear_ready(s, &s->children[i]);
        if (fds[0].revents)
                read_signals(s);
}

/* Starts who is due; returns when the next one is. */
static uint64_t start_due(struct supervisor *s) {
        uint64_t next = UINT64_MAX;
        for (unsigned i = 0; i < s->options->worker_count; i++) {
                struct snap_child *child = &s->children[i];
                if (!child->pid && child->start_at_ms <= zp_monotonic_ms())
                        snap_child_start(child, s->fuse_fd, s->options);
                if (!child->pid && child->start_at_ms < next)
                        next = child->start_at_ms;
        }
        return next;
}

static bool is_any_running(const struct supervisor *s, bool serves_devices) {
        for (unsigned i = 0; i < s->options->worker_count; i++)
                if (s->children[i].pid && s->children[i].worker->serves_devices == serves_devices)
                        return true;
        return false;
}

static void signal_workers(struct supervisor *s, bool serves_devices, int number) {
        for (unsigned i = 0; i < s->options->worker_count; i++)
                if (s->children[i].pid && s->children[i].worker->serves_devices == serves_devices) {
                        s->children[i].is_ending = true;
                        kill(s->children[i].pid, number);
                }
}

/* The longest that one of them may take. */
static unsigned end_ms(const struct supervisor *s, bool serves_devices) {
        unsigned longest = 0;
        for (unsigned i = 0; i < s->options->worker_count; i++) {
                const struct snap_worker *worker = &s->options->workers[i];
                if (worker->serves_devices == serves_devices && worker->end_ms > longest)
                        longest = worker->end_ms;
        }
        return longest;
}

static void await_end(struct supervisor *s, bool serves_devices, unsigned timeout_ms) {
        uint64_t until = zp_monotonic_ms() + timeout_ms;
        while (is_any_running(s, serves_devices) && zp_monotonic_ms() < until)
                wait_for_news(s, until);
}

/* One that waits for a device's file, and whose request the data plane has, cannot be killed before that has answered
 * or its mount is gone. So it is not waited for: its death is the next one's affair. */
static void end_workers(struct supervisor *s, bool serves_devices) {
        signal_workers(s, serves_devices, SIGTERM);
        await_end(s, serves_devices, end_ms(s, serves_devices));
        signal_workers(s, serves_devices, SIGKILL);
        await_end(s, serves_devices, KILLED_MS);
        if (is_any_running(s, serves_devices))
                snap_log(s->options, true, "a worker does not end, although it was killed: it waits for the kernel");
}

/* Does not come back, unless the program cannot be started; then the old one goes on. */
static void replace(struct supervisor *s) {
        int fuse_fd = snap_handed_leave(FUSE_VARIABLE, s->fuse_fd), listen_fd = -1;
        for (unsigned i = 0; i < s->options->worker_count; i++)
                if (!s->options->workers[i].serves_devices)
                        listen_fd = snap_handed_leave(LISTEN_VARIABLE, s->options->workers[i].listen_fd);
        snap_log(s->options, false, "starting %s anew", s->options->argv[0]);
        execv(s->options->argv[0], s->options->argv);
        snap_log(s->options, true, "start '%s': %s; going on with the program that runs", s->options->argv[0],
                 strerror(errno));
        snap_handed_revoke(FUSE_VARIABLE, fuse_fd);
        snap_handed_revoke(LISTEN_VARIABLE, listen_fd);
}

static void supervise(struct supervisor *s) {
        for (;;) {
                while (s->order == ORDER_NONE)
                        wait_for_news(s, start_due(s));
                if (s->order == ORDER_REPLACE && !snap_successor_would_start(s->options)) {
                        snap_log(s->options, true, "'%s' would not start; going on with the program that runs",
                                 s->options->argv[0]);
                        s->order = ORDER_NONE;
                        continue;
                }
                zp_notify_manager(s->order == ORDER_END ? "STOPPING=1" : "RELOADING=1", -1, NULL);
                end_workers(s, false);
                end_workers(s, true);
                if (s->order == ORDER_END)
                        return;
                replace(s);
                s->order = ORDER_NONE;
                s->has_reported = false;
        }
}

/* In use, it stays for the next start, which has the descriptor from the manager or takes the dead mount away. */
static void leave_mount(const struct snap_supervisor_options *options) {
        struct zp_error err = { 0 };
        if (getenv(STAYS_VARIABLE))
                return;
        if (zp_unmount(options->mount_directory, false, &err) < 0 && err.code != EINVAL)
                snap_log(options, false, "%s", err.message);
}

int snap_supervisor_run(const struct snap_supervisor_options *options, struct zp_error *err) {
        struct supervisor s = { .options = options, .fuse_fd = -1, .signal_fd = -1 };
        if (options->worker_count > SNAP_WORKERS_MAX)
                return zp_error_set(err, E2BIG, "too many workers");
        for (unsigned i = 0; i < options->worker_count; i++)
                s.children[i] = (struct snap_child){ .worker = &options->workers[i], .ready_fd = -1 };
        int r = get_fuse(&s, err);
        if (r == 0)
                r = watch_signals(&s, err);
        if (r == 0) {
                supervise(&s);
                leave_mount(options);
        }
        if (s.fuse_fd >= 0)
                close(s.fuse_fd);
        if (s.signal_fd >= 0)
                close(s.signal_fd);
        return r;
}
