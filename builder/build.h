/* SPDX-License-Identifier: Apache-2.0
 *
 * The build pipeline: an image source in, a snapshot in the store out.
 *
 * Each layer that the store does not have streams once through
 *   read → SHA-256 → inflate │ SHA-256 → tar → tree + device │ zstd frames → pack
 * ('│': another thread), layers side by side, then the merge writes the snapshot metadata. The bytes do not
 * depend on threads, order, clock or machine.
 *
 * Memory, whatever the files' sizes, for T threads and frames of F bytes, of L = min(T, 4, layers) layers at once:
 *   15 MiB + L · (3 MiB + (2 + 2 T) · 2 F + T · C) + entries
 * C is zstd's context, 0.7 MiB by default, 10 MiB at level 19 in frames of 512 KiB. That makes 36 MiB on two cores and
 * at most 0.4 GiB on 32. A layer compressed by zstd adds its window: 8 MiB as most tools write it, 128 MiB at most.
 * A base takes 32 bytes for each block of its devices that layers are compared with, 0.4 GiB at most (for 64 GiB), and
 * each layer that is compared up to 4 MiB more. Entries take 600 bytes each, those of all layers of the image together,
 * and files of up to 512 bytes their content.
 */
#ifndef ZP_BUILDER_BUILD_H
#define ZP_BUILDER_BUILD_H

#include "base/cancel.h"
#include "builder/recipe.h"
#include "oci/source.h"
#include "pack/writer.h"
#include "store/store.h"

enum zp_layer_state {
        ZP_LAYER_WAITING,
        ZP_LAYER_CONVERTING,
        ZP_LAYER_CHECKING, /* the store has it, but has not read it from there */
        ZP_LAYER_DONE,
        ZP_LAYER_REUSED, /* the store had it */
};

/* What a build tells while it runs. Called from several threads, one at a time. */
struct zp_build_events {
        void *context;
        void (*resolved)(void *context, const struct zp_image *image);
        /* `name` is the layer's in the store, once it is there; before that NULL */
        void (*layer_state)(void *context, uint16_t layer, enum zp_layer_state state, const struct zp_digest *name);
        void (*layer_progress)(void *context, uint16_t layer, uint64_t blob_bytes_read);
        void (*waiting)(void *context);                     /* another process builds the same image or layer */
        void (*comparing)(void *context, uint16_t devices); /* of the base, with which layers are compared */
        void (*merging)(void *context);
        /* The first `size` bytes of the pack of a layer that is being converted are final, and can be read from `fd`
         * during the call. From any thread, several at once, so that a smaller size may come after a larger one. */
        void (*pack_grown)(void *context, uint16_t layer, int fd, uint64_t size);
        /* After that: the pack is complete, and the device's; NULL: it never will be. Before the layer is done. */
        void (*pack_ended)(void *context, uint16_t layer, const struct zp_device_record *device);
};

/* How a layer was converted. */
struct zp_known_conversion {
        struct zp_digest diff_id;
        struct zp_pack_options pack;
        struct zp_recipe recipe; /* its base devices are in the store, at least with index and block map */
};

struct zp_build_options {
        struct zp_platform platform;
        unsigned threads; /* 0: as many as the process may use */
        struct zp_pack_options pack;
        /* An image in the store, whose snapshot is trusted, and may be seen by who builds: layers it has are used, and content that its devices hold
         * is referred to and not stored again. NULL: none. It need not have the data of its devices. */
        const struct zp_image_record *base;
        const struct zp_profile *profile; /* NULL: none. What it names lies first on the devices. */
        /* these layers are converted as they were, whatever `pack`, `base` and `profile` say */
        const struct zp_known_conversion *known;
        size_t known_count;
        bool with_maps; /* have a block map of each new device as well, which publishing needs */
        bool rebuild;   /* convert every layer and write the snapshot even if the store has them */
        bool confine;   /* zp_confine() the process, for good, before the first layer is read */
        const char *also_writable, *also_readable; /* what the caller still needs when confined; NULL: nothing */
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
