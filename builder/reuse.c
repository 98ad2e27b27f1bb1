/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/reuse.h"

#include <stdlib.h>
#include <string.h>

#include "layer/tree.h"
#include "layer/resolve.h"
#include "snapshot/load.h"

/* Whether the profile names something that lies on the layer's devices. */
static bool is_named(const struct zp_profile *profile, const struct zp_tree *tree) {
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(profile, &count);
        for (uint32_t i = 0; i < count; i++) {
                struct zp_inode *inode = NULL;
                if (zp_tree_lstat(tree, entries[i].path, strlen(entries[i].path), &inode, NULL) == 0 &&
                    inode->extent_count > 0)
                        return true;
        }
        return false;
}

/* 1: the profile has nothing to say about the layer. */
static int is_untouched(const struct zp_reuse *reuse, const struct zp_layer_record *layer, struct zp_error *err) {
        zp_autoloaded struct zp_loaded loaded = { 0 };
        int r = zp_snapshot_load_layer(reuse->store, layer, &loaded, err);
        return r < 0 ? r : !is_named(reuse->profile, loaded.tree);
}

/* 1: the profile would change nothing in the layer. */
static int suits_profile(const struct zp_reuse *reuse, const struct zp_layer_record *layer, struct zp_error *err) {
        struct zp_recipe recipe;
        int r = zp_recipe_parse(layer->recipe, &recipe, err);
        if (r < 0 || !reuse->profile)
                return r < 0 ? r : 1;
        if (recipe.has_profile)
                return zp_digest_equal(&recipe.profile, &reuse->recipe->profile);
        return is_untouched(reuse, layer, err);
}

int zp_reuse_is_whole(struct zp_store *store, const struct zp_layer_record *layer, struct zp_error *err) {
        int lost = zp_store_layer_is_lost(store, &layer->metadata_digest, err);
        return lost == 0 ? zp_snapshot_layer_is_intact(store, layer, err) : lost < 0 ? lost : 0;
}

int zp_reuse_find_in_base(const struct zp_reuse *reuse, const struct zp_digest *diff_id, struct zp_layer_record *out,
                          struct zp_error *err) {
        for (uint16_t i = 0; reuse->base && i < reuse->base->layer_count; i++) {
                if (!zp_digest_equal(&reuse->base->diff_ids[i], diff_id))
                        continue;
                int r = zp_store_find_layer(reuse->store, &reuse->base->layers[i], diff_id, out, err);
                if (r == 1 && !zp_digest_equal(&out->diff_id, diff_id))
                        r = 0;
                if (r == 1)
                        r = zp_reuse_is_whole(reuse->store, out, err);
                return r == 1 ? suits_profile(reuse, out, err) : r;
        }
        return 0;
}

static int find_built(const struct zp_reuse *reuse, const struct zp_recipe *by, const struct zp_digest *diff_id,
                      uint32_t frame_size, int level, struct zp_layer_record *out, struct zp_error *err) {
        char recipe[ZP_RECIPE_SIZE];
        zp_recipe_format(by, recipe);
        int r = zp_store_find_built_layer(reuse->store, diff_id, recipe, frame_size, level, out, err);
        return r == 1 ? zp_snapshot_layer_is_intact(reuse->store, out, err) : r;
}

int zp_reuse_find_layer(const struct zp_reuse *reuse, const struct zp_digest *diff_id, uint32_t frame_size, int level,
                        struct zp_layer_record *out, struct zp_error *err) {
        struct zp_recipe plain = zp_recipe_without_profile(reuse->recipe);
        int r = zp_reuse_find_in_base(reuse, diff_id, out, err);
        if (r != 0)
                return r;
        if (reuse->profile) {
                r = find_built(reuse, reuse->recipe, diff_id, frame_size, level, out, err);
                if (r != 0)
                        return r;
        }
        r = find_built(reuse, &plain, diff_id, frame_size, level, out, err);
        return r == 1 && reuse->profile ? is_untouched(reuse, out, err) : r;
}

static bool is_in(const struct zp_digest *list, uint32_t count, const struct zp_digest *digest) {
        for (uint32_t i = 0; i < count; i++)
                if (zp_digest_equal(&list[i], digest))
                        return true;
        return false;
}

/* Fills `used` with the diffIDs of the layers that are used as they are. */
static int find_used(const struct zp_reuse *reuse, const struct zp_digest *diff_ids, uint16_t count,
                     struct zp_digest *used, uint16_t *used_count, uint16_t *room, struct zp_error *err) {
        uint32_t taken = 0;
        uint16_t converted = 0;
        *used_count = 0;
        for (uint16_t i = 0; i < count; i++) {
                struct zp_layer_record layer;
                if (is_in(diff_ids, i, &diff_ids[i]))
                        continue;
                int found = zp_reuse_find_in_base(reuse, &diff_ids[i], &layer, err);
                if (found < 0)
                        return found;
                taken += found ? layer.device_count : 1;
                converted += !found;
                if (found)
                        used[(*used_count)++] = diff_ids[i];
        }
        *room = converted > 0 && taken < ZP_LIMIT_DEVICES ? (uint16_t) (ZP_LIMIT_DEVICES - taken) : 0;
        return 0;
}

int zp_reuse_plan(const struct zp_reuse *reuse, const struct zp_digest *diff_ids, uint16_t count,
                  struct zp_reuse_plan *out, struct zp_error *err) {
        struct zp_digest used[ZP_LIMIT_LAYERS];
        uint16_t used_count = 0;
        *out = (struct zp_reuse_plan){ 0 };
        int r = find_used(reuse, diff_ids, count, used, &used_count, &out->room, err);
        if (r < 0 || out->room == 0)
                return r;
        out->devices = calloc((size_t) ZP_LIMIT_LAYERS * ZP_LIMIT_LAYER_DEVICES, sizeof *out->devices);
        if (!out->devices)
                return zp_error_errno(err, ENOMEM, "base");
        for (uint16_t i = 0; i < reuse->base->layer_count; i++) {
                struct zp_layer_record layer;
                if (is_in(used, used_count, &reuse->base->diff_ids[i]))
                        continue;
                r = zp_store_find_layer(reuse->store, &reuse->base->layers[i], &reuse->base->diff_ids[i], &layer, err);
                if (r < 0)
                        return r;
                for (uint16_t d = 0; r == 1 && d < layer.device_count; d++)
                        if (!is_in(out->devices, out->device_count, &layer.devices[d]))
                                out->devices[out->device_count++] = layer.devices[d];
        }
        return 0;
}
