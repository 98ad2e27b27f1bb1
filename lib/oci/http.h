/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP exchanges by libcurl: bounded headers and bodies, stall detection, cancellation; redirects and
 * authentication are the caller's, so that no credential travels where it was not sent on purpose.
 */
#ifndef ZP_OCI_HTTP_H
#define ZP_OCI_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cancel.h"
#include "base/cleanup.h"
#include "oci/notice.h"

/* CLOCK_MONOTONIC. */
uint64_t zp_clock_ms(void);

/* What holds for one server, and not for those it redirects to or fetches its tokens from. Strings must outlive the
 * client. */
struct zp_http_own {
        const char *host;                        /* "HOST[:PORT]"; NULL: nothing is said about any */
        const char *client_pem, *client_key_pem; /* a certificate of ours; NULL: none */
        const char *proxy;                       /* NULL: what the environment says */
        const char *connect_to;                  /* "HOST:PORT" where it really is; NULL: where `host` says */
        bool skip_tls_verify;
};

struct zp_http_options {
        /* Strings must outlive the client. */
        const char *ca_file, *user_agent; /* NULL ca_file: the system's */
        const char *ca_pem;               /* authorities beside those; NULL: none. Not with ca_file */
        bool is_ca_pem_alone;             /* not beside the system's: instead of them */
        bool skip_tls_verify;             /* of any server */
        struct zp_http_own own;
        unsigned connect_timeout_ms; /* 0: 10 s */
        unsigned stall_timeout_ms;   /* give up when less than 1 KiB/s goes either way for this long */
        const struct zp_cancel *cancel;
        struct zp_notice notice; /* told when nothing arrives for a third of the stall timeout */
};

/* A pool of connections. Thread-safe. */
struct zp_http;
int zp_http_new(const struct zp_http_options *options, struct zp_http **out, struct zp_error *err);
void zp_http_free(struct zp_http *http);
ZP_DEFINE_AUTO(struct zp_http, zp_http_free);
const struct zp_http_options *zp_http_get_options(const struct zp_http *http);
const struct zp_cancel *zp_http_cancel(const struct zp_http *http);
const struct zp_notice *zp_http_notice(const struct zp_http *http);

struct zp_http_response {
        int status;           /* 0: no answer came */
        bool is_transient;    /* an attempt may succeed later */
        bool is_nobody_there; /* set by zp_endpoint: nothing listens there, nor has before */
        bool is_not_tls;      /* no TLS connection came about: the other side may not speak it */
        bool is_elsewhere;    /* set by zp_fetch: redirected to another origin than was asked */
        char *url;      /* set by zp_fetch: whose answer this is, after redirects; what `location` is relative to */
        char *location; /* headers: NULL when absent */
        char *content_type;
        char *content_length;
        char *content_range;
        char *content_digest;
        char *retry_after;
        char *range; /* what an upload has received */
        char *etag;
        char *oci_subject;
        char *oci_chunk_min_length;
        struct zp_buffer links;      /* all Link, joined by ", " */
        struct zp_buffer challenges; /* all WWW-Authenticate, joined by ", " */
        struct zp_buffer body;       /* what did not go to a sink */
};

/* How many seconds the server asks to wait (Retry-After: RFC 9110, 10.2.3); 0: it does not. */
unsigned zp_http_retry_after_s(const struct zp_http_response *response);
void zp_http_response_clear(struct zp_http_response *response);

/* Called with each piece of a 2xx body, which stands at `offset` of it; the response's headers are complete. */
typedef int (*zp_http_sink)(void *context, const struct zp_http_response *response, uint64_t offset, const void *data,
                            size_t size, struct zp_error *err);

/* Gives the `size` bytes at `offset` of a body to send; asked again for the same when a connection broke. */
typedef int (*zp_http_read)(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err);

struct zp_http_body {
        uint64_t size;
        const char *content_type;
        const char *content_range; /* of an upload's chunk, or NULL */
        zp_http_read read;
        void *context;
};

struct zp_http_request {
        const char *url;
        const char *method;              /* NULL: GET; others than GET and HEAD have a body, which may be empty */
        bool is_for_push;                /* what is asked about is whom we push to, no mirror */
        const char *accept;              /* NULL: anything */
        const char *authorization;       /* the header's value, or NULL */
        const char *if_match;            /* an ETag, or NULL */
        const char *const *headers;      /* further "Name: value", up to a NULL; or NULL */
        const char *form;                /* sent by POST; `method` and `body` are NULL then */
        const struct zp_http_body *body; /* NULL: none, or empty */
        uint64_t range_start;            /* > 0: ask for what comes from there on */
        uint64_t range_end;              /* > 0: and ends before there */
        const char *ranges;              /* instead, several: "0-99,200-299"; or NULL */
        unsigned patience;   /* > 1: so many stall timeouts may pass until the answer to a sent body is whole */
        unsigned timeout_ms; /* for all of it; 0: as long as it moves */
        size_t body_limit;   /* of what is collected in response->body (-EFBIG beyond, for a 2xx) */
        zp_http_sink sink;   /* NULL: collect */
        void *context;
        const struct zp_cancel *cancel; /* beside the client's */
        bool is_farewell;               /* sent even when all is cancelled, but given up after 2 s */
        uint64_t latest_ms;             /* for those who repeat it: zp_retry.latest_ms */
};

/* True when the request only asks. */
bool zp_http_is_read_only(const struct zp_http_request *request);
/* -ECANCELED when the client's flag is set, or the request's (NULL: there is none), unless it is a farewell. */
int zp_http_check_cancel(const struct zp_http *http, const struct zp_http_request *request, struct zp_error *err);

/* One request, one response. 0: the response is complete, whatever its status. Negative: it is not, and
 * response->is_transient tells whether trying again makes sense. `response` must be zeroed before and
 * cleared after, also on failure. */
int zp_http_exchange(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
                     struct zp_error *err);

#endif
