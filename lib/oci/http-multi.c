/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/http-multi.h"

#include <curl/curl.h>
#include <stdlib.h>

#include "oci/http-internal.h"

/* HTTP/2 servers allow 100 or more; above it others wait without having been sent. */
#define STREAMS_MAX 100L

struct zp_http_multi {
        CURLM *handle;
        struct zp_http_multi_statistics statistics;
};

struct zp_http_exchange {
        CURL *handle;
        struct zp_http_request request;
        struct zp_http_response response;
        struct zp_error err;
        struct zp_http_transfer transfer;
        struct zp_http_multi_options options;
};

int zp_http_multi_new(unsigned connections, struct zp_http_multi **out, struct zp_error *err) {
        zp_autofree struct zp_http_multi *multi = calloc(1, sizeof *multi);
        if (!multi)
                return zp_error_errno(err, ENOMEM, "HTTP client");
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return zp_error_set(err, EIO, "libcurl could not be initialised");
        multi->handle = curl_multi_init();
        if (!multi->handle) {
                curl_global_cleanup();
                return zp_error_errno(err, ENOMEM, "HTTP client");
        }
        curl_multi_setopt(multi->handle, CURLMOPT_PIPELINING, (long) CURLPIPE_MULTIPLEX);
        curl_multi_setopt(multi->handle, CURLMOPT_MAX_CONCURRENT_STREAMS, STREAMS_MAX);
        curl_multi_setopt(multi->handle, CURLMOPT_MAXCONNECTS, (long) connections);
        *out = zp_steal(&multi);
        return 0;
}

void zp_http_multi_free(struct zp_http_multi *multi) {
        curl_multi_cleanup(multi->handle);
        free(multi);
        curl_global_cleanup();
}

static void exchange_free(struct zp_http_exchange *exchange) {
        if (exchange->handle)
                curl_easy_cleanup(exchange->handle);
        zp_http_transfer_clear(&exchange->transfer);
        zp_http_response_clear(&exchange->response);
        free(exchange);
}
ZP_DEFINE_AUTO(struct zp_http_exchange, exchange_free);

int zp_http_multi_start(struct zp_http_multi *multi, const struct zp_http *client,
                        const struct zp_http_request *request, const struct zp_http_multi_options *options,
                        struct zp_http_exchange **out, struct zp_error *err) {
        zp_auto(exchange_free) struct zp_http_exchange *exchange = calloc(1, sizeof *exchange);
        if (!exchange)
                return zp_error_errno(err, ENOMEM, "HTTP request");
        exchange->request = *request;
        exchange->options = *options;
        exchange->transfer = (struct zp_http_transfer){
                .http = client,
                .request = &exchange->request,
                .response = &exchange->response,
                .err = &exchange->err,
                .is_multiplexed = true,
        };
        exchange->handle = curl_easy_init();
        if (!exchange->handle)
                return zp_error_errno(err, ENOMEM, "HTTP request");
        exchange->transfer.err = err;
        int r = zp_http_transfer_prepare(&exchange->transfer, exchange->handle);
        exchange->transfer.err = &exchange->err;
        if (r < 0)
                return r;
        curl_easy_setopt(exchange->handle, CURLOPT_PRIVATE, exchange);
        if (options->is_on_new_connection)
                curl_easy_setopt(exchange->handle, CURLOPT_FRESH_CONNECT, 1L);
        if (curl_multi_add_handle(multi->handle, exchange->handle) != CURLM_OK)
                return zp_error_errno(err, ENOMEM, "HTTP request");
        *out = zp_steal(&exchange);
        return 0;
}

static void count(struct zp_http_multi *multi, CURL *handle) {
        long version = 0, connections = 0;
        curl_easy_getinfo(handle, CURLINFO_HTTP_VERSION, &version);
        curl_easy_getinfo(handle, CURLINFO_NUM_CONNECTS, &connections);
        multi->statistics.http2_exchanges += version == CURL_HTTP_VERSION_2_0;
        multi->statistics.connections += connections > 0 ? (uint64_t) connections : 0;
}

void zp_http_multi_abort(struct zp_http_multi *multi, struct zp_http_exchange *exchange) {
        count(multi, exchange->handle);
        curl_multi_remove_handle(multi->handle, exchange->handle);
        exchange_free(exchange);
}

static void finish(struct zp_http_multi *multi, CURL *handle, CURLcode code) {
        char *private = NULL;
        curl_easy_getinfo(handle, CURLINFO_PRIVATE, &private);
        struct zp_http_exchange *exchange = (void *) private;
        count(multi, handle);
        curl_multi_remove_handle(multi->handle, handle);
        int r = zp_http_transfer_conclude(&exchange->transfer, code);
        exchange->options.done(exchange->options.context, r, &exchange->response, &exchange->err);
        exchange_free(exchange);
}

int zp_http_multi_run(struct zp_http_multi *multi, unsigned timeout_ms, struct zp_error *err) {
        int running, waiting;
        CURLMcode code = curl_multi_perform(multi->handle, &running);
        bool has_ended = false;
        for (CURLMsg *message; code == CURLM_OK && (message = curl_multi_info_read(multi->handle, &waiting));) {
                if (message->msg != CURLMSG_DONE)
                        continue;
                finish(multi, message->easy_handle, message->data.result);
                has_ended = true;
        }
        if (code == CURLM_OK && !has_ended)
                code = curl_multi_poll(multi->handle, NULL, 0, (int) timeout_ms, NULL);
        return code == CURLM_OK ? 0 : zp_error_set(err, EIO, "%s", curl_multi_strerror(code));
}

void zp_http_multi_wake(struct zp_http_multi *multi) {
        curl_multi_wakeup(multi->handle);
}

struct zp_http_multi_statistics zp_http_multi_statistics(const struct zp_http_multi *multi) {
        return multi->statistics;
}
