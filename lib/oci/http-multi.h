/* SPDX-License-Identifier: Apache-2.0
 *
 * Many HTTP exchanges at once, driven by one thread. Where a server offers HTTP/2 by TLS they share a connection.
 */
#ifndef ZP_OCI_HTTP_MULTI_H
#define ZP_OCI_HTTP_MULTI_H

#include "oci/http.h"

/* Belongs to one thread, but for zp_http_multi_wake. */
struct zp_http_multi;
/* `connections`: how many are kept open when nothing uses them. */
int zp_http_multi_new(unsigned connections, struct zp_http_multi **out, struct zp_error *err);
/* Nothing is under way any more. */
void zp_http_multi_free(struct zp_http_multi *multi);
ZP_DEFINE_AUTO(struct zp_http_multi, zp_http_multi_free);

struct zp_http_exchange;

/* How an exchange ended: as zp_http_exchange returns. `response` and `err` are its own until it returns. The exchange
 * is freed after it. */
typedef void (*zp_http_multi_done)(void *context, int result, const struct zp_http_response *response,
                                   const struct zp_error *err);

struct zp_http_multi_options {
        bool is_on_new_connection; /* those that are open are not trusted */
        zp_http_multi_done done;
        void *context;
};

/* Starts one, by the client's options (its own connections are not used), which must live until it has ended, as what
 * `request` points to; *request is copied. Only GET and HEAD. Its sink, as zp_http_request says, and `done` are called
 * from within zp_http_multi_run. */
int zp_http_multi_start(struct zp_http_multi *multi, const struct zp_http *client,
                        const struct zp_http_request *request, const struct zp_http_multi_options *options,
                        struct zp_http_exchange **out, struct zp_error *err);
/* Ends and frees it without calling `done`. Not from within its sink, which returns an error instead. */
void zp_http_multi_abort(struct zp_http_multi *multi, struct zp_http_exchange *exchange);

/* Moves what can be moved; when there is nothing, waits for it up to `timeout_ms`. */
int zp_http_multi_run(struct zp_http_multi *multi, unsigned timeout_ms, struct zp_error *err);
/* Ends that wait, or the next one, from any thread. */
void zp_http_multi_wake(struct zp_http_multi *multi);

/* Of the exchanges that have ended. */
struct zp_http_multi_statistics {
        uint64_t http2_exchanges, connections;
};
struct zp_http_multi_statistics zp_http_multi_statistics(const struct zp_http_multi *multi);

#endif
