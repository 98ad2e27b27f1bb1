/* SPDX-License-Identifier: Apache-2.0
 *
 * The manifest, when all blobs are there.
 */
#include "base/cleanup.h"
#include "ship/push-internal.h"

static void order_layer(struct zp_push *p, const struct zp_layer_record *record, struct zp_artifact *ordered) {
        if (!zp_artifact_find_layer(ordered, &record->diff_id))
                ordered->layers[ordered->layer_count++] = *zp_artifact_find_layer(&p->artifact, &record->diff_id);
        for (uint16_t i = 0; i < record->device_count; i++)
                if (!zp_artifact_find_device(ordered, &record->devices[i]))
                        ordered->devices[ordered->device_count++] =
                                *zp_artifact_find_device(&p->artifact, &record->devices[i]);
}

/* The artifact's layers and devices as the format has them: the image's distinct ones, lowest first. */
static int order_parts(struct zp_push *p, struct zp_error *err) {
        struct zp_artifact ordered;
        struct zp_layer_record record;
        int r = zp_artifact_init(&ordered, err);
        for (uint16_t i = 0; r == 0 && i < p->image->layer_count; i++)
                if ((r = zp_push_find_layer(p, &p->image->layers[i], &p->image->diff_ids[i], &record, err)) == 0)
                        order_layer(p, &record, &ordered);
        if (r == 0) {
                ordered.subject_media_type = zp_steal(&p->artifact.subject_media_type);
                ordered.subject_digest = p->artifact.subject_digest;
                ordered.subject_size = p->artifact.subject_size;
                ordered.snapshot = p->artifact.snapshot;
                ordered.prefetch_digest = p->artifact.prefetch_digest;
                ordered.prefetch_size = p->artifact.prefetch_size;
                struct zp_artifact added = p->artifact;
                p->artifact = ordered;
                ordered = added;
        }
        zp_artifact_clear(&ordered);
        return r;
}

/* 1: the remote has the snapshot as which the image was fetched. */
static int find_original(struct zp_push *p, struct zp_error *err) {
        const struct zp_digest *original = &p->image->artifact_digest;
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        int r = zp_remote_find(p->remote, &p->image->manifest_digest, ZP_ARTIFACT_TYPE, &artifacts, &count, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < count && r == 0; i++)
                if (zp_digest_equal(&artifacts[i].manifest.digest, original)) {
                        p->result.artifact_digest = *original;
                        p->result.artifact_size = artifacts[i].manifest.size;
                        r = 1;
                }
        zp_remote_artifacts_free(artifacts, count);
        return r;
}

/* What was fetched is published as what it was: under its own digest, which signatures are over. What is not here
 * without the data (block maps) would make another of it. */
static int keep_original(struct zp_push *p, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = find_original(p, err);
        if (r != 0)
                return r < 0 ? r : 0;
        zp_error_set(err, ENOTSUP,
                     "%s does not have snapshot %s, as which it was fetched, and this would be another one",
                     zp_remote_name(p->remote), zp_digest_text(&p->image->artifact_digest, text));
        zp_error_hint(err, "`zeropull pull --complete` fetches what is missing; or `zeropull build` makes one from the "
                           "image itself");
        return -ENOTSUP;
}

static int format(struct zp_push *p, char **manifest, struct zp_error *err) {
        size_t size;
        int r = zp_artifact_format(&p->artifact, manifest, &size, err);
        if (r < 0)
                return r;
        zp_digest_of(*manifest, size, &p->result.artifact_digest);
        p->result.artifact_size = size;
        return 0;
}

/* Whether that is to be published: what was fetched only as what it was. */
static bool is_wanted(const struct zp_push *p) {
        return !p->image->has_artifact_digest ||
               zp_digest_equal(&p->result.artifact_digest, &p->image->artifact_digest);
}

static int publish(struct zp_push *p, const char *manifest, struct zp_error *err) {
        struct zp_descriptor subject = { p->artifact.subject_media_type, p->artifact.subject_digest,
                                         p->artifact.subject_size };
        return zp_remote_publish(p->remote, &subject, ZP_ARTIFACT_TYPE, manifest, p->result.artifact_size, err);
}

/* 1: what was fetched had no bundle, and is published so. */
static int publish_bare(struct zp_push *p, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        if (!p->image->has_artifact_digest)
                return 0;
        int r = format(p, &manifest, err);
        if (r < 0 || !is_wanted(p))
                return r;
        r = publish(p, manifest, err);
        return r < 0 ? r : 1;
}

static int publish_with_bundle(struct zp_push *p, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        struct zp_push_blob bundle;
        int r = zp_push_make_bundle(p, &bundle, err);
        if (r == 0)
                r = format(p, &manifest, err);
        bool is_to_be_published = r == 0 && is_wanted(p);
        if (r == 0 && !is_to_be_published)
                r = keep_original(p, err);
        if (is_to_be_published && bundle.size > 0)
                r = zp_push_send_blob(p, &bundle, "bundle", err);
        if (is_to_be_published && r == 0)
                r = publish(p, manifest, err);
        zp_push_clear_blob(&bundle);
        return r;
}

int zp_push_publish(struct zp_push *p, struct zp_error *err) {
        int r = order_parts(p, err);
        if (r == 0)
                r = publish_bare(p, err);
        return r == 0 ? publish_with_bundle(p, err) : r < 0 ? r : 0;
}
