/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/fetch.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "oci/url.h"

#define REDIRECTS_MAX 10
#define FAILURES_MAX 5
#define ATTEMPTS_MAX 50
#define FIRST_DELAY_MS 250u
#define DELAY_MAX_MS 10000u
#define RETRY_AFTER_MAX_S 60
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

/* Retry-After: seconds or a date (RFC 9110, 10.2.3). */
static unsigned asked_delay_ms(const char *retry_after) {
        if (!retry_after)
                return 0;
        char *end;
        long seconds = strtol(retry_after, &end, 10);
        if (end == retry_after || *end) {
                time_t date = curl_getdate(retry_after, NULL);
                seconds = date < 0 ? 0 : (long) (date - time(NULL));
        }
        if (seconds < 0)
                seconds = 0;
        return (unsigned) (seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : seconds) * 1000;
}

static unsigned next_delay_ms(const struct zp_retry *retry, const struct zp_http_response *response) {
        unsigned asked = asked_delay_ms(response->retry_after);
        if (asked)
                return asked;
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

bool zp_pause(unsigned ms, const struct zp_cancel *cancel) {
        while (ms > 0) {
                if (zp_cancelled(cancel))
                        return false;
                unsigned step = ms < CANCEL_POLL_MS ? ms : CANCEL_POLL_MS;
                nanosleep(&(struct timespec){ .tv_nsec = (long) step * 1000000 }, NULL);
                ms -= step;
        }
        return true;
}

bool zp_retry_wait(struct zp_retry *retry, const struct zp_http_response *response, const struct zp_cancel *cancel) {
        retry->failures++;
        retry->total++;
        if (retry->failures >= FAILURES_MAX || retry->total >= ATTEMPTS_MAX)
                return false;
        return zp_pause(next_delay_ms(retry, response), cancel);
}

static bool is_redirect(const struct zp_http_response *response) {
        int status = response->status;
        return response->location &&
               (status == 301 || status == 302 || status == 303 || status == 307 || status == 308);
}

/* May this request be sent to the place that the response names? */
static int check_redirect(const struct zp_http_request *request, const struct zp_http_response *response, int hops,
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

int zp_fetch_once(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
                  struct zp_error *err) {
        struct zp_http_request next = *request;
        zp_autofree char *url = NULL;
        for (int hops = 0;; hops++) {
                int r = zp_http_exchange(http, &next, response, err);
                response->is_elsewhere = url && !zp_url_same_origin(request->url, url);
                if (r < 0)
                        return r;
                if (!is_redirect(response)) {
                        response->url = strdup(next.url);
                        return response->url ? 0 : zp_error_errno(err, ENOMEM, "HTTP response");
                }
                r = check_redirect(request, response, hops, err);
                char *target;
                if (r == 0)
                        r = zp_url_resolve(next.url, response->location, &target, err);
                if (r < 0)
                        return r;
                free(url);
                next.url = url = target;
                next.authorization = zp_url_same_origin(request->url, url) ? request->authorization : NULL;
                zp_http_response_clear(response);
        }
}

int zp_fetch(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
             struct zp_error *err) {
        struct zp_retry retry = { 0 };
        for (;;) {
                int r = zp_fetch_once(http, request, response, err);
                bool failed = r < 0 || response->status >= 400;
                if (!failed || !zp_fetch_may_retry(response))
                        return r;
                if (!zp_retry_wait(&retry, response, zp_http_cancel(http)))
                        return zp_cancelled(zp_http_cancel(http)) ? zp_check_cancel(zp_http_cancel(http), err) : r;
                zp_http_response_clear(response);
        }
}
