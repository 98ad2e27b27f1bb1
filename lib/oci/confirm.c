/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/confirm.h"

#include "base/limits.h"
#include "oci/fetch.h"
#include "oci/transfer.h"

/* Who answers for another digest has not understood the question. */
static int check_answer(struct zp_registry *server, const struct zp_digest *manifest,
                        const struct zp_http_response *response, struct zp_error *err) {
        struct zp_digest digest;
        if (response->status != 200) {
                int r = zp_registry_refused(server, response, err);
                return r == -ENOENT ? zp_error_set(err, EACCES, "the server answered 404") : r;
        }
        if (!response->content_digest)
                return 0;
        int r = zp_digest_parse(response->content_digest, &digest, err);
        if (r == 0 && !zp_digest_equal(&digest, manifest))
                r = zp_error_set(err, EBADMSG, "the server answers for %s", response->content_digest);
        return r;
}

static int ask(struct zp_registry *server, const char *method, const char *path, uint64_t latest_ms,
               struct zp_http_response *response, struct zp_error *err) {
        const struct zp_http_request request = { .method = method,
                                                 .accept = ZP_ACCEPT_MANIFESTS,
                                                 .body_limit = ZP_LIMIT_JSON_SIZE,
                                                 .latest_ms = latest_ms };
        return zp_transfer_request(server, path, NULL, &request, response, err);
}

int zp_confirm_readable(const char *registry, const char *repository, const struct zp_digest *manifest,
                        const struct zp_source_options *options, struct zp_error *err) {
        zp_auto(zp_registry_free) struct zp_registry *server = NULL;
        struct zp_http_response response = { 0 };
        char digest[ZP_DIGEST_TEXT_SIZE];
        uint64_t latest_ms = zp_retry_latest_ms();
        zp_autofree char *path = zp_format("manifests/%s", zp_digest_text(manifest, digest));
        if (!path)
                return zp_error_errno(err, ENOMEM, "%s/%s", registry, repository);
        int r = zp_registry_new(registry, repository, options, &server, err);
        if (r == 0)
                r = ask(server, "HEAD", path, latest_ms, &response, err);
        if (r == 0 && (response.status == 405 || response.status == 501)) {
                zp_http_response_clear(&response);
                r = ask(server, NULL, path, latest_ms, &response, err);
        }
        if (r == 0)
                r = check_answer(server, manifest, &response, err);
        zp_http_response_clear(&response);
        return r < 0 ? zp_error_wrap(err, "%s/%s", registry, repository) : 0;
}
