/* SPDX-License-Identifier: Apache-2.0
 *
 * The devices of an earlier version of an image that a build compares with, and refers to.
 */
#ifndef ZP_BUILDER_BASE_H
#define ZP_BUILDER_BASE_H

#include "base/cancel.h"
#include "base/pool.h"
#include "builder/reuse.h"
#include "store/device-map.h"

/* Chooses devices of an image in the store, among those of the plan: those of which the image's snapshot still uses a
 * quarter at least (what is left of the others moves to newer devices, so that a chain of versions stays short), the
 * most used first, no more than there is room for, and only those that there is a block map of or can be made. With
 * `with_hot` the parts that its start reads are noted, too. Fills recipe->base and ->hot. */
int zp_base_choose(struct zp_store *store, const struct zp_image_record *image, const struct zp_reuse_plan *plan,
                   bool with_hot, struct zp_pool *pool, const struct zp_cancel *cancel, struct zp_recipe *recipe,
                   struct zp_error *err);

struct zp_base_device {
        struct zp_digest digest;
        uint64_t blocks;
};

struct zp_base {
        struct zp_base_device devices[ZP_LIMIT_BASE_DEVICES]; /* as in the recipe */
        struct zp_block_table *table;                         /* NULL: there is nothing to compare with */
        struct zp_device_map maps[ZP_LIMIT_BASE_DEVICES];
};

/* Loads the recipe's devices, which must be in the store. To be cleared in any case. */
int zp_base_load(struct zp_store *store, const struct zp_recipe *recipe, struct zp_pool *pool,
                 const struct zp_cancel *cancel, struct zp_base *out, struct zp_error *err);
void zp_base_clear(struct zp_base *base);

/* Gives the recipe's devices to another store as far as a conversion by it needs them: by index and block map. */
int zp_base_copy(struct zp_store *from, struct zp_store *to, const struct zp_recipe *recipe, struct zp_pool *pool,
                 const struct zp_cancel *cancel, struct zp_error *err);

#endif
