/* SPDX-License-Identifier: Apache-2.0
 *
 * One request and its answer, and what an answer means that is no success.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "controller/kube/kube-internal.h"

#define BACKOFF_FIRST_MS 800u
#define BACKOFF_MAX_MS 30000u
/* In stall timeouts: longer than any watch is asked for. */
#define WATCH_PATIENCE 24u

unsigned zp_kube_random(unsigned bound) {
        unsigned random = 0;
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
                random = (unsigned) zp_clock_ms();
        return random % bound;
}

unsigned zp_kube_backoff_ms(unsigned failures) {
        unsigned delay = BACKOFF_FIRST_MS;
        for (unsigned i = 1; i < failures && delay < BACKOFF_MAX_MS; i++)
                delay *= 2;
        if (delay > BACKOFF_MAX_MS)
                delay = BACKOFF_MAX_MS;
        return delay / 2 + zp_kube_random(delay / 2 + 1);
}

/* ---- one attempt ---- */

static int attempt(struct zp_kube *kube, const struct zp_kube_session *session, const struct zp_kube_exchange *exchange,
                   struct zp_http_response *response, struct zp_error *err) {
        zp_autofree char *url = zp_format("%s%s", session->base, exchange->path);
        const struct zp_kube_options *options = &kube->options;
        if (!url)
                return zp_error_errno(err, ENOMEM, "request");
        if (exchange->needs_leave && options->may_write && !options->may_write(options->context))
                return zp_error_set(err, ECANCELED, "it is another's to write by now");
        const char *headers[] = { session->host_header, NULL };
        const struct zp_http_body body = {
                .size = exchange->body ? strlen(exchange->body) : 0,
                .content_type = exchange->content_type,
                .read = zp_memory_read,
                .context = (void *) exchange->body,
        };
        const struct zp_http_request request = {
                .url = url,
                .method = exchange->method,
                .accept = "application/json",
                .authorization = session->material.authorization,
                .headers = headers,
                .body = exchange->body ? &body : NULL,
                .patience = exchange->is_watch ? WATCH_PATIENCE : 1,
                .timeout_ms = exchange->timeout_ms,
                .body_limit = exchange->body_limit,
                .sink = exchange->sink,
                .context = exchange->context,
                .cancel = exchange->cancel,
                .is_farewell = exchange->is_farewell,
        };
        atomic_fetch_add(&kube->requests, 1);
        int r = zp_http_exchange(session->http, &request, response, err);
        if (r == -EPROTO && err) { /* the words of that room are for registries */
                err->hint[0] = '\0';
                zp_error_hint(err, "the kubeconfig's certificate-authority must have signed the server's certificate");
        }
        if (r < 0 ? response->is_transient : response->status >= 500)
                atomic_fetch_add(&kube->failures, 1);
        if (response->status == 429)
                atomic_fetch_add(&kube->throttled, 1);
        return r;
}

int zp_kube_exchange(struct zp_kube *kube, const struct zp_kube_exchange *exchange, struct zp_http_response *response,
                     struct zp_error *err) {
        struct zp_kube_session *session = zp_kube_session_take(kube);
        int r = attempt(kube, session, exchange, response, err);
        if (r == 0 && response->status == 401 && zp_kube_session_renew(kube, session)) {
                zp_kube_session_give(kube, session);
                session = zp_kube_session_take(kube);
                zp_http_response_clear(response);
                r = attempt(kube, session, exchange, response, err);
        }
        zp_kube_session_give(kube, session);
        return r;
}

/* ---- failures ---- */

/* The errno of a status, and of the reason where one status has several. */
static int code_of(int status, const char *reason) {
        switch (status) {
        case 400:
        case 422:
                return EINVAL;
        case 401:
                return EACCES;
        case 403:
                return EPERM;
        case 404:
                return ENOENT;
        case 405:
        case 406:
        case 415:
                return ENOTSUP;
        case 409:
                return strcmp(reason, "AlreadyExists") == 0 ? EEXIST : EBUSY;
        case 410:
                return ESTALE;
        case 429:
        case 500:
        case 502:
        case 503:
        case 504:
                return EAGAIN;
        default:
                return EBADMSG;
        }
}

/* Server-side apply's way to say that a field is not in the schema: a 500, which says so every time. */
static bool is_not_in_schema(int status, const char *message) {
        static const char start[] = "failed to create typed patch object";
        return status == 500 && strncmp(message, start, strlen(start)) == 0;
}

static const char *text_of(json_t *object, const char *key) {
        const char *text = json_string_value(json_object_get(object, key));
        return text ? text : "";
}

static bool is_version_too_large(json_t *status) {
        json_t *cause;
        size_t i;
        json_array_foreach(json_object_get(json_object_get(status, "details"), "causes"), i, cause) {
                if (strcmp(text_of(cause, "reason"), "ResourceVersionTooLarge") == 0)
                        return true;
        }
        /* as servers before 1.19 say it, and its cache */
        return strstr(text_of(status, "message"), "Too large resource version");
}

static int fail(int code, json_t *status, struct zp_kube_failure *failure, struct zp_error *err) {
        struct zp_kube_failure ignored;
        failure = failure ? failure : &ignored;
        *failure = (struct zp_kube_failure){ .is_version_too_large = is_version_too_large(status) };
        const char *reason = text_of(status, "reason"), *message = text_of(status, "message");
        strncat(failure->reason, reason, sizeof failure->reason - 1);
        int number = is_not_in_schema(code, message) ? EINVAL : code_of(code, reason);
        return zp_error_set(err, number, "the API server answers %d%s%.64s%s%.800s", code, reason[0] ? " " : "", reason,
                            message[0] ? ": " : "", message);
}

int zp_kube_fail(const struct zp_http_response *response, struct zp_kube_failure *failure, struct zp_error *err) {
        zp_auto(json_decref) json_t *status = NULL;
        if (response->body.size > 0)
                zp_json_load(response->body.data, response->body.size, "Status", &status, NULL);
        return fail(response->status, status, failure, err);
}

int zp_kube_fail_status(json_t *status, struct zp_kube_failure *failure, struct zp_error *err) {
        json_int_t code = json_integer_value(json_object_get(status, "code"));
        if (code == 0 && strcmp(text_of(status, "reason"), "Expired") == 0)
                code = 410;
        return fail(code >= 400 && code < 600 ? (int) code : 500, status, failure, err);
}
