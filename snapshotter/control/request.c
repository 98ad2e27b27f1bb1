/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* containerd's own limit of a label is 4096; its keys of snapshots are much shorter. */
#define TEXT_MAX 4096

struct memory {
        struct zp_arena *arena;
        bool is_used_up, is_none;
};

static void *allocate(void *context, size_t size) {
        struct memory *memory = context;
        memory->is_used_up = memory->arena->used_bytes + size > SNAP_REQUEST_MEMORY;
        void *allocated = memory->is_used_up ? NULL : zp_arena_alloc(memory->arena, size);
        memory->is_none = !memory->is_used_up && !allocated;
        return allocated;
}

static void keep(void *context, void *pointer) {
        (void) context;
        (void) pointer;
}

int snap_request_unpack(struct snap_request *request, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out,
                        struct zp_error *err) {
        struct memory memory = { .arena = &request->arena };
        ProtobufCAllocator allocator = { .alloc = allocate, .free = keep, .allocator_data = &memory };
        *out = protobuf_c_message_unpack(type, &allocator, request->size, request->data);
        if (*out)
                return 0;
        if (memory.is_used_up)
                return zp_error_set(err, EINVAL, "the request takes more than %u MiB in memory: it has too many labels",
                                    SNAP_REQUEST_MEMORY >> 20);
        return memory.is_none ? zp_error_errno(err, ENOMEM, "request")
                              : zp_error_set(err, EINVAL, "the request is not a message of this method");
}

int snap_request_reply(struct snap_request *request, const ProtobufCMessage *message, struct zp_error *err) {
        zp_autofree uint8_t *data = malloc(protobuf_c_message_get_packed_size(message) + 1);
        if (!data)
                return zp_error_errno(err, ENOMEM, "reply");
        size_t size = protobuf_c_message_pack(message, data);
        return request->send(request, data, size, err);
}

int snap_request_text(struct snap_request *request, ProtobufCBinaryData data, const char *what, const char **out,
                      struct zp_error *err) {
        if (data.len > TEXT_MAX)
                return zp_error_set(err, EINVAL, "%s: of more than %d bytes", what, TEXT_MAX);
        if (!zp_is_utf8(data.data, data.len))
                return zp_error_set(err, EINVAL, "%s: not a text in UTF-8", what);
        *out = zp_arena_copy(&request->arena, data.data, data.len);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "%s", what);
}

int snap_request_name(struct snap_request *request, ProtobufCBinaryData data, const char *what, const char **out,
                      struct zp_error *err) {
        int r = snap_request_text(request, data, what, out, err);
        return r == 0 && !(*out)[0] ? zp_error_set(err, EINVAL, "%s: empty", what) : r;
}
