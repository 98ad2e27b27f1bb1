/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/fetch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "oci/response-error.h"
#include "oci/url.h"

#define REDIRECTS_MAX 10
#define FAILURES_MAX 5
/* Where nobody has ever answered: given up after less than 2 s. */
#define NOBODY_FAILURES_MAX 4
#define ATTEMPTS_MAX 50
#define FIRST_DELAY_MS 250u
#define DELAY_MAX_MS 10000u
#define RETRY_AFTER_MAX_S 60u
#define CANCEL_POLL_MS 50u

bool zp_fetch_may_retry(const struct zp_http_response *response) {
        switch (response->status) {
        case 408:
        case 429:
        case 500:
        case 502:
        case 503:
        case 504:
                return true;
        default:
                return response->is_transient;
        }
}

unsigned zp_retry_delay_ms(const struct zp_retry *retry, const struct zp_http_response *response) {
        unsigned asked_s = zp_http_retry_after_s(response);
        if (asked_s)
                return asked_s < UINT32_MAX / 1000 ? asked_s * 1000 : UINT32_MAX;
        unsigned delay = FIRST_DELAY_MS;
        for (unsigned i = 1; i < retry->failures && delay < DELAY_MAX_MS; i++)
                delay *= 2;
        if (delay > DELAY_MAX_MS)
                delay = DELAY_MAX_MS;
        /* Up to a quarter less, so that many clients do not come back at the same moment. */
        unsigned random = 0;
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
                return delay;
        return delay - random % (delay / 4);
}

static void sleep_ms(unsigned ms) {
        nanosleep(&(struct timespec){ .tv_nsec = (long) ms * 1000000 }, NULL);
}

bool zp_pause(unsigned ms, const struct zp_cancel *cancel) {
        while (ms > 0) {
                if (zp_cancelled(cancel))
                        return false;
                unsigned step = ms < CANCEL_POLL_MS ? ms : CANCEL_POLL_MS;
                sleep_ms(step);
                ms -= step;
        }
        return true;
}

uint64_t zp_retry_latest_ms(void) {
        return zp_clock_ms() + (RETRY_AFTER_MAX_S + 1) * 1000;
}

static bool is_cancelled_by(const struct zp_http *http, const struct zp_http_request *request, uint64_t then_ms) {
        if (request && request->is_farewell)
                return false;
        return zp_cancelled_by(zp_http_cancel(http), then_ms) || (request && zp_cancelled_by(request->cancel, then_ms));
}

bool zp_retry_wait(struct zp_retry *retry, const struct zp_http *http, const struct zp_http_request *request,
                   const struct zp_http_response *response, const char *place, const struct zp_error *reason) {
        retry->failures++;
        retry->total++;
        unsigned max = response->is_nobody_there ? NOBODY_FAILURES_MAX : FAILURES_MAX;
        if (retry->failures >= max || retry->total >= ATTEMPTS_MAX ||
            zp_http_retry_after_s(response) > RETRY_AFTER_MAX_S)
                return false;
        unsigned left = zp_retry_delay_ms(retry, response);
        uint64_t next_ms = zp_clock_ms() + left;
        if ((retry->latest_ms && next_ms > retry->latest_ms) || is_cancelled_by(http, request, next_ms))
                return false;
        if (reason)
                retry->last = *reason;
        if (reason && zp_http_check_cancel(http, request, NULL) == 0)
                zp_notice_tell(zp_http_notice(http), "%s: %s; trying again (%u of %u)", place, reason->message,
                               retry->failures + 1, max);
        while (left > 0) {
                if (zp_http_check_cancel(http, request, NULL) < 0)
                        return false;
                unsigned step = left < CANCEL_POLL_MS ? left : CANCEL_POLL_MS;
                sleep_ms(step);
                left -= step;
        }
        return true;
}

int zp_retry_end(const struct zp_retry *retry, const struct zp_http *http, const struct zp_http_request *request, int r,
                 struct zp_error *err) {
        if (zp_http_check_cancel(http, request, err) == 0)
                return r;
        if (retry->last.code)
                zp_error_set(err, ECANCELED, "interrupted; the last attempt had failed: %s", retry->last.message);
        return -ECANCELED;
}

static bool is_redirect(const struct zp_http_response *response) {
        int status = response->status;
        return response->location &&
               (status == 301 || status == 302 || status == 303 || status == 307 || status == 308);
}

/* May this request be sent to the place that the response names? */
static int check_redirect(const struct zp_http_request *request, const struct zp_http_response *response, unsigned hops,
                          struct zp_error *err) {
        if (hops == REDIRECTS_MAX)
                return zp_error_set(err, EPROTO, "more than %d redirects", REDIRECTS_MAX);
        if (request->form)
                return zp_error_set(err, EPROTO, "a request with credentials was redirected");
        /* The others may turn it into a GET (RFC 9110, 15.4). */
        if (!zp_http_is_read_only(request) && response->status != 307 && response->status != 308)
                return zp_error_set(err, EPROTO, "a %s was redirected with status %d", request->method,
                                    response->status);
        return 0;
}

int zp_fetch_redirect(const struct zp_http_request *request, const char *url, const struct zp_http_response *response,
                      unsigned hops, char **target, struct zp_error *err) {
        if (!is_redirect(response))
                return 0;
        int r = check_redirect(request, response, hops, err);
        if (r == 0)
                r = zp_url_resolve(url, response->location, target, err);
        return r < 0 ? r : 1;
}

int zp_fetch_once(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
                  struct zp_error *err) {
        struct zp_http_request next = *request;
        zp_autofree char *url = NULL;
        for (unsigned hops = 0;; hops++) {
                int r = zp_http_exchange(http, &next, response, err);
                response->is_elsewhere = url && !zp_url_same_origin(request->url, url);
                if (r < 0)
                        return r;
                char *target;
                r = zp_fetch_redirect(request, next.url, response, hops, &target, err);
                if (r < 0)
                        return r;
                if (r == 0) {
                        response->url = strdup(next.url);
                        return response->url ? 0 : zp_error_errno(err, ENOMEM, "HTTP response");
                }
                free(url);
                next.url = url = target;
                bool is_elsewhere = !zp_url_same_origin(request->url, url);
                next.authorization = is_elsewhere ? NULL : request->authorization;
                next.headers = is_elsewhere ? NULL : request->headers;
                zp_http_response_clear(response);
        }
}

int zp_fetch(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
             struct zp_error *err) {
        struct zp_retry retry = { .latest_ms = zp_retry_latest_ms() };
        for (;;) {
                struct zp_error reason = { 0 };
                char host[ZP_URL_HOST_SIZE];
                int r = zp_fetch_once(http, request, response, &reason);
                if (r < 0 && err)
                        *err = reason;
                bool failed = r < 0 || response->status >= 400;
                if (!failed)
                        return r;
                if (!zp_fetch_may_retry(response))
                        return zp_retry_end(&retry, http, request, r, err);
                zp_url_host(request->url, host);
                if (r == 0)
                        zp_response_error(response, host, &reason);
                if (!zp_retry_wait(&retry, http, request, response, host, &reason))
                        return zp_retry_end(&retry, http, request, r, err);
                zp_http_response_clear(response);
        }
}
