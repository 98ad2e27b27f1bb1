/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the packed bytes of a device come from. Nothing that comes is trusted: the device checks every frame against
 * its index.
 */
#ifndef ZP_DEVICE_ORIGIN_H
#define ZP_DEVICE_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"

/* The most urgent first. */
enum zp_device_urgency {
        ZP_DEVICE_DEMAND,     /* somebody waits */
        ZP_DEVICE_AHEAD,      /* soon somebody will */
        ZP_DEVICE_BACKGROUND, /* to have it all */
        ZP_DEVICE_URGENCIES
};

struct zp_device_origin;
/* `result`: 0, the buffer is full, or a negative errno, then `err` may say why (valid during the call). Any thread,
 * also from within the start; hands the work on and returns. */
typedef void (*zp_device_origin_done)(void *context, int result, const struct zp_error *err);

struct zp_device_origin_ops {
        /* Starts reading `size` bytes of the pack at `offset`; `done` follows in every case, and in a bounded time. */
        void (*read)(struct zp_device_origin *origin, uint64_t offset, uint32_t size, void *buffer,
                     enum zp_device_urgency urgency, zp_device_origin_done done, void *context);
        /* Of reads under way with this context: makes them more urgent; has them end soon. Either may be NULL. */
        void (*raise)(struct zp_device_origin *origin, enum zp_device_urgency urgency, void *context);
        void (*cancel)(struct zp_device_origin *origin, void *context);
        /* Several times a second while anything is under way, with the time of CLOCK_MONOTONIC: ends the reads that
         * hang. May be NULL: they end without. */
        void (*look)(struct zp_device_origin *origin, uint64_t now_ms);
        /* Nothing is under way any more. */
        void (*close)(struct zp_device_origin *origin);
};

struct zp_device_origin {
        const struct zp_device_origin_ops *ops;
        bool is_at_hand; /* so near that a copy of what comes from here is not worth its room on the disk */
        char *name; /* malloc'ed, goes with the device: the file or remote, for who is told of it; NULL: not known */
};

/* A pack file, of which all is there; `fd` becomes the origin's, also in case of an error. `is_at_hand` as above. */
int zp_device_origin_file(int fd, bool is_at_hand, struct zp_device_origin **out, struct zp_error *err);
/* The same on a file system that may hang: `readers`, the caller's, read it, and outlive all that hangs. A read that is
 * cancelled ends at once. When one has taken `patience_ms`, it and those that are started now end with -ETIMEDOUT,
 * until it comes back. */
int zp_device_origin_slow_file(int fd, bool is_at_hand, struct zp_pool *readers, unsigned patience_ms,
                               struct zp_device_origin **out, struct zp_error *err);

/* A blob that zp_range_blob_open() gave, which becomes the origin's, also in case of an error. */
struct zp_range_blob;
int zp_device_origin_range(struct zp_range_blob *blob, struct zp_device_origin **out, struct zp_error *err);

#endif
