/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/endpoint.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "oci/auth.h"
#include "oci/fetch.h"
#include "oci/url.h"

struct zp_endpoint {
        char *name, *host, *root, *repository, *namespace;
        const char *const *headers;
        struct zp_http *http;
        struct zp_auth *auth;
        struct zp_learned *learned;
        atomic_bool has_answered;
        pthread_mutex_t lock;
        const char *scheme; /* "https" or "http"; NULL: not known yet; guarded by lock */
};

int zp_endpoint_new(const struct zp_endpoint_options *options, struct zp_endpoint **out, struct zp_error *err) {
        zp_auto(zp_endpoint_free) struct zp_endpoint *endpoint = calloc(1, sizeof *endpoint);
        if (!endpoint)
                return zp_error_errno(err, ENOMEM, "registry %s", options->name);
        pthread_mutex_init(&endpoint->lock, NULL);
        endpoint->name = strdup(options->name);
        endpoint->host = strdup(options->host);
        endpoint->root = strdup(options->root);
        endpoint->repository = strdup(options->repository);
        endpoint->namespace = options->namespace ? strdup(options->namespace) : NULL;
        endpoint->scheme = options->scheme;
        endpoint->headers = options->headers;
        endpoint->learned = options->learned;
        if (!endpoint->name || !endpoint->host || !endpoint->root || !endpoint->repository ||
            (options->namespace && !endpoint->namespace))
                return zp_error_errno(err, ENOMEM, "registry %s", options->name);
        struct zp_auth_options auth = {
                .auth_file = options->auth_file,
                .credentials = options->credentials,
                .keychain = options->keychain,
                .registry = options->name,
                .repository = options->repository,
        };
        struct zp_http_options http = options->http;
        http.own.host = endpoint->host;
        int r = zp_http_new(&http, &endpoint->http, err);
        if (r == 0)
                r = zp_auth_new(endpoint->http, &auth, &endpoint->auth, err);
        if (r < 0)
                return r;
        *out = zp_steal(&endpoint);
        return 0;
}

void zp_endpoint_free(struct zp_endpoint *endpoint) {
        if (endpoint->auth)
                zp_auth_free(endpoint->auth);
        if (endpoint->http)
                zp_http_free(endpoint->http);
        pthread_mutex_destroy(&endpoint->lock);
        free(endpoint->name);
        free(endpoint->host);
        free(endpoint->root);
        free(endpoint->namespace);
        free(endpoint->repository);
        free(endpoint);
}

const char *const *zp_endpoint_headers(const struct zp_endpoint *endpoint) {
        return endpoint->headers;
}

const char *zp_endpoint_name(const struct zp_endpoint *endpoint) {
        return endpoint->name;
}

const struct zp_http *zp_endpoint_http(const struct zp_endpoint *endpoint) {
        return endpoint->http;
}

/* GETs SCHEME://HOST/v2/ with no credentials. */
static int probe(struct zp_endpoint *endpoint, const char *scheme, int *status, bool *is_not_tls,
                 struct zp_error *err) {
        zp_autofree char *url = zp_format("%s://%s/v2/", scheme, endpoint->host);
        if (!url)
                return zp_error_errno(err, ENOMEM, "registry %s", endpoint->name);
        struct zp_http_response response = { 0 };
        int r = zp_http_exchange(
                endpoint->http,
                &(struct zp_http_request){ .url = url, .headers = endpoint->headers, .body_limit = 1u << 20 },
                &response, err);
        *status = response.status;
        *is_not_tls = response.is_not_tls;
        zp_http_response_clear(&response);
        return r;
}

static const char *known_scheme(struct zp_endpoint *endpoint) {
        pthread_mutex_lock(&endpoint->lock);
        const char *scheme = endpoint->scheme;
        if (!scheme && zp_learned_knows(endpoint->learned, endpoint->host, ZP_LESSON_HTTP))
                scheme = endpoint->scheme = "http";
        else if (!scheme && zp_learned_knows(endpoint->learned, endpoint->host, ZP_LESSON_HTTPS))
                scheme = endpoint->scheme = "https";
        pthread_mutex_unlock(&endpoint->lock);
        return scheme;
}

static void note_scheme(struct zp_endpoint *endpoint, const char *scheme) {
        pthread_mutex_lock(&endpoint->lock);
        endpoint->scheme = scheme;
        pthread_mutex_unlock(&endpoint->lock);
        zp_learned_note(endpoint->learned, endpoint->host,
                        strcmp(scheme, "http") == 0 ? ZP_LESSON_HTTP : ZP_LESSON_HTTPS);
}

/* A registry on this machine may speak either. HTTP is tried first: a TLS server answers it at once (400,
 * or it hangs up), while an HTTP server may wait for the rest of what it takes for a request line. */
static int find_scheme(struct zp_endpoint *endpoint, const char **out, struct zp_error *err) {
        *out = known_scheme(endpoint);
        if (*out)
                return 0;
        int status;
        bool is_not_tls;
        int r = probe(endpoint, "http", &status, &is_not_tls, err);
        if (r == -ECONNREFUSED || r == -ECANCELED || r == -ENOMEM || r == -ETIMEDOUT)
                return r;
        *out = "http";
        if (r < 0 || status == 400) {
                r = probe(endpoint, "https", &status, &is_not_tls, err);
                if (r == -ECONNREFUSED || r == -ECANCELED || r == -ENOMEM)
                        return r;
                if (r == 0 || !is_not_tls)
                        *out = "https";
        }
        note_scheme(endpoint, *out);
        return 0;
}

static int request_with_credentials(struct zp_endpoint *endpoint, const char *url,
                                    const struct zp_http_request *request, struct zp_http_response *response,
                                    struct zp_error *err) {
        const char *actions = zp_http_is_read_only(request) ? "pull" : "pull,push";
        for (bool is_second = false;; is_second = true) {
                unsigned generation;
                zp_autofree char *authorization = NULL;
                int r = zp_auth_header(endpoint->auth, url, &authorization, &generation, err);
                if (r < 0)
                        return r;
                struct zp_http_request full = *request;
                full.url = url;
                full.authorization = authorization;
                full.headers = endpoint->headers;
                r = zp_fetch_once(endpoint->http, &full, response, err);
                if (r < 0 || response->status != 401 || is_second || !response->challenges.data)
                        return r;
                if (response->is_elsewhere) /* whose challenges are not the registry's */
                        return r;
                r = zp_auth_answer(endpoint->auth, url, response->challenges.data, actions, generation, err);
                if (r < 0)
                        return r;
                zp_http_response_clear(response);
        }
}

static int url_of(struct zp_endpoint *endpoint, const char *path, char **url, struct zp_error *err) {
        const char *scheme;
        int r = find_scheme(endpoint, &scheme, err);
        if (r < 0)
                return r;
        *url = zp_format("%s://%s%s/%s/%s", scheme, endpoint->host, endpoint->root, endpoint->repository, path);
        if (*url && endpoint->namespace) {
                char *with_namespace = zp_url_with_query(*url, "ns", endpoint->namespace);
                free(*url);
                *url = with_namespace;
        }
        return *url ? 0 : zp_error_errno(err, ENOMEM, "registry %s", endpoint->name);
}

/* A registry may be just being started again; a wrong name is told soon. */
static int note_answer(struct zp_endpoint *endpoint, int result, struct zp_http_response *response) {
        if (result == 0)
                atomic_store(&endpoint->has_answered, true);
        bool has_failed = (result < 0 && result != -ECANCELED) || response->status == 400;
        if (has_failed) /* perhaps it speaks something else by now */
                zp_learned_forget(endpoint->learned, endpoint->host);
        if (result == -ECONNREFUSED) {
                response->is_transient = true;
                response->is_nobody_there = !atomic_load(&endpoint->has_answered);
        }
        return result;
}

int zp_endpoint_request(struct zp_endpoint *endpoint, const char *path, const struct zp_http_request *request,
                        struct zp_http_response *response, struct zp_error *err) {
        zp_autofree char *url = NULL;
        int r = url_of(endpoint, path, &url, err);
        if (r == 0)
                r = request_with_credentials(endpoint, url, request, response, err);
        return note_answer(endpoint, r, response);
}

bool zp_endpoint_owns(struct zp_endpoint *endpoint, const char *url) {
        zp_autofree char *own = NULL;
        return url_of(endpoint, "", &own, NULL) == 0 && zp_url_same_origin(own, url);
}

int zp_endpoint_request_url(struct zp_endpoint *endpoint, const char *url, const struct zp_http_request *request,
                            struct zp_http_response *response, struct zp_error *err) {
        zp_autofree char *own = NULL;
        int r = url_of(endpoint, "", &own, err);
        if (r < 0)
                return r;
        if (zp_url_same_origin(own, url))
                return request_with_credentials(endpoint, url, request, response, err);
        struct zp_http_request full = *request;
        full.url = url;
        full.authorization = NULL;
        r = zp_fetch_once(endpoint->http, &full, response, err);
        response->is_elsewhere = true;
        return r;
}

void zp_endpoint_head_clear(struct zp_endpoint_head *head) {
        zp_secret_free(head->authorization);
        free(head->url);
        *head = (struct zp_endpoint_head){ 0 };
}

int zp_endpoint_head(struct zp_endpoint *endpoint, const char *path, bool may_wait, struct zp_endpoint_head *out,
                     struct zp_error *err) {
        struct zp_endpoint_head head = { 0 };
        if (!may_wait && !known_scheme(endpoint))
                return -EAGAIN;
        int r = url_of(endpoint, path, &head.url, err);
        if (r == 0 && may_wait)
                r = zp_auth_header(endpoint->auth, head.url, &head.authorization, &head.generation, err);
        else if (r == 0)
                r = zp_auth_current(endpoint->auth, &head.authorization, &head.generation, err);
        if (r < 0)
                zp_endpoint_head_clear(&head);
        *out = head;
        return r;
}

int zp_endpoint_answer(struct zp_endpoint *endpoint, const struct zp_endpoint_head *head, const char *challenges,
                       struct zp_error *err) {
        return zp_auth_answer(endpoint->auth, head->url, challenges, "pull", head->generation, err);
}
