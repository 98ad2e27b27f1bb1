/* SPDX-License-Identifier: Apache-2.0 */
#include "device/origin.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/file.h"

struct file_origin {
        struct zp_device_origin origin;
        int fd;
};

static void read_now(struct zp_device_origin *origin, uint64_t offset, uint32_t size, void *buffer,
                     enum zp_device_urgency urgency, zp_device_origin_done done, void *context) {
        (void) urgency;
        struct zp_error err = { 0 };
        int r = zp_pread_all(((struct file_origin *) origin)->fd, buffer, size, offset, "pack", &err);
        done(context, r, r < 0 ? &err : NULL);
}

static void close_file(struct zp_device_origin *origin) {
        close(((struct file_origin *) origin)->fd);
        free(origin);
}

static const struct zp_device_origin_ops ops = { .read = read_now, .close = close_file };

int zp_device_origin_file(int fd, bool is_at_hand, struct zp_device_origin **out, struct zp_error *err) {
        zp_autoclose int owned = fd;
        struct file_origin *origin = malloc(sizeof *origin);
        if (!origin)
                return zp_error_errno(err, ENOMEM, "pack");
        *origin =
                (struct file_origin){ .origin = { .ops = &ops, .is_at_hand = is_at_hand }, .fd = zp_steal_fd(&owned) };
        *out = &origin->origin;
        return 0;
}
