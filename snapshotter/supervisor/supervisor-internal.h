/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SUPERVISOR_INTERNAL_H
#define SNAP_SUPERVISOR_INTERNAL_H

#include <stdint.h>
#include <sys/types.h>

#include "base/condition.h"
#include "snapshotter/supervisor/supervisor.h"

/* manager.c: what a service manager has kept for us (sd_listen_fds(3)); nothing without one. */
/* The descriptor that was left with it under `name`, -1: none. Others that were left are closed. */
int snap_manager_take(const char *name);
/* Whether it has left any. */
bool snap_manager_has_left(void);

/* handed.c: descriptors that outlive execve(2); the environment says their numbers. */
/* Hands a copy of `fd` to the next program; returns the copy, -1: it cannot. */
int snap_handed_leave(const char *variable, int fd);
/* The next program could not be started. */
void snap_handed_revoke(const char *variable, int copy);
/* What the last program left, -1: nothing. */
int snap_handed_take(const char *variable);
/* In a process without a supervisor: from now on it is the one that is ready. */
void snap_worker_is_alone(void);

/* successor.c: whether the program that is installed would start, as it says itself, within a time. */
bool snap_successor_would_start(const struct snap_supervisor_options *options);

/* worker.c */
struct snap_child {
        const struct snap_worker *worker;
        pid_t pid;      /* 0: not running */
        int ready_fd;   /* -1: it has said so, or cannot any more */
        bool was_ready; /* since its start */
        bool is_ending; /* it was told to */
        uint64_t started_ms, start_at_ms;
        unsigned failures, starts;
};
/* Starts it; a failure counts as a death. */
/* `fuse_fd`: for a worker that serves it. */
void snap_child_start(struct snap_child *child, int fuse_fd, const struct snap_supervisor_options *options);
/* Notes its death and when to start it again. */
void snap_child_died(struct snap_child *child, int status, const struct snap_supervisor_options *options);

void snap_log(const struct snap_supervisor_options *options, bool is_bad, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
