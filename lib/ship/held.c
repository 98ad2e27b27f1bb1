/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/held.h"

#include <stdlib.h>

#include "base/fingerprint.h"
#include "base/limits.h"

/* ---- the comparison ---- */

static int differs(const char *what, struct zp_error *err) {
        zp_error_set(err, EBADMSG, "%s is not what the store holds", what);
        zp_error_hint(err, "'zeropull remove' the image and pull it: then the store holds the published snapshot");
        return -EBADMSG;
}

static int compare_pack(struct zp_store *store, const struct zp_artifact_device *device, const char *what,
                        struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_device_file(store, &device->digest, "device.zst", err);
        struct zp_digest digest;
        uint64_t size;
        int r = fd < 0 ? fd : zp_fingerprint(fd, "device.zst", &size, &digest, err);
        if (r < 0)
                return r;
        return size == device->pack_size && zp_digest_equal(&digest, &device->pack_digest) ? 0 : differs(what, err);
}

/* A layer's name covers its metadata and the names of its devices, and those cover all that the indexes say. */
static int compare_layers(const struct zp_image_record *image, const struct zp_artifact *artifact,
                          struct zp_error *err) {
        for (uint16_t i = 0; i < image->layer_count; i++) {
                const struct zp_artifact_layer *layer = zp_artifact_find_layer(artifact, &image->diff_ids[i]);
                char what[40];
                snprintf(what, sizeof what, "its layer %u", i + 1u);
                if (!layer || !zp_digest_equal(&layer->metadata.digest, &image->layers[i]))
                        return differs(what, err);
        }
        return 0;
}

static int compare_devices(struct zp_store *store, const struct zp_image_record *image,
                           const struct zp_artifact *artifact, bool with_packs, struct zp_error *err) {
        zp_autofree struct zp_device_record *devices = NULL;
        size_t count = 0;
        int r = zp_store_list_devices_of(store, &image->manifest_digest, &devices, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
                const struct zp_artifact_device *device = zp_artifact_find_device(artifact, &devices[i].digest);
                char what[40];
                snprintf(what, sizeof what, "its device %zu", i + 1);
                if (!device || devices[i].index_size != device->index_size ||
                    devices[i].pack_size != device->pack_size || devices[i].device_size != device->device_size)
                        return differs(what, err);
                r = with_packs && devices[i].is_complete ? compare_pack(store, device, what, err) : 0;
        }
        return r;
}

int zp_held_compare(struct zp_store *store, const struct zp_image_record *image, const struct zp_artifact *artifact,
                    bool with_packs, struct zp_error *err) {
        if (!zp_digest_equal(&artifact->subject_digest, &image->manifest_digest))
                return zp_error_set(err, EBADMSG, "it is about another image");
        if (!zp_digest_equal(&artifact->snapshot.digest, &image->metadata_digest) ||
            artifact->snapshot.size != image->metadata_size)
                return differs("its snapshot metadata", err);
        int r = compare_layers(image, artifact, err);
        return r < 0 ? r : compare_devices(store, image, artifact, with_packs, err);
}

/* ---- the search ---- */

struct search {
        struct zp_store *store;
        const struct zp_image_record *image;
        struct zp_remote *remote;
        zp_pull_check check;
        void *context;
        bool with_packs;
        struct zp_digest *digest;     /* of the one that passes; NULL: not wanted */
        struct zp_artifact *artifact; /* likewise */
};

static int try_one(const struct search *s, const struct zp_descriptor *candidate, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        struct zp_artifact artifact = { 0 };
        char digest[ZP_DIGEST_TEXT_SIZE];
        int r = zp_remote_get_manifest(s->remote, candidate, &manifest, err);
        if (r == 0)
                r = zp_artifact_parse(manifest, candidate->size, &artifact, err);
        if (r == 0)
                r = zp_held_compare(s->store, s->image, &artifact, s->with_packs, err);
        if (r == 0 && s->check)
                r = s->check(s->context, candidate, &s->image->manifest_digest, err);
        if (r == 0 && s->digest)
                *s->digest = candidate->digest;
        if (r == 0 && s->artifact)
                *s->artifact = artifact;
        else
                zp_artifact_clear(&artifact);
        return r < 0 ? zp_error_wrap(err, "snapshot %s", zp_digest_text(&candidate->digest, digest)) : 0;
}

/* Why none would do: that the right one is not trusted tells more than that others are others. */
static int try_all(const struct search *s, const struct zp_remote_artifact *artifacts, size_t count,
                   struct zp_error *err) {
        int r = 0;
        for (size_t tried = 0; tried < count && tried < ZP_LIMIT_ARTIFACTS; tried++) {
                const struct zp_descriptor *candidate = &artifacts[count - 1 - tried].manifest;
                struct zp_error problem = { 0 };
                int tried_r = try_one(s, candidate, &problem);
                if (tried_r == 0) {
                        zp_error_clear(err);
                        return 0;
                }
                bool tells_more = r == 0 || (r == -EBADMSG && tried_r != -EBADMSG);
                if (tells_more) {
                        *err = problem;
                        r = tried_r;
                }
        }
        return r;
}

int zp_held_check(struct zp_store *store, const struct zp_image_record *image, struct zp_remote *remote,
                  zp_pull_check check, void *context, bool with_packs, struct zp_digest *digest,
                  struct zp_artifact *artifact, struct zp_error *err) {
        struct search s = { store, image, remote, check, context, with_packs, digest, artifact };
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        int r = zp_remote_find(remote, &image->manifest_digest, ZP_ARTIFACT_TYPE, &artifacts, &count, err);
        if (r < 0)
                return r;
        r = count ? try_all(&s, artifacts, count, err)
                  : zp_error_set(err, ENOENT, "%s has no snapshot of it", zp_remote_name(remote));
        zp_remote_artifacts_free(artifacts, count);
        return r;
}
