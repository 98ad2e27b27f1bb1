/* SPDX-License-Identifier: Apache-2.0
 *
 * What a Kubernetes API server sends: a watch or a list (by the first byte), cut anywhere (by the second). However it
 * is cut, the same objects come out, and they are those that a parser of whole documents finds.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "controller/kube/kube-internal.h"
#include "controller/kube/lease-record.h"
#include "controller/kube/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct given {
        uint64_t hash;
        size_t count, left_out;
};

/* What the reflector, the lease and the mapping of failures do with an object. */
static void use(json_t *object) {
        struct zp_kube_lease_record record;
        struct zp_kube_failure failure;
        struct zp_error err = { 0 };
        zp_kube_lease_read(object, 15, &record);
        assert(record.duration_s >= 1 && record.duration_s <= 3600);
        json_t *lease = zp_kube_lease_make(object, &record, "ns", "name", "me", 15);
        json_decref(lease);
        assert(zp_kube_fail_status(object, &failure, &err) < 0 && err.message[0]);
        assert(zp_kube_name(object) && zp_kube_uid(object) && zp_kube_resource_version(object));
        zp_kube_is_being_deleted(object);
}

static int on_object(void *context, json_t *object, struct zp_error *err) {
        struct given *given = context;
        (void) err;
        assert(json_is_object(object));
        use(object);
        zp_autofree char *text = json_dumps(object, JSON_COMPACT);
        for (const char *c = text; c && *c; c++)
                given->hash = (given->hash ^ (unsigned char) *c) * UINT64_C(0x100000001b3);
        given->count++;
        return 0;
}

static void on_left_out(void *context, const struct zp_error *reason) {
        struct given *given = context;
        assert(reason->message[0]);
        given->left_out++;
}

static int run(enum zp_kube_stream_form form, const uint8_t *data, size_t size, size_t piece, struct given *given) {
        struct zp_kube_stream stream = { .form = form, .each = on_object, .left_out = on_left_out, .context = given };
        struct zp_error err = { 0 };
        json_t *envelope = NULL;
        int r = 0;
        for (size_t at = 0; at < size && r == 0; at += piece)
                r = zp_kube_stream_feed(&stream, data + at, size - at < piece ? size - at : piece, &err);
        if (r == 0)
                r = zp_kube_stream_end(&stream, &envelope, &err);
        assert((r < 0) == (err.message[0] != '\0'));
        assert(form == ZP_KUBE_EVENTS || (r == 0) == (envelope != NULL));
        json_decref(envelope);
        zp_kube_stream_clear(&stream);
        return r;
}

/* The items of a whole list, read by the library alone. */
static void compare_with_whole(const uint8_t *data, size_t size, const struct given *given) {
        json_t *list = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES, NULL);
        if (list && given->left_out == 0)
                assert(json_array_size(json_object_get(list, "items")) == given->count);
        json_decref(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 2)
                return 0;
        enum zp_kube_stream_form form = data[0] & 1 ? ZP_KUBE_ITEMS : ZP_KUBE_EVENTS;
        size_t piece = (size_t) data[1] % 61 + 1;
        data += 2;
        size -= 2;
        struct given whole = { 0 }, cut = { 0 };
        int r = run(form, data, size, size + 1, &whole);
        assert(run(form, data, size, piece, &cut) == r);
        assert(whole.hash == cut.hash && whole.count == cut.count && whole.left_out == cut.left_out);
        if (r == 0 && form == ZP_KUBE_ITEMS)
                compare_with_whole(data, size, &whole);
        return 0;
}
