/* SPDX-License-Identifier: Apache-2.0
 *
 * One repository of a registry (OCI distribution-spec 1.1): authenticated requests.
 */
#ifndef ZP_OCI_REGISTRY_H
#define ZP_OCI_REGISTRY_H

#include "oci/endpoint.h"
#include "oci/source.h"

/* Thread-safe. */
struct zp_registry;
int zp_registry_new(const char *registry, const char *repository, const struct zp_source_options *options,
                    struct zp_registry **out, struct zp_error *err);
void zp_registry_free(struct zp_registry *registry);
ZP_DEFINE_AUTO(struct zp_registry, zp_registry_free);
/* Whose cancellation and notice its connections share. */
const struct zp_http *zp_registry_http(const struct zp_registry *registry);
/* Its servers: mirrors, in the order in which they are tried, and the registry itself (oci/hosts.h). */
unsigned zp_registry_server_count(const struct zp_registry *registry);
/* True when what is asked with is_for_push may be answered by another than what is asked without. */
bool zp_registry_has_origin(const struct zp_registry *registry);
/* Those that may be asked for blobs; gives how many. */
unsigned zp_registry_mirrors(struct zp_registry *registry, struct zp_endpoint **out);
/* As a reference names it, for messages. */
const char *zp_registry_name(const struct zp_registry *registry);
/* The CA file that its connections are checked with; NULL: the system's. */
const char *zp_registry_ca_file(const struct zp_registry *registry);

/* Sends a request for /v2/REPOSITORY/PATH, following redirects, and authenticates once when asked to: the token
 * covers what the registry says it needs, beside all that it needed before. Where it has mirrors the first of them that
 * may be asked for this, and answers well, answers. As zp_http_exchange otherwise:
 * `request` without url and authorization. response->url is whose answer it is. */
int zp_registry_request(struct zp_registry *registry, const char *path, const struct zp_http_request *request,
                        struct zp_http_response *response, struct zp_error *err);
/* As above for a URL that the registry gave. Another origin sees no credentials, and nothing of what hosts.toml says
 * about the registry's servers holds for it but the authorities. */
int zp_registry_request_url(struct zp_registry *registry, const char *url, const struct zp_http_request *request,
                            struct zp_http_response *response, struct zp_error *err);
/* The error that a response of other than 2xx means. */
int zp_registry_refused(const struct zp_registry *registry, const struct zp_http_response *response,
                        struct zp_error *err);

#endif
