/* SPDX-License-Identifier: Apache-2.0
 *
 * One server that has one repository: where it is, how it is spoken to, what it wants to see before it answers.
 */
#ifndef ZP_OCI_ENDPOINT_H
#define ZP_OCI_ENDPOINT_H

#include "oci/http.h"
#include "oci/keychain.h"
#include "oci/learned.h"

struct zp_endpoint_options {
        const char *name;           /* as a reference names it, for messages and to find credentials */
        const char *host;           /* "registry-1.docker.io", "localhost:5000" */
        const char *scheme;         /* "https" or "http"; NULL: it is asked what it speaks */
        const char *root;           /* the path of its API, "/v2" */
        const char *namespace;      /* the registry that a mirror is asked about; NULL: it is the registry */
        const char *const *headers; /* "Name: value", up to a NULL, for this server only; must outlive it. NULL: none */
        const char *repository;     /* "library/debian" */
        const char *auth_file, *credentials; /* as in zp_source_options */
        const struct zp_keychain *keychain;  /* likewise */
        struct zp_learned *learned;          /* likewise */
        struct zp_http_options http;         /* own.host is this server */
};

/* Thread-safe. */
struct zp_endpoint;
int zp_endpoint_new(const struct zp_endpoint_options *options, struct zp_endpoint **out, struct zp_error *err);
void zp_endpoint_free(struct zp_endpoint *endpoint);
ZP_DEFINE_AUTO(struct zp_endpoint, zp_endpoint_free);
const char *zp_endpoint_name(const struct zp_endpoint *endpoint);
const char *const *zp_endpoint_headers(const struct zp_endpoint *endpoint);
const struct zp_http *zp_endpoint_http(const struct zp_endpoint *endpoint);

/* True when the URL is of this server. Asks what it speaks, if that is not known. */
bool zp_endpoint_owns(struct zp_endpoint *endpoint, const char *url);
/* As zp_registry_request and zp_registry_request_url. */
int zp_endpoint_request(struct zp_endpoint *endpoint, const char *path, const struct zp_http_request *request,
                        struct zp_http_response *response, struct zp_error *err);
int zp_endpoint_request_url(struct zp_endpoint *endpoint, const char *url, const struct zp_http_request *request,
                            struct zp_http_response *response, struct zp_error *err);

/* What those who send a GET for /v2/REPOSITORY/PATH themselves must know. */
struct zp_endpoint_head {
        char *url;
        char *authorization; /* goes to the URL's origin only; NULL: none */
        unsigned generation; /* of the authorization */
};
void zp_endpoint_head_clear(struct zp_endpoint_head *head);
/* -EAGAIN, without `err`: something has to be fetched first, and the caller must not wait. */
int zp_endpoint_head(struct zp_endpoint *endpoint, const char *path, bool may_wait, struct zp_endpoint_head *out,
                     struct zp_error *err);
/* Answers the 401 that a request with this head met. Waits. */
int zp_endpoint_answer(struct zp_endpoint *endpoint, const struct zp_endpoint_head *head, const char *challenges,
                       struct zp_error *err);

#endif
