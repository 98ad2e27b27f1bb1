/* SPDX-License-Identifier: Apache-2.0
 *
 * How a response's head is read, line by line, and one exchange through libcurl, whoever drives it.
 */
#ifndef ZP_OCI_HTTP_INTERNAL_H
#define ZP_OCI_HTTP_INTERNAL_H

#include <curl/curl.h>

#include "oci/http.h"

/* A status line starts the response anew: one may come from a proxy or be a "100 Continue". */
void zp_http_read_status_line(struct zp_http_response *response, const char *line, size_t size);
/* One header field with its line end; one that nobody asks for is forgotten. False: out of memory. */
bool zp_http_read_field(struct zp_http_response *response, const char *line, size_t size);

/* One exchange under way. */
struct zp_http_transfer {
        const struct zp_http *http;
        const struct zp_http_request *request;
        struct zp_http_response *response;
        struct zp_error *err;
        bool is_multiplexed;                 /* others are under way beside it, by the same multi handle */
        struct curl_slist *headers, *places; /* zp_http_transfer_clear frees them */
        char message[CURL_ERROR_SIZE];
        size_t header_bytes;
        uint64_t body_offset; /* given to the sink */
        int failure;          /* a callback's verdict, negative */
        bool is_body_cut;     /* the rest of an error page is not wanted */
        bool is_stalled;
        uint64_t sent; /* of the request's body, handed to libcurl */
        uint64_t window_start_ms, window_bytes, window_sent, callback_ms;
        uint64_t arrival_ms; /* when the last bytes came or went, or the request was made */
        uint64_t last_sent;
        bool is_silence_told;
};

/* Readies a fresh handle for the transfer, whose first four members the caller has set. -ENOMEM, -EINVAL: the
 * environment's proxy. */
int zp_http_transfer_prepare(struct zp_http_transfer *transfer, CURL *handle);
/* What zp_http_exchange returns, when libcurl has ended with `code`. */
int zp_http_transfer_conclude(struct zp_http_transfer *transfer, CURLcode code);
void zp_http_transfer_clear(struct zp_http_transfer *transfer);

#endif
