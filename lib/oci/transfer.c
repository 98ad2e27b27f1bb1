/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/transfer.h"

#include <string.h>

#include "oci/fetch.h"
#include "oci/ranges.h"

int zp_transfer_request(struct zp_registry *registry, const char *path, const char *url,
                        const struct zp_http_request *request, struct zp_http_response *response,
                        struct zp_error *err) {
        const struct zp_http *http = zp_registry_http(registry);
        struct zp_retry retry = { .latest_ms = request->latest_ms };
        struct zp_error unwanted = { 0 };
        if (!err)
                err = &unwanted;
        for (;;) {
                int r = url ? zp_registry_request_url(registry, url, request, response, err)
                            : zp_registry_request(registry, path, request, response, err);
                bool failed = r < 0 || response->status >= 400;
                if (!failed)
                        return r;
                if (!zp_fetch_may_retry(response))
                        return zp_retry_end(&retry, http, request, r, err);
                struct zp_error reason = *err;
                if (r == 0)
                        zp_registry_refused(registry, response, &reason);
                if (!zp_retry_wait(&retry, http, request, response, zp_registry_name(registry), &reason))
                        return zp_retry_end(&retry, http, request, r, err);
                zp_http_response_clear(response);
        }
}

/* A blob of a registry. */
struct blob {
        struct zp_registry *registry;
        char path[100];
};

static int send_request(void *context, const struct zp_http_request *request, struct zp_http_response *response,
                        struct zp_error *err) {
        const struct blob *blob = context;
        return zp_registry_request(blob->registry, blob->path, request, response, err);
}

static int refused(void *context, const struct zp_http_response *response, struct zp_error *err) {
        const struct blob *blob = context;
        int r = zp_registry_refused(blob->registry, response, err);
        if (r == -ENOENT)
                zp_error_hint(err, "the registry has lost this blob, or never had it: what it is of, an image or its "
                                   "snapshot, has to be pushed again");
        return r;
}

int zp_transfer_blob(struct zp_registry *registry, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                     const struct zp_transfer_options *options, zp_blob_sink sink, void *context,
                     struct zp_error *err) {
        struct blob named = { .registry = registry, .path = "blobs/" };
        zp_digest_text(&blob->digest, named.path + strlen(named.path));
        const struct zp_ranges_server server = {
                .context = &named,
                .http = zp_registry_http(registry),
                .place = zp_registry_name(registry),
                .cancel = options ? options->cancel : NULL,
                .latest_ms = options ? options->latest_ms : 0,
                .send = send_request,
                .refused = refused,
        };
        return zp_ranges_read(&server, blob->size, offset, length, sink, context, err);
}
