/* SPDX-License-Identifier: Apache-2.0
 *
 * One gRPC call, from the moment it may arrive until nothing refers to it any more.
 */
#ifndef SNAP_CALL_H
#define SNAP_CALL_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/pool.h"
#include "snapshotter/control/methods.h"
#include "snapshotter/control/metrics.h"

/* What the completion queue hands back: whose, and what to do. Runs on the queue's thread, and must not wait. */
struct snap_call;
struct snap_tag {
        void (*done)(struct snap_call *call, bool success);
        struct snap_call *call;
};

/* So many mounts at a time. */
#define SNAP_MOUNT_THREADS 6

struct snap_calls {
        struct snap_service *service;
        grpc_server *server;
        grpc_completion_queue *queue;
        struct zp_pool *pools[SNAP_PACES];
        struct snap_call
                *at_hand; /* of the queue's thread: one that has come and takes little, for it to run or submit */
        atomic_ullong mounting_since_ms[SNAP_MOUNT_THREADS]; /* 0: the thread has nothing to do */
        atomic_uint mounts_waiting;                          /* for one of these threads */
        struct zp_cancel stopping;
        struct snap_metrics *metrics;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        TAILQ_HEAD(, snap_call) arrived; /* and not freed, the oldest first */
        unsigned active;                 /* so many */
        unsigned idle;                   /* of them: whose request has not come yet, or that were cancelled */
        bool is_waiting;                 /* one is armed: the next that arrives takes it */
        bool is_closed;                  /* no new ones */
};

/* Answers the call that was at hand; takes as long as the disk takes. */
void snap_call_run(struct snap_call *call);
/* Has it answered by a thread for what is like it. */
void snap_call_submit(struct snap_call *call);
/* Lets the next call arrive, unless enough are under way that have something to do. */
void snap_calls_arm(struct snap_calls *calls);
/* Whether some are under way. */
bool snap_calls_are_active(struct snap_calls *calls);
/* Once a second while some are: cancels those whose client had let them wait too long at `then_ms` of
 * zp_monotonic_ms(). */
void snap_calls_look(struct snap_calls *calls, uint64_t then_ms);
/* Waits until none is under way; false: not within this time. */
bool snap_calls_wait_idle(struct snap_calls *calls, unsigned timeout_ms);

#endif
