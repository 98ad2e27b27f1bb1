/* SPDX-License-Identifier: Apache-2.0
 *
 * Which layer of the store serves an image's layer without another conversion.
 */
#ifndef ZP_BUILDER_REUSE_H
#define ZP_BUILDER_REUSE_H

#include "builder/recipe.h"

struct zp_reuse {
        struct zp_store *store;
        const struct zp_image_record *base; /* its layers are used as they are, whoever made them; NULL: none */
        const struct zp_profile *profile;   /* NULL: none */
        const struct zp_recipe *recipe;     /* what a conversion would go by */
};

/* 1: neither is the layer's metadata damaged nor the data of one of its devices lost. */
int zp_reuse_is_whole(struct zp_store *store, const struct zp_layer_record *layer, struct zp_error *err);
/* The base image's layer of that diffID, if the profile asks for nothing else than it was made by. 1: found. */
int zp_reuse_find_in_base(const struct zp_reuse *reuse, const struct zp_digest *diff_id, struct zp_layer_record *out,
                          struct zp_error *err);
/* That, or one that was built here just as it would be built now. What was fetched from others shows what they chose:
 * that is fine for their snapshot, but nothing that is built, and perhaps signed, here may rest on it. */
int zp_reuse_find_layer(const struct zp_reuse *reuse, const struct zp_digest *diff_id, uint32_t frame_size, int level,
                        struct zp_layer_record *out, struct zp_error *err);
/* What the layers that have to be converted may be compared with. */
struct zp_reuse_plan {
        struct zp_digest *devices; /* of the base's layers that the image does not use as they are; malloc'ed */
        uint32_t device_count;
        uint16_t room; /* devices that the layers which are used leave to the others; 0 when none is to be converted */
};
/* `diff_ids` are the image's. Free plan->devices in any case. */
int zp_reuse_plan(const struct zp_reuse *reuse, const struct zp_digest *diff_ids, uint16_t count,
                  struct zp_reuse_plan *out, struct zp_error *err);

#endif
