/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_IMAGE_INTERNAL_H
#define SNAP_IMAGE_INTERNAL_H

#include <grpc/grpc.h>
#include <pthread.h>

#include "snapshotter/keychain/image-service.h"

struct snap_image_call;
struct snap_image_tag {
        void (*done)(struct snap_image_call *call, bool success);
        struct snap_image_call *call;
};

/* All that happens to calls happens on one thread, which never waits: no lock but for what others look at. */
struct snap_image_service {
        struct snap_keychain *keychain;
        grpc_completion_queue *queue;
        grpc_server *server;
        grpc_server_credentials *credentials;
        grpc_channel *channel; /* to containerd */
        pthread_t poller;
        bool is_waiting;            /* a call is armed: the next that arrives takes it */
        struct snap_image_tag shut; /* only its address counts */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned active;         /* arrived, and not freed; guarded by lock */
        bool is_closed, is_shut; /* guarded by lock */
};

/* image-call.c: lets the next call arrive, unless enough are under way. */
void snap_image_call_arm(struct snap_image_service *service);

#endif
