/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/build.h"

#include <stdlib.h>
#include <time.h>

#include "base/confine.h"
#include "base/file.h"
#include "base/fingerprint.h"
#include "builder/blobs.h"
#include "builder/build-internal.h"
#include "builder/reuse.h"
#include "builder/start.h"
#include "snapshot/load.h"
#include "snapshot/snapshot.h"

/* Workers of the pool: bounds the frames under way, and with them memory. */
#define THREADS_MAX 32u

static void tell_resolved(struct zp_building *b) {
        if (b->options->events.resolved)
                b->options->events.resolved(b->options->events.context, &b->image);
}

/* 1: the image was built by the profile that is wanted now. */
static int has_profile(struct zp_building *b, struct zp_error *err) {
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        struct zp_digest digest;
        if (!b->options->profile)
                return 1;
        int r = zp_start_read_profile(b->store, &b->image.manifest_digest, &profile, err);
        if (r == 0 && profile)
                r = zp_profile_digest(profile, &digest, err);
        return r < 0 ? r : profile && zp_digest_equal(&digest, &b->recipe.profile);
}

/* 1: what the store has of it is as it was made. */
static int is_whole(struct zp_building *b, const struct zp_image_record *image, struct zp_error *err) {
        struct zp_layer_record layer;
        int r = zp_snapshot_is_intact(b->store, image, err);
        for (uint16_t i = 0; r == 1 && i < image->layer_count; i++) {
                r = zp_store_find_layer(b->store, &image->layers[i], &image->diff_ids[i], &layer, err);
                if (r == 1)
                        r = zp_reuse_is_whole(b->store, &layer, err);
        }
        return r;
}

/* 1: the store has the image, made here as it is wanted: b->result->image is filled. */
static int find_built_image(struct zp_building *b, struct zp_error *err) {
        struct zp_image_record *known = &b->result->image;
        int found = b->options->rebuild ? 0 : zp_store_find_image(b->store, &b->image.manifest_digest, known, err);
        bool is_built = found == 1 && !known->is_fetched;
        if (is_built)
                found = is_whole(b, known, err);
        if (is_built && found == 1)
                found = has_profile(b, err);
        if (found != 1 || !is_built)
                zp_image_record_clear(known);
        return found < 0 ? found : is_built && found == 1;
}

static uint64_t image_size(const struct zp_image *image) {
        uint64_t size = 0;
        for (uint16_t i = 0; i < image->layer_count; i++)
                size += image->layers[i].size;
        return size;
}

static int commit_image(struct zp_building *b, struct zp_staging *staging, struct zp_image_record *record,
                        struct zp_error *err) {
        char platform[100];
        char *names[] = { b->image.name, NULL };
        record->manifest_digest = b->image.manifest_digest;
        record->config_digest = b->image.config_digest;
        record->manifest_media_type = b->image.manifest_media_type;
        record->platform = zp_platform_text(&b->image.platform, platform);
        record->image_size = image_size(&b->image);
        record->created_s = time(NULL);
        record->layer_count = b->image.layer_count;
        record->layers = b->names;
        record->diff_ids = b->image.diff_ids;
        record->names = names;
        return zp_staging_commit_image(staging, record, err);
}

static int write_prefetch_list(struct zp_building *b, struct zp_staging *staging, int fd, uint64_t size,
                               struct zp_error *err) {
        if (b->options->profile)
                return zp_start_write(staging, fd, size, b->options->profile, err);
        return zp_start_write_guess(staging, b->store, fd, size, b->image.config, b->image.config_size,
                                    b->options->cancel, err);
}

static int write_snapshot(struct zp_building *b, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        if (b->options->events.merging)
                b->options->events.merging(b->options->events.context);
        int r = zp_staging_new(b->store, &staging, err);
        if (r < 0 ||
            (r = zp_staging_write(staging, "manifest.json", b->image.manifest, b->image.manifest_size, err)) < 0 ||
            (r = zp_staging_write(staging, "config.json", b->image.config, b->image.config_size, err)) < 0)
                return r;
        zp_autoclose int fd = zp_staging_create(staging, "snapshot.erofs", err);
        if (fd < 0)
                return fd;
        struct zp_snapshot_layers layers = { b->store, b->names, b->image.diff_ids, b->image.layer_count,
                                             b->options->cancel };
        struct zp_erofs_result written;
        struct zp_image_record record = { 0 };
        r = zp_snapshot_write(&layers, ZP_EROFS_DEVICE_TABLE, fd, "snapshot.erofs", NULL, NULL, &written, err);
        if (r == 0)
                r = zp_fingerprint(fd, "snapshot.erofs", &record.metadata_size, &record.metadata_digest, err);
        if (r == 0)
                r = write_prefetch_list(b, staging, fd, record.metadata_size, err);
        return r < 0 ? r : commit_image(b, staging, &record, err);
}

static int build_image(struct zp_building *b, unsigned threads, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = zp_store_lock(b->store, &b->image.manifest_digest, b->options->cancel, zp_building_tell_waiting, b,
                              &lock, err);
        if (r < 0)
                return r;
        int found = find_built_image(b, err);
        if (found < 0)
                return found;
        if (found) {
                /* so must where it is to be built from; what is in no registry had it under the same name before */
                bool is_old = !b->repository && zp_image_record_has_name(&b->result->image, b->image.name);
                r = is_old ? 0 : zp_build_check_layers(b, threads, err);
                if (r < 0)
                        return r;
                b->result->was_present = true;
                b->result->layers_reused = b->image.layer_count;
                return zp_store_add_name(b->store, b->image.name, &b->image.manifest_digest, err);
        }
        if ((r = zp_build_all_layers(b, threads, err)) < 0)
                return r;
        if ((r = write_snapshot(b, err)) < 0)
                return r;
        found = zp_store_find_image(b->store, &b->image.manifest_digest, &b->result->image, err);
        return found == 0  ? zp_error_set(err, ENOENT, "the image was removed while it was built")
               : found < 0 ? found
                           : 0;
}

static int confine(const struct zp_building *b, struct zp_error *err) {
        struct zp_confinement within = {
                .writable = { zp_store_path(b->store), b->options->also_writable },
                .readable = { zp_source_local_path(b->source), b->options->also_readable },
        };
        return zp_confine(&within, NULL, err);
}

int zp_build(struct zp_source *source, struct zp_store *store, const struct zp_build_options *options,
             struct zp_build_result *result, struct zp_error *err) {
        struct zp_building b = { .source = source, .store = store, .options = options, .result = result };
        b.stop.parent = options->cancel;
        unsigned threads = options->threads ? options->threads : zp_usable_cpus();
        if (threads > THREADS_MAX)
                threads = THREADS_MAX;
        *result = (struct zp_build_result){ 0 };
        int r = zp_source_resolve(source, &options->platform, &b.image, err);
        if (r < 0)
                return r;
        pthread_mutex_init(&b.lock, NULL);
        tell_resolved(&b);
        b.recipe.has_profile = options->profile != NULL;
        if (options->profile)
                r = zp_profile_digest(options->profile, &b.recipe.profile, err);
        if (r == 0)
                r = zp_blobs_prepare(&b, err);
        if (r == 0 && options->confine)
                r = confine(&b, err);
        if (r == 0)
                r = zp_pool_new(threads, &b.pool, err);
        if (r == 0)
                r = build_image(&b, threads, err);
        if (r < 0)
                zp_error_wrap(err, "build %s", b.image.name);
        zp_base_clear(&b.base);
        zp_pool_free(b.pool);
        pthread_mutex_destroy(&b.lock);
        zp_image_clear(&b.of_base);
        zp_image_clear(&b.image);
        free(b.repository);
        return r;
}
