/* SPDX-License-Identifier: Apache-2.0
 *
 * `docker://HOST/REPOSITORY`: a repository of a registry (OCI distribution-spec 1.1). upload.c sends blobs, referrers.c
 * publishes and finds artifacts.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "oci/fetch.h"
#include "oci/reference.h"
#include "oci/response-error.h"
#include "oci/transfer.h"
#include "remote/referrers.h"

static void registry_close(void *state) {
        struct zp_registry_remote *remote = state;
        if (remote->registry)
                zp_registry_free(remote->registry);
        free(remote->mirrors);
        pthread_mutex_destroy(&remote->lock);
        free(remote->not_mountable);
        free(remote->name);
        free(remote);
}
ZP_DEFINE_AUTO(struct zp_registry_remote, registry_close);

/* A repository has neither tag nor digest; what looks like a port may not be taken for a tag either. */
static int parse_repository(const char *rest, struct zp_reference *out, struct zp_error *err) {
        const char *slash = strrchr(rest, '/');
        if (strchr(rest, '@') || strchr(slash ? slash : rest, ':'))
                return zp_error_set(err, EINVAL, "docker://%.300s: a repository has no tag or digest", rest);
        int r = zp_reference_parse(rest, out, err);
        if (r < 0)
                zp_error_wrap(err, "docker://%.300s", rest);
        return r;
}

static int open_repository(struct zp_registry_remote *remote, const struct zp_reference *reference,
                           const struct zp_source_options *options, char **name, struct zp_error *err) {
        remote->name = zp_format("docker://%s/%s", reference->registry, reference->repository);
        remote->learned = options->learned;
        *name = remote->name ? strdup(remote->name) : NULL;
        if (!*name)
                return zp_error_errno(err, ENOMEM, "open repository");
        int r = zp_registry_new(reference->registry, reference->repository, options, &remote->registry, err);
        if (r == 0) {
                remote->mirrors = calloc(zp_registry_server_count(remote->registry), sizeof *remote->mirrors);
                if (remote->mirrors)
                        remote->mirror_count = zp_registry_mirrors(remote->registry, remote->mirrors);
                else
                        r = zp_error_errno(err, ENOMEM, "open repository");
        }
        if (r < 0)
                free(zp_steal(name));
        return r;
}

static int registry_open(const char *rest, const struct zp_source_options *options, void **state, char **name,
                         struct zp_error *err) {
        zp_auto(registry_close) struct zp_registry_remote *remote = calloc(1, sizeof *remote);
        struct zp_reference reference;
        if (!remote)
                return zp_error_errno(err, ENOMEM, "open repository");
        pthread_mutex_init(&remote->lock, NULL);
        int r = parse_repository(rest, &reference, err);
        if (r < 0)
                return r;
        r = open_repository(remote, &reference, options, name, err);
        zp_reference_clear(&reference);
        if (r < 0)
                return r;
        *state = zp_steal(&remote);
        return 0;
}

static int check_length(const struct zp_http_response *response, uint64_t size, struct zp_error *err) {
        char *end = NULL;
        uintmax_t length = response->content_length ? strtoumax(response->content_length, &end, 10) : size;
        if (length == size && (!end || *end == '\0'))
                return 1;
        return zp_error_set(err, EBADMSG, "has %.30s bytes there, not %ju", response->content_length, (uintmax_t) size);
}

int zp_registry_has_blob(struct zp_registry *registry, const struct zp_digest *digest, uint64_t size,
                         struct zp_error *err) {
        char path[100] = "blobs/";
        zp_digest_text(digest, path + strlen(path));
        struct zp_http_request request = { .method = "HEAD", .is_for_push = true };
        struct zp_http_response response = { 0 };
        int r = zp_transfer_request(registry, path, NULL, &request, &response, err);
        if (r == 0 && response.status == 200)
                r = check_length(&response, size, err);
        else if (r == 0 && response.status != 404)
                r = zp_registry_refused(registry, &response, err);
        zp_http_response_clear(&response);
        return r;
}

static int registry_has_blob(void *state, const struct zp_digest *digest, uint64_t size, struct zp_error *err) {
        struct zp_registry_remote *remote = state;
        return zp_registry_has_blob(remote->registry, digest, size, err);
}

static int registry_put_blob(void *state, const struct zp_digest *digest, uint64_t size, const char *mount_from,
                             zp_remote_read read, void *context, uint64_t *uploaded_bytes, struct zp_error *err) {
        return zp_upload_blob(state, digest, size, mount_from, read, context, uploaded_bytes, err);
}

static int registry_put_stream(void *state, const struct zp_remote_growing *blob, uint64_t *uploaded_bytes,
                               struct zp_error *err) {
        return zp_upload_stream(state, blob, uploaded_bytes, err);
}

static int registry_get_blob(void *state, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                             zp_blob_sink sink, void *context, struct zp_error *err) {
        struct zp_registry_remote *remote = state;
        return zp_transfer_blob(remote->registry, blob, offset, length, NULL, sink, context, err);
}

static int registry_publish(void *state, const struct zp_descriptor *subject, const char *artifact_type,
                            const char *manifest, size_t size, const struct zp_digest *digest, struct zp_error *err) {
        return zp_referrers_publish(state, subject, artifact_type, manifest, size, digest, err);
}

static int registry_find(void *state, const struct zp_digest *subject, const char *artifact_type,
                         struct zp_remote_artifact **out, size_t *count, struct zp_error *err) {
        return zp_referrers_find(state, subject, artifact_type, out, count, err);
}

static int registry_get_manifest(void *state, const struct zp_descriptor *manifest, char **out, size_t *size,
                                 struct zp_error *err) {
        struct zp_registry_remote *remote = state;
        char path[100] = "manifests/";
        zp_digest_text(&manifest->digest, path + strlen(path));
        struct zp_http_request request = { .accept = ZP_ACCEPT_MANIFESTS, .body_limit = ZP_LIMIT_JSON_SIZE };
        struct zp_http_response response = { 0 };
        int r = zp_transfer_request(remote->registry, path, NULL, &request, &response, err);
        if (r == 0 && response.status != 200)
                r = zp_registry_refused(remote->registry, &response, err);
        else if (r == 0 && !response.body.data)
                r = zp_error_set(err, EBADMSG, "the answer is empty");
        if (r == 0) {
                *size = response.body.size;
                *out = zp_steal(&response.body.data);
        }
        zp_http_response_clear(&response);
        return r;
}

int zp_registry_put_manifest(struct zp_registry *registry, const char *name, const char *media_type, const char *body,
                             size_t size, const char *if_match, struct zp_http_response *response,
                             struct zp_error *err) {
        zp_autofree char *path = zp_format("manifests/%s", name);
        if (!path)
                return zp_error_errno(err, ENOMEM, "manifest");
        struct zp_http_body content = {
                .size = size, .content_type = media_type, .read = zp_memory_read, .context = (void *) body
        };
        struct zp_http_request request = {
                .method = "PUT", .body = &content, .if_match = if_match, .body_limit = ZP_LIMIT_JSON_SIZE
        };
        return zp_transfer_request(registry, path, NULL, &request, response, err);
}

static unsigned registry_server_count(void *state) {
        const struct zp_registry_remote *remote = state;
        return remote->mirror_count;
}

static struct zp_endpoint *endpoint_at(void *state, unsigned server) {
        struct zp_registry_remote *remote = state;
        return remote->mirrors[server];
}

static const char *registry_server_name(void *state, unsigned server) {
        return zp_endpoint_name(endpoint_at(state, server));
}

static const struct zp_http *registry_http(void *state, unsigned server) {
        return zp_endpoint_http(endpoint_at(state, server));
}

static int registry_head(void *state, unsigned server, const struct zp_descriptor *blob, bool may_wait,
                         struct zp_range_head *out, struct zp_error *err) {
        char path[100] = "blobs/";
        struct zp_endpoint_head head;
        zp_digest_text(&blob->digest, path + strlen(path));
        int r = zp_endpoint_head(endpoint_at(state, server), path, may_wait, &head, err);
        if (r == 0)
                *out = (struct zp_range_head){ .url = head.url,
                                               .authorization = head.authorization,
                                               .generation = head.generation,
                                               .headers = zp_endpoint_headers(endpoint_at(state, server)),
                                               .is_redirectable = true };
        return r;
}

static int registry_answer(void *state, unsigned server, const struct zp_range_head *head, const char *challenges,
                           struct zp_error *err) {
        const struct zp_endpoint_head asked = { .url = head->url, .generation = head->generation };
        return zp_endpoint_answer(endpoint_at(state, server), &asked, challenges, err);
}

static int registry_refused(void *state, unsigned server, const struct zp_http_response *response,
                            struct zp_error *err) {
        return zp_response_error(response, registry_server_name(state, server), err);
}

static const struct zp_range_kind registry_range = {
        .may_serve_several = true,
        .server_count = registry_server_count,
        .server_name = registry_server_name,
        .http = registry_http,
        .head = registry_head,
        .answer = registry_answer,
        .may_retry = zp_fetch_may_retry,
        .refused = registry_refused,
};

const struct zp_remote_kind zp_remote_registry = {
        .prefix = "docker://",
        .open = registry_open,
        .close = registry_close,
        .has_blob = registry_has_blob,
        .put_blob = registry_put_blob,
        .put_stream = registry_put_stream,
        .get_blob = registry_get_blob,
        .publish = registry_publish,
        .find = registry_find,
        .get_manifest = registry_get_manifest,
        .range = &registry_range,
};
