/* SPDX-License-Identifier: Apache-2.0
 *
 * One call of CRI's image service: from kubelet to containerd and back.
 */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>
#include <string.h>

#include "snapshotter/control/log.h"
#include "snapshotter/keychain/image-internal.h"
#include "snapshotter/keychain/pull-request.h"

/* Calls under way at once; more wait inside gRPC. */
#define CALLS_MAX 128

struct snap_image_call {
        struct snap_image_service *service;
        grpc_call *call, *upstream;
        grpc_call_details details;
        grpc_metadata_array metadata, initial, trailing; /* received from kubelet, and from containerd */
        grpc_metadata *passed[3];                        /* those of them that are sent on */
        grpc_byte_buffer *request, *reply;
        grpc_status_code status;
        grpc_slice status_details;
        int was_cancelled;
        bool is_over;        /* nobody waits for the answer */
        uint64_t pull;       /* in the keychain; 0: none */
        unsigned references; /* batches under way */
        struct snap_image_tag arrived, closed, received, answered, ended;
};

/* ---- life ---- */

/* What containerd says of a pull is said at its end; what is cut here may go on there. */
static void end_pull(struct snap_image_call *call) {
        bool is_cut = call->is_over || call->status == GRPC_STATUS_DEADLINE_EXCEEDED;
        if (call->pull)
                snap_keychain_end(call->service->keychain, call->pull, is_cut);
        call->pull = 0;
}

static void free_call(struct snap_image_call *call) {
        struct snap_image_service *service = call->service;
        end_pull(call);
        if (call->upstream)
                grpc_call_unref(call->upstream);
        if (call->call) {
                grpc_call_unref(call->call);
                pthread_mutex_lock(&service->lock);
                service->active--;
                pthread_cond_broadcast(&service->changed);
                pthread_mutex_unlock(&service->lock);
        }
        grpc_call_details_destroy(&call->details);
        grpc_metadata_array_destroy(&call->metadata);
        grpc_metadata_array_destroy(&call->initial);
        grpc_metadata_array_destroy(&call->trailing);
        for (size_t i = 0; i < sizeof call->passed / sizeof *call->passed; i++)
                free(call->passed[i]);
        grpc_byte_buffer_destroy(call->request);
        grpc_byte_buffer_destroy(call->reply);
        grpc_slice_unref(call->status_details);
        free(call);
}

static void release(struct snap_image_call *call) {
        struct snap_image_service *service = call->service;
        if (--call->references > 0)
                return;
        free_call(call);
        snap_image_call_arm(service);
}

static void start_batch(struct snap_image_call *call, grpc_call *side, const grpc_op *ops, size_t count,
                        struct snap_image_tag *tag) {
        call->references++;
        if (grpc_call_start_batch(side, ops, count, tag, NULL) != GRPC_CALL_OK)
                abort(); /* a batch gRPC does not take is a mistake of this file */
}

/* ---- metadata ---- */

/* What belongs to one connection, and is made anew for the other. */
static bool is_of_connection(const grpc_slice *key) {
        static const char *const names[] = { "te",
                                             "content-type",
                                             "user-agent",
                                             "host",
                                             "grpc-timeout",
                                             "grpc-encoding",
                                             "grpc-message",
                                             "grpc-status",
                                             "grpc-accept-encoding",
                                             "accept-encoding",
                                             "grpc-internal-encoding-request" };
        if (GRPC_SLICE_LENGTH(*key) == 0 || *GRPC_SLICE_START_PTR(*key) == ':')
                return true;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (grpc_slice_str_cmp(*key, names[i]) == 0)
                        return true;
        return false;
}

/* The texts stay those of the call they came from. NULL, *count 0: none, or no memory. */
static grpc_metadata *pass(const grpc_metadata_array *from, size_t *count) {
        grpc_metadata *to = from->count ? calloc(from->count, sizeof *to) : NULL;
        *count = 0;
        for (size_t i = 0; to && i < from->count; i++) {
                if (is_of_connection(&from->metadata[i].key))
                        continue;
                to[*count].key = from->metadata[i].key;
                to[(*count)++].value = from->metadata[i].value;
        }
        return to;
}

/* ---- back ---- */

static void on_ended(struct snap_image_call *call, bool success) {
        (void) success; /* kubelet went away */
        release(call);
}

static void finish(struct snap_image_call *call) {
        grpc_op ops[3] = { { .op = GRPC_OP_SEND_INITIAL_METADATA }, { .op = GRPC_OP_SEND_STATUS_FROM_SERVER } };
        size_t count;
        call->passed[1] = pass(&call->initial, &count);
        ops[0].data.send_initial_metadata.metadata = call->passed[1];
        ops[0].data.send_initial_metadata.count = count;
        call->passed[2] = pass(&call->trailing, &count);
        ops[1].data.send_status_from_server.trailing_metadata = call->passed[2];
        ops[1].data.send_status_from_server.trailing_metadata_count = count;
        ops[1].data.send_status_from_server.status = call->status;
        ops[1].data.send_status_from_server.status_details = &call->status_details;
        bool has_message = call->reply != NULL;
        ops[2] = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE };
        ops[2].data.send_message.send_message = call->reply;
        start_batch(call, call->call, ops, has_message ? 3 : 2, &call->ended);
}

static void refuse(struct snap_image_call *call, grpc_status_code status, const char *why) {
        call->status = status;
        call->status_details = grpc_slice_from_copied_string(why);
        finish(call);
}

static void on_answered(struct snap_image_call *call, bool success) {
        (void) success; /* there is a status, whatever happened */
        end_pull(call);
        finish(call);
        release(call);
}

/* ---- there ---- */

static void ask(struct snap_image_call *call) {
        grpc_op ops[6] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },  { .op = GRPC_OP_SEND_MESSAGE },
                           { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT }, { .op = GRPC_OP_RECV_INITIAL_METADATA },
                           { .op = GRPC_OP_RECV_MESSAGE },           { .op = GRPC_OP_RECV_STATUS_ON_CLIENT } };
        size_t count;
        call->upstream = grpc_channel_create_call(call->service->channel, NULL, 0, call->service->queue,
                                                  call->details.method, NULL, call->details.deadline, NULL);
        call->passed[0] = pass(&call->metadata, &count);
        ops[0].data.send_initial_metadata.metadata = call->passed[0];
        ops[0].data.send_initial_metadata.count = count;
        ops[1].data.send_message.send_message = call->request;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
        ops[4].data.recv_message.recv_message = &call->reply;
        ops[5].data.recv_status_on_client.trailing_metadata = &call->trailing;
        ops[5].data.recv_status_on_client.status = &call->status;
        ops[5].data.recv_status_on_client.status_details = &call->status_details;
        start_batch(call, call->upstream, ops, sizeof ops / sizeof *ops, &call->answered);
        if (call->is_over)
                grpc_call_cancel(call->upstream, NULL);
}

static bool is_pull(const struct snap_image_call *call) {
        return grpc_slice_str_cmp(call->details.method, "/runtime.v1.ImageService/PullImage") == 0 ||
               grpc_slice_str_cmp(call->details.method, "/runtime.v1alpha2.ImageService/PullImage") == 0;
}

/* What is no request to pull, or names no image, containerd will refuse. -ENOMEM: nobody may be taken for another. */
static int learn(struct snap_image_call *call) {
        grpc_byte_buffer_reader reader;
        struct snap_pull_request request;
        struct zp_error err = { 0 };
        if (!grpc_byte_buffer_reader_init(&reader, call->request))
                return -ENOMEM;
        grpc_slice data = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        int r = snap_pull_request_read(GRPC_SLICE_START_PTR(data), GRPC_SLICE_LENGTH(data), &request, &err);
        grpc_slice_unref(data);
        if (r == 0) {
                snap_log_event(SNAP_LOG_DEBUG, "pull begins", "image", request.reference, "credentials",
                               zp_credentials_are_empty(&request.credentials) ? "none" : "given", NULL);
                r = snap_keychain_begin(call->service->keychain, request.reference, &request.credentials, &call->pull,
                                        &err);
                snap_pull_request_clear(&request);
        }
        if (r < 0)
                snap_log_event(SNAP_LOG_WARN, "cannot learn who pulls an image", "error", err.message, NULL);
        return r == -ENOMEM ? r : 0;
}

static void on_received(struct snap_image_call *call, bool success) {
        if (!success || !call->request)
                refuse(call, GRPC_STATUS_INVALID_ARGUMENT, "no request came");
        else if (is_pull(call) && learn(call) < 0)
                refuse(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "zeropull-snapshotter: out of memory");
        else
                ask(call);
        release(call);
}

/* The call is over: answered, or given up by kubelet or its deadline. */
static void on_closed(struct snap_image_call *call, bool success) {
        call->is_over = !success || call->was_cancelled;
        if (call->is_over && call->upstream)
                grpc_call_cancel(call->upstream, NULL);
        release(call);
}

static bool is_image_service(const grpc_slice *path) {
        static const char *const services[] = { "/runtime.v1.ImageService/", "/runtime.v1alpha2.ImageService/" };
        for (size_t i = 0; i < sizeof services / sizeof *services; i++)
                if (GRPC_SLICE_LENGTH(*path) > strlen(services[i]) &&
                    memcmp(GRPC_SLICE_START_PTR(*path), services[i], strlen(services[i])) == 0)
                        return true;
        return false;
}

static void on_arrived(struct snap_image_call *call, bool success) {
        struct snap_image_service *service = call->service;
        service->is_waiting = false;
        if (!success) { /* the server ends */
                call->call = NULL;
                free_call(call);
                return;
        }
        pthread_mutex_lock(&service->lock);
        service->active++;
        pthread_mutex_unlock(&service->lock);
        grpc_op closed = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER }, receive = { .op = GRPC_OP_RECV_MESSAGE };
        closed.data.recv_close_on_server.cancelled = &call->was_cancelled;
        receive.data.recv_message.recv_message = &call->request;
        start_batch(call, call->call, &closed, 1, &call->closed);
        if (is_image_service(&call->details.method))
                start_batch(call, call->call, &receive, 1, &call->received);
        else
                refuse(call, GRPC_STATUS_UNIMPLEMENTED, "only CRI's image service is served here");
        release(call);
        snap_image_call_arm(service);
}

static struct snap_image_call *new_call(struct snap_image_service *service) {
        struct snap_image_call *call = calloc(1, sizeof *call);
        if (!call)
                return NULL;
        call->service = service;
        call->references = 1;
        call->status = GRPC_STATUS_CANCELLED;
        call->status_details = grpc_empty_slice();
        call->arrived = (struct snap_image_tag){ on_arrived, call };
        call->closed = (struct snap_image_tag){ on_closed, call };
        call->received = (struct snap_image_tag){ on_received, call };
        call->answered = (struct snap_image_tag){ on_answered, call };
        call->ended = (struct snap_image_tag){ on_ended, call };
        grpc_call_details_init(&call->details);
        grpc_metadata_array_init(&call->metadata);
        grpc_metadata_array_init(&call->initial);
        grpc_metadata_array_init(&call->trailing);
        return call;
}

void snap_image_call_arm(struct snap_image_service *service) {
        pthread_mutex_lock(&service->lock);
        bool may_arm = !service->is_closed && service->active < CALLS_MAX;
        pthread_mutex_unlock(&service->lock);
        struct snap_image_call *call = may_arm && !service->is_waiting ? new_call(service) : NULL;
        if (!call)
                return;
        service->is_waiting = grpc_server_request_call(service->server, &call->call, &call->details, &call->metadata,
                                                       service->queue, service->queue, &call->arrived) == GRPC_CALL_OK;
        if (!service->is_waiting) {
                call->call = NULL;
                free_call(call);
        }
}
