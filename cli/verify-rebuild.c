/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull verify --rebuild`.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
#include "builder/base.h"
#include "builder/start.h"
#include "cli/child.h"
#include "cli/output.h"
#include "cli/source-options.h"
#include "cli/verify.h"
#include "oci/reference.h"

#define PIECE_SIZE (1u << 20)

static int compare_bytes(int a, int b, const char *name, struct zp_error *err) {
        struct stat a_stat, b_stat;
        if (fstat(a, &a_stat) < 0 || fstat(b, &b_stat) < 0)
                return zp_error_errno(err, errno, "'%s'", name);
        if (a_stat.st_size != b_stat.st_size)
                return zp_error_set(err, EBADMSG, "'%s' has %lld bytes, built again %lld", name,
                                    (long long) a_stat.st_size, (long long) b_stat.st_size);
        zp_autofree char *pieces = malloc(2 * (size_t) PIECE_SIZE);
        if (!pieces)
                return zp_error_errno(err, ENOMEM, "'%s'", name);
        for (uint64_t at = 0; at < (uint64_t) a_stat.st_size; at += PIECE_SIZE) {
                size_t size = (size_t) zp_min_u64(PIECE_SIZE, (uint64_t) a_stat.st_size - at);
                int r = zp_pread_all(a, pieces, size, at, name, err);
                if (r == 0)
                        r = zp_pread_all(b, pieces + PIECE_SIZE, size, at, name, err);
                if (r < 0)
                        return r;
                for (size_t i = 0; memcmp(pieces, pieces + PIECE_SIZE, size) != 0; i++)
                        if (pieces[i] != pieces[PIECE_SIZE + i])
                                return zp_error_set(err, EBADMSG, "'%s' differs from what is built again, at byte %llu",
                                                    name, (unsigned long long) (at + i));
        }
        return 0;
}

typedef int (*open_file)(struct zp_store *, const struct zp_digest *, const char *, struct zp_error *);

/* A file that is here under the name `digest`, and built again under the name `other`. */
static int compare_file(struct verifier *v, struct zp_store *again, struct verify_subject *subject, open_file open_one,
                        const struct zp_digest *digest, const struct zp_digest *other, const char *file,
                        struct zp_error *err) {
        int r = zp_check_cancel(v->call->cancel, err);
        if (r < 0)
                return r;
        zp_autoclose int a = open_one(v->store, digest, file, err);
        zp_autoclose int b = a < 0 ? a : open_one(again, other, file, err);
        r = a < 0 || b < 0 ? -1 : compare_bytes(a, b, file, err);
        return verify_note(v, subject, r, err);
}

/* What has the same name is the same, if it is what the record says: that was checked. */
static int compare_device(struct verifier *v, struct zp_store *again, const struct zp_digest *device,
                          const struct zp_digest *other, struct zp_error *err) {
        static const char *const files[] = { "device.idx", "device.zst" };
        struct zp_device_record record;
        if (zp_digest_equal(device, other))
                return 0;
        int r = zp_store_find_device(v->store, device, &record, err);
        struct verify_subject subject = verify_device_subject(&record);
        if (r <= 0)
                return r; /* told of already */
        r = 0;
        for (size_t i = 0; i < sizeof files / sizeof *files && r == 0 && !subject.is_gone; i++)
                r = compare_file(v, again, &subject, zp_store_open_device_file, device, other, files[i], err);
        return r;
}

static int compare_layer(struct verifier *v, struct zp_store *again, const struct zp_image_record *image,
                         const struct zp_image_record *built, uint16_t number, struct zp_error *err) {
        struct zp_layer_record here, there;
        if (zp_digest_equal(&image->layers[number], &built->layers[number]))
                return 0;
        int r = zp_store_find_layer(v->store, &image->layers[number], &image->diff_ids[number], &here, err);
        if (r == 1)
                r = zp_store_find_layer(again, &built->layers[number], &built->diff_ids[number], &there, err);
        if (r <= 0)
                return r; /* told of already */
        struct verify_subject subject = verify_layer_subject(&here);
        r = compare_file(v, again, &subject, zp_store_open_layer_file, &here.metadata_digest, &there.metadata_digest,
                         "layer.erofs", err);
        for (uint16_t i = 0; r == 0 && i < here.device_count && i < there.device_count; i++)
                r = compare_device(v, again, &here.devices[i], &there.devices[i], err);
        return r;
}

/* The recorded name, or, of a registry's, the one by digest: a tag may name another image by now. malloc'ed. */
static char *source_name(const struct zp_image_record *image) {
        const char *name = image->names[0];
        struct zp_reference reference;
        if (zp_reference_of_name(name, &reference, NULL) < 0)
                return strdup(name);
        free(reference.tag);
        reference.tag = NULL;
        reference.has_digest = true;
        reference.digest = image->manifest_digest;
        zp_autofree char *text = zp_reference_text(&reference);
        char *out = NULL;
        zp_reference_clear(&reference);
        return text && asprintf(&out, ZP_REGISTRY_SCHEME "%s", text) >= 0 ? out : NULL;
}

/* ---- one build, in a process that confines itself ---- */

struct rebuilding {
        const char *from; /* the store that is verified */
        const char *path; /* of the store it goes to */
        const char *name;
        const struct zp_image_record *image;
        const struct zp_source_options *source_options;
        struct zp_build_options options;
        struct zp_profile *profile;
};

/* What the layers were compared with, and the profile, come from the store that is verified. */
static int bring_recipes(struct rebuilding *b, struct zp_store *again, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *from = NULL;
        zp_auto(zp_pool_free) struct zp_pool *pool = NULL;
        int r = zp_store_open(b->from, ZP_STORE_READ, &from, err);
        for (size_t i = 0; r == 0 && i < b->options.known_count; i++) {
                if (b->options.known[i].recipe.base_count == 0)
                        continue;
                if (!pool) /* its threads are gone when the build confines itself */
                        r = zp_pool_new(zp_usable_cpus(), &pool, err);
                if (r == 0)
                        r = zp_base_copy(from, again, &b->options.known[i].recipe, pool, b->options.cancel, err);
        }
        return r == 0 ? zp_start_read_profile(from, &b->image->manifest_digest, &b->profile, err) : r;
}

static int build_again(void *context, struct zp_error *err) {
        struct rebuilding *b = context;
        zp_auto(zp_store_close) struct zp_store *again = NULL;
        zp_auto(zp_source_close) struct zp_source *source = NULL;
        struct zp_build_result result = { 0 };
        int r = zp_store_open(b->path, ZP_STORE_CREATE, &again, err);
        if (r == 0)
                r = bring_recipes(b, again, err);
        b->options.profile = b->profile;
        if (r == 0)
                r = zp_source_open(b->name, b->source_options, &source, err);
        if (r == 0)
                r = zp_build(source, again, &b->options, &result, err);
        char text[ZP_DIGEST_TEXT_SIZE];
        if (r == 0 && !zp_digest_equal(&result.image.manifest_digest, &b->image->manifest_digest))
                r = zp_error_set(err, ESTALE, "%s is another image by now: %s", b->name,
                                 zp_digest_text(&result.image.manifest_digest, text));
        zp_image_record_clear(&result.image);
        zp_profile_free(b->profile);
        return r;
}

/* How the image's layers were packed: `known` has room for all. */
static int take_packing(struct verifier *v, const struct zp_image_record *image, struct zp_known_conversion *known,
                        size_t *count, struct zp_error *err) {
        *count = 0;
        for (uint16_t i = 0; i < image->layer_count; i++) {
                struct zp_layer_record layer;
                struct zp_device_record device;
                int r = zp_store_find_layer(v->store, &image->layers[i], &image->diff_ids[i], &layer, err);
                if (r == 0)
                        continue; /* told of already */
                struct zp_known_conversion *one = &known[(*count)++];
                *one = (struct zp_known_conversion){ .diff_id = image->diff_ids[i] };
                if (r == 1)
                        r = zp_recipe_parse(layer.recipe, &one->recipe, err);
                if (r == 0 && layer.device_count > 0 &&
                    (r = zp_store_find_device(v->store, &layer.devices[0], &device, err)) == 1)
                        one->pack = (struct zp_pack_options){ device.frame_size, device.level };
                if (r < 0)
                        return r;
        }
        return 0;
}

static int build_in_child(struct verifier *v, const char *path, const struct zp_image_record *image,
                          const struct zp_source_options *source_options, const struct zp_build_options *build_options,
                          struct zp_error *err) {
        if (!image->names || !image->names[0])
                return zp_error_set(err, ENOENT, "no source is known to build it from again");
        zp_autofree char *name = source_name(image);
        if (!name)
                return zp_error_errno(err, ENOMEM, "verify");
        struct zp_known_conversion known[ZP_LIMIT_LAYERS];
        struct rebuilding b = { zp_store_path(v->store), path, name, image, source_options, *build_options, NULL };
        b.options.known = known;
        b.options.confine = true;
        int r = take_packing(v, image, known, &b.options.known_count, err);
        if (r == 0)
                r = zp_platform_parse(image->platform, &b.options.platform, err);
        if (r < 0)
                return r;
        progress_say(v->progress, "building %s again", name);
        return cli_in_child(build_again, &b, v->call->cancel, err);
}

/* ---- all of them ---- */

static int compare_image(struct verifier *v, struct zp_store *again, const struct zp_image_record *image,
                         struct zp_error *err) {
        static const char *const files[] = { "snapshot.erofs", "manifest.json", "config.json" };
        struct verify_subject subject = verify_image_subject(image);
        struct zp_image_record built = { 0 };
        int r = zp_store_find_image(again, &image->manifest_digest, &built, err);
        if (r <= 0)
                return r; /* its build failed, and was told of */
        r = 0;
        for (size_t i = 0; i < sizeof files / sizeof *files && r == 0 && !subject.is_gone; i++)
                r = compare_file(v, again, &subject, zp_store_open_image_file, &image->manifest_digest,
                                 &image->manifest_digest, files[i], err);
        for (uint16_t i = 0; i < image->layer_count && i < built.layer_count && r == 0; i++)
                r = compare_layer(v, again, image, &built, i, err);
        zp_image_record_clear(&built);
        return r;
}

static int compare_all(struct verifier *v, const char *path, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *again = NULL;
        int r = zp_store_open(path, ZP_STORE_READ, &again, err);
        for (size_t i = 0; i < v->image_count && r == 0; i++)
                r = compare_image(v, again, &v->images[i], err);
        return r;
}

static int rebuild_all(struct verifier *v, const char *path, const struct zp_source_options *source_options,
                       const struct zp_build_options *build_options, struct zp_error *err) {
        size_t built = 0;
        for (size_t i = 0; i < v->image_count; i++) {
                int r = build_in_child(v, path, &v->images[i], source_options, build_options, err);
                struct verify_subject subject = verify_image_subject(&v->images[i]);
                size_t before = v->problem_count;
                built += r == 0;
                if (r < 0)
                        zp_error_wrap(err, "not compared: it cannot be built again from its source");
                r = verify_note(v, &subject, r, err);
                v->unchecked_count += v->problem_count - before;
                if (r < 0)
                        return r;
        }
        return built ? compare_all(v, path, err) : 0;
}

int verify_by_rebuild(struct verifier *v, const struct zp_source_options *source_options,
                      const struct zp_build_options *build_options, struct zp_error *err) {
        /* in the store's tmp/, where what a killed process leaves is removed by the next one */
        zp_auto(zp_store_close) struct zp_store *here = NULL;
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        int r = zp_store_open(zp_store_path(v->store), ZP_STORE_WRITE, &here, err);
        if (r == 0)
                r = zp_staging_new(here, &staging, err);
        if (r < 0)
                return zp_error_wrap(err, "verify --rebuild");
        zp_autofree char *path = zp_staging_path(staging);
        struct zp_source_options options = *source_options;
        options.notice = (struct zp_notice){ cli_tell_notice, v->progress };
        return path ? rebuild_all(v, path, &options, build_options, err)
                    : zp_error_errno(err, ENOMEM, "verify --rebuild");
}
