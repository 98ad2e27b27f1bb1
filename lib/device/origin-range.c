/* SPDX-License-Identifier: Apache-2.0 */
#include "device/origin.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "remote/range.h"

struct range_origin {
        struct zp_device_origin origin;
        struct zp_range_blob *blob;
};

static struct zp_range_blob *blob_of(struct zp_device_origin *origin) {
        return ((struct range_origin *) origin)->blob;
}

static enum zp_range_priority priority_of(enum zp_device_urgency urgency) {
        return urgency == ZP_DEVICE_DEMAND  ? ZP_RANGE_DEMAND
               : urgency == ZP_DEVICE_AHEAD ? ZP_RANGE_AHEAD
                                            : ZP_RANGE_BACKGROUND;
}

static void read_range(struct zp_device_origin *origin, uint64_t offset, uint32_t size, void *buffer,
                       enum zp_device_urgency urgency, zp_device_origin_done done, void *context) {
        struct zp_error err = { 0 };
        int r = zp_range_read(blob_of(origin), offset, size, buffer, priority_of(urgency), done, context, &err);
        if (r < 0)
                done(context, r, &err);
}

static void raise_range(struct zp_device_origin *origin, enum zp_device_urgency urgency, void *context) {
        zp_range_raise(blob_of(origin), context, priority_of(urgency));
}

static void cancel_range(struct zp_device_origin *origin, void *context) {
        zp_range_cancel(blob_of(origin), context);
}

static void close_blob(struct zp_device_origin *origin) {
        zp_range_blob_close(blob_of(origin));
        free(origin);
}

static const struct zp_device_origin_ops ops = {
        .read = read_range,
        .raise = raise_range,
        .cancel = cancel_range,
        .close = close_blob,
};

int zp_device_origin_range(struct zp_range_blob *blob, struct zp_device_origin **out, struct zp_error *err) {
        zp_auto(zp_range_blob_close) struct zp_range_blob *owned = blob;
        struct range_origin *origin = malloc(sizeof *origin);
        if (!origin)
                return zp_error_errno(err, ENOMEM, "remote pack");
        *origin = (struct range_origin){ .origin = { .ops = &ops }, .blob = zp_steal(&owned) };
        *out = &origin->origin;
        return 0;
}
