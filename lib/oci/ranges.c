/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "oci/fetch.h"

/* What the sink is told to end a transfer that has given all that was wanted. */
#define ENOUGH (-ECANCELED)
/* A server may answer a range with its beginning (RFC 9110, 15.3.7), but not byte by byte. */
#define SHORT_ANSWER_MIN 65536u

/* A run of a blob's bytes on its way. */
struct transfer {
        uint64_t blob_size, offset, length;
        uint64_t received; /* given to the sink */
        bool is_enough;    /* ended by us */
        zp_blob_sink sink;
        void *context;
};

/* Where a response's body starts in the blob. */
static int find_start(const struct zp_http_response *response, uint64_t wanted, uint64_t *start, struct zp_error *err) {
        *start = 0;
        if (response->status != 206)
                return 0; /* no range was asked for, or it was ignored */
        const char *text = response->content_range;
        char *end = NULL;
        if (text && strncasecmp(text, "bytes ", 6) == 0 && text[6] >= '0' && text[6] <= '9')
                *start = strtoull(text + 6, &end, 10);
        if (!end || *end != '-' || *start > wanted)
                return zp_error_set(err, EPROTO, "the server sent another range than was asked for");
        return 0;
}

/* More came than was wanted: a server may ignore a range, but no blob may be larger than it should be. */
static int end_early(struct transfer *transfer, const struct zp_http_response *response, struct zp_error *err) {
        if (response->status == 206 || transfer->offset + transfer->length == transfer->blob_size)
                return zp_error_set(err, EBADMSG, "more than the %ju bytes it should have",
                                    (uintmax_t) transfer->blob_size);
        transfer->is_enough = true;
        return ENOUGH;
}

static int on_piece(void *context, const struct zp_http_response *response, uint64_t offset, const void *data,
                    size_t size, struct zp_error *err) {
        struct transfer *transfer = context;
        uint64_t wanted = transfer->offset + transfer->received, start;
        int r = find_start(response, wanted, &start, err);
        if (r < 0)
                return r;
        if (zp_add_overflows(start, offset, &start))
                return zp_error_set(err, EPROTO, "the server sent another range than was asked for");
        uint64_t known = wanted - zp_min_u64(wanted, start); /* skipped: the piece starts before what is wanted */
        if (size <= known)
                return 0;
        uint64_t left = transfer->length - transfer->received;
        size_t take = (size_t) zp_min_u64(size - known, left);
        if (take > 0) {
                r = transfer->sink(transfer->context, (const char *) data + known, take, err);
                if (r < 0)
                        return r;
                transfer->received += take;
        }
        return take < size - known ? end_early(transfer, response, err) : 0;
}

/* One transfer of what is missing. 0: it ended well, though perhaps too early. */
static int receive(const struct zp_ranges_server *server, struct transfer *transfer, struct zp_http_response *response,
                   struct zp_error *err) {
        uint64_t end = transfer->offset + transfer->length;
        struct zp_http_request request = {
                .sink = on_piece,
                .context = transfer,
                .cancel = server->cancel,
                .range_start = transfer->offset + transfer->received,
                .range_end = end < transfer->blob_size ? end : 0,
        };
        int r = server->send(server->context, &request, response, err);
        if (transfer->is_enough) {
                if (err)
                        zp_error_clear(err);
                return 0;
        }
        if (r == 0 && (response->status < 200 || response->status > 299))
                r = server->refused(server->context, response, err);
        return r;
}

static int receive_all(const struct zp_ranges_server *server, struct transfer *transfer,
                       struct zp_http_response *response, struct zp_error *err) {
        const struct zp_http_request about = { .cancel = server->cancel };
        struct zp_retry retry = { .latest_ms = server->latest_ms };
        struct zp_error unwanted = { 0 };
        if (!err)
                err = &unwanted;
        for (;;) {
                uint64_t before = transfer->received;
                int r = receive(server, transfer, response, err);
                bool has_progress = transfer->received > before;
                bool may_retry = zp_fetch_may_retry(response);
                bool goes_on = response->status == 206 && transfer->received - before >= SHORT_ANSWER_MIN;
                if (r == 0 && transfer->received < transfer->length && !goes_on)
                        return zp_error_set(err, EBADMSG, "ends %ju bytes before it should",
                                            (uintmax_t) (transfer->length - transfer->received));
                if (has_progress)
                        retry.failures = 0;
                /* Also when it was cut behind the last byte. */
                if (transfer->received == transfer->length && (r == 0 || may_retry))
                        return 0;
                if (r < 0 && (!may_retry || !zp_retry_wait(&retry, server->http, &about, response, server->place, err)))
                        return zp_retry_end(&retry, server->http, &about, r, err);
                zp_http_response_clear(response);
        }
}

int zp_ranges_read(const struct zp_ranges_server *server, uint64_t blob_size, uint64_t offset, uint64_t length,
                   zp_blob_sink sink, void *context, struct zp_error *err) {
        struct transfer transfer = {
                .blob_size = blob_size, .offset = offset, .length = length, .sink = sink, .context = context
        };
        struct zp_http_response response = { 0 };
        int r = receive_all(server, &transfer, &response, err);
        zp_http_response_clear(&response);
        if (r == 0 && err) /* what a transfer that was repeated has left */
                zp_error_clear(err);
        return r;
}
