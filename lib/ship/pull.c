/* SPDX-License-Identifier: Apache-2.0
 *
 * A pull is: image → its manifest's digest → snapshot artifact → layers, several at once → snapshot metadata.
 */
#include "ship/pull.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/confine.h"
#include "base/file.h"
#include "base/limits.h"
#include "ship/artifact.h"
#include "ship/frames.h"
#include "ship/held.h"
#include "ship/metadata.h"

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

/* A blob that fits into memory: no more is touched than arrives. */
struct whole {
        uint8_t *data;
        size_t used;
};

static int into_whole(void *context, const void *data, size_t size, struct zp_error *err) {
        struct whole *whole = context;
        (void) err;
        memcpy(whole->data + whole->used, data, size);
        whole->used += size;
        return 0;
}

/* *out is malloc'ed, `size` bytes. */
static int fetch_whole(struct pull *p, const char *what, const struct zp_digest *digest, uint64_t size, uint8_t **out,
                       struct zp_error *err) {
        struct whole whole = { .data = malloc(size) };
        if (!whole.data)
                return zp_error_errno(err, ENOMEM, "%s", what);
        int r = fetch(p, what, digest, size, into_whole, &whole, err);
        if (r < 0)
                free(whole.data);
        else
                *out = whole.data;
        return r;
}

/* Fetches a metadata file into the staging directory; returns its descriptor, the caller's. */
static int fetch_metadata(struct pull *p, const char *what, const struct zp_artifact_metadata *metadata,
                          struct zp_staging *staging, const char *file, struct zp_error *err) {
        zp_autofree uint8_t *blob = NULL;
        int r = fetch_whole(p, what, &metadata->blob_digest, metadata->blob_size, &blob, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = zp_staging_create(staging, file, err);
        r = fd < 0 ? fd : zp_metadata_unpack(blob, metadata->blob_size, metadata, fd, file, err);
        return r < 0 ? zp_error_wrap(err, "%s", what) : zp_steal_fd(&fd);
}

static int stage_bytes(struct zp_staging *staging, const char *file, const void *data, size_t size,
                       struct zp_error *err) {
        zp_autoclose int fd = zp_staging_create(staging, file, err);
        return fd < 0 ? fd : zp_write_all(fd, data, size, file, err);
}

/* ---- one layer ---- */

struct device {
        int fd;
        struct zp_frames frames;
};

static int into_device(void *context, const void *data, size_t size, struct zp_error *err) {
        struct device *device = context;
        int r = zp_frames_take(&device->frames, data, size, err);
        return r < 0 ? r : zp_write_all(device->fd, data, size, "device.zst", err);
}

/* The index must fit the artifact's own words about the pack, so that a reader may rely on either. */
static int check_index(const struct zp_artifact_layer *layer, const uint8_t *bytes, struct zp_pack_index *out,
                       struct zp_error *err) {
        int r = zp_pack_index_parse(bytes, layer->index_size, &layer->index_digest, "device.zst", out, err);
        if (r == 0 && (out->device_size != layer->device_size || out->pack_size != layer->pack_size))
                r = zp_error_set(err, EBADMSG, "index of 'device.zst': its sizes are not the artifact's");
        return r;
}

static int fetch_pack(struct pull *p, const struct zp_artifact_layer *layer, const struct zp_pack_index *index,
                      const char *what, struct zp_staging *staging, struct zp_error *err) {
        zp_autoclose int fd = zp_staging_create(staging, "device.zst", err);
        struct device device = { .fd = fd };
        int r = fd < 0 ? fd : zp_frames_begin(&device.frames, index, err);
        if (r < 0)
                return r;
        r = fetch(p, what, &layer->pack_digest, layer->pack_size, into_device, &device, err);
        zp_frames_clear(&device.frames);
        return r;
}

static int fetch_device(struct pull *p, const struct zp_artifact_layer *layer, const char *what,
                        struct zp_staging *staging, uint32_t *frame_size, struct zp_error *err) {
        char part[80];
        zp_autofree uint8_t *bytes = NULL;
        struct zp_pack_index index;
        snprintf(part, sizeof part, "%s, index", what);
        int r = fetch_whole(p, part, &layer->index_digest, layer->index_size, &bytes, err);
        if (r < 0)
                return r;
        r = check_index(layer, bytes, &index, err);
        if (r == 0)
                r = stage_bytes(staging, "device.idx", bytes, layer->index_size, err);
        if (r < 0)
                return zp_error_wrap(err, "%s", part);
        *frame_size = index.frame_size;
        snprintf(part, sizeof part, "%s, data", what);
        return fetch_pack(p, layer, &index, part, staging, err);
}

static int fetch_layer(struct pull *p, const struct zp_artifact_layer *layer, const char *what, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
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
                .level = (int) layer->level,
                .is_fetched = true,
        };
        int r = zp_staging_new(p->store, &staging, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = fetch_metadata(p, part, &layer->metadata, staging, "layer.erofs", err);
        r = fd < 0 ? fd : zp_metadata_check_layer(fd, layer, err);
        if (r < 0)
                return fd < 0 ? r : zp_error_wrap(err, "%s", part);
        r = fetch_device(p, layer, what, staging, &record.frame_size, err);
        return r < 0 ? r : zp_staging_commit_layer(staging, &record, err);
}

/* Another build of the same layer may have laid out its device in another way: the snapshot's addresses would mean
 * other bytes there. */
static bool has_same_layout(const struct zp_layer_record *known, const struct zp_artifact_layer *layer) {
        return known->device_size == layer->device_size &&
               zp_digest_equal(&known->metadata_digest, &layer->metadata.digest);
}

/* How the device is packed is nobody's concern; but where signatures count, only the index says that its bytes are
 * those that were signed: an earlier pull may have brought it from anybody. */
static bool is_usable(const struct pull *p, const struct zp_layer_record *known,
                      const struct zp_artifact_layer *layer) {
        return has_same_layout(known, layer) &&
               (!p->options->check || zp_digest_equal(&known->index_digest, &layer->index_digest));
}

/* To replace a layer's device would take the images on it away: no pull of one image may do that to another. */
static int may_replace(struct pull *p, const struct zp_digest *diff_id, struct zp_error *err) {
        struct zp_image_record *images = NULL;
        size_t count = 0;
        int r = zp_store_list_images(p->store, &images, &count, err);
        for (size_t n = 0; n < count; n++) {
                for (uint16_t i = 0; r == 0 && i < images[n].layer_count; i++)
                        if (zp_digest_equal(&images[n].diff_ids[i], diff_id))
                                r = zp_error_set(err, EBUSY, "images in the store use it laid out in another way");
                zp_image_record_clear(&images[n]);
        }
        free(images);
        if (r == -EBUSY)
                zp_error_hint(err, "`zeropull build` makes a snapshot that fits them; or remove them first");
        return r;
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
        if (found < 0)
                return found;
        bool is_there = found && is_usable(p, &known, layer);
        if (found && !has_same_layout(&known, layer))
                r = may_replace(p, &layer->diff_id, err);
        if (r < 0)
                return zp_error_wrap(err, "%s", what);
        r = is_there ? 0 : fetch_layer(p, layer, what, err);
        if (r < 0)
                return r;
        pthread_mutex_lock(&p->lock);
        *(is_there ? &p->result->layers_reused : &p->result->layers_fetched) += 1;
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
        if (!zp_digest_equal(&artifact->subject_digest, &p->image.manifest_digest) ||
            artifact->subject_size != p->image.manifest_size)
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

/* Whether there is sense in looking at an older artifact. */
static bool is_artifacts_fault(int r) {
        return r == -EBADMSG || r == -EACCES || r == -ENOENT || r == -EFBIG || r == -EINVAL || r == -ENOTSUP;
}

static int choose_artifact(struct pull *p, const struct zp_remote_artifact *artifacts, size_t count,
                           struct zp_error *err) {
        int r = try_artifact(p, &artifacts[count - 1].manifest, err);
        bool may_go_on = r < 0 && is_artifacts_fault(r);
        for (size_t tried = 1; may_go_on && tried < count && tried < CANDIDATES_MAX; tried++) {
                struct zp_error of_older = { 0 };
                int older = try_artifact(p, &artifacts[count - 1 - tried].manifest, &of_older);
                if (older == 0) {
                        zp_error_clear(err);
                        return 0;
                }
                may_go_on = is_artifacts_fault(older);
        }
        return r;
}

/* Takes the newest artifact that is trusted and well-formed. */
static int find_artifact(struct pull *p, struct zp_error *err) {
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        int r = zp_remote_find(p->remote, &p->image.manifest_digest, ZP_ARTIFACT_TYPE, &artifacts, &count, err);
        if (r < 0)
                return r;
        if (count == 0) {
                r = zp_error_set(err, ENOENT, "%s has no snapshot of it", zp_remote_name(p->remote));
                zp_error_hint(err, "build one and publish it: zeropull build --push %s", p->image.name);
        } else {
                r = choose_artifact(p, artifacts, count, err);
        }
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
                .is_fetched = true,
                .layer_count = p->image.layer_count,
                .diff_ids = p->image.diff_ids,
                .names = names,
        };
        for (uint16_t i = 0; i < p->image.layer_count; i++)
                record.image_size += p->image.layers[i].size;
        return zp_staging_commit_image(staging, &record, err);
}

static int fetch_snapshot(struct pull *p, struct zp_error *err) {
        static const char what[] = "snapshot metadata";
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        int r = zp_staging_new(p->store, &staging, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = fetch_metadata(p, what, &p->artifact.snapshot, staging, "snapshot.erofs", err);
        r = fd < 0 ? fd : zp_metadata_check_snapshot(fd, &p->artifact, err);
        if (r < 0)
                return fd < 0 ? r : zp_error_wrap(err, "%s", what);
        r = stage_bytes(staging, "manifest.json", p->image.manifest, p->image.manifest_size, err);
        if (r == 0)
                r = stage_bytes(staging, "config.json", p->image.config, p->image.config_size, err);
        return r < 0 ? r : commit_image(p, staging, err);
}

/* The remote's first answers have been had by now, and with them the credentials. */
static int confine(const struct pull *p, struct zp_error *err) {
        struct zp_confinement within = {
                .writable = { zp_store_path(p->store) },
                .readable = { zp_source_local_path(p->source), p->options->also_readable },
        };
        return p->options->confine ? zp_confine(&within, NULL, err) : 0;
}

/* Without anything to check by, an image that is there is there. */
static int check_present(const struct pull *p, struct zp_error *err) {
        const struct zp_pull_options *o = p->options;
        int r = o->check ? zp_held_check(p->store, &p->result->image, p->remote, o->check, o->check_context, false,
                                         &p->result->artifact_digest, err)
                         : 0;
        return r < 0 ? zp_error_wrap(err, "the snapshot in the store") : 0;
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
                r = check_present(p, err);
                return r < 0 ? r : zp_store_add_name(p->store, p->image.name, digest, err);
        }
        if ((r = find_artifact(p, err)) < 0 || (r = confine(p, err)) < 0 || (r = pull_all_layers(p, err)) < 0 ||
            (r = fetch_snapshot(p, err)) < 0)
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
