/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "oci/http-internal.h"

#define IDLE_MAX 16

/* An easy handle holds its connections open for the next exchange. */
struct idle {
        CURL *handle;
        struct idle *next;
};

struct zp_http {
        struct zp_http_options options;
        pthread_mutex_t lock;
        struct idle *idle; /* guarded by lock */
        unsigned idle_count;
};

uint64_t zp_clock_ms(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

int zp_http_new(const struct zp_http_options *options, struct zp_http **out, struct zp_error *err) {
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return zp_error_set(err, EIO, "libcurl could not be initialised");
        struct zp_http *http = calloc(1, sizeof *http);
        if (!http) {
                curl_global_cleanup();
                return zp_error_errno(err, ENOMEM, "HTTP client");
        }
        http->options = *options;
        pthread_mutex_init(&http->lock, NULL);
        *out = http;
        return 0;
}

void zp_http_free(struct zp_http *http) {
        while (http->idle) {
                struct idle *idle = http->idle;
                http->idle = idle->next;
                curl_easy_cleanup(idle->handle);
                free(idle);
        }
        pthread_mutex_destroy(&http->lock);
        free(http);
        curl_global_cleanup();
}

const struct zp_http_options *zp_http_get_options(const struct zp_http *http) {
        return &http->options;
}

const struct zp_cancel *zp_http_cancel(const struct zp_http *http) {
        return http->options.cancel;
}

const struct zp_notice *zp_http_notice(const struct zp_http *http) {
        return &http->options.notice;
}

int zp_http_check_cancel(const struct zp_http *http, const struct zp_http_request *request, struct zp_error *err) {
        if (request && request->is_farewell)
                return 0;
        int r = zp_check_cancel(http->options.cancel, err);
        return r < 0 || !request ? r : zp_check_cancel(request->cancel, err);
}

static CURL *take_handle(struct zp_http *http) {
        pthread_mutex_lock(&http->lock);
        struct idle *idle = http->idle;
        if (idle) {
                http->idle = idle->next;
                http->idle_count--;
        }
        pthread_mutex_unlock(&http->lock);
        if (!idle)
                return curl_easy_init();
        CURL *handle = idle->handle;
        free(idle);
        return handle;
}

static void give_handle(struct zp_http *http, CURL *handle) {
        curl_easy_reset(handle);
        struct idle *idle = malloc(sizeof *idle);
        pthread_mutex_lock(&http->lock);
        bool keep = idle && http->idle_count < IDLE_MAX;
        if (keep) {
                *idle = (struct idle){ .handle = handle, .next = http->idle };
                http->idle = idle;
                http->idle_count++;
        }
        pthread_mutex_unlock(&http->lock);
        if (!keep) {
                free(idle);
                curl_easy_cleanup(handle);
        }
}

unsigned zp_http_retry_after_s(const struct zp_http_response *response) {
        if (!response->retry_after)
                return 0;
        char *end;
        long seconds = strtol(response->retry_after, &end, 10);
        if (end == response->retry_after || *end) {
                time_t date = curl_getdate(response->retry_after, NULL);
                seconds = date < 0 ? 0 : (long) (date - time(NULL));
        }
        return seconds < 0 ? 0 : seconds > UINT32_MAX ? UINT32_MAX : (unsigned) seconds;
}

/* A write to a closed TLS connection raises SIGPIPE; a library has no business with the process's handler. */
static CURLcode perform_without_sigpipe(CURL *handle) {
        sigset_t pipe_set, old, pending;
        sigemptyset(&pipe_set);
        sigaddset(&pipe_set, SIGPIPE);
        sigpending(&pending);
        bool was_pending = sigismember(&pending, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
        CURLcode code = curl_easy_perform(handle);
        sigpending(&pending);
        if (!was_pending && sigismember(&pending, SIGPIPE))
                sigtimedwait(&pipe_set, NULL, &(struct timespec){ 0 });
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return code;
}

int zp_http_exchange(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
                     struct zp_error *err) {
        int r = zp_http_check_cancel(http, request, err);
        if (r < 0)
                return r;
        struct zp_http_transfer t = { .http = http, .request = request, .response = response, .err = err };
        CURL *handle = take_handle(http);
        r = handle ? zp_http_transfer_prepare(&t, handle) : zp_error_errno(err, ENOMEM, "HTTP request");
        if (r == 0)
                r = zp_http_transfer_conclude(&t, perform_without_sigpipe(handle));
        if (handle)
                give_handle(http, handle);
        zp_http_transfer_clear(&t);
        return r;
}
