/* SPDX-License-Identifier: Apache-2.0
 *
 * One repository of a registry (OCI distribution-spec 1.1): authenticated requests.
 */
#ifndef ZP_OCI_REGISTRY_H
#define ZP_OCI_REGISTRY_H

#include "oci/http.h"
#include "oci/source.h"

/* Thread-safe. */
struct zp_registry;
int zp_registry_new(const char *registry, const char *repository, const struct zp_source_options *options,
                    struct zp_registry **out, struct zp_error *err);
void zp_registry_free(struct zp_registry *registry);
ZP_DEFINE_AUTO(struct zp_registry, zp_registry_free);
const struct zp_http *zp_registry_http(const struct zp_registry *registry);
/* The CA file that its connections are checked with; NULL: the system's. */
const char *zp_registry_ca_file(const struct zp_registry *registry);

/* GETs /v2/REPOSITORY/PATH, following redirects, and authenticates once when asked to. As zp_http_exchange
 * otherwise: `request` without url and authorization. */
int zp_registry_get(struct zp_registry *registry, const char *path, const struct zp_http_request *request,
                    struct zp_http_response *response, struct zp_error *err);
/* The error that a response of other than 2xx means. */
int zp_registry_refused(const struct zp_registry *registry, const struct zp_http_response *response,
                        struct zp_error *err);

#endif
