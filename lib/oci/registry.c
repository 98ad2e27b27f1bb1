/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "oci/auth.h"
#include "oci/fetch.h"
#include "oci/response-error.h"
#include "oci/url.h"

#define STALL_TIMEOUT_MS 30000u

struct zp_registry {
        char *name, *host, *repository, *ca_file, *user_agent;
        struct zp_http *http;
        struct zp_auth *auth;
        pthread_mutex_t lock;
        const char *scheme; /* "https" or "http"; NULL: not known yet; guarded by lock */
};

static bool copy_strings(struct zp_registry *registry, const char *name, const char *repository,
                         const struct zp_source_options *options) {
        registry->name = strdup(name);
        registry->host = strdup(strcmp(name, "docker.io") == 0 ? "registry-1.docker.io" : name);
        registry->repository = strdup(repository);
        registry->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
        registry->user_agent = strdup(options->user_agent ? options->user_agent : "zeropull/" ZP_VERSION);
        return registry->name && registry->host && registry->repository && registry->user_agent &&
               (registry->ca_file || !options->ca_file);
}

int zp_registry_new(const char *name, const char *repository, const struct zp_source_options *options,
                    struct zp_registry **out, struct zp_error *err) {
        zp_auto(zp_registry_free) struct zp_registry *registry = calloc(1, sizeof *registry);
        if (!registry)
                return zp_error_errno(err, ENOMEM, "registry %s", name);
        pthread_mutex_init(&registry->lock, NULL);
        if (!copy_strings(registry, name, repository, options))
                return zp_error_errno(err, ENOMEM, "registry %s", name);
        if (options->plain_http)
                registry->scheme = "http";
        else if (!zp_is_loopback(name))
                registry->scheme = "https";
        struct zp_http_options http = {
                .ca_file = registry->ca_file,
                .user_agent = registry->user_agent,
                .skip_tls_verify = options->skip_tls_verify,
                .stall_timeout_ms = options->stall_timeout_ms ? options->stall_timeout_ms : STALL_TIMEOUT_MS,
                .cancel = options->cancel,
                .notice = options->notice,
        };
        struct zp_auth_options auth = {
                .auth_file = options->auth_file,
                .credentials = options->credentials,
                .registry = name,
                .repository = repository,
        };
        int r = zp_http_new(&http, &registry->http, err);
        if (r == 0)
                r = zp_auth_new(registry->http, &auth, &registry->auth, err);
        if (r < 0)
                return r;
        *out = zp_steal(&registry);
        return 0;
}

void zp_registry_free(struct zp_registry *registry) {
        if (registry->auth)
                zp_auth_free(registry->auth);
        if (registry->http)
                zp_http_free(registry->http);
        pthread_mutex_destroy(&registry->lock);
        free(registry->name);
        free(registry->host);
        free(registry->repository);
        free(registry->ca_file);
        free(registry->user_agent);
        free(registry);
}

const char *zp_registry_ca_file(const struct zp_registry *registry) {
        return registry->ca_file;
}

const struct zp_http *zp_registry_http(const struct zp_registry *registry) {
        return registry->http;
}

const char *zp_registry_name(const struct zp_registry *registry) {
        return registry->name;
}

/* GETs SCHEME://HOST/v2/ with no credentials. */
static int probe(struct zp_registry *registry, const char *scheme, int *status, bool *is_not_tls,
                 struct zp_error *err) {
        zp_autofree char *url = zp_format("%s://%s/v2/", scheme, registry->host);
        if (!url)
                return zp_error_errno(err, ENOMEM, "registry %s", registry->name);
        struct zp_http_response response = { 0 };
        int r = zp_http_exchange(registry->http, &(struct zp_http_request){ .url = url, .body_limit = 1u << 20 },
                                 &response, err);
        *status = response.status;
        *is_not_tls = response.is_not_tls;
        zp_http_response_clear(&response);
        return r;
}

/* A registry on this machine may speak either. HTTP is tried first: a TLS server answers it at once (400,
 * or it hangs up), while an HTTP server may wait for the rest of what it takes for a request line. */
static int find_scheme(struct zp_registry *registry, const char **out, struct zp_error *err) {
        pthread_mutex_lock(&registry->lock);
        *out = registry->scheme;
        pthread_mutex_unlock(&registry->lock);
        if (*out)
                return 0;
        int status;
        bool is_not_tls;
        int r = probe(registry, "http", &status, &is_not_tls, err);
        if (r == -ECONNREFUSED || r == -ECANCELED || r == -ENOMEM || r == -ETIMEDOUT)
                return r;
        *out = "http";
        if (r < 0 || status == 400) {
                r = probe(registry, "https", &status, &is_not_tls, err);
                if (r == -ECONNREFUSED || r == -ECANCELED || r == -ENOMEM)
                        return r;
                if (r == 0 || !is_not_tls)
                        *out = "https";
        }
        pthread_mutex_lock(&registry->lock);
        registry->scheme = *out;
        pthread_mutex_unlock(&registry->lock);
        return 0;
}

static int request_with_credentials(struct zp_registry *registry, const char *url,
                                    const struct zp_http_request *request, struct zp_http_response *response,
                                    struct zp_error *err) {
        const char *actions = zp_http_is_read_only(request) ? "pull" : "pull,push";
        for (bool is_second = false;; is_second = true) {
                unsigned generation;
                zp_autofree char *authorization = NULL;
                int r = zp_auth_header(registry->auth, url, &authorization, &generation, err);
                if (r < 0)
                        return r;
                struct zp_http_request full = *request;
                full.url = url;
                full.authorization = authorization;
                r = zp_fetch_once(registry->http, &full, response, err);
                if (r < 0 || response->status != 401 || is_second || !response->challenges.data)
                        return r;
                if (response->is_elsewhere) /* whose challenges are not the registry's */
                        return r;
                r = zp_auth_answer(registry->auth, url, response->challenges.data, actions, generation, err);
                if (r < 0)
                        return r;
                zp_http_response_clear(response);
        }
}

static int url_of(struct zp_registry *registry, const char *path, char **url, struct zp_error *err) {
        const char *scheme;
        int r = find_scheme(registry, &scheme, err);
        if (r < 0)
                return r;
        *url = zp_format("%s://%s/v2/%s/%s", scheme, registry->host, registry->repository, path);
        return *url ? 0 : zp_error_errno(err, ENOMEM, "registry %s", registry->name);
}

int zp_registry_request(struct zp_registry *registry, const char *path, const struct zp_http_request *request,
                        struct zp_http_response *response, struct zp_error *err) {
        zp_autofree char *url = NULL;
        int r = url_of(registry, path, &url, err);
        return r < 0 ? r : request_with_credentials(registry, url, request, response, err);
}

int zp_registry_request_url(struct zp_registry *registry, const char *url, const struct zp_http_request *request,
                            struct zp_http_response *response, struct zp_error *err) {
        zp_autofree char *own = NULL;
        int r = url_of(registry, "", &own, err);
        if (r < 0)
                return r;
        if (zp_url_same_origin(own, url))
                return request_with_credentials(registry, url, request, response, err);
        struct zp_http_request full = *request;
        full.url = url;
        full.authorization = NULL;
        r = zp_fetch_once(registry->http, &full, response, err);
        response->is_elsewhere = true;
        return r;
}

int zp_registry_refused(const struct zp_registry *registry, const struct zp_http_response *response,
                        struct zp_error *err) {
        return zp_response_error(response, registry->name, err);
}
