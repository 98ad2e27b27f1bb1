/* SPDX-License-Identifier: Apache-2.0
 *
 * What libcurl is told to do for one exchange, and what it tells us meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "oci/http-internal.h"
#include "oci/proxy.h"
#include "oci/url.h"

#define CONNECT_TIMEOUT_MS 10000L
#define FAREWELL_TIMEOUT_MS 2000L
#define HEADERS_MAX (128u << 10)
#define ERROR_BODY_MAX (64u << 10)
#define STALL_BYTES_PER_SECOND 1024u
/* A peer that has gone without a word is missed after two minutes (with Linux's 9 probes). */
#define KEEPALIVE_IDLE_S 30L
#define KEEPALIVE_INTERVAL_S 10L

static int out_of_memory(struct zp_http_transfer *t) {
        return t->failure = zp_error_errno(t->err, ENOMEM, "HTTP response");
}

static size_t on_header(char *line, size_t one, size_t size, void *context) {
        struct zp_http_transfer *t = context;
        (void) one;
        t->header_bytes += size;
        t->window_bytes += size;
        t->arrival_ms = zp_clock_ms();
        if (t->header_bytes > HEADERS_MAX) {
                t->failure =
                        zp_error_set(t->err, EPROTO, "the response has more than %u KiB of headers", HEADERS_MAX >> 10);
                return 0;
        }
        if (size > 5 && strncasecmp(line, "HTTP/", 5) == 0)
                zp_http_read_status_line(t->response, line, size);
        else if (!zp_http_read_field(t->response, line, size)) {
                out_of_memory(t);
                return 0;
        }
        return size;
}

static bool is_success(const struct zp_http_response *response) {
        return response->status >= 200 && response->status < 300;
}

static size_t collect(struct zp_http_transfer *t, const char *data, size_t size) {
        bool success = is_success(t->response);
        size_t limit = success ? t->request->body_limit : ERROR_BODY_MAX;
        if (size > limit - t->response->body.size) {
                t->is_body_cut = !success;
                if (success)
                        t->failure = zp_error_set(t->err, EFBIG, "the response is larger than %zu bytes", limit);
                return 0;
        }
        if (!zp_buffer_append(&t->response->body, data, size)) {
                out_of_memory(t);
                return 0;
        }
        return size;
}

static size_t on_body(char *data, size_t one, size_t size, void *context) {
        struct zp_http_transfer *t = context;
        (void) one;
        t->window_bytes += size;
        uint64_t start = t->arrival_ms = zp_clock_ms();
        if (!t->request->sink || !is_success(t->response))
                return collect(t, data, size);
        t->failure = t->request->sink(t->request->context, t->response, t->body_offset, data, size, t->err);
        t->body_offset += size;
        t->arrival_ms = zp_clock_ms();
        t->callback_ms += t->arrival_ms - start;
        return t->failure ? 0 : size;
}

static void tell_silence(struct zp_http_transfer *t, uint64_t now) {
        uint64_t silence = now - t->arrival_ms;
        if (t->is_silence_told || silence < zp_http_get_options(t->http)->stall_timeout_ms / 3)
                return;
        char host[ZP_URL_HOST_SIZE];
        t->is_silence_told = true;
        zp_notice_tell(&zp_http_get_options(t->http)->notice, "%s: %s for %u s", zp_url_host(t->request->url, host),
                       t->response->status ? "nothing has come" : "no answer",
                       silence < 1000 ? 1 : (unsigned) (silence / 1000));
}

static size_t on_read(char *buffer, size_t one, size_t size, void *context) {
        struct zp_http_transfer *t = context;
        const struct zp_http_body *body = t->request->body;
        (void) one;
        size = body ? (size_t) zp_min_u64(size, body->size - t->sent) : 0;
        if (size == 0)
                return 0;
        uint64_t start = zp_clock_ms();
        t->failure = body->read(body->context, t->sent, buffer, size, t->err);
        t->sent += size;
        t->callback_ms += zp_clock_ms() - start;
        return t->failure ? CURL_READFUNC_ABORT : size;
}

/* How long nothing may happen now: a server may take its time to think about a body. */
static uint64_t stall_timeout_ms(const struct zp_http_transfer *t) {
        uint64_t timeout = zp_http_get_options(t->http)->stall_timeout_ms;
        bool is_thinking = t->request->patience > 1 && (!t->request->body || t->sent == t->request->body->size);
        return is_thinking ? timeout * t->request->patience : timeout;
}

/* Called at least once a second. The time that the caller's functions took is not the server's fault. */
static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t sent) {
        struct zp_http_transfer *t = context;
        (void) a, (void) b, (void) c;
        if (!t->failure)
                t->failure = zp_http_check_cancel(t->http, t->request, t->err);
        if (t->failure)
                return 1;
        uint64_t now = zp_clock_ms(), timeout = stall_timeout_ms(t);
        if ((uint64_t) sent > t->last_sent) {
                t->last_sent = (uint64_t) sent;
                t->arrival_ms = now;
        }
        tell_silence(t, now);
        if (now - t->window_start_ms < timeout + t->callback_ms)
                return 0;
        uint64_t moved = t->window_bytes;
        if ((uint64_t) sent > t->window_sent)
                moved += (uint64_t) sent - t->window_sent;
        t->is_stalled = moved < timeout * STALL_BYTES_PER_SECOND / 1000;
        t->window_start_ms = now;
        t->window_bytes = t->callback_ms = 0;
        t->window_sent = (uint64_t) sent;
        return t->is_stalled;
}

static bool add_line(struct curl_slist **list, const char *line) {
        struct curl_slist *longer = curl_slist_append(*list, line);
        if (longer)
                *list = longer;
        return longer;
}

static bool add_header(struct curl_slist **list, const char *name, const char *value) {
        zp_autofree char *line = zp_format("%s: %s", name, value);
        return line && add_line(list, line);
}

bool zp_http_is_read_only(const struct zp_http_request *request) {
        const char *method = request->method;
        return !request->form && (!method || strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
}

static bool add_range(struct curl_slist **list, const struct zp_http_request *request) {
        char range[60];
        if (request->ranges) {
                zp_autofree char *several = zp_format("bytes=%s", request->ranges);
                return several && add_header(list, "Range", several);
        }
        if (!request->range_start && !request->range_end)
                return true;
        int n = snprintf(range, sizeof range, "bytes=%ju-", (uintmax_t) request->range_start);
        if (request->range_end)
                snprintf(range + n, sizeof range - (size_t) n, "%ju", (uintmax_t) request->range_end - 1);
        return add_header(list, "Range", range);
}

static bool make_headers(struct zp_http_transfer *t) {
        const struct zp_http_request *request = t->request;
        const struct zp_http_body *body = request->body;
        struct curl_slist **list = &t->headers;
        if (!zp_http_is_read_only(request) && !request->form) {
                /* No waiting for "100 Continue": an early refusal is noticed, and a lost one asked for again. */
                if (!add_line(list, "Expect:"))
                        return false;
        }
        for (const char *const *line = request->headers; line && *line; line++)
                if (!add_line(list, *line))
                        return false;
        return (!request->accept || add_header(list, "Accept", request->accept)) &&
               (!request->authorization || add_header(list, "Authorization", request->authorization)) &&
               (!request->if_match || add_header(list, "If-Match", request->if_match)) &&
               (!body || add_header(list, "Content-Type", body->content_type)) &&
               (!body || !body->content_range || add_header(list, "Content-Range", body->content_range)) &&
               add_range(list, request);
}

static void set_method(CURL *handle, struct zp_http_transfer *t) {
        const struct zp_http_request *request = t->request;
        if (request->form) {
                curl_easy_setopt(handle, CURLOPT_POSTFIELDS, request->form);
        } else if (!zp_http_is_read_only(request)) {
                curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
                curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
                curl_easy_setopt(handle, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
                curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE,
                                 request->body ? (curl_off_t) request->body->size : (curl_off_t) 0);
                curl_easy_setopt(handle, CURLOPT_READFUNCTION, on_read);
                curl_easy_setopt(handle, CURLOPT_READDATA, t);
                /* No CURLOPT_SEEKFUNCTION: whether to send a body again is the caller's to decide, for the server may
                 * have it. */
        } else if (request->method && strcmp(request->method, "HEAD") == 0) {
                curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
        }
}

static void set_blob(CURL *handle, CURLoption option, const char *pem) {
        struct curl_blob blob = { .data = (void *) pem, .len = strlen(pem), .flags = CURL_BLOB_NOCOPY };
        curl_easy_setopt(handle, option, &blob);
}

/* What is said about the very server that is asked; NULL: nothing. */
static const struct zp_http_own *own_of(const struct zp_http_transfer *t) {
        const struct zp_http_own *own = &zp_http_get_options(t->http)->own;
        return own->host && zp_url_is_at(t->request->url, own->host) ? own : NULL;
}

static void set_tls(CURL *handle, const struct zp_http_options *options, const struct zp_http_own *own) {
        curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
        if (options->ca_file) {
                curl_easy_setopt(handle, CURLOPT_CAINFO, options->ca_file);
                curl_easy_setopt(handle, CURLOPT_CAPATH, NULL); /* Debian's libcurl has both by default */
        }
        if (options->ca_pem) /* in place of the bundle; the system's are in its directory, too */
                set_blob(handle, CURLOPT_CAINFO_BLOB, options->ca_pem);
        if (options->is_ca_pem_alone)
                curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
        if (own && own->client_pem) {
                set_blob(handle, CURLOPT_SSLCERT_BLOB, own->client_pem);
                set_blob(handle, CURLOPT_SSLKEY_BLOB, own->client_key_pem);
        }
        if (options->skip_tls_verify || (own && own->skip_tls_verify)) {
                curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 0L);
                curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 0L);
        }
}

static void set_options(CURL *handle, struct zp_http_transfer *t) {
        const struct zp_http_options *options = zp_http_get_options(t->http);
        const struct zp_http_request *request = t->request;
        curl_easy_setopt(handle, CURLOPT_URL, request->url);
        curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
        if (t->is_multiplexed) {
                curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
                curl_easy_setopt(handle, CURLOPT_PIPEWAIT, 1L); /* until the first has seen what the server speaks */
                curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 64L << 10);
        } else {
                /* One transfer at a time per handle: HTTP/2 would only add its flow control. */
                curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
                curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L << 10);
        }
        curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(handle, CURLOPT_QUICK_EXIT, 1L); /* who gives up does not wait for the resolver's thread */
        curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                         options->connect_timeout_ms ? (long) options->connect_timeout_ms : CONNECT_TIMEOUT_MS);
        if (request->is_farewell || request->timeout_ms)
                curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS,
                                 request->is_farewell ? FAREWELL_TIMEOUT_MS : (long) request->timeout_ms);
        curl_easy_setopt(handle, CURLOPT_TCP_KEEPALIVE, 1L);
        curl_easy_setopt(handle, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
        curl_easy_setopt(handle, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
        curl_easy_setopt(handle, CURLOPT_HTTPHEADER, t->headers);
        curl_easy_setopt(handle, CURLOPT_USERAGENT, options->user_agent);
        curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, t->message);
        curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(handle, CURLOPT_HEADERDATA, t);
        curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(handle, CURLOPT_WRITEDATA, t);
        curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(handle, CURLOPT_XFERINFODATA, t);
        set_method(handle, t);
        set_tls(handle, options, own_of(t));
}

static int set_proxy(CURL *handle, struct zp_http_transfer *t) {
        const struct zp_http_own *own = own_of(t);
        const char *given = own ? own->proxy : NULL;
        zp_autofree char *found = NULL;
        int r = given ? 0 : zp_proxy_find(t->request->url, getenv, &found, t->err);
        curl_easy_setopt(handle, CURLOPT_PROXY, given ? given : found ? found : "");
        curl_easy_setopt(handle, CURLOPT_NOPROXY, "");                  /* that has been looked at */
        curl_easy_setopt(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's status is not the server's */
        return r;
}

static bool set_place(CURL *handle, struct zp_http_transfer *t) {
        const struct zp_http_own *own = own_of(t);
        if (!own || !own->connect_to)
                return true;
        zp_autofree char *line = zp_format("::%s", own->connect_to);
        if (!line || !add_line(&t->places, line))
                return false;
        curl_easy_setopt(handle, CURLOPT_CONNECT_TO, t->places);
        return true;
}

int zp_http_transfer_prepare(struct zp_http_transfer *t, CURL *handle) {
        t->window_start_ms = t->arrival_ms = zp_clock_ms();
        if (!make_headers(t) || !set_place(handle, t))
                return zp_error_errno(t->err, ENOMEM, "HTTP request");
        set_options(handle, t);
        return set_proxy(handle, t);
}

void zp_http_transfer_clear(struct zp_http_transfer *t) {
        curl_slist_free_all(t->headers);
        curl_slist_free_all(t->places);
        t->headers = t->places = NULL;
}

static int explain(CURLcode code, const char *message, struct zp_http_response *response, struct zp_error *err) {
        int number = EIO;
        const char *text = message[0] ? message : curl_easy_strerror(code);
        response->is_transient = true;
        switch (code) {
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
                number = EHOSTUNREACH;
                break;
        case CURLE_COULDNT_CONNECT:
                number = ECONNREFUSED;
                break;
        case CURLE_OPERATION_TIMEDOUT:
                number = ETIMEDOUT;
                break;
        case CURLE_PARTIAL_FILE:
        case CURLE_GOT_NOTHING:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_SEND_FAIL_REWIND:
        case CURLE_HTTP2: /* the connection is given up, in order or not */
        case CURLE_HTTP2_STREAM:
                break;
        case CURLE_SSL_CACERT_BADFILE:
                response->is_transient = false;
                return zp_error_set(err, EINVAL, "certificate authorities: %s", text);
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_ISSUER_ERROR:
                response->is_transient = false;
                zp_error_set(err, EPROTO, "the server's certificate is not trusted: %s", text);
                zp_error_hint(err,
                              "name the file with the certificate of its authority with --ca-file, or, for a test, "
                              "switch the verification off with --tls-verify=false");
                return -EPROTO;
        case CURLE_SSL_CONNECT_ERROR:
                response->is_not_tls = true; /* or an overloaded server hung up */
                zp_error_set(err, EPROTO, "TLS: %s", text);
                zp_error_hint(err, "if this registry speaks plain HTTP, ask for it with --plain-http");
                return -EPROTO;
        default:
                response->is_transient = false;
                number = EPROTO;
        }
        return zp_error_set(err, number, "%s", text);
}

int zp_http_transfer_conclude(struct zp_http_transfer *t, CURLcode code) {
        if (t->failure)
                return t->failure;
        if (code == CURLE_OK || t->is_body_cut)
                return 0;
        if (t->is_stalled) {
                t->response->is_transient = true;
                return zp_error_set(t->err, ETIMEDOUT,
                                    t->response->status ? "the server sends (almost) nothing any more"
                                                        : "the server does not answer");
        }
        return explain(code, t->message, t->response, t->err);
}
