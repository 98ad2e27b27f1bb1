/* SPDX-License-Identifier: Apache-2.0
 *
 * A call, and how long its client may keep it.
 */
#ifndef SNAP_CALL_INTERNAL_H
#define SNAP_CALL_INTERNAL_H

#include <sys/types.h>

#include "snapshotter/control/call.h"

/* Calls under way at once that are not idle; more wait inside gRPC. */
#define SNAP_CALLS_MAX 160

/* What the client has yet to do. The end: of a call that was cancelled. gRPC tells of it once it has written what it
 * writes, and that waits for a client that reads nothing. */
enum snap_awaited { SNAP_AWAITS_NOTHING, SNAP_AWAITS_REQUEST, SNAP_AWAITS_RECEPTION, SNAP_AWAITS_END, SNAP_AWAITED };

struct snap_call {
        struct snap_calls *calls;
        const struct snap_method *method;
        enum snap_pace pace;
        struct snap_request request;
        grpc_call *call;
        grpc_call_details details;
        grpc_metadata_array metadata;
        grpc_byte_buffer *received;
        grpc_slice data;          /* of it, in one piece */
        grpc_byte_buffer *unsent; /* the last message: goes with the status */
        bool has_sent_headers;
        int was_cancelled;
        gpr_timespec arrived_at; /* monotonic */
        struct zp_cancel cancel;
        atomic_uint references; /* batches under way, and the job */
        struct zp_pool_item item;
        unsigned long long queued_at_ms; /* for a mount */
        struct snap_tag arrived, closed, message, sent, ended;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool is_sending, has_failed; /* guarded by lock */
        /* guarded by calls->lock */
        TAILQ_ENTRY(snap_call) by_age;
        int fd; /* of its connection; -1: not known */
        ino_t inode;
        enum snap_awaited awaited;
        uint64_t awaited_since_ms;
};

/* Takes the reference of who had one. */
void snap_call_release(struct snap_call *call);

/* patience.c: from now on this is awaited of the call's client, which is cancelled when it takes too long. */
void snap_call_await(struct snap_call *call, enum snap_awaited awaited);
/* patience.c: when more calls are idle than clients have that send requests, ends the connection with most of them. */
void snap_calls_limit_idle(struct snap_calls *calls);

#endif
