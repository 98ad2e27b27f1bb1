/* SPDX-License-Identifier: Apache-2.0
 *
 * What besides its tar decides the bytes of a converted layer: the devices it was compared with, and the profile. As
 * text it is kept with the layer (docs/store.md).
 */
#ifndef ZP_BUILDER_RECIPE_H
#define ZP_BUILDER_RECIPE_H

#include "builder/placing.h"
#include "store/store.h"

/* Parts of the base devices that hot content may refer to, at most: as many as the text has room for. */
#define ZP_RECIPE_HOT_MAX 24

struct zp_recipe {
        uint16_t base_count;
        struct zp_digest base[ZP_LIMIT_BASE_DEVICES]; /* in the order in which they are searched */
        uint32_t hot_count;
        struct zp_hot_range hot[ZP_RECIPE_HOT_MAX]; /* only with a profile */
        bool has_profile;
        struct zp_digest profile;
};

/* The text of a recipe: the same one gives the same; "" when it has nothing. */
void zp_recipe_format(const struct zp_recipe *recipe, char out[ZP_RECIPE_SIZE]);
/* -EBADMSG: not such a text. */
int zp_recipe_parse(const char *text, struct zp_recipe *out, struct zp_error *err);
/* The recipe without its profile, and what goes with it. */
struct zp_recipe zp_recipe_without_profile(const struct zp_recipe *recipe);

#endif
