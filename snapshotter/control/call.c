/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/call-internal.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/condition.h"
#include "snapshotter/control/log.h"

/* A mount that takes longer waits for somebody. */
#define HANGING_MS 10000
/* So many may wait for a thread that mounts while none gets on; more would take the others' places. */
#define MOUNTS_WAITING_MAX 32
#define SLOW_MS 1000

/* ---- life ---- */

static void free_call(struct snap_call *call) {
        struct snap_calls *calls = call->calls;
        if (call->call) {
                grpc_call_unref(call->call);
                pthread_mutex_lock(&calls->lock);
                TAILQ_REMOVE(&calls->arrived, call, by_age);
                calls->active--;
                calls->idle -= call->awaited == SNAP_AWAITS_END;
                pthread_cond_broadcast(&calls->changed);
                pthread_mutex_unlock(&calls->lock);
        }
        grpc_call_details_destroy(&call->details);
        grpc_metadata_array_destroy(&call->metadata);
        grpc_byte_buffer_destroy(call->received);
        grpc_byte_buffer_destroy(call->unsent);
        grpc_slice_unref(call->data);
        pthread_mutex_destroy(&call->lock);
        pthread_cond_destroy(&call->changed);
        zp_arena_clear(&call->request.arena);
        free(call);
}

void snap_call_release(struct snap_call *call) {
        struct snap_calls *calls = call->calls;
        if (atomic_fetch_sub(&call->references, 1) != 1)
                return;
        free_call(call);
        snap_calls_arm(calls);
}

static void start_batch(struct snap_call *call, const grpc_op *ops, size_t count, struct snap_tag *tag) {
        atomic_fetch_add(&call->references, 1);
        if (grpc_call_start_batch(call->call, ops, count, tag, NULL) != GRPC_CALL_OK)
                abort(); /* a batch gRPC does not take is a mistake of this file */
}

/* ---- the answer ---- */

static grpc_status_code status_of(int result) {
        switch (result < 0 ? -result : 0) {
        case 0:
                return GRPC_STATUS_OK;
        case ENOENT:
                return GRPC_STATUS_NOT_FOUND;
        case EEXIST:
                return GRPC_STATUS_ALREADY_EXISTS;
        case EINVAL:
                return GRPC_STATUS_INVALID_ARGUMENT;
        case EBUSY:
                return GRPC_STATUS_FAILED_PRECONDITION;
        case ECANCELED:
                return GRPC_STATUS_CANCELLED;
        case EAGAIN:
                return GRPC_STATUS_UNAVAILABLE;
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
                return GRPC_STATUS_RESOURCE_EXHAUSTED;
        case ENOSYS:
                return GRPC_STATUS_UNIMPLEMENTED;
        default:
                return GRPC_STATUS_INTERNAL;
        }
}

/* The client's clock ends the call as its deadline passes, a moment before ours says so. */
#define NEAR_DEADLINE_MS 100

static bool is_past_deadline(const struct snap_call *call) {
        gpr_timespec deadline = gpr_convert_clock_type(call->details.deadline, GPR_CLOCK_MONOTONIC);
        gpr_timespec soon =
                gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(NEAR_DEADLINE_MS, GPR_TIMESPAN));
        return gpr_time_cmp(deadline, soon) <= 0;
}

static void account(struct snap_call *call, grpc_status_code status) {
        struct snap_metrics *metrics = call->calls->metrics;
        gpr_timespec took = gpr_time_sub(gpr_now(GPR_CLOCK_MONOTONIC), call->arrived_at);
        size_t i = call->method ? (size_t) (call->method - snap_methods) : SNAP_METRICS_METHODS;
        if (i >= SNAP_METRICS_METHODS) {
                atomic_fetch_add(&metrics->unknown_methods, 1);
                return;
        }
        atomic_fetch_add(&metrics->methods[i].codes[status], 1);
        zp_histogram_add(&metrics->methods[i].took, (uint64_t) took.tv_sec * 1000000 + (uint64_t) took.tv_nsec / 1000);
}

/* With what is sent first: a packet of its own would wake the client for nothing. */
static size_t add_headers(struct snap_call *call, grpc_op *ops) {
        ops[0] = (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
        size_t count = call->has_sent_headers ? 0 : 1;
        call->has_sent_headers = true;
        return count;
}

static size_t add_message(struct snap_call *call, grpc_op *op) {
        *op = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE };
        op->data.send_message.send_message = call->unsent;
        return 1;
}

static void finish(struct snap_call *call, int result, const char *message) {
        grpc_op ops[3];
        size_t count = add_headers(call, ops);
        grpc_slice details = grpc_slice_from_copied_string(result < 0 ? message : "");
        if (result >= 0 && call->unsent)
                count += add_message(call, &ops[count]);
        grpc_status_code status = status_of(result);
        if (status == GRPC_STATUS_CANCELLED && is_past_deadline(call))
                status = GRPC_STATUS_DEADLINE_EXCEEDED;
        account(call, status);
        ops[count] = (grpc_op){ .op = GRPC_OP_SEND_STATUS_FROM_SERVER };
        ops[count].data.send_status_from_server.status = status;
        ops[count].data.send_status_from_server.status_details = &details;
        snap_call_await(call, SNAP_AWAITS_RECEPTION);
        start_batch(call, ops, count + 1, &call->ended);
        grpc_slice_unref(details);
}

static void on_ended(struct snap_call *call, bool success) {
        (void) success; /* the client went away */
        snap_call_await(call, SNAP_AWAITS_NOTHING);
        snap_call_release(call);
}

static void on_sent(struct snap_call *call, bool success) {
        pthread_mutex_lock(&call->lock);
        call->is_sending = false;
        call->has_failed |= !success;
        pthread_cond_signal(&call->changed);
        pthread_mutex_unlock(&call->lock);
        snap_call_release(call);
}

/* Waits until the message is on its way: a slow client has one in memory, not all. */
static int flush(struct snap_call *call, struct zp_error *err) {
        grpc_op ops[2];
        size_t count = add_headers(call, ops);
        count += add_message(call, &ops[count]);
        pthread_mutex_lock(&call->lock);
        call->is_sending = true;
        pthread_mutex_unlock(&call->lock);
        snap_call_await(call, SNAP_AWAITS_RECEPTION);
        start_batch(call, ops, count, &call->sent);
        pthread_mutex_lock(&call->lock);
        while (call->is_sending)
                pthread_cond_wait(&call->changed, &call->lock);
        bool has_failed = call->has_failed;
        pthread_mutex_unlock(&call->lock);
        snap_call_await(call, SNAP_AWAITS_NOTHING);
        grpc_byte_buffer_destroy(call->unsent);
        call->unsent = NULL;
        return has_failed ? zp_error_set(err, ECANCELED, "the client went away") : 0;
}

static int send_message(struct snap_request *request, const void *data, size_t size, struct zp_error *err) {
        struct snap_call *call = (struct snap_call *) ((char *) request - offsetof(struct snap_call, request));
        int r = call->unsent ? flush(call, err) : 0;
        if (r < 0)
                return r;
        grpc_slice slice = grpc_slice_from_copied_buffer(data, size);
        call->unsent = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        return 0;
}

/* ---- the work ---- */

static void log_failure(const struct snap_call *call, const struct zp_error *err) {
        const char *name = strrchr(call->method->path, '/') + 1;
        bool is_trouble = status_of(-err->code) == GRPC_STATUS_INTERNAL ||
                          status_of(-err->code) == GRPC_STATUS_UNAVAILABLE ||
                          status_of(-err->code) == GRPC_STATUS_RESOURCE_EXHAUSTED;
        snap_log_event(is_trouble ? SNAP_LOG_ERROR : SNAP_LOG_DEBUG, "call failed", "method", name, "error",
                       err->message, "hint", err->hint[0] ? err->hint : NULL, NULL);
}

/* Whether all threads but `own` have been at one mount for so long. */
static bool hang(struct snap_calls *calls, unsigned own, unsigned long long ms) {
        unsigned long long now = zp_monotonic_ms();
        for (unsigned i = 0; i < SNAP_MOUNT_THREADS; i++) {
                unsigned long long since = atomic_load(&calls->mounting_since_ms[i]);
                if (i != own && (!since || now - since < ms))
                        return false;
        }
        return true;
}

/* No mount gets on: one more would wait as long, and with it in the end everybody. */
static int refuse_mount(unsigned count, unsigned ms, struct zp_error *err) {
        zp_error_set(err, EAGAIN, "%u mounts of images wait for the data plane, the last one for more than %u s", count,
                     ms / 1000);
        zp_error_hint(err, "the log of the part 'data' says what it does; `zeropull status` asks it");
        return -EAGAIN;
}

static void mount_and_run(void *argument, unsigned worker);

static int queue_mount(struct snap_call *call, struct zp_error *err) {
        struct snap_calls *calls = call->calls;
        unsigned waiting = atomic_load(&calls->mounts_waiting);
        if (hang(calls, SNAP_MOUNT_THREADS, HANGING_MS))
                return refuse_mount(SNAP_MOUNT_THREADS, HANGING_MS, err);
        if (waiting >= MOUNTS_WAITING_MAX && hang(calls, SNAP_MOUNT_THREADS, SLOW_MS))
                return refuse_mount(SNAP_MOUNT_THREADS + waiting, SLOW_MS, err);
        zp_arena_clear(&call->request.arena); /* it is unpacked again */
        call->request.is_mounting = true;
        call->queued_at_ms = zp_monotonic_ms();
        atomic_fetch_add(&calls->mounts_waiting, 1);
        zp_pool_submit(calls->pools[SNAP_MOUNTS], &call->item, mount_and_run, call);
        return 0;
}

static void conclude(struct snap_call *call, int r, const struct zp_error *err) {
        if (r < 0)
                log_failure(call, err);
        finish(call, r < 0 ? r : 0, err->message);
        snap_call_release(call);
}

/* One that was queued before it showed that no mount gets on does not try for as long as it has time. */
static void mount_and_run(void *argument, unsigned worker) {
        struct snap_call *call = argument;
        struct snap_calls *calls = call->calls;
        struct zp_error err = { 0 };
        unsigned long long now = zp_monotonic_ms();
        atomic_fetch_sub(&calls->mounts_waiting, 1);
        int r = zp_check_cancel(&call->cancel, &err);
        if (r == 0 && now - call->queued_at_ms >= HANGING_MS && hang(calls, worker, HANGING_MS))
                r = refuse_mount(SNAP_MOUNT_THREADS - 1, HANGING_MS, &err);
        atomic_store(&calls->mounting_since_ms[worker], now);
        if (r == 0)
                r = call->method->run(&call->request, &err);
        conclude(call, r, &err);
        atomic_store(&calls->mounting_since_ms[worker], 0);
}

static void run(void *argument, unsigned worker) {
        struct snap_call *call = argument;
        struct zp_error err = { 0 };
        (void) worker;
        call->request.data = GRPC_SLICE_START_PTR(call->data);
        call->request.size = GRPC_SLICE_LENGTH(call->data);
        int r = zp_check_cancel(&call->cancel, &err); /* it may have waited for a thread */
        if (r == 0)
                r = call->method->run(&call->request, &err);
        if (r == -EINPROGRESS && (r = queue_mount(call, &err)) == 0)
                return;
        conclude(call, r, &err);
}

/* Who names no target does not queue behind those who wait for registries. */
static enum snap_pace pace_of(const struct snap_call *call) {
        static const char target[] = SNAP_LABEL_TARGET;
        if (call->method->pace != SNAP_MAY_ASK)
                return call->method->pace;
        bool is_target =
                memmem(GRPC_SLICE_START_PTR(call->data), GRPC_SLICE_LENGTH(call->data), target, strlen(target)) != NULL;
        return is_target ? SNAP_MAY_ASK : SNAP_STARTS;
}

void snap_call_run(struct snap_call *call) {
        run(call, 0);
}

void snap_call_submit(struct snap_call *call) {
        zp_pool_submit(call->calls->pools[call->pace], &call->item, run, call);
}

static void come(struct snap_call *call) {
        call->pace = pace_of(call);
        atomic_fetch_add(&call->references, 1);
        if (call->pace == SNAP_QUICK || call->pace == SNAP_STARTS)
                call->calls->at_hand = call;
        else
                snap_call_submit(call);
}

static bool take_data(struct snap_call *call) {
        grpc_byte_buffer_reader reader;
        if (!call->received || !grpc_byte_buffer_reader_init(&reader, call->received))
                return false;
        call->data = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        return true;
}

static void on_message(struct snap_call *call, bool success) {
        snap_call_await(call, SNAP_AWAITS_NOTHING);
        if (success && take_data(call))
                come(call);
        else
                finish(call, success ? -EINVAL : -ECANCELED, "no request came");
        snap_call_release(call);
}

/* The call is over: answered, or given up by the client or its deadline. */
static void on_closed(struct snap_call *call, bool success) {
        if (!success || call->was_cancelled)
                atomic_store(&call->cancel.requested, true);
        snap_call_release(call);
}

static const struct snap_method *find_method(const grpc_slice *path) {
        const struct snap_method *method = snap_methods;
        while (method->path && grpc_slice_str_cmp(*path, method->path) != 0)
                method++;
        return method->path ? method : NULL;
}

/* gRPC calls a connection that was handed to it "fd:NUMBER". */
static void find_connection(struct snap_call *call) {
        struct stat st;
        char *peer = grpc_call_get_peer(call->call);
        if (!peer || sscanf(peer, "fd:%d", &call->fd) != 1 || fstat(call->fd, &st) < 0)
                call->fd = -1;
        else
                call->inode = st.st_ino;
        gpr_free(peer);
}

static void begin(struct snap_call *call) {
        find_connection(call);
        call->arrived_at = gpr_now(GPR_CLOCK_MONOTONIC);
        grpc_op closed = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
        closed.data.recv_close_on_server.cancelled = &call->was_cancelled;
        start_batch(call, &closed, 1, &call->closed);
        grpc_op message = { .op = GRPC_OP_RECV_MESSAGE };
        message.data.recv_message.recv_message = &call->received;
        call->method = find_method(&call->details.method);
        if (call->method) {
                snap_call_await(call, SNAP_AWAITS_REQUEST);
                start_batch(call, &message, 1, &call->message);
        } else {
                finish(call, -ENOSYS, "no such method");
        }
}

static void on_arrived(struct snap_call *call, bool success) {
        struct snap_calls *calls = call->calls;
        pthread_mutex_lock(&calls->lock);
        calls->is_waiting = false;
        calls->active += success;
        if (success)
                TAILQ_INSERT_TAIL(&calls->arrived, call, by_age);
        pthread_mutex_unlock(&calls->lock);
        if (!success) { /* the server ends */
                call->call = NULL;
                free_call(call);
                return;
        }
        begin(call);
        snap_call_release(call);
        snap_calls_limit_idle(calls);
        snap_calls_arm(calls);
}

static struct snap_call *new_call(struct snap_calls *calls) {
        struct snap_call *call = calloc(1, sizeof *call);
        if (!call)
                return NULL;
        call->calls = calls;
        call->request.service = calls->service;
        call->request.cancel = &call->cancel;
        call->request.send = send_message;
        call->cancel.parent = &calls->stopping;
        call->references = 1;
        call->data = grpc_empty_slice();
        call->fd = -1;
        call->arrived = (struct snap_tag){ on_arrived, call };
        call->closed = (struct snap_tag){ on_closed, call };
        call->message = (struct snap_tag){ on_message, call };
        call->sent = (struct snap_tag){ on_sent, call };
        call->ended = (struct snap_tag){ on_ended, call };
        grpc_call_details_init(&call->details);
        grpc_metadata_array_init(&call->metadata);
        pthread_mutex_init(&call->lock, NULL);
        pthread_cond_init(&call->changed, NULL);
        return call;
}

void snap_calls_arm(struct snap_calls *calls) {
        pthread_mutex_lock(&calls->lock);
        struct snap_call *call = NULL;
        if (!calls->is_waiting && !calls->is_closed && calls->active - calls->idle < SNAP_CALLS_MAX)
                call = new_call(calls);
        calls->is_waiting |= call != NULL;
        pthread_mutex_unlock(&calls->lock);
        if (call && grpc_server_request_call(calls->server, &call->call, &call->details, &call->metadata, calls->queue,
                                             calls->queue, &call->arrived) != GRPC_CALL_OK) {
                pthread_mutex_lock(&calls->lock);
                calls->is_waiting = false;
                pthread_mutex_unlock(&calls->lock);
                call->call = NULL;
                free_call(call);
        }
}

bool snap_calls_wait_idle(struct snap_calls *calls, unsigned timeout_ms) {
        uint64_t until_ms = zp_monotonic_ms() + timeout_ms;
        pthread_mutex_lock(&calls->lock);
        while (calls->active > 0 && zp_condition_wait_until(&calls->changed, &calls->lock, until_ms))
                continue;
        bool is_idle = calls->active == 0;
        pthread_mutex_unlock(&calls->lock);
        return is_idle;
}
