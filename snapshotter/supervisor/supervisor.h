/* SPDX-License-Identifier: Apache-2.0
 *
 * The small process that outlives the others: it holds /dev/fuse, so that no mount notices when the workers die or are
 * replaced, and starts them again. A worker is forked from it and is no other program: it is there in a millisecond,
 * where linking and setting up a program takes longer than a reader should wait, and longer than some live.
 *
 * Signals: SIGTERM and SIGINT end the workers, then the supervisor; SIGHUP replaces all of it by the program that is
 * now installed, with the same mount and the same listening socket. With systemd (Type=notify,
 * FileDescriptorStoreMax=1) the descriptor is also left with the service manager, so that `systemctl restart` and a
 * killed supervisor are noticed as little.
 */
#ifndef SNAP_SUPERVISOR_H
#define SNAP_SUPERVISOR_H

#include <stdbool.h>

#include "base/error.h"

#define SNAP_WORKERS_MAX 4

struct snap_worker {
        const char *name; /* for messages, and in the list of processes */
        /* The worker's whole life, in a process of its own; what it returns is the exit code. `fd` is what it serves:
         * /dev/fuse or `listen_fd`. It has no other descriptor of the supervisor's but the standard ones. */
        int (*run)(void *context, int fd);
        void *context;
        bool serves_devices; /* gets /dev/fuse. Ends last */
        int listen_fd;       /* what another worker gets; stays open while none runs, so that who connects just waits */
        unsigned end_ms;     /* how long it may take to end on SIGTERM before it is killed */
};

struct snap_supervisor_options {
        const char *mount_directory; /* of the device files; made when it is not there */
        const char *journal; /* a file that is there only while this kernel cannot send requests again (before 6.9) */
        /* The mount was made, not taken over: who had files of one before cannot read them any more. May be NULL. */
        void (*mounted_anew)(void *context);
        const struct snap_worker *workers;
        unsigned worker_count;
        char *const *argv; /* this program's, to start it anew; argv[0]: its path */
        /* Behind argv, it has the program tell by its exit code whether it would start; NULL: it is not asked. */
        const char *test_option;
        const char *test_variable, *test_value; /* in its environment then; NULL: nothing */
        /* The memory of this process's command line, where a worker says who it is; NULL: it does not. */
        char *title;
        size_t title_size;
        /* One line; `is_bad`: an administrator should see it. */
        void (*log)(void *context, bool is_bad, const char *line);
        void *context;
};

/* Runs until it is told to end: 0. A worker that dies is started again: at once when it was killed while it served, else
 * after a pause that grows from 100 ms to 10 s (killed before it served: to 1 s) as long as it does not live for 10 s.
 * READY=1 goes to the service manager once all workers have said that they are ready. Call it while the process has one
 * thread; children that are not its own it takes for none of its business. On the end the mount is taken away unless it
 * is in use; then, if nobody else has the descriptor, its reads fail. */
int snap_supervisor_run(const struct snap_supervisor_options *options, struct zp_error *err);

/* The listening socket that the program before this one handed on (SIGHUP); -1: none. */
int snap_supervisor_take_listener(void);
/* Whether a program before this one, or the service manager, has left /dev/fuse to this process. */
bool snap_supervisor_is_successor(void);
/* This process does without a supervisor, and without what was left to it; snap_worker_ready() tells the manager. */
void snap_supervisor_do_without(void);

/* In a worker: what zp_blockfs_serve() is to be given, the path or NULL. */
const char *snap_worker_journal(const char *path);
/* In a worker, or a process that does without: it is at work. Harmless in any other and when called again. */
void snap_worker_ready(void);
/* In a worker: how many times the supervisor has started it by now, this time included. */
unsigned snap_worker_starts(void);

#endif
