/* SPDX-License-Identifier: Apache-2.0
 *
 * Converts one layer: its blob in, layer metadata and device pack out, in a staging directory.
 */
#ifndef ZP_BUILDER_CONVERT_H
#define ZP_BUILDER_CONVERT_H

#include "base/cancel.h"
#include "base/pool.h"
#include "oci/source.h"
#include "pack/writer.h"
#include "store/store.h"

struct zp_convert_input {
        struct zp_source *source;
        const struct zp_descriptor *blob;
        const struct zp_digest *diff_id; /* what the uncompressed tar must hash to */
        struct zp_pool *pool;            /* compresses frames */
        struct zp_pack_options pack;
        const struct zp_cancel *cancel;
        void (*progress)(void *context, uint64_t blob_bytes_read); /* from a thread of its own; may be NULL */
        void *context;
};

/* Runs in the calling thread (tar, tree) and one more (read, inflate). Fills `staging` with layer.erofs,
 * device.zst and device.idx and *record with what they are; commits nothing. The blob's digest and the
 * diffID have been checked when it returns 0. */
int zp_convert_layer(const struct zp_convert_input *input, struct zp_staging *staging, struct zp_layer_record *record,
                     struct zp_error *err);

#endif
