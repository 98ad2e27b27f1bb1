/* SPDX-License-Identifier: Apache-2.0
 *
 * A pull is: image → its manifest's digest → snapshot artifact → layers, several at once → snapshot metadata.
 */
#include "ship/pull.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/limits.h"
#include "pack/index.h"
#include "ship/artifact.h"

#define THREADS_MAX 16u
#define THREADS_DEFAULT 4u
/* Artifacts of one image that are looked at before giving up. */
#define CANDIDATES_MAX 16u

struct pull {
        struct zp_source *source;
        struct zp_remote *remote;
        struct zp_store *store;
        const struct zp_pull_options *options;
        struct zp_pull_result *result;
        struct zp_image image;
        struct zp_artifact artifact;
        struct zp_cancel stop;

        pthread_mutex_t lock;
        uint16_t next;               /* layer; guarded by lock */
        unsigned blobs;              /* numbers given to events; guarded by lock */
        struct zp_error first_error; /* guarded by lock */
};

/* ---- one blob ---- */

struct receiving {
        struct pull *pull;
        unsigned number;
        uint64_t received;
        int (*take)(void *context, const void *data, size_t size, struct zp_error *err);
        void *context;
};

static int receive(void *context, const void *data, size_t size, struct zp_error *err) {
        struct receiving *in = context;
        struct pull *p = in->pull;
        int r = zp_check_cancel(&p->stop, err);
        if (r < 0)
                return r;
        in->received += size;
        pthread_mutex_lock(&p->lock);
        p->result->bytes_received += size;
        if (p->options->events.progress)
                p->options->events.progress(p->options->events.context, in->number, in->received);
        pthread_mutex_unlock(&p->lock);
        return in->take(in->context, data, size, err);
}

/* Fetches a whole blob, checked against its digest, telling of it on the way. */
static int fetch(struct pull *p, const char *what, const struct zp_digest *digest, uint64_t size, zp_blob_sink take,
                 void *context, struct zp_error *err) {
        struct receiving in = { .pull = p, .take = take, .context = context };
        struct zp_descriptor blob = { .digest = *digest, .size = size };
        pthread_mutex_lock(&p->lock);
        in.number = p->blobs++;
        if (p->options->events.begin)
                p->options->events.begin(p->options->events.context, in.number, what, size);
        pthread_mutex_unlock(&p->lock);
        int r = zp_remote_get_whole(p->remote, &blob, receive, &in, err);
        if (r < 0)
                return zp_error_wrap(err, "%s", what);
        pthread_mutex_lock(&p->lock);
        if (p->options->events.end)
                p->options->events.end(p->options->events.context, in.number);
        pthread_mutex_unlock(&p->lock);
        return 0;
}

static int into_buffer(void *context, const void *data, size_t size, struct zp_error *err) {
        return zp_buffer_append(context, data, size) ? 0 : zp_error_errno(err, ENOMEM, "blob");
}

/* Fetches a metadata file and checks the uncompressed bytes too. *out is malloc'ed, metadata->size bytes. */
static int fetch_metadata(struct pull *p, const char *what, const struct zp_artifact_metadata *metadata, uint8_t **out,
                          struct zp_error *err) {
        zp_autobuffer struct zp_buffer packed = { 0 };
        int r = fetch(p, what, &metadata->blob_digest, metadata->blob_size, into_buffer, &packed, err);
        if (r < 0)
                return r;
        zp_autofree uint8_t *data = malloc(metadata->size);
        if (!data)
                return zp_error_errno(err, ENOMEM, "%s", what);
        size_t n = ZSTD_decompress(data, metadata->size, packed.data, packed.size);
        struct zp_digest digest;
        if (!ZSTD_isError(n) && n == metadata->size)
                zp_digest_of(data, n, &digest);
        if (ZSTD_isError(n) || n != metadata->size || !zp_digest_equal(&digest, &metadata->digest))
                return zp_error_set(err, EBADMSG, "%s: it is not what the artifact says", what);
        *out = zp_steal(&data);
        return 0;
}

static int stage_bytes(struct zp_staging *staging, const char *file, const void *data, size_t size,
                       struct zp_error *err) {
        zp_autoclose int fd = zp_staging_create(staging, file, err);
        return fd < 0 ? fd : zp_write_all(fd, data, size, file, err);
}

/* ---- one layer ---- */

static int into_file(void *context, const void *data, size_t size, struct zp_error *err) {
        return zp_write_all(*(int *) context, data, size, "device.zst", err);
}

/* The index must fit the artifact's own words about the pack, so that a reader may rely on either. */
static int check_index(const struct zp_artifact_layer *layer, const struct zp_buffer *bytes, struct zp_error *err) {
        struct zp_pack_index index;
        int r = zp_pack_index_parse(bytes->data, bytes->size, &layer->index_digest, "device.idx", &index, err);
        if (r == 0 && (index.device_size != layer->device_size || index.pack_size != layer->pack_size))
                r = zp_error_set(err, EBADMSG, "device.idx: its sizes are not the artifact's");
        return r;
}

static int fetch_device(struct pull *p, const struct zp_artifact_layer *layer, const char *what,
                        struct zp_staging *staging, struct zp_error *err) {
        char part[80];
        zp_autobuffer struct zp_buffer index = { 0 };
        snprintf(part, sizeof part, "%s, index", what);
        int r = fetch(p, part, &layer->index_digest, layer->index_size, into_buffer, &index, err);
        if (r == 0)
                r = check_index(layer, &index, err);
        if (r == 0)
                r = stage_bytes(staging, "device.idx", index.data, index.size, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = zp_staging_create(staging, "device.zst", err);
        snprintf(part, sizeof part, "%s, data", what);
        return fd < 0 ? fd : fetch(p, part, &layer->pack_digest, layer->pack_size, into_file, &fd, err);
}

static int fetch_layer(struct pull *p, const struct zp_artifact_layer *layer, const char *what, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_autofree uint8_t *metadata = NULL;
        char part[80];
        snprintf(part, sizeof part, "%s, metadata", what);
        struct zp_layer_record record = {
                .diff_id = layer->diff_id,
                .tar_size = layer->tar_size,
                .entries = layer->entries,
                .metadata_digest = layer->metadata.digest,
                .metadata_size = layer->metadata.size,
                .index_digest = layer->index_digest,
                .index_size = layer->index_size,
                .pack_size = layer->pack_size,
                .device_size = layer->device_size,
        };
        int r = zp_staging_new(p->store, &staging, err);
        if (r == 0)
                r = fetch_metadata(p, part, &layer->metadata, &metadata, err);
        if (r == 0)
                r = stage_bytes(staging, "layer.erofs", metadata, layer->metadata.size, err);
        if (r == 0)
                r = fetch_device(p, layer, what, staging, err);
        return r < 0 ? r : zp_staging_commit_layer(staging, &record, err);
}

static int pull_layer(struct pull *p, uint16_t number, struct zp_error *err) {
        const struct zp_artifact_layer *layer = &p->artifact.layers[number];
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        struct zp_layer_record known;
        char what[48];
        snprintf(what, sizeof what, "layer %u", number + 1u);
        int r = zp_store_lock(p->store, &layer->diff_id, &p->stop, p->options->events.waiting,
                              p->options->events.context, &lock, err);
        int found = r < 0 ? r : zp_store_find_layer(p->store, &layer->diff_id, &known, err);
        if (found == 0)
                r = fetch_layer(p, layer, what, err);
        if (found < 0 || r < 0)
                return found < 0 ? found : r;
        pthread_mutex_lock(&p->lock);
        *(found ? &p->result->layers_reused : &p->result->layers_fetched) += 1;
        pthread_mutex_unlock(&p->lock);
        return 0;
}

static void *pull_layers(void *context) {
        struct pull *p = context;
        for (;;) {
                pthread_mutex_lock(&p->lock);
                uint16_t number = p->next < p->artifact.layer_count ? p->next++ : UINT16_MAX;
                pthread_mutex_unlock(&p->lock);
                struct zp_error err = { 0 };
                if (number == UINT16_MAX || zp_cancelled(&p->stop))
                        return NULL;
                if (pull_layer(p, number, &err) == 0)
                        continue;
                pthread_mutex_lock(&p->lock);
                if (p->first_error.code == 0) /* the others stop because of it */
                        p->first_error = err;
                pthread_mutex_unlock(&p->lock);
                atomic_store(&p->stop.requested, true);
        }
}

static int pull_all_layers(struct pull *p, struct zp_error *err) {
        unsigned threads = p->options->threads ? p->options->threads : THREADS_DEFAULT, started = 0;
        if (threads > THREADS_MAX)
                threads = THREADS_MAX;
        pthread_t others[THREADS_MAX];
        while (started + 1 < threads && started + 1 < p->artifact.layer_count &&
               pthread_create(&others[started], NULL, pull_layers, p) == 0)
                started++;
        pull_layers(p);
        for (unsigned i = 0; i < started; i++)
                pthread_join(others[i], NULL);
        int r = zp_check_cancel(p->options->cancel, err);
        if (r == 0 && p->first_error.code) {
                *err = p->first_error;
                r = -err->code;
        }
        return r;
}

/* ---- the artifact ---- */

/* The artifact must be about this image and have just its layers. */
static int check_artifact(const struct pull *p, const struct zp_artifact *artifact, struct zp_error *err) {
        if (!zp_digest_equal(&artifact->subject_digest, &p->image.manifest_digest))
                return zp_error_set(err, EBADMSG, "it is about another image");
        for (uint16_t i = 0; i < p->image.layer_count; i++)
                if (!zp_artifact_find_layer(artifact, &p->image.diff_ids[i]))
                        return zp_error_set(err, EBADMSG, "it lacks layer %u of the image", i + 1u);
        for (uint16_t n = 0; n < artifact->layer_count; n++) {
                bool is_ours = false;
                for (uint16_t i = 0; i < p->image.layer_count; i++)
                        is_ours |= zp_digest_equal(&artifact->layers[n].diff_id, &p->image.diff_ids[i]);
                if (!is_ours)
                        return zp_error_set(err, EBADMSG, "it has a layer that the image has not");
        }
        return 0;
}

static int try_artifact(struct pull *p, const struct zp_descriptor *candidate, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        int r = p->options->check
                        ? p->options->check(p->options->check_context, candidate, &p->image.manifest_digest, err)
                        : 0;
        if (r == 0)
                r = zp_remote_get_manifest(p->remote, candidate, &manifest, err);
        if (r == 0)
                r = zp_artifact_parse(manifest, candidate->size, &p->artifact, err);
        if (r == 0 && (r = check_artifact(p, &p->artifact, err)) < 0)
                zp_artifact_clear(&p->artifact);
        p->result->artifact_digest = candidate->digest;
        char digest[ZP_DIGEST_TEXT_SIZE];
        return r < 0 ? zp_error_wrap(err, "snapshot %s", zp_digest_text(&candidate->digest, digest)) : 0;
}

/* Takes the newest artifact that is trusted and well-formed. */
static int find_artifact(struct pull *p, struct zp_error *err) {
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        int r = zp_remote_find(p->remote, &p->image.manifest_digest, ZP_ARTIFACT_TYPE, &artifacts, &count, err);
        if (r < 0)
                return r;
        r = -ENOENT;
        if (count == 0) {
                zp_error_set(err, ENOENT, "%s has no snapshot of %s", zp_remote_name(p->remote), p->image.name);
                zp_error_hint(err, "build one and publish it: zeropull build --push %s", p->image.name);
        }
        for (size_t tried = 0; r < 0 && r != -ECANCELED && tried < count && tried < CANDIDATES_MAX; tried++)
                r = try_artifact(p, &artifacts[count - 1 - tried].manifest, err);
        zp_remote_artifacts_free(artifacts, count);
        return r;
}

/* ---- the image ---- */

static int commit_image(struct pull *p, struct zp_staging *staging, struct zp_error *err) {
        char platform[100];
        char *names[] = { p->image.name, NULL };
        struct zp_image_record record = {
                .manifest_digest = p->image.manifest_digest,
                .manifest_media_type = p->image.manifest_media_type,
                .platform = zp_platform_text(&p->image.platform, platform),
                .metadata_digest = p->artifact.snapshot.digest,
                .metadata_size = p->artifact.snapshot.size,
                .config_digest = p->image.config_digest,
                .created_s = time(NULL),
                .layer_count = p->image.layer_count,
                .diff_ids = p->image.diff_ids,
                .names = names,
        };
        for (uint16_t i = 0; i < p->image.layer_count; i++)
                record.image_size += p->image.layers[i].size;
        return zp_staging_commit_image(staging, &record, err);
}

static int fetch_snapshot(struct pull *p, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_autofree uint8_t *metadata = NULL;
        int r = zp_staging_new(p->store, &staging, err);
        if (r == 0)
                r = fetch_metadata(p, "snapshot metadata", &p->artifact.snapshot, &metadata, err);
        if (r == 0)
                r = stage_bytes(staging, "snapshot.erofs", metadata, p->artifact.snapshot.size, err);
        if (r == 0)
                r = stage_bytes(staging, "manifest.json", p->image.manifest, p->image.manifest_size, err);
        if (r == 0)
                r = stage_bytes(staging, "config.json", p->image.config, p->image.config_size, err);
        return r < 0 ? r : commit_image(p, staging, err);
}

static int pull_image(struct pull *p, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        const struct zp_digest *digest = &p->image.manifest_digest;
        int r = zp_store_lock(p->store, digest, p->options->cancel, p->options->events.waiting,
                              p->options->events.context, &lock, err);
        if (r < 0)
                return r;
        int found = zp_store_find_image(p->store, digest, &p->result->image, err);
        if (found < 0)
                return found;
        if (found) {
                p->result->was_present = true;
                return zp_store_add_name(p->store, p->image.name, digest, err);
        }
        if ((r = find_artifact(p, err)) < 0 || (r = pull_all_layers(p, err)) < 0 || (r = fetch_snapshot(p, err)) < 0)
                return r;
        found = zp_store_find_image(p->store, digest, &p->result->image, err);
        return found == 0  ? zp_error_set(err, ENOENT, "the image was removed while it was pulled")
               : found < 0 ? found
                           : 0;
}

int zp_pull(struct zp_source *source, struct zp_remote *remote, struct zp_store *store,
            const struct zp_pull_options *options, struct zp_pull_result *result, struct zp_error *err) {
        zp_autofree struct pull *p = calloc(1, sizeof *p);
        if (!p)
                return zp_error_errno(err, ENOMEM, "pull");
        *result = (struct zp_pull_result){ 0 };
        p->source = source;
        p->remote = remote;
        p->store = store;
        p->options = options;
        p->result = result;
        p->stop.parent = options->cancel;
        int r = zp_source_resolve(source, &options->platform, &p->image, err);
        if (r < 0)
                return r;
        pthread_mutex_init(&p->lock, NULL);
        if (options->events.resolved)
                options->events.resolved(options->events.context, &p->image);
        r = pull_image(p, err);
        if (r < 0)
                zp_error_wrap(err, "pull %s", p->image.name);
        pthread_mutex_destroy(&p->lock);
        zp_artifact_clear(&p->artifact);
        zp_image_clear(&p->image);
        return r;
}
