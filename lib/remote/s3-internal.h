/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests to S3-compatible object storage: where it is, who asks, what its errors mean.
 */
#ifndef ZP_REMOTE_S3_INTERNAL_H
#define ZP_REMOTE_S3_INTERNAL_H

#include "oci/fetch.h"
#include "remote/paths.h"
#include "remote/sigv4.h"

/* Where a bucket is and whom it knows, from the name and the environment. All malloc'ed. */
struct zp_s3_place {
        char *bucket;
        char *prefix;   /* "" or "a/b/": what all keys start with */
        char *base;     /* URL of the bucket, without a slash at its end */
        size_t path_at; /* where in it the path starts */
        char *host;     /* the Host header */
        char *region;
        char *access_key; /* NULL: requests are not signed */
        char *secret_key, *session_token;
};

/* `name` is "BUCKET[/PREFIX]", `variable` getenv or a test's stand-in. -EINVAL: malformed. */
int zp_s3_place_parse(const char *name, char *(*variable)(const char *), struct zp_s3_place *out, struct zp_error *err);
void zp_s3_place_clear(struct zp_s3_place *place);

struct zp_s3 {
        struct zp_s3_place place;
        struct zp_http *http;
        struct zp_http *tidy; /* never cancelled: takes away what a failure leaves */
        char *ca_file, *user_agent;
};

struct zp_s3_request {
        const char *method;
        const char *key;                         /* below the prefix; NULL: the bucket */
        struct zp_sigv4_parameter parameters[4]; /* up to the first without a name */
        const struct zp_http_body *body;         /* NULL: none */
        const struct zp_digest *payload;         /* the body's digest */
        uint64_t range_start, range_end;         /* as in struct zp_http_request */
        size_t body_limit;
        zp_http_sink sink;
        void *context;
};

/* What an error document says; "" where it does not. */
struct zp_s3_failure {
        char code[64], message[300], region[64], server_time[40];
};
void zp_s3_failure_parse(const struct zp_http_response *response, struct zp_s3_failure *out);
/* Tells it: -ENOENT, -EACCES, -EBUSY, -ESTALE (the upload or a part of it is gone), else -EIO. */
int zp_s3_failure_error(const struct zp_s3_failure *failure, int status, const struct zp_s3_place *place,
                        struct zp_error *err);
/* True when the same request may succeed later. */
bool zp_s3_may_retry(const struct zp_http_response *response);

/* What a GET for an object must say. */
int zp_s3_head(const struct zp_s3_place *place, const char *key, struct zp_range_head *out, struct zp_error *err);
/* One signed request without redirects; 0 whatever its status, as zp_http_exchange. */
int zp_s3_exchange(struct zp_s3 *s3, struct zp_http *http, const struct zp_s3_request *request,
                   struct zp_http_response *response, struct zp_error *err);
/* With retries, for what is sent or collected whole. 0: the answer is 2xx and no error document. */
int zp_s3_request(struct zp_s3 *s3, const struct zp_s3_request *request, struct zp_http_response *response,
                  struct zp_error *err);

/* Where the bytes of an object come from. */
struct zp_s3_content {
        uint64_t size;
        zp_remote_read read;
        void *context;
        uint64_t sent; /* counts every byte that went out */
};
/* Stores an object whose SHA-256 is known, in one request or, when it is large, in parts. It appears whole or not at
 * all. */
int zp_s3_upload(struct zp_s3 *s3, const char *key, const struct zp_digest *digest, struct zp_s3_content *content,
                 struct zp_error *err);
/* 1: there is an object of this size, 0: there is not. */
int zp_s3_has(struct zp_s3 *s3, const char *key, uint64_t size, struct zp_error *err);

#endif
