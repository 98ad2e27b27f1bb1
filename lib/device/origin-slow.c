/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack file on a file system that may hang.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "device/origin.h"
#include "device/slow-file.h"

struct slow_origin {
        struct zp_device_origin origin;
        struct zp_slow_file *file;
};

/* Of one read: the buffer may go with who gave it up. */
struct target {
        void *buffer, *context;
        uint32_t size;
        zp_device_origin_done done;
};

static void on_done(void *context, int result, const void *bytes, const struct zp_error *err) {
        zp_autofree struct target *target = context;
        if (result == 0)
                memcpy(target->buffer, bytes, target->size);
        target->done(target->context, result, err);
}

static void start_read(struct zp_device_origin *origin, uint64_t offset, uint32_t size, void *buffer,
                       enum zp_device_urgency urgency, zp_device_origin_done done, void *context) {
        (void) urgency;
        struct target *target = malloc(sizeof *target);
        struct zp_error err = { 0 };
        if (!target) {
                done(context, zp_error_errno(&err, ENOMEM, "pack"), &err);
                return;
        }
        *target = (struct target){ buffer, context, size, done };
        zp_slow_file_read(((struct slow_origin *) origin)->file, offset, size, on_done, target);
}

static bool is_of(const void *target, const void *context) {
        return ((const struct target *) target)->context == context;
}

static void cancel_read(struct zp_device_origin *origin, void *context) {
        zp_slow_file_cancel(((struct slow_origin *) origin)->file, is_of, context);
}

static void look(struct zp_device_origin *origin, uint64_t now_ms) {
        zp_slow_file_look(((struct slow_origin *) origin)->file, now_ms);
}

static void close_origin(struct zp_device_origin *origin) {
        zp_slow_file_close(((struct slow_origin *) origin)->file);
        free(origin);
}

static const struct zp_device_origin_ops ops = {
        .read = start_read,
        .cancel = cancel_read,
        .look = look,
        .close = close_origin,
};

int zp_device_origin_slow_file(int fd, bool is_at_hand, struct zp_pool *readers, unsigned patience_ms,
                               struct zp_device_origin **out, struct zp_error *err) {
        zp_autoclose int owned = fd;
        zp_autofree struct slow_origin *origin = malloc(sizeof *origin);
        if (!origin)
                return zp_error_errno(err, ENOMEM, "pack");
        *origin = (struct slow_origin){ .origin = { .ops = &ops, .is_at_hand = is_at_hand } };
        int r = zp_slow_file_new(zp_steal_fd(&owned), readers, patience_ms, "pack", &origin->file, err);
        if (r == 0)
                *out = &zp_steal(&origin)->origin;
        return r;
}
