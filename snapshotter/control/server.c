/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/server.h"

#include <fcntl.h>
#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/condition.h"
#include "snapshotter/control/call.h"
#include "snapshotter/control/log.h"

static const unsigned threads[SNAP_PACES] = {
        [SNAP_QUICK] = 2, [SNAP_STARTS] = 6, [SNAP_WALKS] = 4, [SNAP_MOUNTS] = SNAP_MOUNT_THREADS, [SNAP_MAY_ASK] = 8
};
/* One that waits for gRPC, the others at calls that are short. */
#define POLLERS 4
/* Beyond what a request with hundreds of labels takes. */
#define MESSAGE_MAX (1 << 20)
/* Of one connection, so that it leaves places to others: who has more calls keeps them back. */
#define STREAMS_MAX 128
/* A connection whose client says nothing for so long is asked whether it is there, and closed when it is not. */
#define KEEPALIVE_MS 60000
#define KEEPALIVE_ANSWER_MS 20000
#define LOOK_EVERY_MS 1000

struct snap_server {
        struct snap_calls calls;
        grpc_server_credentials *credentials;
        bool is_polling, is_stopped;
        struct snap_tag shut; /* only its address counts */
        bool is_shut;         /* guarded by calls.lock */
        struct zp_pool *pollers;
        struct zp_pool_item polling;
        atomic_uint busy;      /* of the pollers: one waits for gRPC, the others are at calls */
        uint64_t last_look_ms; /* of the one that waits */
};

/* While calls are under way, some client may have to be given up; the next that arrives is an event. */
static grpc_event next_event(struct snap_server *server) {
        gpr_timespec until = gpr_inf_future(GPR_CLOCK_MONOTONIC);
        if (snap_calls_are_active(&server->calls))
                until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(LOOK_EVERY_MS, GPR_TIMESPAN));
        return grpc_completion_queue_next(server->calls.queue, until, NULL);
}

/* What clients had sent by the look before has been seen by now, also when this process stood still in between. */
static void look_in_time(struct snap_server *server) {
        uint64_t now = zp_monotonic_ms();
        if (now < server->last_look_ms + LOOK_EVERY_MS)
                return;
        snap_calls_look(&server->calls, server->last_look_ms);
        server->last_look_ms = now;
}

static void note_shut(struct snap_server *server) {
        pthread_mutex_lock(&server->calls.lock);
        server->is_shut = true;
        pthread_cond_broadcast(&server->calls.changed);
        pthread_mutex_unlock(&server->calls.lock);
}

/* Handles an event; the call that it left at hand, NULL: none. */
static struct snap_call *handle(struct snap_server *server, const grpc_event *event) {
        struct snap_tag *tag = event->tag;
        server->calls.at_hand = NULL;
        if (tag == &server->shut)
                note_shut(server);
        else
                tag->done(tag->call, event->success);
        return server->calls.at_hand;
}

static void poll_queue(void *argument, unsigned worker);

/* Another thread waits for gRPC from now on; false: all are at calls. */
static bool hand_over(struct snap_server *server) {
        bool is_one_free = atomic_fetch_add(&server->busy, 1) < POLLERS;
        if (is_one_free)
                zp_pool_submit(server->pollers, &server->polling, poll_queue, server);
        else
                atomic_fetch_sub(&server->busy, 1);
        return is_one_free;
}

/* The only thread that waits for gRPC; it moves bytes, too, so it must never wait for anything else. A call that takes
 * less time than it takes to wake another thread is answered here, while another one waits. */
static void poll_queue(void *argument, unsigned worker) {
        struct snap_server *server = argument;
        (void) worker;
        for (;;) {
                grpc_event event = next_event(server);
                if (event.type == GRPC_QUEUE_SHUTDOWN)
                        return;
                look_in_time(server);
                struct snap_call *call = event.type == GRPC_QUEUE_TIMEOUT ? NULL : handle(server, &event);
                if (call && hand_over(server)) {
                        snap_call_run(call);
                        atomic_fetch_sub(&server->busy, 1);
                        return;
                }
                if (call)
                        snap_call_submit(call);
        }
}

static void log_message(gpr_log_func_args *args) {
        snap_log_event(args->severity == GPR_LOG_SEVERITY_ERROR ? SNAP_LOG_WARN : SNAP_LOG_DEBUG, "grpc", "said",
                       args->message, NULL);
}

static grpc_arg number(const char *key, int value) {
        return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = (char *) key, .value.integer = value };
}

static void create_grpc(struct snap_server *server) {
        grpc_arg settings[] = {
                number(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MESSAGE_MAX),
                number(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_MAX),
                number(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS),
                number(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_ANSWER_MS),
                number(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
                number(GRPC_ARG_HTTP2_BDP_PROBE, 0), /* a ping with each request, for windows that are never filled */
        };
        grpc_channel_args args = { sizeof settings / sizeof *settings, settings };
        gpr_set_log_function(log_message);
        grpc_init();
        server->credentials = grpc_insecure_server_credentials_create();
        server->calls.queue = grpc_completion_queue_create_for_next(NULL);
        server->calls.server = grpc_server_create(&args, NULL);
        grpc_server_register_completion_queue(server->calls.server, server->calls.queue, NULL);
        grpc_server_start(server->calls.server);
}

static void name_methods(struct snap_metrics *metrics) {
        for (size_t i = 0; i < SNAP_METRICS_METHODS && snap_methods[i].path; i++)
                metrics->methods[i].name = strrchr(snap_methods[i].path, '/') + 1;
}

int snap_server_new(struct snap_service *service, struct snap_metrics *metrics, struct snap_server **out,
                    struct zp_error *err) {
        zp_auto(snap_server_free) struct snap_server *server = calloc(1, sizeof *server);
        if (!server)
                return zp_error_errno(err, ENOMEM, "server");
        server->calls.service = service;
        server->calls.metrics = metrics;
        name_methods(metrics);
        pthread_mutex_init(&server->calls.lock, NULL);
        zp_condition_init(&server->calls.changed);
        TAILQ_INIT(&server->calls.arrived);
        int r = 0;
        for (int pace = 0; pace < SNAP_PACES && r == 0; pace++)
                r = zp_pool_new(threads[pace], &server->calls.pools[pace], err);
        if (r == 0)
                r = zp_pool_new(POLLERS, &server->pollers, err);
        if (r < 0)
                return r;
        create_grpc(server);
        server->is_polling = hand_over(server);
        snap_calls_arm(&server->calls);
        *out = zp_steal(&server);
        return 0;
}

void snap_server_add_connection(struct snap_server *server, int fd) {
        /* gRPC wants it so */
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
                close(fd);
                return;
        }
        grpc_server_add_channel_from_fd(server->calls.server, fd, server->credentials);
}

static void await_shutdown(struct snap_server *server) {
        pthread_mutex_lock(&server->calls.lock);
        while (!server->is_shut)
                pthread_cond_wait(&server->calls.changed, &server->calls.lock);
        pthread_mutex_unlock(&server->calls.lock);
}

void snap_server_stop(struct snap_server *server, unsigned grace_ms) {
        if (server->is_stopped || !server->is_polling)
                return;
        server->is_stopped = true;
        pthread_mutex_lock(&server->calls.lock);
        server->calls.is_closed = true;
        pthread_mutex_unlock(&server->calls.lock);
        grpc_server_shutdown_and_notify(server->calls.server, server->calls.queue, &server->shut);
        if (!snap_calls_wait_idle(&server->calls, grace_ms))
                snap_log_event(SNAP_LOG_WARN, "calls under way are cancelled", NULL);
        atomic_store(&server->calls.stopping.requested, true);
        grpc_server_cancel_all_calls(server->calls.server);
        await_shutdown(server);
}

void snap_server_free(struct snap_server *server) {
        if (!server)
                return;
        snap_server_stop(server, 0);
        if (server->is_polling)
                while (!snap_calls_wait_idle(&server->calls, 1000))
                        snap_log_event(SNAP_LOG_DEBUG, "waiting for calls to end", NULL);
        for (int pace = 0; pace < SNAP_PACES; pace++)
                zp_pool_free(server->calls.pools[pace]);
        if (server->is_polling) {
                grpc_completion_queue_shutdown(server->calls.queue);
                zp_pool_free(server->pollers);
                grpc_server_destroy(server->calls.server);
                grpc_completion_queue_destroy(server->calls.queue);
                grpc_server_credentials_release(server->credentials);
                grpc_shutdown();
        }
        pthread_mutex_destroy(&server->calls.lock);
        pthread_cond_destroy(&server->calls.changed);
        free(server);
}
