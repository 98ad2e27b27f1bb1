/* SPDX-License-Identifier: Apache-2.0
 *
 * Converts one layer: its blob in, layer metadata and a device out, in staging directories.
 */
#ifndef ZP_BUILDER_CONVERT_H
#define ZP_BUILDER_CONVERT_H

#include "base/cancel.h"
#include "base/pool.h"
#include "builder/base.h"
#include "oci/source.h"
#include "pack/writer.h"
#include "store/store.h"

struct zp_convert_input {
        struct zp_source *source;
        const struct zp_descriptor *blob;
        const struct zp_digest *diff_id; /* what the uncompressed tar must hash to */
        struct zp_pool *pool;            /* compresses frames */
        struct zp_pack_options pack;
        const struct zp_recipe *recipe;
        const struct zp_base *base;       /* the recipe's devices, loaded */
        const struct zp_profile *profile; /* the recipe's; NULL: it has none */
        bool with_map;                    /* make the device's block map, too */
        const struct zp_cancel *cancel;
        void (*progress)(void *context, uint64_t blob_bytes_read); /* from a thread of its own; may be NULL */
        /* The first `size` bytes of device.zst are final, and can be read from `pack_fd` during the call; from any
         * thread, as zp_pack_writer_watch has it. Not with a profile: what is hot comes first, and last of all is
         * known. May be NULL. */
        void (*pack_grown)(void *context, int pack_fd, uint64_t size);
        void *context;
};

struct zp_converted {
        struct zp_layer_record layer;
        struct zp_device_record device; /* its own; device_size 0: it has none */
};

/* Runs in the calling thread (tar, tree) and one more (read, inflate). Fills `device` with device.zst, device.idx
 * and device.map, `layer` with layer.erofs, and *out with what they are; commits nothing. The blob's digest and the
 * diffID have been checked when it returns 0. */
int zp_convert_layer(const struct zp_convert_input *input, struct zp_staging *device, struct zp_staging *layer,
                     struct zp_converted *out, struct zp_error *err);
/* 0, or -EBADMSG with both: what a config claims is not what its layer contains. */
int zp_check_diff_id(const struct zp_digest *claimed, const struct zp_digest *actual, struct zp_error *err);

#endif
