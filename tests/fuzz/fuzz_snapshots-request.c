/* SPDX-License-Identifier: Apache-2.0
 *
 * A call's message, as any method may get it: unpacked within its memory, and its texts taken out.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "snapshots.pb-c.h"
#include "snapshotter/control/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(struct snap_request *request, ProtobufCBinaryData bytes) {
        const char *text;
        struct zp_error err = { 0 };
        if (snap_request_name(request, bytes, "text", &text, &err) == 0)
                assert(strlen(text) == bytes.len && bytes.len > 0);
        else
                assert(err.code != 0);
}

static void take_create(struct snap_request *request, const Snap__CreateRequest *message) {
        take(request, message->key);
        take(request, message->parent);
        for (size_t i = 0; i < message->n_labels; i++) {
                take(request, message->labels[i]->key);
                take(request, message->labels[i]->value);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const ProtobufCMessageDescriptor *const types[] = {
                &snap__create_request__descriptor, &snap__key_request__descriptor,  &snap__commit_request__descriptor,
                &snap__update_request__descriptor, &snap__list_request__descriptor, &snap__cleanup_request__descriptor,
        };
        if (size == 0)
                return 0;
        struct snap_request request = { .data = data + 1, .size = size - 1 };
        struct zp_error err = { 0 };
        ProtobufCMessage *message = NULL;
        const ProtobufCMessageDescriptor *type = types[data[0] % (sizeof types / sizeof *types)];
        int r = snap_request_unpack(&request, type, &message, &err);
        assert((r == 0) == (message != NULL));
        assert(request.arena.used_bytes <= SNAP_REQUEST_MEMORY + 4096);
        if (r == 0 && type == types[0])
                take_create(&request, (const Snap__CreateRequest *) message);
        zp_arena_clear(&request.arena);
        return 0;
}
