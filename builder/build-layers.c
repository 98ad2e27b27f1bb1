/* SPDX-License-Identifier: Apache-2.0
 *
 * The layers of a build: several at once, each converted or taken from the store, and what is told of them.
 */
#include <stdlib.h>

#include "builder/blobs.h"
#include "builder/build-internal.h"
#include "builder/convert.h"
#include "builder/reuse.h"

/* More layers side by side than this only take memory: the pool compresses for all of them. */
#define LAYERS_AT_ONCE 4u

static bool is_same_layer(const struct zp_building *b, uint16_t one, uint16_t other) {
        return zp_digest_equal(&b->image.diff_ids[one], &b->image.diff_ids[other]);
}

static bool is_same_blob(const struct zp_building *b, uint16_t one, uint16_t other) {
        const struct zp_descriptor *layers = b->image.layers;
        return is_same_layer(b, one, other) && zp_digest_equal(&layers[one].digest, &layers[other].digest) &&
               layers[one].size == layers[other].size;
}

/* ---- what is told ---- */

void zp_building_tell_waiting(void *context) {
        struct zp_building *b = context;
        if (!b->options->events.waiting)
                return;
        pthread_mutex_lock(&b->lock);
        b->options->events.waiting(b->options->events.context);
        pthread_mutex_unlock(&b->lock);
}

/* Tells of a layer, and of those further up that are the same one. */
static void tell_layer(struct zp_building *b, uint16_t layer, enum zp_layer_state state) {
        const struct zp_digest *name = state == ZP_LAYER_DONE || state == ZP_LAYER_REUSED ? &b->names[layer] : NULL;
        if (!b->options->events.layer_state)
                return;
        pthread_mutex_lock(&b->lock);
        for (uint16_t i = layer; i < b->image.layer_count; i++)
                if (is_same_blob(b, i, layer))
                        b->options->events.layer_state(b->options->events.context, i, state, name);
        pthread_mutex_unlock(&b->lock);
}

struct progress {
        struct zp_building *build;
        uint16_t layer;
};

static void tell_progress(void *context, uint64_t blob_bytes_read) {
        struct progress *progress = context;
        struct zp_building *b = progress->build;
        if (!b->options->events.layer_progress)
                return;
        pthread_mutex_lock(&b->lock);
        b->options->events.layer_progress(b->options->events.context, progress->layer, blob_bytes_read);
        pthread_mutex_unlock(&b->lock);
}

static void tell_pack_grown(void *context, int fd, uint64_t size) {
        struct progress *progress = context;
        struct zp_building *b = progress->build;
        if (b->options->events.pack_grown)
                b->options->events.pack_grown(b->options->events.context, progress->layer, fd, size);
}

static void tell_pack_ended(struct zp_building *b, uint16_t layer, const struct zp_device_record *device) {
        if (b->options->events.pack_ended)
                b->options->events.pack_ended(b->options->events.context, layer, device);
}

/* ---- one layer ---- */

static const struct zp_known_conversion *find_known(const struct zp_building *b, const struct zp_digest *diff_id) {
        for (size_t i = 0; i < b->options->known_count; i++)
                if (zp_digest_equal(&b->options->known[i].diff_id, diff_id))
                        return &b->options->known[i];
        return NULL;
}

static struct zp_pack_options packing_of(const struct zp_building *b, const struct zp_digest *diff_id) {
        const struct zp_known_conversion *known = find_known(b, diff_id);
        struct zp_pack_options pack = known ? known->pack : b->options->pack;
        if (pack.frame_size == 0)
                pack.frame_size = ZP_PACK_DEFAULT_FRAME_SIZE;
        return pack;
}

static int convert_by(struct zp_building *b, struct zp_convert_input *input, struct zp_staging *for_device,
                      struct zp_staging *for_layer, struct zp_converted *out, struct zp_error *err) {
        const struct zp_known_conversion *known = find_known(b, input->diff_id);
        struct zp_base own = { 0 };
        input->recipe = known ? &known->recipe : &b->recipe;
        input->base = known ? &own : &b->base;
        input->profile = input->recipe->has_profile ? b->options->profile : NULL;
        int r = known ? zp_base_load(b->store, input->recipe, b->pool, &b->stop, &own, err) : 0;
        if (r == 0)
                r = zp_convert_layer(input, for_device, for_layer, out, err);
        zp_base_clear(&own);
        return r;
}

static int convert_into_store(struct zp_building *b, uint16_t layer, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *for_device = NULL;
        zp_auto(zp_staging_free) struct zp_staging *for_layer = NULL;
        int r = zp_staging_new(b->store, &for_device, err);
        if (r == 0)
                r = zp_staging_new(b->store, &for_layer, err);
        if (r < 0)
                return r;
        struct progress progress = { b, layer };
        struct zp_convert_input input = {
                .source = b->source,
                .blob = &b->image.layers[layer],
                .diff_id = &b->image.diff_ids[layer],
                .pool = b->pool,
                .pack = packing_of(b, &b->image.diff_ids[layer]),
                .with_map = b->options->with_maps,
                .cancel = &b->stop,
                .progress = tell_progress,
                .pack_grown = tell_pack_grown,
                .context = &progress,
        };
        struct zp_converted converted;
        r = convert_by(b, &input, for_device, for_layer, &converted, err);
        tell_pack_ended(b, layer, r == 0 ? &converted.device : NULL);
        if (r == 0 && converted.device.device_size > 0)
                r = zp_staging_commit_device(for_device, &converted.device, err);
        if (r == 0)
                r = zp_staging_commit_layer(for_layer, &converted.layer, err);
        if (r == 0)
                b->names[layer] = converted.layer.metadata_digest;
        return r < 0 ? r : zp_blob_note(b, layer, err);
}

static struct zp_reuse reuse_of(const struct zp_building *b) {
        return (struct zp_reuse){ b->store, b->options->base, b->options->profile, &b->recipe };
}

static int find_built_layer(struct zp_building *b, uint16_t layer, struct zp_error *err) {
        const struct zp_digest *diff_id = &b->image.diff_ids[layer];
        struct zp_pack_options pack = packing_of(b, diff_id);
        struct zp_reuse reuse = reuse_of(b);
        struct zp_layer_record found_layer;
        if (b->options->rebuild)
                return 0;
        int found = zp_reuse_find_layer(&reuse, diff_id, pack.frame_size, pack.level, &found_layer, err);
        if (found == 1)
                b->names[layer] = found_layer.metadata_digest;
        return found;
}

/* The store has the layer, b->names[layer]: its blob is read unless that was done before. */
static int check_blob(struct zp_building *b, uint16_t layer, struct zp_error *err) {
        struct progress progress = { b, layer };
        int known = zp_blob_is_known(b, layer, err);
        if (known < 0 || (known && b->is_present))
                return known < 0 ? known : 0;
        if (!known) {
                tell_layer(b, layer, ZP_LAYER_CHECKING);
                int r = zp_blob_check(b, layer, tell_progress, &progress, err);
                if (r < 0)
                        return r;
        }
        tell_layer(b, layer, ZP_LAYER_REUSED);
        return 0;
}

static void count_layer(struct zp_building *b, uint16_t *counter) {
        pthread_mutex_lock(&b->lock);
        ++*counter;
        pthread_mutex_unlock(&b->lock);
}

static int build_layer(struct zp_building *b, uint16_t layer, struct zp_error *err) {
        if (b->is_present)
                return check_blob(b, layer, err);
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int found = find_built_layer(b, layer, err);
        if (found == 0) {
                int r = zp_store_lock(b->store, &b->image.diff_ids[layer], &b->stop, zp_building_tell_waiting, b, &lock,
                                      err);
                if (r < 0)
                        return r;
                /* whoever held it may have made it */
                found = find_built_layer(b, layer, err);
        }
        if (found < 0)
                return found;
        if (found) {
                zp_store_unlock(zp_steal(&lock)); /* reading the blob may take long, and concerns nobody else */
                int r = check_blob(b, layer, err);
                if (r == 0)
                        count_layer(b, &b->result->layers_reused);
                return r;
        }
        tell_layer(b, layer, ZP_LAYER_CONVERTING);
        int r = convert_into_store(b, layer, err);
        if (r < 0)
                return r;
        tell_layer(b, layer, ZP_LAYER_DONE);
        count_layer(b, &b->result->layers_converted);
        return 0;
}

/* ---- all of them ---- */

static void note_failure(struct zp_building *b, uint16_t layer, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_error_wrap(err, "layer %u (%s)", layer + 1u, zp_digest_text(&b->image.layers[layer].digest, digest));
        pthread_mutex_lock(&b->lock);
        /* the others stop because of the first: that one is told */
        if (b->first_error.code == 0)
                b->first_error = *err;
        pthread_mutex_unlock(&b->lock);
        atomic_store(&b->stop.requested, true);
}

/* The layer may be there again further up, from another blob. */
static void check_other_blobs(struct zp_building *b, uint16_t layer) {
        for (uint16_t i = (uint16_t) (layer + 1); i < b->image.layer_count; i++) {
                struct zp_error err = { 0 };
                bool is_new = is_same_layer(b, i, layer);
                for (uint16_t j = layer; is_new && j < i; j++)
                        is_new = !is_same_blob(b, i, j);
                if (!is_new)
                        continue;
                b->names[i] = b->names[layer];
                if (check_blob(b, i, &err) < 0) {
                        note_failure(b, i, &err);
                        return;
                }
        }
}

static void *build_layers(void *context) {
        struct zp_building *b = context;
        for (;;) {
                pthread_mutex_lock(&b->lock);
                uint16_t position = b->next < b->order_count ? b->next++ : UINT16_MAX;
                pthread_mutex_unlock(&b->lock);
                if (position == UINT16_MAX || zp_cancelled(&b->stop))
                        return NULL;
                struct zp_error err = { 0 };
                uint16_t layer = b->order[position];
                if (build_layer(b, layer, &err) < 0)
                        note_failure(b, layer, &err);
                else
                        check_other_blobs(b, layer);
        }
}

/* Large layers first: the last one to finish then is a small one. */
static void order_layers(struct zp_building *b) {
        for (uint16_t i = 0; i < b->image.layer_count; i++) {
                bool is_repeated = false;
                for (uint16_t j = 0; j < i; j++)
                        is_repeated |= is_same_layer(b, i, j);
                if (is_repeated)
                        continue;
                uint16_t at = b->order_count++;
                for (; at > 0 && b->image.layers[b->order[at - 1]].size < b->image.layers[i].size; at--)
                        b->order[at] = b->order[at - 1];
                b->order[at] = i;
        }
}

/* A layer that occurs again was built once, where it occurs first. */
static void name_repeated_layers(struct zp_building *b) {
        for (uint16_t i = 0; i < b->image.layer_count; i++)
                for (uint16_t first = 0; first < i; first++)
                        if (is_same_layer(b, i, first)) {
                                b->names[i] = b->names[first];
                                break;
                        }
}

/* Loads what layers are compared with, when there are such as have to be converted. */
static int load_base(struct zp_building *b, struct zp_error *err) {
        struct zp_reuse reuse = reuse_of(b);
        struct zp_reuse_plan plan = { 0 };
        if (!b->options->base)
                return 0;
        int r = zp_reuse_plan(&reuse, b->image.diff_ids, b->image.layer_count, &plan, err);
        if (r == 0 && plan.device_count > 0 && plan.room > 0)
                r = zp_base_choose(b->store, b->options->base, &plan, b->options->profile != NULL, b->pool,
                                   b->options->cancel, &b->recipe, err);
        free(plan.devices);
        if (r == 0 && b->recipe.base_count > 0)
                r = zp_base_load(b->store, &b->recipe, b->pool, b->options->cancel, &b->base, err);
        if (r == 0 && b->recipe.base_count > 0 && b->options->events.comparing)
                b->options->events.comparing(b->options->events.context, b->recipe.base_count);
        return r < 0 ? zp_error_wrap(err, "base") : 0;
}

/* Each distinct layer by one of up to `threads` threads. */
static int run(struct zp_building *b, unsigned threads, struct zp_error *err) {
        unsigned at_once = threads < LAYERS_AT_ONCE ? threads : LAYERS_AT_ONCE;
        if (at_once > b->order_count)
                at_once = b->order_count;
        pthread_t others[LAYERS_AT_ONCE];
        unsigned started = 0;
        /* fewer threads than wanted are no failure: this one does the rest */
        while (started + 1 < at_once && pthread_create(&others[started], NULL, build_layers, b) == 0)
                started++;
        build_layers(b);
        for (unsigned i = 0; i < started; i++)
                pthread_join(others[i], NULL);
        if (zp_cancelled(b->options->cancel))
                return zp_check_cancel(b->options->cancel, err);
        if (b->first_error.code) {
                *err = b->first_error;
                return -err->code;
        }
        return 0;
}

int zp_build_all_layers(struct zp_building *b, unsigned threads, struct zp_error *err) {
        order_layers(b);
        int r = load_base(b, err);
        if (r == 0)
                r = run(b, threads, err);
        if (r == 0)
                name_repeated_layers(b);
        return r;
}

int zp_build_check_layers(struct zp_building *b, unsigned threads, struct zp_error *err) {
        order_layers(b);
        b->is_present = true;
        for (uint16_t i = 0; i < b->image.layer_count; i++)
                b->names[i] = b->result->image.layers[i];
        return run(b, threads, err);
}
