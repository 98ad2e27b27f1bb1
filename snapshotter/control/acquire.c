/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/acquire.h"

#include <string.h>

#include "base/buffer.h"
#include "oci/confirm.h"
#include "oci/reference.h"
#include "ship/pull.h"
#include "ship/trust.h"
#include "snapshotter/control/deadline.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/preloaded.h"

#define IN_REGISTRY "docker://"

struct acquire {
        const struct snap_acquire_options *options;
        const struct zp_digest *manifest;
        struct zp_reference reference;
        const struct snap_puller *puller;
        bool check_rights, is_confirming;
        struct zp_keychain keychain;
        struct zp_source_options source_options;
        struct zp_source *source;
        struct zp_remote *remote;
        struct zp_policy *policy;
};

static void log_notice(void *context, const char *text) {
        (void) context;
        snap_log_event(SNAP_LOG_WARN, text, NULL);
}

static void log_put_off(void *context, unsigned blob, const struct zp_error *why) {
        (void) blob;
        log_notice(context, why->message);
}

/* Others than the reference's registry, its mirrors among them, see nothing of the puller's. */
static int find_of_puller(void *context, const char *registry, const char *repository, struct zp_credentials *out,
                          struct zp_error *err) {
        const struct acquire *a = context;
        (void) repository;
        if (strcmp(registry, a->reference.registry) != 0)
                return 1;
        int r = zp_credentials_copy(&a->puller->credentials, out, err);
        return r < 0 ? r : 1;
}

/* ---- rights ---- */

static void remember(struct acquire *a, const char *registry, const char *repository) {
        bool is_shown = a->puller && strcmp(registry, a->reference.registry) == 0 &&
                        !zp_credentials_are_empty(&a->puller->credentials);
        if (a->options->keychain && is_shown)
                snap_keychain_remember(a->options->keychain, registry, repository, &a->puller->credentials);
}

static int confirm(struct acquire *a, const struct zp_reference *place, const struct zp_digest *manifest,
                   struct zp_error *err) {
        a->is_confirming = true;
        int r = zp_confirm_readable(place->registry, place->repository, manifest, &a->source_options, err);
        a->is_confirming = r < 0;
        if (r == 0)
                remember(a, place->registry, place->repository);
        return r < 0 ? zp_error_wrap(err, "the registry did not confirm that this puller may read the image") : 0;
}

/* Where the snapshot came from, else the image it was built of; NULL: no registry. */
static const char *own_place(const struct zp_image_record *image) {
        if (image->origin && strncmp(image->origin, IN_REGISTRY, strlen(IN_REGISTRY)) == 0)
                return image->origin;
        for (char **name = image->names; !image->origin && name && *name; name++)
                if (strncmp(*name, IN_REGISTRY, strlen(IN_REGISTRY)) == 0)
                        return *name;
        return NULL;
}

/* Of a repository for snapshots alone, one who may read the snapshot there may read all that is in it. */
static int confirm_elsewhere(struct acquire *a, const struct zp_image_record *image, const struct zp_reference *place,
                             struct zp_error *err) {
        struct zp_error of_image = { 0 };
        int r = confirm(a, place, a->manifest, &of_image);
        if (r == -EACCES && image->origin && image->has_artifact_digest &&
            confirm(a, place, &image->artifact_digest, err) == 0)
                return 0;
        *err = of_image;
        if (r == -EACCES)
                r = -(err->code = EPERM);
        return r;
}

/* *place (malloc'ed) is that repository, or the one that was asked for when it has none. */
static int confirm_own(struct acquire *a, const struct zp_image_record *image, char **place, struct zp_error *err) {
        const char *own = own_place(image);
        struct zp_reference there = { 0 };
        int r = own ? zp_reference_parse(own + strlen(IN_REGISTRY), &there, err) : 0;
        if (r < 0)
                return r;
        const struct zp_reference *at = own ? &there : &a->reference;
        if (strcmp(at->registry, a->reference.registry) != 0 || strcmp(at->repository, a->reference.repository) != 0)
                r = confirm_elsewhere(a, image, at, err);
        *place = r == 0 ? zp_format(IN_REGISTRY "%s/%s", at->registry, at->repository) : NULL;
        if (r == 0 && !*place)
                r = zp_error_errno(err, ENOMEM, "%s/%s", at->registry, at->repository);
        zp_reference_clear(&there);
        return r;
}

/* ---- fetching ---- */

/* The very manifest that containerd pulls, whatever the tag says by now; and the repository it is in. */
static int open_sides(struct acquire *a, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_autofree char *beside = zp_format(IN_REGISTRY "%s/%s", a->reference.registry, a->reference.repository);
        zp_autofree char *image = beside ? zp_format("%s@%s", beside, zp_digest_text(a->manifest, digest)) : NULL;
        if (!image)
                return zp_error_errno(err, ENOMEM, "%s/%s", a->reference.registry, a->reference.repository);
        int r = zp_source_open(image, &a->source_options, &a->source, err);
        return r < 0 ? r : zp_remote_open(beside, &a->source_options, &a->remote, err);
}

/* Resolves the image first, and that is the confirmation. */
static int pull(struct acquire *a, struct zp_trust *trust, bool is_checked, struct zp_error *err) {
        struct zp_pull_options options = { .platform = zp_platform_host(),
                                           .manifest = a->manifest,
                                           .cancel = a->source_options.cancel,
                                           .events = { .put_off = log_put_off } };
        struct zp_pull_result result = { 0 };
        if (is_checked) {
                options.check = zp_trust_check;
                options.check_context = trust;
        }
        int r = zp_pull(a->source, a->remote, a->options->store, &options, &result, err);
        zp_image_record_clear(&result.image);
        if (r == 0)
                remember(a, a->reference.registry, a->reference.repository);
        return r;
}

/* What is here, and nobody wants to see signed, takes no question but for the right to it. */
static int take_present(struct acquire *a, const struct zp_image_record *image, struct zp_trust *trust, bool is_checked,
                        struct zp_error *err) {
        zp_autofree char *place = NULL;
        int r = a->check_rights && !is_checked ? confirm(a, &a->reference, a->manifest, err) : 0;
        if (r == 0 && a->check_rights)
                r = confirm_own(a, image, &place, err);
        return r < 0 || !is_checked ? r : pull(a, trust, true, err);
}

/* Where a preload has an image from counts as it does for one in the store, and goes on to count for those who come
 * later. */
static int import_image(struct acquire *a, size_t preload, const struct zp_import_image *image, const char *name,
                        const struct zp_cancel *cancel, struct zp_error *err) {
        struct snap_preloaded preloaded = { a->options->preloads, preload };
        struct zp_import_from from = { image, snap_preloaded_read, &preloaded };
        zp_autofree char *place = NULL;
        int r = 0;
        if (a->check_rights)
                r = confirm_own(a, &image->image, &place, err);
        else if (!(place = zp_format(IN_REGISTRY "%s/%s", a->reference.registry, a->reference.repository)))
                r = zp_error_errno(err, ENOMEM, "preloads");
        a->is_confirming = false; /* what fails here is not the end */
        return r < 0 ? r : zp_import(&from, a->options->store, name, place, cancel, err);
}

/* 1: imported; 0: it does not have the image. */
static int import_from(struct acquire *a, size_t preload, const char *name, const struct zp_cancel *cancel,
                       struct zp_error *err) {
        struct zp_import_image image;
        int r = snap_preloaded_look(a->options->preloads, preload, a->manifest, &image, err);
        if (r == 1)
                r = import_image(a, preload, &image, name, cancel, err) < 0 ? -err->code : 1;
        zp_import_image_clear(&image);
        return r;
}

/* As import_from(), in so much time (0: all there is); *is_cut: it was too short. */
static int import_in_time(struct acquire *a, size_t preload, const char *name, unsigned ms, bool *is_cut,
                          struct zp_error *err) {
        struct snap_deadline deadline;
        if (!ms)
                return import_from(a, preload, name, a->source_options.cancel, err);
        int r = snap_deadline_begin(&deadline, ms, a->source_options.cancel, err);
        if (r < 0)
                return r;
        r = import_from(a, preload, name, &deadline.cancel, err);
        snap_deadline_end(&deadline);
        *is_cut |= r == -ECANCELED && deadline.has_passed;
        return r;
}

/* 1: the image is in the store now, from a preload. One that is damaged, or does not answer, leaves it to the next, and
 * to the registry. */
static int import_preloaded(struct acquire *a, const char *name, unsigned ms_each, bool *is_cut) {
        struct snap_preloads *preloads = a->options->preloads;
        for (size_t i = 0; i < snap_preloads_count(preloads) && !zp_cancelled(a->source_options.cancel); i++) {
                struct zp_error why = { 0 };
                int r = import_in_time(a, i, name, ms_each, is_cut, &why);
                if (r == 1)
                        return 1;
                /* told elsewhere: the one once, not for each image; the other as the image's */
                if (r < 0 && r != -ETIMEDOUT && r != -ECANCELED)
                        snap_log_event(SNAP_LOG_WARN, "preload cannot be used", "preload",
                                       snap_preloads_path(preloads, i), "error", why.message, NULL);
        }
        return 0;
}

/* 1: it was imported; 0: it was pulled. Slow preloads have their part of the time, and the registry its own; when that
 * fails, they have what is left. */
static int import_or_pull(struct acquire *a, struct zp_trust *trust, bool is_checked, struct zp_error *err) {
        bool is_cut = false;
        unsigned part_ms = a->options->timeout_ms / ((unsigned) snap_preloads_count(a->options->preloads) + 1);
        if (!is_checked && import_preloaded(a, trust->image, part_ms, &is_cut) == 1)
                return 1;
        int r = pull(a, trust, is_checked, err);
        if (r == 0 || !is_cut || import_preloaded(a, trust->image, 0, &is_cut) == 0)
                return r;
        zp_error_clear(err);
        return 1;
}

/* One that cannot be read allows nothing: it is no missing snapshot and no malformed one that keeps the image from
 * being accelerated then, but the policy. */
static int load_policy(struct acquire *a, struct zp_error *err) {
        const char *policy = a->options->policy;
        int r = policy ? zp_policy_load(policy, &a->policy, err)
                       : zp_policy_load_if_present(ZP_POLICY_DEFAULT_PATH, &a->policy, err);
        if (r == 0 || r == -ENOMEM)
                return r;
        zp_error_hint(err, "until it can be read, no image is accelerated: `zeropull-snapshotter --check`");
        err->code = EPERM;
        return -EPERM;
}

static int acquire_trusted(struct acquire *a, struct zp_error *err) {
        struct zp_image_record image = { 0 };
        int r = load_policy(a, err);
        if (r == 0)
                r = open_sides(a, err);
        if (r < 0)
                return r;
        struct zp_trust trust = { .remote = a->remote, .image = zp_source_name(a->source), .policy = a->policy };
        int is_checked = zp_trust_wants_check(&trust, err);
        if (is_checked < 0)
                return is_checked;
        r = zp_store_find_image(a->options->store, a->manifest, &image, err);
        if (r == 0) {
                r = import_or_pull(a, &trust, is_checked == 1, err);
                if (r <= 0)
                        return r;
                r = zp_store_find_image(a->options->store, a->manifest, &image, err);
        }
        if (r == 1)
                r = take_present(a, &image, &trust, is_checked == 1, err);
        zp_image_record_clear(&image);
        return r;
}

static void close_all(struct acquire *a) {
        if (a->remote)
                zp_remote_close(a->remote);
        if (a->source)
                zp_source_close(a->source);
        if (a->policy)
                zp_policy_free(a->policy);
        zp_reference_clear(&a->reference);
}

/* Where something had failed before the time was over, what was cancelled says it. */
static int tell_late(const struct acquire *a, struct zp_error *err) {
        struct zp_error cause = *err;
        return zp_error_set(err, ETIMEDOUT,
                            a->is_confirming ? "the registry did not confirm within %u ms that this puller may read "
                                               "the image: %s"
                                             : "the snapshot could not be had within %u ms: %s",
                            a->options->timeout_ms, cause.message);
}

static int acquire(struct acquire *a, const char *reference, const struct zp_cancel *cancel, struct zp_error *err) {
        const struct snap_acquire_options *o = a->options;
        struct snap_deadline deadline;
        int r = zp_reference_parse(reference, &a->reference, err);
        if (r < 0)
                return r;
        r = snap_deadline_begin(&deadline, o->timeout_ms, cancel, err);
        if (r < 0) {
                zp_reference_clear(&a->reference);
                return r;
        }
        a->source_options = (struct zp_source_options){ .auth_file = o->auth_file,
                                                        .keychain = a->keychain.find ? &a->keychain : NULL,
                                                        .ca_file = o->ca_file,
                                                        .learned = o->learned,
                                                        .cancel = &deadline.cancel,
                                                        .notice = { log_notice, NULL } };
        r = acquire_trusted(a, err);
        close_all(a);
        snap_deadline_end(&deadline);
        return r == -ECANCELED && deadline.has_passed ? tell_late(a, err) : r;
}

int snap_acquire(const struct snap_acquire_options *options, const struct zp_digest *manifest, const char *reference,
                 const struct snap_puller *puller, const struct zp_cancel *cancel, struct zp_error *err) {
        struct acquire a = {
                .options = options, .manifest = manifest, .puller = puller, .check_rights = options->check_rights
        };
        if (puller)
                a.keychain = (struct zp_keychain){ find_of_puller, &a };
        return acquire(&a, reference, cancel, err);
}

int snap_acquire_again(const struct snap_acquire_options *options, const struct zp_digest *manifest,
                       const char *reference, const struct zp_cancel *cancel, struct zp_error *err) {
        struct acquire a = { .options = options, .manifest = manifest };
        if (options->keychain)
                a.keychain = (struct zp_keychain){ snap_keychain_recall, options->keychain };
        return acquire(&a, reference, cancel, err);
}
