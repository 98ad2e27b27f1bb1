/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests to a registry that are tried again, and blobs that arrive in several transfers.
 */
#ifndef ZP_OCI_TRANSFER_H
#define ZP_OCI_TRANSFER_H

#include "oci/registry.h"

/* What to accept when a manifest or an index is asked for. */
#define ZP_ACCEPT_MANIFESTS                                                                     \
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " \
        "application/vnd.docker.distribution.manifest.list.v2+json, "                           \
        "application/vnd.docker.distribution.manifest.v2+json"

/* As zp_registry_request (path) or zp_registry_request_url (url; one of the two is NULL), again while that makes
 * sense. 0: a response with a final status, which the caller judges; negative: none came. For what is collected. */
int zp_transfer_request(struct zp_registry *registry, const char *path, const char *url,
                        const struct zp_http_request *request, struct zp_http_response *response, struct zp_error *err);

struct zp_transfer_options {
        const struct zp_cancel *cancel; /* beside the client's */
        uint64_t latest_ms;             /* no attempt begins later (zp_retry); 0: whenever */
};

/* Streams `length` bytes of a blob from `offset` on to `sink`, going on where a transfer was cut. Exactly that many,
 * unchecked, or an error: -EBADMSG when the registry has fewer or more. `options` may be NULL. */
int zp_transfer_blob(struct zp_registry *registry, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                     const struct zp_transfer_options *options, zp_blob_sink sink, void *context, struct zp_error *err);

#endif
