/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/bytes.h"
#include "oci/http-internal.h"
#include "oci/url.h"

#define CONNECT_TIMEOUT_MS 10000L
#define HEADERS_MAX (128u << 10)
#define ERROR_BODY_MAX (64u << 10)
#define IDLE_MAX 16
#define STALL_BYTES_PER_SECOND 1024u

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

/* One exchange under way. */
struct transfer {
        const struct zp_http *http;
        const struct zp_http_request *request;
        struct zp_http_response *response;
        struct zp_error *err;
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

static uint64_t now_ms(void) {
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

const struct zp_cancel *zp_http_cancel(const struct zp_http *http) {
        return http->options.cancel;
}

const struct zp_notice *zp_http_notice(const struct zp_http *http) {
        return &http->options.notice;
}

int zp_http_check_cancel(const struct zp_http *http, const struct zp_http_request *request, struct zp_error *err) {
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

static int out_of_memory(struct transfer *t) {
        return t->failure = zp_error_errno(t->err, ENOMEM, "HTTP response");
}

static size_t on_header(char *line, size_t one, size_t size, void *context) {
        struct transfer *t = context;
        (void) one;
        t->header_bytes += size;
        t->window_bytes += size;
        t->arrival_ms = now_ms();
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

static size_t collect(struct transfer *t, const char *data, size_t size) {
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
        struct transfer *t = context;
        (void) one;
        t->window_bytes += size;
        uint64_t start = t->arrival_ms = now_ms();
        if (!t->request->sink || !is_success(t->response))
                return collect(t, data, size);
        t->failure = t->request->sink(t->request->context, t->response, t->body_offset, data, size, t->err);
        t->body_offset += size;
        t->arrival_ms = now_ms();
        t->callback_ms += t->arrival_ms - start;
        return t->failure ? 0 : size;
}

static void tell_silence(struct transfer *t, uint64_t now) {
        uint64_t silence = now - t->arrival_ms;
        if (t->is_silence_told || silence < t->http->options.stall_timeout_ms / 3)
                return;
        char host[ZP_URL_HOST_SIZE];
        t->is_silence_told = true;
        zp_notice_tell(&t->http->options.notice, "%s: %s for %u s", zp_url_host(t->request->url, host),
                       t->response->status ? "nothing has come" : "no answer",
                       silence < 1000 ? 1 : (unsigned) (silence / 1000));
}

static size_t on_read(char *buffer, size_t one, size_t size, void *context) {
        struct transfer *t = context;
        const struct zp_http_body *body = t->request->body;
        (void) one;
        size = body ? (size_t) zp_min_u64(size, body->size - t->sent) : 0;
        if (size == 0)
                return 0;
        uint64_t start = now_ms();
        t->failure = body->read(body->context, t->sent, buffer, size, t->err);
        t->sent += size;
        t->callback_ms += now_ms() - start;
        return t->failure ? CURL_READFUNC_ABORT : size;
}

/* How long nothing may happen now: a server may take its time to think about a body. */
static uint64_t stall_timeout_ms(const struct transfer *t) {
        uint64_t timeout = t->http->options.stall_timeout_ms;
        bool is_thinking = t->request->patience > 1 && (!t->request->body || t->sent == t->request->body->size);
        return is_thinking ? timeout * t->request->patience : timeout;
}

/* Called at least once a second. The time that the caller's functions took is not the server's fault. */
static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t sent) {
        struct transfer *t = context;
        (void) a, (void) b, (void) c;
        if (!t->failure)
                t->failure = zp_http_check_cancel(t->http, t->request, t->err);
        if (t->failure)
                return 1;
        uint64_t now = now_ms(), timeout = stall_timeout_ms(t);
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
        if (!request->range_start && !request->range_end)
                return true;
        int n = snprintf(range, sizeof range, "bytes=%ju-", (uintmax_t) request->range_start);
        if (request->range_end)
                snprintf(range + n, sizeof range - (size_t) n, "%ju", (uintmax_t) request->range_end - 1);
        return add_header(list, "Range", range);
}

static bool make_headers(const struct zp_http_request *request, struct curl_slist **list) {
        const struct zp_http_body *body = request->body;
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

static void set_method(CURL *handle, struct transfer *t) {
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

static void set_options(CURL *handle, struct transfer *t, struct curl_slist *headers, char *message) {
        const struct zp_http_options *options = &t->http->options;
        const struct zp_http_request *request = t->request;
        curl_easy_setopt(handle, CURLOPT_URL, request->url);
        curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
        /* One transfer at a time per handle: HTTP/2 would only add its flow control. */
        curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
        curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L << 10);
        curl_easy_setopt(handle, CURLOPT_TCP_KEEPALIVE, 1L);
        curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(handle, CURLOPT_USERAGENT, options->user_agent);
        curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, message);
        curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(handle, CURLOPT_HEADERDATA, t);
        curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(handle, CURLOPT_WRITEDATA, t);
        curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(handle, CURLOPT_XFERINFODATA, t);
        set_method(handle, t);
        if (options->ca_file) {
                curl_easy_setopt(handle, CURLOPT_CAINFO, options->ca_file);
                curl_easy_setopt(handle, CURLOPT_CAPATH, NULL); /* Debian's libcurl has both by default */
        }
        if (options->skip_tls_verify) {
                curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 0L);
                curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 0L);
        }
        if (zp_url_is_loopback(request->url))
                curl_easy_setopt(handle, CURLOPT_PROXY, "");
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
                break;
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
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

static int conclude(struct transfer *t, CURLcode code, const char *message) {
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
        return explain(code, message, t->response, t->err);
}

int zp_http_exchange(struct zp_http *http, const struct zp_http_request *request, struct zp_http_response *response,
                     struct zp_error *err) {
        int r = zp_http_check_cancel(http, request, err);
        if (r < 0)
                return r;
        struct transfer t = {
                .http = http,
                .request = request,
                .response = response,
                .err = err,
                .window_start_ms = now_ms(),
        };
        t.arrival_ms = t.window_start_ms;
        char message[CURL_ERROR_SIZE] = "";
        struct curl_slist *headers = NULL;
        CURL *handle = take_handle(http);
        if (handle && make_headers(request, &headers)) {
                set_options(handle, &t, headers, message);
                r = conclude(&t, perform_without_sigpipe(handle), message);
        } else {
                r = zp_error_errno(err, ENOMEM, "HTTP request");
        }
        if (handle)
                give_handle(http, handle);
        curl_slist_free_all(headers);
        return r;
}
