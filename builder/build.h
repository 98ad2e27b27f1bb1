/* SPDX-License-Identifier: Apache-2.0
 *
 * The build pipeline: an image source in, a snapshot in the store out.
 *
 * Each layer that the store does not have streams once through
 *   read → SHA-256 → inflate │ SHA-256 → tar → tree + device │ zstd frames → pack
 * ('│': another thread), layers side by side, then the merge writes the snapshot metadata. The bytes do not
 * depend on threads, order, clock or machine. Memory: ZP_BUILD_MEMORY plus what a layer's names and
 * attributes take (about 300 bytes an entry), whatever the files' sizes.
 */
#ifndef ZP_BUILDER_BUILD_H
#define ZP_BUILDER_BUILD_H

#include "base/cancel.h"
#include "oci/source.h"
#include "pack/writer.h"
#include "store/store.h"

enum zp_layer_state {
        ZP_LAYER_WAITING,
        ZP_LAYER_CONVERTING,
        ZP_LAYER_DONE,
        ZP_LAYER_REUSED, /* the store had it */
};

/* What a build tells while it runs. Called from several threads, one at a time. */
struct zp_build_events {
        void *context;
        void (*resolved)(void *context, const struct zp_image *image);
        void (*layer_state)(void *context, uint16_t layer, enum zp_layer_state state);
        void (*layer_progress)(void *context, uint16_t layer, uint64_t blob_bytes_read);
        void (*waiting)(void *context); /* another process builds the same image or layer */
        void (*merging)(void *context);
};

struct zp_build_options {
        struct zp_platform platform;
        unsigned threads;      /* 0: as many as the process may use */
        struct zp_pack_options pack;
        /* of these layers the packs are made as they were, whatever `pack` says */
        const struct zp_layer_record *known_layers;
        size_t known_layer_count;
        bool rebuild;          /* convert every layer and write the snapshot even if the store has them */
        bool confine;           /* zp_confine() the process, for good, before the first layer is read */
        const struct zp_cancel *cancel;
        struct zp_build_events events;
};

struct zp_build_result {
        struct zp_image_record image; /* to be cleared by the caller */
        uint16_t layers_converted, layers_reused;
        bool was_present; /* nothing had to be done */
};

int zp_build(struct zp_source *source, struct zp_store *store, const struct zp_build_options *options,
             struct zp_build_result *result, struct zp_error *err);

#endif
