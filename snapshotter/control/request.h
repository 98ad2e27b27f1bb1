/* SPDX-License-Identifier: Apache-2.0
 *
 * One call of a method while it is answered: what arrived, and what goes back.
 */
#ifndef SNAP_REQUEST_H
#define SNAP_REQUEST_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/cancel.h"
#include "base/error.h"
#include "snapshotter/control/service.h"

struct snap_request {
        struct snap_service *service;
        const uint8_t *data;
        size_t size;
        const struct zp_cancel *cancel; /* the client went away, or does not wait any longer; or the daemon ends */
        bool is_mounting;               /* on a thread that may wait for the data plane */
        struct zp_arena arena;          /* dies with the request */
        /* Sends a message; waits until there is room for it. */
        int (*send)(struct snap_request *request, const void *data, size_t size, struct zp_error *err);
};

/* What a request may take in memory once it is unpacked: a small message can be a long list. */
#define SNAP_REQUEST_MEMORY (4u << 20)

/* Unpacks the message into the arena. -EINVAL: it is not such a message, or takes more; -ENOMEM. */
int snap_request_unpack(struct snap_request *request, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out,
                        struct zp_error *err);
int snap_request_reply(struct snap_request *request, const ProtobufCMessage *message, struct zp_error *err);

/* Texts out of a message, copied to the arena: -EINVAL for what is not UTF-8, has a NUL, or is too long. */
int snap_request_text(struct snap_request *request, ProtobufCBinaryData data, const char *what, const char **out,
                      struct zp_error *err);
/* As text, and not empty. */
int snap_request_name(struct snap_request *request, ProtobufCBinaryData data, const char *what, const char **out,
                      struct zp_error *err);

#endif
