/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/image-service.h"

#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/condition.h"
#include "snapshotter/control/log.h"
#include "snapshotter/keychain/image-internal.h"

/* kubelet's own limit. */
#define MESSAGE_MAX (16 << 20)
/* Errors travel in metadata, and containerd's are long. */
#define METADATA_MAX (64 << 10)
/* containerd restarts while we run. */
#define RECONNECT_MS 100
#define RECONNECT_MAX_MS 1000

static void *poll_queue(void *argument) {
        struct snap_image_service *service = argument;
        for (;;) {
                grpc_event event = grpc_completion_queue_next(service->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
                if (event.type == GRPC_QUEUE_SHUTDOWN)
                        return NULL;
                struct snap_image_tag *tag = event.tag;
                if (tag != &service->shut) {
                        tag->done(tag->call, event.success);
                        continue;
                }
                pthread_mutex_lock(&service->lock);
                service->is_shut = true;
                pthread_cond_broadcast(&service->changed);
                pthread_mutex_unlock(&service->lock);
        }
}

static grpc_arg setting(const char *key, int value) {
        return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = (char *) key, .value.integer = value };
}

/* The queue first: what comes out of it needs its thread. */
static int start_polling(struct snap_image_service *service, struct zp_error *err) {
        grpc_init();
        service->queue = grpc_completion_queue_create_for_next(NULL);
        int code = pthread_create(&service->poller, NULL, poll_queue, service);
        if (code == 0)
                return 0;
        grpc_completion_queue_shutdown(service->queue);
        grpc_completion_queue_destroy(service->queue);
        grpc_shutdown();
        return zp_error_errno(err, code, "start the image service's thread");
}

static void create_sides(struct snap_image_service *service, const char *target) {
        grpc_arg settings[] = {
                setting(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MESSAGE_MAX),
                setting(GRPC_ARG_MAX_METADATA_SIZE, METADATA_MAX),
                setting(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_MS),
                setting(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, RECONNECT_MS),
                setting(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MAX_MS),
                setting(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        };
        grpc_channel_args args = { sizeof settings / sizeof *settings, settings };
        grpc_channel_credentials *insecure = grpc_insecure_credentials_create();
        service->channel = grpc_channel_create(target, insecure, &args);
        grpc_channel_credentials_release(insecure);
        service->credentials = grpc_insecure_server_credentials_create();
        service->server = grpc_server_create(&args, NULL);
        grpc_server_register_completion_queue(service->server, service->queue, NULL);
        grpc_server_start(service->server);
}

static void free_service(struct snap_image_service *service) {
        pthread_mutex_destroy(&service->lock);
        pthread_cond_destroy(&service->changed);
        free(service);
}
ZP_DEFINE_AUTO(struct snap_image_service, free_service);

int snap_image_service_new(const char *address, struct snap_keychain *keychain, struct snap_image_service **out,
                           struct zp_error *err) {
        zp_auto(free_service) struct snap_image_service *service = calloc(1, sizeof *service);
        zp_autofree char *target = zp_format("unix:%s", address);
        if (!service || !target)
                return zp_error_errno(err, ENOMEM, "image service");
        service->keychain = keychain;
        pthread_mutex_init(&service->lock, NULL);
        zp_condition_init(&service->changed);
        int r = start_polling(service, err);
        if (r < 0)
                return r;
        create_sides(service, target);
        snap_image_call_arm(service);
        *out = zp_steal(&service);
        return 0;
}

void snap_image_service_add_connection(struct snap_image_service *service, int fd) {
        /* gRPC wants it so */
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
                close(fd);
                return;
        }
        grpc_server_add_channel_from_fd(service->server, fd, service->credentials);
}

/* Until all calls are over, or for that long. */
static void await_calls(struct snap_image_service *service, unsigned timeout_ms) {
        uint64_t until_ms = zp_monotonic_ms() + timeout_ms;
        while (service->active > 0 && zp_condition_wait_until(&service->changed, &service->lock, until_ms))
                continue;
}

static void shut_down(struct snap_image_service *service, unsigned grace_ms) {
        pthread_mutex_lock(&service->lock);
        service->is_closed = true;
        pthread_mutex_unlock(&service->lock);
        grpc_server_shutdown_and_notify(service->server, service->queue, &service->shut);
        pthread_mutex_lock(&service->lock);
        await_calls(service, grace_ms);
        if (service->active > 0)
                snap_log_event(SNAP_LOG_WARN, "calls of the image service are cancelled", NULL);
        pthread_mutex_unlock(&service->lock);
        grpc_server_cancel_all_calls(service->server);
        pthread_mutex_lock(&service->lock);
        while (!service->is_shut || service->active > 0)
                pthread_cond_wait(&service->changed, &service->lock);
        pthread_mutex_unlock(&service->lock);
}

void snap_image_service_end(struct snap_image_service *service, unsigned grace_ms) {
        shut_down(service, grace_ms);
        grpc_completion_queue_shutdown(service->queue);
        pthread_join(service->poller, NULL);
        grpc_channel_destroy(service->channel);
        grpc_server_destroy(service->server);
        grpc_completion_queue_destroy(service->queue);
        grpc_server_credentials_release(service->credentials);
        grpc_shutdown();
        free_service(service);
}
