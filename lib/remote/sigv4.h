/* SPDX-License-Identifier: Apache-2.0
 *
 * AWS Signature Version 4 (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html), as S3 wants it:
 * paths are encoded once and not normalised. libcurl can sign too, but which headers it covers, and how it encodes
 * paths and queries, differs from version to version.
 */
#ifndef ZP_REMOTE_SIGV4_H
#define ZP_REMOTE_SIGV4_H

#include <stdbool.h>
#include <time.h>

#include "base/buffer.h"
#include "base/error.h"

#define ZP_SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define ZP_SIGV4_DATE_SIZE 17 /* "20130524T000000Z" */

struct zp_sigv4_keys {
        const char *access_key, *secret_key;
        const char *session_token; /* NULL: none */
        const char *region, *service;
};

struct zp_sigv4_request {
        const char *method;
        const char *host;    /* the Host header, with the port where it is sent */
        const char *path;    /* encoded */
        const char *query;   /* as zp_sigv4_query makes it, or "" */
        const char *payload; /* what the header x-amz-content-sha256 says */
        time_t time;
};

/* Writes the value of the header x-amz-date. */
void zp_sigv4_date(time_t time, char date[ZP_SIGV4_DATE_SIZE]);
/* The value of the header Authorization, malloc'ed. It covers the headers host, x-amz-content-sha256, x-amz-date and
 * with a session token x-amz-security-token: these must be sent. */
int zp_sigv4_authorization(const struct zp_sigv4_keys *keys, const struct zp_sigv4_request *request, char **out,
                           struct zp_error *err);

/* Appends `text` with all but unreserved characters (RFC 3986) percent-encoded; `keep` names further ones to leave,
 * e.g.
 * "/". False: out of memory. */
bool zp_sigv4_encode(struct zp_buffer *buffer, const char *text, const char *keep);

struct zp_sigv4_parameter {
        const char *name, *value; /* not encoded */
};
/* Sorts the parameters and appends "a=b&c=d", encoded. Names are of unreserved characters. False: out of memory. */
bool zp_sigv4_query(struct zp_buffer *buffer, struct zp_sigv4_parameter *parameters, size_t count);

#endif
