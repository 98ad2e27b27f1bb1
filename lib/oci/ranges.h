/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of blobs that arrive in several transfers.
 */
#ifndef ZP_OCI_RANGES_H
#define ZP_OCI_RANGES_H

#include "oci/http.h"
#include "oci/source.h"

/* Who has the blob. */
struct zp_ranges_server {
        void *context;
        const struct zp_http *http;     /* whose cancellation ends it, and whose notice hears of waits */
        const char *place;              /* the server's name for that */
        const struct zp_cancel *cancel; /* beside the client's; NULL: none */
        uint64_t latest_ms;             /* zp_retry.latest_ms */
        /* As zp_http_exchange: sends a GET for the blob with the request's range and sink. */
        int (*send)(void *context, const struct zp_http_request *request, struct zp_http_response *response,
                    struct zp_error *err);
        /* The error that a response of other than 2xx means. */
        int (*refused)(void *context, const struct zp_http_response *response, struct zp_error *err);
};

/* Streams `length` bytes of a blob from `offset` on to `sink`, going on where a transfer was cut. Exactly that many,
 * unchecked, or an error: -EBADMSG when the server has fewer or more. */
int zp_ranges_read(const struct zp_ranges_server *server, uint64_t blob_size, uint64_t offset, uint64_t length,
                   zp_blob_sink sink, void *context, struct zp_error *err);

#endif
