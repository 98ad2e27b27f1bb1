/* SPDX-License-Identifier: Apache-2.0
 *
 * The small process that outlives the others: it holds /dev/fuse, so that no mount notices when the workers die or are
 * replaced, and starts them again. Workers are programs (in practice this one, with an internal first argument).
 *
 * Signals: SIGTERM and SIGINT end the workers, then the supervisor; SIGHUP replaces all of it by the program that is
 * now installed, with the same mount. With systemd (Type=notify, FileDescriptorStoreMax=1) the descriptor is also left
 * with the service manager, so that `systemctl restart` and a killed supervisor are noticed as little.
 */
#ifndef SNAP_SUPERVISOR_H
#define SNAP_SUPERVISOR_H

#include <stdbool.h>

#include "base/error.h"

/* In a worker: the descriptor of /dev/fuse (if it serves it), and the one that snap_worker_ready() uses. */
#define SNAP_WORKER_FUSE_FD 3
#define SNAP_WORKER_READY_FD 4
#define SNAP_WORKERS_MAX 4

struct snap_worker {
        const char *name;    /* for messages */
        char *const *argv;   /* argv[0]: the program's path */
        bool serves_devices; /* gets /dev/fuse. Ends last */
};

struct snap_supervisor_options {
        const char *mount_directory; /* of the device files; made when it is not there */
        const char *journal; /* a file that is there only while this kernel cannot send requests again (before 6.9) */
        const struct snap_worker *workers;
        unsigned worker_count;
        char *const *argv; /* this program's, to start it anew; argv[0]: its path */
        /* One line; `is_bad`: an administrator should see it. */
        void (*log)(void *context, bool is_bad, const char *line);
        void *context;
};

/* Runs until it is told to end: 0. A worker that dies is started again: at once when it was killed, else after a pause
 * that grows from 100 ms to 10 s as long as it does not live for 10 s. READY=1 goes to the service manager when each
 * worker has said that it is ready for the first time. Call it while the process has one thread; children that are not
 * its own it takes for none of its business. On the end the mount is taken away unless it is in use; then, if nobody
 * else has the descriptor, its reads fail. */
int snap_supervisor_run(const struct snap_supervisor_options *options, struct zp_error *err);

/* In a worker: what zp_blockfs_serve() is to be given, the path or NULL. */
const char *snap_worker_journal(const char *path);
/* In a worker: it is at work. Harmless in any other process and when called again. */
void snap_worker_ready(void);

#endif
