/* SPDX-License-Identifier: Apache-2.0
 *
 * `docker://HOST/REPOSITORY[:TAG][@DIGEST]`: an image in a registry.
 */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "oci/fetch.h"
#include "oci/reference.h"
#include "oci/registry.h"
#include "oci/source-internal.h"
#include "oci/transfer.h"

struct registry_source {
        struct zp_reference reference;
        struct zp_registry *registry;
        uint64_t latest_ms; /* when the last attempt at a document may begin; set when resolving starts */
};

static void registry_close(void *state) {
        struct registry_source *source = state;
        if (source->registry)
                zp_registry_free(source->registry);
        zp_reference_clear(&source->reference);
        free(source);
}
ZP_DEFINE_AUTO(struct registry_source, registry_close);

static int registry_open(const char *rest, const struct zp_source_options *options, void **state, char **name,
                         struct zp_error *err) {
        zp_auto(registry_close) struct registry_source *source = calloc(1, sizeof *source);
        if (!source)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        int r = zp_reference_parse(rest, &source->reference, err);
        if (r == 0)
                r = zp_registry_new(source->reference.registry, source->reference.repository, options,
                                    &source->registry, err);
        if (r < 0)
                return r;
        zp_autofree char *text = zp_reference_text(&source->reference);
        *name = text ? zp_format("docker://%s", text) : NULL;
        if (!*name)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        *state = zp_steal(&source);
        return 0;
}

static int fetch_document(struct registry_source *source, const char *name, struct zp_document *out,
                          struct zp_error *err) {
        zp_autofree char *path = zp_format("manifests/%s", name);
        if (!path)
                return zp_error_errno(err, ENOMEM, "manifest");
        struct zp_http_request request = { .accept = ZP_ACCEPT_MANIFESTS,
                                           .body_limit = ZP_LIMIT_JSON_SIZE,
                                           .latest_ms = source->latest_ms };
        struct zp_http_response response = { 0 };
        int r = zp_transfer_request(source->registry, path, NULL, &request, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_registry_refused(source->registry, &response, err);
        if (r == -ENOENT)
                zp_error_hint(err, "check the name and the tag, e.g. with `skopeo list-tags`");
        if (r < 0)
                zp_error_wrap(err, "manifest %s", name);
        else if (!response.body.data)
                r = zp_error_set(err, EBADMSG, "manifest %s: the answer is empty", name);
        if (r == 0) {
                out->size = response.body.size;
                out->body = zp_steal(&response.body.data);
                out->media_type = zp_steal(&response.content_type);
                /* A registry's own word finds damage on the way, but proves nothing. */
                out->has_digest =
                        response.content_digest && zp_digest_parse(response.content_digest, &out->digest, NULL) == 0;
        }
        zp_http_response_clear(&response);
        return r;
}

static int registry_root(void *state, struct zp_document *out, struct zp_error *err) {
        struct registry_source *source = state;
        const struct zp_reference *reference = &source->reference;
        char text[ZP_DIGEST_TEXT_SIZE];
        source->latest_ms = zp_retry_latest_ms();
        if (!reference->has_digest)
                return fetch_document(source, reference->tag, out, err);
        int r = fetch_document(source, zp_digest_text(&reference->digest, text), out, err);
        out->has_digest = true;
        out->digest = reference->digest;
        return r;
}

static int registry_manifest(void *state, const struct zp_descriptor *descriptor, struct zp_document *out,
                             struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        return fetch_document(state, zp_digest_text(&descriptor->digest, text), out, err);
}

static int registry_blob(void *state, const struct zp_descriptor *blob, const struct zp_blob_reader *reader,
                         struct zp_error *err) {
        struct registry_source *source = state;
        struct zp_transfer_options options = { .cancel = reader->cancel,
                                               .latest_ms = reader->is_document ? source->latest_ms : 0 };
        return zp_transfer_blob(source->registry, blob, 0, blob->size, &options, reader->sink, reader->context, err);
}

static const char *registry_local_path(void *state) {
        struct registry_source *source = state;
        return zp_registry_ca_file(source->registry);
}

const struct zp_source_kind zp_source_registry = {
        .prefix = "docker://",
        .open = registry_open,
        .close = registry_close,
        .root = registry_root,
        .manifest = registry_manifest,
        .local_path = registry_local_path,
        .blob = registry_blob,
};
