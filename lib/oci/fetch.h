/* SPDX-License-Identifier: Apache-2.0
 *
 * Exchanges that follow redirects and survive a server's bad moments.
 */
#ifndef ZP_OCI_FETCH_H
#define ZP_OCI_FETCH_H

#include "oci/http.h"

/* Attempts so far; a zeroed one is ready. Progress resets `failures` only, so that a transfer which is
 * cut again and again ends at last. */
struct zp_retry {
        unsigned failures, total;
        uint64_t latest_ms;   /* no attempt begins later, by CLOCK_MONOTONIC; 0: whenever */
        struct zp_error last; /* of the attempt before; code 0: there was none, or nobody said why */
};

/* From now on, for what a user waits for with nothing to see: long enough for a Retry-After that is obeyed. */
uint64_t zp_retry_latest_ms(void);

/* True when the response (or its absence) is worth another attempt: cut, 408, 429, a passing 5xx. */
bool zp_fetch_may_retry(const struct zp_http_response *response);
/* How long to wait before the next attempt: as long as the server asks for, or ever longer with retry->failures. */
unsigned zp_retry_delay_ms(const struct zp_retry *retry, const struct zp_http_response *response);
/* Waits as long as the server asks for, or ever longer, and tells the client's notice why: `reason` of `place`, the
 * server. False: enough attempts, too long a time asked for (more than a minute), or cancelled, or it would be by then.
 */
bool zp_retry_wait(struct zp_retry *retry, const struct zp_http *http, const struct zp_http_request *request,
                   const struct zp_http_response *response, const char *place, const struct zp_error *reason);

/* What the last attempt comes to: `r`, or -ECANCELED when it was cancelled, with the failure before. */
int zp_retry_end(const struct zp_retry *retry, const struct zp_http *http, const struct zp_http_request *request, int r,
                 struct zp_error *err);

/* False: cancelled before the time was over. */
bool zp_pause(unsigned ms, const struct zp_cancel *cancel);

/* 1: `response`, which `url` gave to `request` after so many redirects, leads to *target (malloc'ed); 0: it is none;
 * negative: it leads where this request may not go. */
int zp_fetch_redirect(const struct zp_http_request *request, const char *url, const struct zp_http_response *response,
                      unsigned hops, char **target, struct zp_error *err);
/* As zp_http_exchange, following redirects (a request that changes something, only 307 and 308). `authorization` and
 * `headers` go only to the origin of request->url. */
int zp_fetch_once(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
                  struct zp_error *err);
/* As zp_fetch_once with retries; for collected bodies. Returns 0 with the last response, also when its
 * status is one that was worth retrying. */
int zp_fetch(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
             struct zp_error *err);

#endif
