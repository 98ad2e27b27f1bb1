/* SPDX-License-Identifier: Apache-2.0
 *
 * `docker://HOST/REPOSITORY[:TAG][@DIGEST]`: an image in a registry.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/fetch.h"
#include "oci/reference.h"
#include "oci/registry.h"
#include "oci/source-internal.h"

#define ACCEPT_MANIFESTS                                                                        \
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " \
        "application/vnd.docker.distribution.manifest.list.v2+json, "                           \
        "application/vnd.docker.distribution.manifest.v2+json"

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

/* A blob on its way, possibly in several transfers. */
struct blob_transfer {
        uint64_t size;
        uint64_t received; /* given to the sink */
        const struct zp_blob_reader *reader;
};

/* Runs a request until it succeeds or there is no more hope. A blob's transfer (NULL: something small) goes
 * on where it was cut, and has more patience while it gets on. */
static int get_with_retries(struct registry_source *source, const char *path, struct zp_http_request *request,
                            struct blob_transfer *transfer, struct zp_http_response *response, struct zp_error *err) {
        const struct zp_http *http = zp_registry_http(source->registry);
        bool is_document = !transfer || transfer->reader->is_document;
        struct zp_retry retry = { .latest_ms = is_document ? source->latest_ms : 0 };
        struct zp_error unwanted = { 0 };
        if (!err)
                err = &unwanted;
        for (;;) {
                request->range_start = transfer ? transfer->received : 0;
                int r = zp_registry_get(source->registry, path, request, response, err);
                if (r == 0 && response->status >= 200 && response->status < 300)
                        return 0;
                bool may_retry = zp_fetch_may_retry(response);
                if (r == 0)
                        r = zp_registry_refused(source->registry, response, err);
                if (may_retry && transfer && transfer->received > request->range_start) {
                        retry.failures = 0;
                        if (transfer->received == transfer->size) /* cut behind the last byte */
                                return 0;
                }
                if (!may_retry || !zp_retry_wait(&retry, http, request, response, source->reference.registry, err))
                        return zp_http_check_cancel(http, request, err) < 0 ? -ECANCELED : r;
                zp_http_response_clear(response);
        }
}

static int fetch_document(struct registry_source *source, const char *name, struct zp_document *out,
                          struct zp_error *err) {
        zp_autofree char *path = zp_format("manifests/%s", name);
        if (!path)
                return zp_error_errno(err, ENOMEM, "manifest");
        struct zp_http_request request = { .accept = ACCEPT_MANIFESTS, .body_limit = ZP_LIMIT_JSON_SIZE };
        struct zp_http_response response = { 0 };
        int r = get_with_retries(source, path, &request, NULL, &response, err);
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

/* Where a response's body starts in the blob. */
static int find_start(const struct zp_http_response *response, uint64_t received, uint64_t *start,
                      struct zp_error *err) {
        *start = 0;
        if (response->status != 206)
                return 0; /* no range was asked for, or it was ignored */
        const char *text = response->content_range;
        char *end = NULL;
        if (text && strncasecmp(text, "bytes ", 6) == 0 && text[6] >= '0' && text[6] <= '9')
                *start = strtoull(text + 6, &end, 10);
        if (!end || *end != '-' || *start > received)
                return zp_error_set(err, EPROTO, "the server sent another range than was asked for");
        return 0;
}

static int on_blob_piece(void *context, const struct zp_http_response *response, uint64_t offset, const void *data,
                         size_t size, struct zp_error *err) {
        struct blob_transfer *transfer = context;
        uint64_t start, known;
        int r = find_start(response, transfer->received, &start, err);
        if (r < 0)
                return r;
        if (zp_add_overflows(start, offset, &start) || start > transfer->received)
                return zp_error_set(err, EPROTO, "the server sent another range than was asked for");
        known = transfer->received - start;
        if (size <= known)
                return 0;
        size -= (size_t) known;
        r = transfer->reader->sink(transfer->reader->context, (const char *) data + known, size, err);
        if (r == 0)
                transfer->received += size;
        return r;
}

static int registry_blob(void *state, const struct zp_descriptor *blob, const struct zp_blob_reader *reader,
                         struct zp_error *err) {
        struct registry_source *source = state;
        struct blob_transfer transfer = { .size = blob->size, .reader = reader };
        char path[100] = "blobs/";
        zp_digest_text(&blob->digest, path + strlen(path));
        struct zp_http_request request = { .sink = on_blob_piece, .context = &transfer, .cancel = reader->cancel };
        struct zp_http_response response = { 0 };
        int r = get_with_retries(source, path, &request, &transfer, &response, err);
        zp_http_response_clear(&response);
        return r;
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
