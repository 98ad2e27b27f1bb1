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
};

/* True when the response (or its absence) is worth another attempt: cut, 408, 429, a passing 5xx. */
bool zp_fetch_may_retry(const struct zp_http_response *response);
/* Waits as long as the server asks for (within bounds), or ever longer. False: enough attempts, or
 * cancelled; then `err` stays as it is. */
bool zp_retry_wait(struct zp_retry *retry, const struct zp_http_response *response, const struct zp_cancel *cancel);

/* As zp_http_exchange, following redirects. `authorization` goes only to the origin of request->url. */
int zp_fetch_once(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
                  struct zp_error *err);
/* As zp_fetch_once with retries; for collected bodies. Returns 0 with the last response, also when its
 * status is one that was worth retrying. */
int zp_fetch(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
             struct zp_error *err);

#endif
