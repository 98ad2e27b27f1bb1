/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/registry.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "oci/fetch.h"
#include "oci/hosts.h"
#include "oci/response-error.h"
#include "oci/settings-error.h"
#include "oci/url.h"

#define STALL_TIMEOUT_MS 30000u
#define CA_FILE_MAX (16u << 20)
/* How long a server that cannot be reached is left out where there are others. */
#define AVOID_MS 30000u

/* A server of a registry, and what it may be asked. */
struct server {
        struct zp_endpoint *endpoint;
        bool can_pull, can_resolve, can_push;
        char *ca_pem; /* when --ca-file and the host's own are to be trusted */
        atomic_uint_least64_t avoid_until_ms;
};

struct zp_registry {
        char *name, *ca_file, *user_agent;
        struct zp_hosts hosts;
        struct server *servers;
        unsigned count;
        struct zp_http *http; /* speaks to nobody of them */
};

/* "https://HOST/PATH" → its parts; *host malloc'ed. */
static int split_base(const char *base, const char **scheme, char **host, const char **root, struct zp_error *err) {
        const char *start = strstr(base, "://") + 3;
        *scheme = zp_url_is_https(base) ? "https" : "http";
        *root = start + strcspn(start, "/");
        *host = strndup(start, (size_t) (*root - start));
        return *host ? 0 : zp_error_errno(err, ENOMEM, "registry");
}

/* Whom to trust: the file that was named, or the system, and the host's own. */
static int join_authorities(const struct zp_registry *registry, const struct zp_host *host, struct server *server,
                            struct zp_http_options *http, struct zp_error *err) {
        zp_autofree char *named = NULL;
        size_t size;
        http->ca_pem = host->ca_pem;
        if (!registry->ca_file || !host->ca_pem)
                return 0;
        int r = zp_read_file(AT_FDCWD, registry->ca_file, CA_FILE_MAX, &named, &size, err);
        if (r < 0)
                return r;
        server->ca_pem = zp_format("%s\n%s", named, host->ca_pem);
        http->ca_pem = server->ca_pem;
        return server->ca_pem ? 0 : zp_error_errno(err, ENOMEM, "registry");
}

static int open_server(struct zp_registry *registry, const char *repository, const struct zp_source_options *options,
                       const struct zp_host *host, struct server *server, struct zp_error *err) {
        zp_autofree char *own_host = NULL;
        bool is_docker_hub = strcmp(registry->name, "docker.io") == 0;
        const char *official = is_docker_hub ? "registry-1.docker.io" : registry->name;
        struct zp_endpoint_options endpoint = {
                .name = registry->name,
                .host = official,
                .scheme = options->plain_http              ? "http"
                          : zp_is_loopback(registry->name) ? NULL
                                                           : "https",
                .root = "/v2",
                .repository = repository,
                .auth_file = options->auth_file,
                .credentials = options->credentials,
                .keychain = options->keychain,
                .learned = options->learned,
                .headers = (const char *const *) host->headers,
                .http = *zp_http_get_options(registry->http),
        };
        int r = host->base ? split_base(host->base, &endpoint.scheme, &own_host, &endpoint.root, err) : 0;
        if (r < 0)
                return r;
        if (own_host && strcasecmp(own_host, official) != 0) {
                /* The credentials on the command line are for the registry that is named there. */
                endpoint.name = endpoint.host = own_host;
                endpoint.namespace = registry->name;
                endpoint.credentials = NULL;
        }
        endpoint.http.connect_timeout_ms = host->connect_timeout_ms;
        endpoint.http.own = (struct zp_http_own){
                .client_pem = host->client_pem,
                .client_key_pem = host->client_key_pem,
                .proxy = host->proxy,
                .skip_tls_verify = host->skip_tls_verify,
        };
        server->can_pull = host->can_pull;
        server->can_resolve = host->can_resolve;
        server->can_push = host->can_push;
        r = join_authorities(registry, host, server, &endpoint.http, err);
        return r < 0 ? r : zp_endpoint_new(&endpoint, &server->endpoint, err);
}

static int load_hosts(struct zp_registry *registry, const struct zp_source_options *options, struct zp_error *err) {
        const char *directories = options->hosts_dir ? options->hosts_dir : ZP_HOSTS_DEFAULT_DIRECTORIES;
        struct zp_error reason = { 0 };
        int r = zp_hosts_load(directories, registry->name, &registry->hosts, &reason);
        if (r == -EACCES && !options->hosts_dir) {
                zp_notice_tell(&options->notice, "%s; no mirrors are used", reason.message);
                return 0;
        }
        if (r == 0)
                return 0;
        zp_error_wrap(&reason, "settings of registry %s", registry->name);
        return zp_settings_error(&reason, err);
}

static int open_servers(struct zp_registry *registry, const char *repository, const struct zp_source_options *options,
                        struct zp_error *err) {
        static const struct zp_host itself = { .can_pull = true, .can_resolve = true, .can_push = true };
        int r = load_hosts(registry, options, err);
        if (r < 0)
                return r;
        unsigned count = registry->hosts.count ? (unsigned) registry->hosts.count : 1;
        registry->servers = calloc(count, sizeof *registry->servers);
        if (!registry->servers)
                return zp_error_errno(err, ENOMEM, "registry %s", registry->name);
        for (; r == 0 && registry->count < count; registry->count++)
                r = open_server(registry, repository, options,
                                registry->hosts.count ? &registry->hosts.hosts[registry->count] : &itself,
                                &registry->servers[registry->count], err);
        return r;
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
        const struct zp_http_options http = {
                .ca_file = registry->ca_file,
                .user_agent = registry->user_agent,
                .skip_tls_verify = options->skip_tls_verify,
                .stall_timeout_ms = options->stall_timeout_ms ? options->stall_timeout_ms : STALL_TIMEOUT_MS,
                .cancel = options->cancel,
                .notice = options->notice,
        };
        int r = zp_http_new(&http, &registry->http, err);
        if (r == 0)
                r = open_servers(registry, repository, options, err);
        if (r < 0)
                return r;
        *out = zp_steal(&registry);
        return 0;
}

void zp_registry_free(struct zp_registry *registry) {
        for (unsigned i = 0; i < registry->count; i++) {
                if (registry->servers[i].endpoint)
                        zp_endpoint_free(registry->servers[i].endpoint);
                free(registry->servers[i].ca_pem);
        }
        free(registry->servers);
        if (registry->http)
                zp_http_free(registry->http);
        zp_hosts_clear(&registry->hosts);
        free(registry->name);
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

unsigned zp_registry_mirrors(struct zp_registry *registry, struct zp_endpoint **out) {
        unsigned count = 0;
        for (unsigned i = 0; i < registry->count; i++)
                if (registry->servers[i].can_pull)
                        out[count++] = registry->servers[i].endpoint;
        return count;
}

unsigned zp_registry_server_count(const struct zp_registry *registry) {
        return registry->count;
}

bool zp_registry_has_origin(const struct zp_registry *registry) {
        bool has_mirror = false, has_origin = false;
        for (unsigned i = 0; i < registry->count; i++) {
                has_mirror = has_mirror || !registry->servers[i].can_push;
                has_origin = has_origin || registry->servers[i].can_push;
        }
        return has_mirror && has_origin;
}

/* What is pushed goes to one server, the first that takes it, whatever becomes of it there. */
static bool is_push(const struct zp_http_request *request) {
        return request->is_for_push || !zp_http_is_read_only(request);
}

static bool may_ask(const struct server *server, const char *path, const struct zp_http_request *request) {
        if (is_push(request))
                return server->can_push;
        bool has_digest = strncmp(path, "blobs/", 6) == 0 || strncmp(path, "manifests/sha256:", 17) == 0;
        return has_digest ? server->can_pull : server->can_resolve;
}

/* The next one that may be asked, after `from`. One that could not be reached lately comes only if it is the last. */
static struct server *next_server(struct zp_registry *registry, unsigned *from, const char *path,
                                  const struct zp_http_request *request) {
        struct server *avoided = NULL;
        uint64_t now = zp_clock_ms();
        while (*from < registry->count) {
                struct server *server = &registry->servers[(*from)++];
                if (!may_ask(server, path, request))
                        continue;
                if (is_push(request) || atomic_load(&server->avoid_until_ms) <= now)
                        return server;
                avoided = server;
        }
        return avoided;
}

static void tell_next(const struct zp_registry *registry, const struct server *server,
                      const struct zp_http_response *response, int r, const struct zp_error *why) {
        struct zp_error reason = *why;
        const char *name = zp_endpoint_name(server->endpoint);
        if (r == 0)
                zp_response_error(response, name, &reason);
        zp_notice_tell(&zp_http_get_options(registry->http)->notice, "%s: %s; asking the next server of %s", name,
                       reason.message, registry->name);
}

/* True when another server may do better: this one has failed, or has not got it. Not when part of a body has come. */
static bool is_worth_next(int r, const struct zp_http_response *response) {
        if (r == -ECANCELED || r == -ENOMEM)
                return false;
        return r < 0 ? response->status < 200 || response->status > 299 : response->status >= 400;
}

int zp_registry_request(struct zp_registry *registry, const char *path, const struct zp_http_request *request,
                        struct zp_http_response *response, struct zp_error *err) {
        struct zp_error why = { 0 };
        unsigned next = 0;
        struct server *server = next_server(registry, &next, path, request);
        if (!server) {
                zp_error_set(err, EACCES, "no server of %s may be asked for this", registry->name);
                zp_error_hint(err, "see the capabilities of its hosts.toml");
                return -EACCES;
        }
        for (;;) {
                int r = zp_endpoint_request(server->endpoint, path, request, response, &why);
                bool is_over = is_push(request) || !is_worth_next(r, response);
                struct server *other = is_over ? NULL : next_server(registry, &next, path, request);
                if (r < 0 && registry->count > 1)
                        atomic_store(&server->avoid_until_ms, zp_clock_ms() + AVOID_MS);
                if (!other) {
                        if (r < 0 && err)
                                *err = why;
                        return r;
                }
                tell_next(registry, server, response, r, &why);
                zp_http_response_clear(response);
                zp_error_clear(&why);
                server = other;
        }
}

int zp_registry_request_url(struct zp_registry *registry, const char *url, const struct zp_http_request *request,
                            struct zp_http_response *response, struct zp_error *err) {
        unsigned next = 0;
        for (unsigned i = 0; i < registry->count; i++)
                if (zp_endpoint_owns(registry->servers[i].endpoint, url))
                        return zp_endpoint_request_url(registry->servers[i].endpoint, url, request, response, err);
        /* Who sent us elsewhere is whom such a request goes to first. */
        struct server *server = next_server(registry, &next, "", request);
        if (!server)
                return zp_error_set(err, EACCES, "no server of %s may be asked for this", registry->name);
        return zp_endpoint_request_url(server->endpoint, url, request, response, err);
}

int zp_registry_refused(const struct zp_registry *registry, const struct zp_http_response *response,
                        struct zp_error *err) {
        return zp_response_error(response, registry->name, err);
}
