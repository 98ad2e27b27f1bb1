/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/registry.h"

#include <stdlib.h>
#include <string.h>

#include "oci/response-error.h"
#include "oci/url.h"

#define STALL_TIMEOUT_MS 30000u

struct zp_registry {
        char *name, *ca_file, *user_agent;
        struct zp_endpoint *endpoint;
};

static int open_endpoint(struct zp_registry *registry, const char *repository, const struct zp_source_options *options,
                         struct zp_error *err) {
        const struct zp_endpoint_options endpoint = {
                .name = registry->name,
                .host = strcmp(registry->name, "docker.io") == 0 ? "registry-1.docker.io" : registry->name,
                .scheme = options->plain_http                ? "http"
                          : zp_is_loopback(registry->name) ? NULL
                                                             : "https",
                .repository = repository,
                .auth_file = options->auth_file,
                .credentials = options->credentials,
                .http = {
                        .ca_file = registry->ca_file,
                        .user_agent = registry->user_agent,
                        .skip_tls_verify = options->skip_tls_verify,
                        .stall_timeout_ms = options->stall_timeout_ms ? options->stall_timeout_ms : STALL_TIMEOUT_MS,
                        .cancel = options->cancel,
                        .notice = options->notice,
                },
        };
        return zp_endpoint_new(&endpoint, &registry->endpoint, err);
}

int zp_registry_new(const char *name, const char *repository, const struct zp_source_options *options,
                    struct zp_registry **out, struct zp_error *err) {
        zp_auto(zp_registry_free) struct zp_registry *registry = calloc(1, sizeof *registry);
        if (!registry)
                return zp_error_errno(err, ENOMEM, "registry %s", name);
        registry->name = strdup(name);
        registry->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
        registry->user_agent = strdup(options->user_agent ? options->user_agent : "zeropull/" ZP_VERSION);
        if (!registry->name || !registry->user_agent || (options->ca_file && !registry->ca_file))
                return zp_error_errno(err, ENOMEM, "registry %s", name);
        int r = open_endpoint(registry, repository, options, err);
        if (r < 0)
                return r;
        *out = zp_steal(&registry);
        return 0;
}

void zp_registry_free(struct zp_registry *registry) {
        if (registry->endpoint)
                zp_endpoint_free(registry->endpoint);
        free(registry->name);
        free(registry->ca_file);
        free(registry->user_agent);
        free(registry);
}

const char *zp_registry_ca_file(const struct zp_registry *registry) {
        return registry->ca_file;
}

const struct zp_http *zp_registry_http(const struct zp_registry *registry) {
        return zp_endpoint_http(registry->endpoint);
}

struct zp_endpoint *zp_registry_endpoint(struct zp_registry *registry) {
        return registry->endpoint;
}

const char *zp_registry_name(const struct zp_registry *registry) {
        return registry->name;
}

int zp_registry_request(struct zp_registry *registry, const char *path, const struct zp_http_request *request,
                        struct zp_http_response *response, struct zp_error *err) {
        return zp_endpoint_request(registry->endpoint, path, request, response, err);
}

int zp_registry_request_url(struct zp_registry *registry, const char *url, const struct zp_http_request *request,
                            struct zp_http_response *response, struct zp_error *err) {
        return zp_endpoint_request_url(registry->endpoint, url, request, response, err);
}

int zp_registry_refused(const struct zp_registry *registry, const struct zp_http_response *response,
                        struct zp_error *err) {
        return zp_response_error(response, registry->name, err);
}
