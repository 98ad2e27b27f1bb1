/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/remote.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/artifact-manifest.h"
#include "remote/remote-internal.h"

static const struct zp_remote_kind *const kinds[] = {
        &zp_remote_registry,
        &zp_remote_directory,
        &zp_remote_s3,
};

static const struct zp_remote_kind *kind_of(const char *name) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
                if (strncmp(name, kinds[i]->prefix, strlen(kinds[i]->prefix)) == 0)
                        return kinds[i];
        return NULL;
}

int zp_remote_check_kind(const char *name, struct zp_error *err) {
        if (kind_of(name))
                return 0;
        zp_error_set(err, EINVAL, "'%.200s' does not say where to keep snapshots", name);
        zp_error_hint(err, "name a repository of a registry, docker://HOST/REPOSITORY, a directory, dir:PATH, or "
                           "object storage, s3://BUCKET/PREFIX");
        return -EINVAL;
}

int zp_remote_open(const char *name, const struct zp_source_options *options, struct zp_remote **out,
                   struct zp_error *err) {
        static const struct zp_source_options none = { 0 };
        zp_auto(zp_remote_close) struct zp_remote *remote = calloc(1, sizeof *remote);
        if (!remote)
                return zp_error_errno(err, ENOMEM, "open '%s'", name);
        int r = zp_remote_check_kind(name, err);
        if (r < 0)
                return r;
        const struct zp_remote_kind *kind = kind_of(name);
        r = kind->open(name + strlen(kind->prefix), options ? options : &none, &remote->state, &remote->name, err);
        if (r < 0)
                return r;
        remote->kind = kind;
        *out = zp_steal(&remote);
        return 0;
}

void zp_remote_close(struct zp_remote *remote) {
        if (remote->kind)
                remote->kind->close(remote->state);
        free(remote->name);
        free(remote);
}

const char *zp_remote_name(const struct zp_remote *remote) {
        return remote->name;
}

void zp_range_head_clear(struct zp_range_head *head) {
        free(head->url);
        free(head->authorization);
        for (size_t i = 0; i < sizeof head->lines / sizeof *head->lines; i++)
                free(head->lines[i]);
        *head = (struct zp_range_head){ 0 };
}

/* "docker://host/repository: blob sha256:…: " */
static int name_blob(const struct zp_remote *remote, const struct zp_digest *digest, int r, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        if (r < 0)
                zp_error_wrap(err, "%s: blob %s", remote->name, zp_digest_text(digest, text));
        return r;
}

int zp_remote_has_blob(struct zp_remote *remote, const struct zp_digest *digest, uint64_t size, struct zp_error *err) {
        return name_blob(remote, digest, remote->kind->has_blob(remote->state, digest, size, err), err);
}

int zp_remote_put_blob(struct zp_remote *remote, const struct zp_digest *digest, uint64_t size, const char *mount_from,
                       zp_remote_read read, void *context, uint64_t *uploaded_bytes, struct zp_error *err) {
        uint64_t ignored;
        uint64_t *uploaded = uploaded_bytes ? uploaded_bytes : &ignored;
        *uploaded = 0;
        int r = remote->kind->put_blob(remote->state, digest, size, mount_from, read, context, uploaded, err);
        return name_blob(remote, digest, r, err);
}

/* Waits for the end before the beginning. */
static int put_when_complete(struct zp_remote *remote, const struct zp_remote_growing *blob, uint64_t *uploaded,
                             struct zp_error *err) {
        struct zp_digest digest;
        uint64_t size = 0;
        int r;
        do
                r = blob->wait(blob->context, size, &size, &digest, err);
        while (r == 0);
        if (r < 0)
                return r;
        r = remote->kind->has_blob(remote->state, &digest, size, err);
        if (r == 0)
                r = remote->kind->put_blob(remote->state, &digest, size, NULL, blob->read, blob->context, uploaded,
                                           err);
        return name_blob(remote, &digest, r < 0 ? r : 0, err);
}

int zp_remote_put_stream(struct zp_remote *remote, const struct zp_remote_growing *blob, uint64_t *uploaded_bytes,
                         struct zp_error *err) {
        uint64_t ignored;
        uint64_t *uploaded = uploaded_bytes ? uploaded_bytes : &ignored;
        *uploaded = 0;
        if (!remote->kind->put_stream)
                return put_when_complete(remote, blob, uploaded, err);
        int r = remote->kind->put_stream(remote->state, blob, uploaded, err);
        return r < 0 ? zp_error_wrap(err, "%s", remote->name) : 0;
}

/* Stands between a kind and the caller's sink: nobody gets more than was asked for. */
struct checked {
        const struct zp_descriptor *blob;
        uint64_t left;
        struct zp_sha256 *hash; /* NULL: of a part there is no digest */
        zp_blob_sink sink;
        void *context;
};

static int check_piece(void *context, const void *data, size_t size, struct zp_error *err) {
        struct checked *checked = context;
        if (size > checked->left)
                return zp_error_set(err, EBADMSG, "more than the %ju bytes it should have",
                                    (uintmax_t) checked->blob->size);
        checked->left -= size;
        if (checked->hash)
                zp_sha256_update(checked->hash, data, size);
        return checked->sink(checked->context, data, size, err);
}

static int check_end(const struct checked *checked, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        struct zp_digest digest;
        if (checked->left > 0)
                return zp_error_set(err, EBADMSG, "ends %ju bytes before it should", (uintmax_t) checked->left);
        if (!checked->hash)
                return 0;
        zp_sha256_finish(checked->hash, &digest);
        if (!zp_digest_equal(&digest, &checked->blob->digest))
                return zp_error_set(err, EBADMSG, "the content is damaged: its digest is %s",
                                    zp_digest_text(&digest, text));
        return 0;
}

int zp_remote_get_blob(struct zp_remote *remote, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                       zp_blob_sink sink, void *context, struct zp_error *err) {
        uint64_t end;
        int r = 0;
        if (zp_add_overflows(offset, length, &end) || end > blob->size)
                r = zp_error_set(err, ERANGE, "bytes %ju+%ju of %ju", (uintmax_t) offset, (uintmax_t) length,
                                 (uintmax_t) blob->size);
        struct checked checked = { .blob = blob, .left = length, .sink = sink, .context = context };
        if (r == 0 && length > 0)
                r = remote->kind->get_blob(remote->state, blob, offset, length, check_piece, &checked, err);
        if (r == 0)
                r = check_end(&checked, err);
        return name_blob(remote, &blob->digest, r, err);
}

int zp_remote_get_whole(struct zp_remote *remote, const struct zp_descriptor *blob, zp_blob_sink sink, void *context,
                        struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        struct checked checked = { .blob = blob, .left = blob->size, .hash = hash, .sink = sink, .context = context };
        int r = hash ? 0 : zp_error_errno(err, ENOMEM, "read");
        if (r == 0 && blob->size > 0)
                r = remote->kind->get_blob(remote->state, blob, 0, blob->size, check_piece, &checked, err);
        if (r == 0)
                r = check_end(&checked, err);
        return name_blob(remote, &blob->digest, r, err);
}

/* A manifest that says other than its publisher means would never be found again. */
static int check_manifest(const struct zp_descriptor *subject, const char *artifact_type, const char *manifest,
                          size_t size, struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        struct zp_descriptor said = { 0 };
        json_t *layers;
        int r = zp_json_load(manifest, size, "artifact manifest", &json, err);
        if (r == 0)
                r = zp_artifact_manifest_read(json, artifact_type, "artifact manifest", &layers, &said, err);
        if (r == 0 && !zp_digest_equal(&said.digest, &subject->digest))
                r = zp_error_set(err, EBADMSG, "artifact manifest: its subject is another");
        free(said.media_type);
        return r;
}

int zp_remote_publish(struct zp_remote *remote, const struct zp_descriptor *subject, const char *artifact_type,
                      const char *manifest, size_t size, struct zp_error *err) {
        struct zp_digest digest;
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = check_manifest(subject, artifact_type, manifest, size, err);
        zp_digest_of(manifest, size, &digest);
        if (r == 0)
                r = remote->kind->publish(remote->state, subject, artifact_type, manifest, size, &digest, err);
        if (r < 0)
                zp_error_wrap(err, "%s: publish %s", remote->name, zp_digest_text(&digest, text));
        return r;
}

void zp_remote_artifacts_free(struct zp_remote_artifact *artifacts, size_t count) {
        for (size_t i = 0; artifacts && i < count; i++) {
                free(artifacts[i].manifest.media_type);
                free(artifacts[i].artifact_type);
                json_decref(artifacts[i].annotations);
                free(artifacts[i].body);
        }
        free(artifacts);
}

int zp_remote_find(struct zp_remote *remote, const struct zp_digest *subject, const char *artifact_type,
                   struct zp_remote_artifact **out, size_t *count, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        *out = NULL;
        *count = 0;
        int r = remote->kind->find(remote->state, subject, artifact_type, out, count, err);
        if (r < 0)
                zp_error_wrap(err, "%s: artifacts of %s", remote->name, zp_digest_text(subject, text));
        return r;
}

static int read_manifest(struct zp_remote *remote, const struct zp_descriptor *manifest, char **out,
                         struct zp_error *err) {
        zp_autofree char *body = NULL;
        size_t size;
        struct zp_digest digest;
        char text[ZP_DIGEST_TEXT_SIZE];
        if (manifest->size > ZP_LIMIT_JSON_SIZE)
                return zp_error_set(err, EFBIG, "larger than %d MiB", (int) (ZP_LIMIT_JSON_SIZE >> 20));
        int r = remote->kind->get_manifest(remote->state, manifest, &body, &size, err);
        if (r < 0)
                return r;
        if (size != manifest->size)
                return zp_error_set(err, EBADMSG, "%zu bytes instead of %ju", size, (uintmax_t) manifest->size);
        zp_digest_of(body, size, &digest);
        if (!zp_digest_equal(&digest, &manifest->digest))
                return zp_error_set(err, EBADMSG, "the content is damaged: its digest is %s",
                                    zp_digest_text(&digest, text));
        *out = zp_steal(&body);
        return 0;
}

int zp_remote_get_manifest(struct zp_remote *remote, const struct zp_descriptor *manifest, char **out,
                           struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = read_manifest(remote, manifest, out, err);
        if (r < 0)
                zp_error_wrap(err, "%s: manifest %s", remote->name, zp_digest_text(&manifest->digest, text));
        return r;
}
