/* SPDX-License-Identifier: Apache-2.0
 *
 * A pull is: image → its manifest's digest → snapshot artifact → its parts → image.
 */
#include "ship/pull.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/confine.h"
#include "base/limits.h"
#include "ship/held.h"
#include "ship/pull-internal.h"

/* ---- the artifact ---- */

/* The artifact must be about this image and have just its layers. */
static int check_artifact(const struct zp_pull *p, const struct zp_artifact *artifact, struct zp_error *err) {
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

static int take_artifact(struct zp_pull *p, const struct zp_descriptor *candidate, const char *manifest,
                         struct zp_error *err) {
        int r = zp_artifact_parse(manifest, candidate->size, &p->artifact, err);
        if (r == 0 && (r = check_artifact(p, &p->artifact, err)) < 0)
                zp_artifact_clear(&p->artifact);
        p->result->artifact_digest = candidate->digest;
        return r;
}

static int wrap(const struct zp_descriptor *candidate, int result, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        return result < 0 ? zp_error_wrap(err, "snapshot %s", zp_digest_text(&candidate->digest, digest)) : 0;
}

static int try_newest(struct zp_pull *p, const struct zp_looked *looked, struct zp_error *err) {
        const struct zp_descriptor *newest = &looked->artifacts[looked->count - 1].manifest;
        if (looked->check_result < 0 || looked->manifest_result < 0) {
                *err = looked->check_result < 0 ? looked->check_error : looked->manifest_error;
                return wrap(newest, -err->code, err);
        }
        return wrap(newest, take_artifact(p, newest, looked->manifest, err), err);
}

static int try_artifact(struct zp_pull *p, const struct zp_descriptor *candidate, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        int r = p->options->check
                        ? p->options->check(p->options->check_context, candidate, &p->image.manifest_digest, err)
                        : 0;
        if (r == 0)
                r = zp_remote_get_manifest(p->remote, candidate, &manifest, err);
        if (r == 0)
                r = take_artifact(p, candidate, manifest, err);
        return wrap(candidate, r, err);
}

/* Whether there is sense in looking at an older artifact. */
static bool is_artifacts_fault(int r) {
        return r == -EBADMSG || r == -EACCES || r == -ENOENT || r == -EFBIG || r == -EINVAL || r == -ENOTSUP;
}

static int choose_artifact(struct zp_pull *p, const struct zp_looked *looked, struct zp_error *err) {
        const struct zp_remote_artifact *artifacts = looked->artifacts;
        size_t count = looked->count;
        int r = try_newest(p, looked, err);
        bool may_go_on = r < 0 && is_artifacts_fault(r);
        for (size_t tried = 1; may_go_on && tried < count && tried < ZP_LIMIT_ARTIFACTS; tried++) {
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

/* Begins to look while the image is still being resolved. */
static void on_manifest(void *context, const struct zp_digest *digest) {
        struct zp_pull *p = context;
        if (p->look && zp_digest_equal(&p->looked_for, digest))
                return;
        zp_look_free(p->look); /* of an index, or an index in the index */
        p->looked_for = *digest;
        p->look = zp_look_begin(p->remote, digest, p->options->check, p->options->check_context);
}

/* What was found about the image's very manifest; NULL: no memory. */
static const struct zp_looked *look(struct zp_pull *p) {
        const struct zp_digest *digest = &p->image.manifest_digest;
        const struct zp_looked *looked = p->look ? zp_look_end(p->look) : NULL;
        if (looked && zp_digest_equal(&looked->subject, digest))
                return looked;
        on_manifest(p, digest);
        return p->look ? zp_look_end(p->look) : NULL;
}

/* Takes the newest artifact that is trusted and well-formed. */
static int find_artifact(struct zp_pull *p, struct zp_error *err) {
        const struct zp_looked *looked = look(p);
        if (!looked)
                return zp_error_errno(err, ENOMEM, "look for snapshots");
        if (looked->find_result < 0)
                *err = looked->find_error;
        if (looked->find_result < 0 || looked->count > 0)
                return looked->find_result < 0 ? looked->find_result : choose_artifact(p, looked, err);
        zp_error_set(err, ENOENT, "%s has no snapshot of it", zp_remote_name(p->remote));
        zp_error_hint(err, "build one and publish it: zeropull build --push %s", p->image.name);
        return -ENOENT;
}

/* ---- the image ---- */

static int commit_image(struct zp_pull *p, struct zp_error *err) {
        char platform[100];
        char *names[] = { p->image.name, NULL };
        struct zp_digest layers[ZP_LIMIT_LAYERS];
        struct zp_image_record record = {
                .manifest_digest = p->image.manifest_digest,
                .manifest_media_type = p->image.manifest_media_type,
                .platform = zp_platform_text(&p->image.platform, platform),
                .metadata_digest = p->artifact.snapshot.digest,
                .metadata_size = p->artifact.snapshot.size,
                .config_digest = p->image.config_digest,
                .created_s = time(NULL),
                .is_fetched = true,
                .blob_digest = p->artifact.snapshot.blob_digest,
                .blob_size = p->artifact.snapshot.blob_size,
                .origin = (char *) zp_remote_name(p->remote),
                .artifact_digest = p->result->artifact_digest,
                .has_artifact_digest = true,
                .layer_count = p->image.layer_count,
                .layers = layers,
                .diff_ids = p->image.diff_ids,
                .names = names,
        };
        for (uint16_t i = 0; i < p->image.layer_count; i++) {
                layers[i] = zp_artifact_find_layer(&p->artifact, &p->image.diff_ids[i])->metadata.digest;
                record.image_size += p->image.layers[i].size;
        }
        return zp_staging_commit_image(p->for_snapshot, &record, err);
}

/* The remote's first answers have been had by now, and with them the credentials. */
static int confine(const struct zp_pull *p, struct zp_error *err) {
        struct zp_confinement within = {
                .writable = { zp_store_path(p->store) },
                .readable = { zp_source_local_path(p->source), p->options->also_readable },
        };
        return p->options->confine ? zp_confine(&within, NULL, err) : 0;
}

static bool is_all_here(const struct zp_device_record *devices, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (!devices[i].is_complete)
                        return false;
        return true;
}

/* Whether the image that is here has to have maps that an artifact vouches for; those of what was built here are our
 * own. */
static bool wants_maps(const struct zp_pull *p) {
        return p->options->with_maps && p->result->image.is_fetched;
}

/* Without anything to check by, an image that is there is there. */
static int check_present(struct zp_pull *p, struct zp_error *err) {
        const struct zp_pull_options *o = p->options;
        if (!o->check && !wants_maps(p))
                return 0;
        int r = zp_held_check(p->store, &p->result->image, p->remote, o->check, o->check_context, false,
                              &p->result->artifact_digest, &p->artifact, err);
        return r < 0 ? zp_error_wrap(err, "the snapshot in the store") : 0;
}

/* Of the artifact that is being pulled, which no image record names yet. */
static int take_devices(struct zp_pull *p, struct zp_error *err) {
        free(p->devices);
        p->device_count = 0;
        p->devices = calloc(p->artifact.device_count + 1u, sizeof *p->devices);
        if (!p->devices)
                return zp_error_errno(err, ENOMEM, "pull");
        for (; p->device_count < p->artifact.device_count; p->device_count++)
                p->devices[p->device_count].digest = p->artifact.devices[p->device_count].digest;
        return 0;
}

static int commit(struct zp_pull *p, bool with_image, struct zp_error *err) {
        int r = zp_store_begin_batch(p->store, err);
        if (r < 0)
                return r;
        r = zp_pull_commit_parts(p, err);
        if (r == 0 && with_image)
                r = commit_image(p, err);
        return zp_store_end_batch(p->store, r, err);
}

/* The data goes beside the devices' indexes, and the image comes last. */
static int complete_new(struct zp_pull *p, struct zp_error *err) {
        int r = commit(p, false, err);
        if (r == 0)
                r = take_devices(p, err);
        if (r == 0)
                r = zp_pull_packs(p, err);
        return r < 0 ? r : commit_image(p, err);
}

static int pull_new(struct zp_pull *p, struct zp_error *err) {
        int r = find_artifact(p, err);
        if (r == 0)
                r = confine(p, err);
        if (r == 0)
                r = zp_pull_parts(p, err);
        if (r < 0)
                return r;
        return p->options->is_complete ? complete_new(p, err) : commit(p, true, err);
}

/* The image's own artifact, so that its data is looked for by what that says. Where there is none any more, what the
 * store was told has to do. */
static void find_own_artifact(struct zp_pull *p) {
        struct zp_error unwanted = { 0 };
        if (p->artifact.device_count == 0)
                (void) zp_held_check(p->store, &p->result->image, p->remote, NULL, NULL, false, NULL, &p->artifact,
                                     &unwanted);
}

/* 1: of the metadata that somebody else made something is damaged. It is fetched again, as if nothing were here. */
static int check_all(struct zp_pull *p, struct zp_error *err) {
        int r = zp_store_list_devices_of(p->store, &p->image.manifest_digest, &p->devices, &p->device_count, err);
        if (r == 0)
                r = zp_pull_check_packs(p, err);
        return r < 0 ? r : p->result->image.is_fetched && !zp_pull_metadata_is_intact(p);
}

static int pull_present(struct zp_pull *p, struct zp_error *err) {
        const struct zp_digest *digest = &p->image.manifest_digest;
        p->result->was_present = true;
        /* `check` is asked by one thread at a time, and none may be left when the process confines itself */
        if (p->look)
                zp_look_end(p->look);
        int r = check_present(p, err);
        if (r == 0 && !is_all_here(p->devices, p->device_count))
                find_own_artifact(p);
        if (r == 0 && (wants_maps(p) || (p->options->is_complete && !is_all_here(p->devices, p->device_count))))
                r = confine(p, err);
        if (r == 0 && wants_maps(p))
                r = zp_pull_device_parts(p, err);
        if (r == 0)
                r = zp_pull_packs(p, err);
        return r < 0 ? r : zp_store_add_name(p->store, p->image.name, digest, err);
}

static int take_result(struct zp_pull *p, struct zp_error *err) {
        const struct zp_digest *digest = &p->image.manifest_digest;
        zp_autofree struct zp_device_record *devices = NULL;
        size_t count = 0;
        zp_image_record_clear(&p->result->image);
        int r = zp_store_find_image(p->store, digest, &p->result->image, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "the image was removed while it was pulled");
        if (r == 1)
                r = zp_store_list_devices_of(p->store, digest, &devices, &count, err);
        p->result->is_complete = is_all_here(devices, count);
        return r;
}

static int pull_image(struct zp_pull *p, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        const struct zp_digest *digest = &p->image.manifest_digest;
        int r = zp_store_lock(p->store, digest, p->options->cancel, p->options->events.waiting,
                              p->options->events.context, &lock, err);
        if (r < 0)
                return r;
        int found = zp_store_find_image(p->store, digest, &p->result->image, err);
        if (found < 0)
                return found;
        int damaged = found && p->options->is_complete ? check_all(p, err) : 0;
        if (damaged < 0)
                return damaged;
        r = found && !damaged ? pull_present(p, err) : pull_new(p, err);
        return r < 0 ? r : take_result(p, err);
}

int zp_pull(struct zp_source *source, struct zp_remote *remote, struct zp_store *store,
            const struct zp_pull_options *options, struct zp_pull_result *result, struct zp_error *err) {
        zp_autofree struct zp_pull *p = calloc(1, sizeof *p);
        if (!p)
                return zp_error_errno(err, ENOMEM, "pull");
        *result = (struct zp_pull_result){ 0 };
        p->source = source;
        p->remote = remote;
        p->store = store;
        p->options = options;
        p->result = result;
        p->stop.parent = options->cancel;
        if (options->manifest)
                on_manifest(p, options->manifest);
        zp_source_tell_manifest(source, on_manifest, p);
        int r = zp_source_resolve(source, &options->platform, &p->image, err);
        zp_source_tell_manifest(source, NULL, NULL);
        if (r < 0) {
                zp_look_free(p->look);
                return r;
        }
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->room, NULL);
        if (options->events.resolved)
                options->events.resolved(options->events.context, &p->image);
        r = pull_image(p, err);
        if (r < 0)
                zp_error_wrap(err, "pull %s", p->image.name);
        pthread_cond_destroy(&p->room);
        pthread_mutex_destroy(&p->lock);
        zp_look_free(p->look);
        zp_staging_free(p->for_snapshot);
        free(p->devices);
        for (uint16_t n = 0; n < ZP_LIMIT_LAYERS; n++)
                zp_staging_free(p->for_layers[n]);
        for (uint16_t n = 0; n < ZP_LIMIT_DEVICES; n++)
                zp_staging_free(p->for_devices[n]);
        zp_artifact_clear(&p->artifact);
        zp_image_clear(&p->image);
        return r;
}
