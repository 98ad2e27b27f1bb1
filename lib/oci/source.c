/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "oci/manifest-internal.h"
#include "oci/source-internal.h"
#include "oci/transport.h"

struct zp_source {
        const struct zp_source_kind *kind;
        void *state;
        char *name;
        const struct zp_cancel *cancel;
        struct zp_notice notice;
        void (*tell_manifest)(void *context, const struct zp_digest *digest);
        void *tell_context;
};

static const struct zp_source_kind *const kinds[] = {
        &zp_source_registry,
        &zp_source_oci,
        &zp_source_oci_archive,
        &zp_source_docker_archive,
};

void zp_document_clear(struct zp_document *document) {
        free(document->body);
        free(document->media_type);
        *document = (struct zp_document){ 0 };
}

int zp_part_result(int r, struct zp_error *err) {
        if (r != -ENOENT)
                return r;
        if (err)
                err->code = EBADMSG;
        return -EBADMSG;
}

int zp_source_open(const char *name, const struct zp_source_options *options, struct zp_source **out,
                   struct zp_error *err) {
        static const struct zp_source_options none = { 0 };
        if (!options)
                options = &none;
        zp_auto(zp_source_close) struct zp_source *source = calloc(1, sizeof *source);
        if (!source)
                return zp_error_errno(err, ENOMEM, "open '%s'", name);
        const char *rest = name;
        const struct zp_source_kind *kind = &zp_source_registry;
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
                size_t size = strlen(kinds[i]->prefix);
                if (strncmp(name, kinds[i]->prefix, size) == 0) {
                        kind = kinds[i];
                        rest = name + size;
                }
        }
        int r = rest == name ? zp_transport_check(name, err) : 0;
        if (r < 0)
                return r;
        r = kind->open(rest, options, &source->state, &source->name, err);
        if (r == -EINVAL && rest == name) /* perhaps a file */
                zp_error_hint(err, "an image is named as [docker://]HOST/REPOSITORY:TAG, oci:DIR[:TAG], "
                                   "oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]");
        if (r < 0)
                return r;
        source->kind = kind;
        source->cancel = options->cancel;
        source->notice = options->notice;
        *out = zp_steal(&source);
        return 0;
}

void zp_source_close(struct zp_source *source) {
        if (source->kind)
                source->kind->close(source->state);
        free(source->name);
        free(source);
}

const char *zp_source_name(const struct zp_source *source) {
        return source->name;
}

const char *zp_source_local_path(const struct zp_source *source) {
        return source->kind->local_path ? source->kind->local_path(source->state) : NULL;
}

/* Stands between a kind and the caller's sink: counts, hashes, and looks for cancellation. */
struct checked_blob {
        const struct zp_source *source;
        const struct zp_descriptor *blob;
        const struct zp_blob_reader *reader;
        struct zp_sha256 *hash;
        uint64_t received;
};

static int check_piece(void *context, const void *data, size_t size, struct zp_error *err) {
        struct checked_blob *checked = context;
        int r = zp_check_cancel(checked->source->cancel, err);
        if (r == 0)
                r = zp_check_cancel(checked->reader->cancel, err);
        if (r < 0)
                return r;
        if (size > checked->blob->size - checked->received)
                return zp_error_set(err, EBADMSG, "more than the %ju bytes it should have",
                                    (uintmax_t) checked->blob->size);
        checked->received += size;
        zp_sha256_update(checked->hash, data, size);
        return checked->reader->sink(checked->reader->context, data, size, err);
}

static int check_end(struct checked_blob *checked, struct zp_error *err) {
        if (checked->received != checked->blob->size)
                return zp_error_set(err, EBADMSG, "%ju bytes instead of %ju", (uintmax_t) checked->received,
                                    (uintmax_t) checked->blob->size);
        struct zp_digest digest;
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_sha256_finish(checked->hash, &digest);
        if (!zp_digest_equal(&digest, &checked->blob->digest))
                return zp_error_set(err, EBADMSG, "the content is damaged: its digest is %s",
                                    zp_digest_text(&digest, text));
        return 0;
}

static int read_blob(struct zp_source *source, const struct zp_descriptor *blob, const struct zp_blob_reader *reader,
                     struct zp_error *err) {
        struct checked_blob checked = {
                .source = source,
                .blob = blob,
                .reader = reader,
                .hash = zp_sha256_new(),
        };
        const struct zp_blob_reader checker = {
                .sink = check_piece,
                .context = &checked,
                .cancel = reader->cancel,
                .is_document = reader->is_document,
        };
        int r = checked.hash ? 0 : zp_error_errno(err, ENOMEM, "read");
        if (r == 0)
                r = source->kind->blob(source->state, blob, &checker, err);
        if (r == 0)
                r = check_end(&checked, err);
        r = zp_part_result(r, err);
        if (checked.hash)
                zp_sha256_free(checked.hash);
        if (r < 0) {
                char text[ZP_DIGEST_TEXT_SIZE];
                zp_error_wrap(err, "%s: blob %s", source->name, zp_digest_text(&blob->digest, text));
        }
        return r;
}

int zp_source_read_blob(struct zp_source *source, const struct zp_descriptor *blob, const struct zp_cancel *cancel,
                        zp_blob_sink sink, void *context, struct zp_error *err) {
        const struct zp_blob_reader reader = { .sink = sink, .context = context, .cancel = cancel };
        return read_blob(source, blob, &reader, err);
}

static int collect(void *context, const void *data, size_t size, struct zp_error *err) {
        return zp_buffer_append(context, data, size) ? 0 : zp_error_errno(err, ENOMEM, "read");
}

/* A blob small enough for memory. */
static int read_whole_blob(struct zp_source *source, const struct zp_descriptor *blob, char **out, size_t *size,
                           struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        if (blob->size > ZP_LIMIT_JSON_SIZE)
                return zp_error_set(err, EFBIG, "%s: blob %s: larger than %d MiB", source->name,
                                    zp_digest_text(&blob->digest, text), (int) (ZP_LIMIT_JSON_SIZE >> 20));
        zp_autobuffer struct zp_buffer buffer = { 0 };
        if (!zp_buffer_append(&buffer, "", 0))
                return zp_error_errno(err, ENOMEM, "%s", source->name);
        const struct zp_blob_reader reader = { .sink = collect, .context = &buffer, .is_document = true };
        int r = read_blob(source, blob, &reader, err);
        if (r < 0)
                return r;
        *size = buffer.size;
        *out = zp_steal(&buffer.data);
        return 0;
}

static int check_document(const struct zp_document *document, struct zp_error *err) {
        struct zp_digest digest;
        char promised[ZP_DIGEST_TEXT_SIZE], text[ZP_DIGEST_TEXT_SIZE];
        zp_digest_of(document->body, document->size, &digest);
        if (!document->has_digest || zp_digest_equal(&digest, &document->digest))
                return 0;
        return zp_error_set(err, EBADMSG, "manifest %s is damaged: its digest is %s",
                            zp_digest_text(&document->digest, promised), zp_digest_text(&digest, text));
}

/* Reads the manifest that an index names. */
static int read_manifest(struct zp_source *source, const struct zp_descriptor *descriptor, struct zp_document *out,
                         struct zp_error *err) {
        int r = source->kind->manifest ? source->kind->manifest(source->state, descriptor, out, err)
                                       : read_whole_blob(source, descriptor, &out->body, &out->size, err);
        if (r < 0)
                return r;
        out->has_digest = true;
        out->digest = descriptor->digest;
        if (!out->media_type && !(out->media_type = strdup(descriptor->media_type)))
                return zp_error_errno(err, ENOMEM, "manifest");
        if (out->size != descriptor->size)
                return zp_error_set(err, EBADMSG, "manifest: %zu bytes instead of %ju", out->size,
                                    (uintmax_t) descriptor->size);
        return 0;
}

void zp_source_tell_manifest(struct zp_source *source, void (*tell)(void *context, const struct zp_digest *digest),
                             void *context) {
        source->tell_manifest = tell;
        source->tell_context = context;
}

static void tell_manifest(struct zp_source *source, const struct zp_digest *digest) {
        if (source->tell_manifest)
                source->tell_manifest(source->tell_context, digest);
}

static void tell_root(struct zp_source *source, const struct zp_document *document) {
        struct zp_digest digest;
        zp_digest_of(document->body, document->size, &digest);
        tell_manifest(source, &digest);
}

/* From the document the name stands for down to the platform's manifest. `document` is cleared by the
 * caller, whatever happens. *by_index: a platform was chosen on the way. */
static int find_manifest(struct zp_source *source, const struct zp_platform *platform, struct zp_document *document,
                         bool *by_index, struct zp_error *err) {
        int r = source->kind->root(source->state, document, err);
        *by_index = false;
        for (int depth = 0; r == 0; depth++) {
                enum zp_document_kind kind;
                r = check_document(document, err);
                if (r == 0)
                        r = zp_document_kind(document->body, document->size, document->media_type, &kind, err);
                if (r == 0 && kind == ZP_DOCUMENT_MANIFEST && depth == 0)
                        tell_root(source, document);
                if (r < 0 || kind == ZP_DOCUMENT_MANIFEST)
                        break;
                if (depth == ZP_LIMIT_INDEX_DEPTH)
                        return zp_error_set(err, EBADMSG, "indexes nested deeper than %d", ZP_LIMIT_INDEX_DEPTH);
                struct zp_descriptor next = { 0 };
                r = zp_index_select(document->body, document->size, platform, &next, err);
                if (r == 0) {
                        tell_manifest(source, &next.digest);
                        zp_document_clear(document);
                        r = read_manifest(source, &next, document, err);
                        *by_index = true;
                }
                free(next.media_type);
        }
        return r;
}

static int refuse_platform(const char *have, const char *want, struct zp_error *err) {
        zp_error_set(err, ENOENT, "the image is for %s, not for %s", have, want);
        zp_error_hint(err, "there is no index to choose from; without --platform the image is taken as it is");
        return -ENOENT;
}

/* A manifest that no index chose is taken whatever its architecture, as containerd and skopeo do: who
 * named it meant it. But not when a platform was asked for by name, too. Below an index the choice is checked,
 * for the entry may have named no platform or a wrong one. */
static int check_platform(const struct zp_source *source, const struct zp_platform *wanted, struct zp_image *image,
                          bool by_index, struct zp_error *err) {
        char have[100], want[100];
        bool is_other;
        if (image->platform.os[0] == '\0')
                strcpy(image->platform.os, wanted->os);
        if (image->platform.architecture[0] == '\0') {
                strcpy(image->platform.architecture, wanted->architecture);
                strcpy(image->platform.variant, wanted->variant);
        }
        zp_platform_text(&image->platform, have);
        zp_platform_text(wanted, want);
        is_other = strcmp(image->platform.architecture, wanted->architecture) != 0;
        if (strcmp(image->platform.os, wanted->os) != 0)
                return zp_error_set(err, ENOTSUP, "the image is for %s, not for %s", have, want);
        if (is_other && by_index)
                return zp_error_set(err, ENOENT, "no image for %s: what the index offers is for %s", want, have);
        if (is_other && wanted->is_required)
                return refuse_platform(have, want, err);
        if (is_other)
                zp_notice_tell(&source->notice, "%s: the image is for %s, not for %s", source->name, have, want);
        return 0;
}

static int read_config(struct zp_source *source, const struct zp_descriptor *config, struct zp_image *image,
                       struct zp_error *err) {
        image->config_digest = config->digest;
        int r = read_whole_blob(source, config, &image->config, &image->config_size, err);
        uint16_t count = 0;
        if (r == 0)
                r = zp_config_parse(image->config, image->config_size, &image->platform, &image->diff_ids, &count, err);
        if (r == 0 && count != image->layer_count)
                r = zp_error_set(err, EBADMSG, "the manifest has %u layers but the config %u diff_ids",
                                 image->layer_count, count);
        return r;
}

static int fill_image(struct zp_source *source, struct zp_document *document, struct zp_image *image,
                      struct zp_error *err) {
        struct zp_descriptor config = { 0 };
        int r = zp_manifest_parse(document->body, document->size, &config, &image->layers, &image->layer_count, err);
        if (r < 0)
                return r;
        zp_digest_of(document->body, document->size, &image->manifest_digest);
        image->manifest_size = document->size;
        image->name = strdup(source->name);
        image->manifest_media_type =
                zp_manifest_media_type(document->body, document->size, document->media_type, config.media_type);
        image->manifest = zp_steal(&document->body);
        if (image->name && image->manifest_media_type)
                r = read_config(source, &config, image, err);
        else
                r = zp_error_errno(err, ENOMEM, "manifest");
        free(config.media_type);
        return r;
}

int zp_source_resolve(struct zp_source *source, const struct zp_platform *platform, struct zp_image *out,
                      struct zp_error *err) {
        struct zp_platform wanted = *platform;
        struct zp_document document = { 0 };
        struct zp_image image = { 0 };
        bool by_index;
        zp_platform_normalise(&wanted);
        int r = find_manifest(source, &wanted, &document, &by_index, err);
        if (r == 0)
                r = fill_image(source, &document, &image, err);
        if (r == 0)
                r = check_platform(source, &wanted, &image, by_index, err);
        zp_document_clear(&document);
        if (r < 0) {
                zp_image_clear(&image);
                if (err && strncmp(err->message, source->name, strlen(source->name)) != 0)
                        zp_error_wrap(err, "%s", source->name);
                return r;
        }
        *out = image;
        return 0;
}
