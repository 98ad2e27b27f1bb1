/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls to containerd: one message there, one back. gRPC is HTTP/2 with five bytes before each message and the outcome
 * in the trailers; libcurl, which is here anyway, does the first. gRPC's own library would double the time that each
 * zeropull command takes to start.
 */
#ifndef CONTAINERD_CALL_H
#define CONTAINERD_CALL_H

#include <protobuf-c/protobuf-c.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/error.h"

struct containerd_caller;

/* `address`: the path of containerd's socket. `namespace`: which of its namespaces all calls are about. `cancel` may be
 * NULL. Each call has a connection of its own. One thread at a time. */
int containerd_caller_new(const char *address, const char *namespace, const struct zp_cancel *cancel,
                          struct containerd_caller **out, struct zp_error *err);
void containerd_caller_free(struct containerd_caller *caller);
ZP_DEFINE_AUTO(struct containerd_caller, containerd_caller_free);

/* What calls make from now on is kept until the lease ends. */
int containerd_caller_set_lease(struct containerd_caller *caller, const char *lease, struct zp_error *err);

struct containerd_method {
        const char *path; /* "/containerd.services.leases.v1.Leases/Create" */
        unsigned timeout_s;
        bool is_uninterrupted; /* the call is made, and its answer awaited, even though `cancel` says stop */
};

/* *answer (both may be NULL: it is not wanted) is to be freed with protobuf_c_message_free_unpacked. Errors are those
 * of containerd_answer_result, -ECONNREFUSED: nobody is there, -ETIMEDOUT, -ECANCELED. */
int containerd_call(struct containerd_caller *caller, const struct containerd_method *method,
                    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer_type,
                    ProtobufCMessage **answer, struct zp_error *err);

#endif
