/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/client.h"

#include <string.h>

#include "controller/kube/kube-internal.h"
#include "oci/fetch.h"

#define CALL_TIMEOUT_MS 30000u
#define ATTEMPTS_MAX 5u
#define RETRY_AFTER_MAX_S 10u

int zp_kube_new(const struct zp_kube_options *options, struct zp_kube **out, struct zp_error *err) {
        struct zp_kube_material material;
        struct zp_error ignored = { 0 };
        err = err ? err : &ignored;
        zp_autofree struct zp_kube *kube = calloc(1, sizeof *kube);
        if (!kube)
                return zp_error_errno(err, ENOMEM, "Kubernetes client");
        kube->options = *options;
        int r = zp_kube_material_read(options->config, NULL, options->cancel, &material, err);
        if (r == 0)
                r = zp_kube_session_new(options, &material, &kube->session, err);
        if (r < 0)
                return zp_error_wrap(err, "credentials for %s", options->config->cluster.server);
        kube->checked_ms = zp_clock_ms();
        pthread_mutex_init(&kube->lock, NULL);
        pthread_mutex_init(&kube->reload_lock, NULL);
        *out = zp_steal(&kube);
        return 0;
}

void zp_kube_free(struct zp_kube *kube) {
        zp_kube_session_free(kube->session);
        pthread_mutex_destroy(&kube->lock);
        pthread_mutex_destroy(&kube->reload_lock);
        free(kube);
}

struct zp_kube_statistics zp_kube_statistics(struct zp_kube *kube) {
        return (struct zp_kube_statistics){
                .requests = atomic_load(&kube->requests),
                .retries = atomic_load(&kube->retries),
                .throttled = atomic_load(&kube->throttled),
                .failures = atomic_load(&kube->failures),
                .credential_reloads = atomic_load(&kube->reloads),
        };
}

/* ---- a call, and its repetition ---- */

/* Whether another attempt makes sense, and in how many milliseconds; 0: no. `result` is the exchange's. */
static unsigned retry_delay_ms(const struct zp_kube_exchange *exchange, int result,
                               const struct zp_http_response *response, unsigned failures) {
        unsigned asked_s = zp_http_retry_after_s(response);
        bool is_post = exchange->method && strcmp(exchange->method, "POST") == 0;
        if (result < 0) {
                bool was_sent = result != -ECONNREFUSED && result != -EHOSTUNREACH;
                return response->is_transient && !(is_post && was_sent) ? zp_kube_backoff_ms(failures) : 0;
        }
        if (response->status != 429 && response->status < 500)
                return 0;
        if (asked_s > RETRY_AFTER_MAX_S)
                return 0;
        if (asked_s > 0) /* the server did nothing; not all come back at the same moment */
                return asked_s * 1000 + zp_kube_random(250);
        bool did_nothing = response->status == 429 || response->status == 503;
        bool may_pass = response->status != 500 && !is_post; /* a 500 is the server's last word for now */
        return did_nothing || may_pass ? zp_kube_backoff_ms(failures) : 0;
}

static bool pause_unless_cancelled(const struct zp_kube *kube, const struct zp_kube_exchange *exchange, unsigned ms) {
        uint64_t until_ms = zp_clock_ms() + ms;
        for (uint64_t now = zp_clock_ms(); now < until_ms; now = zp_clock_ms()) {
                unsigned step = until_ms - now < 50 ? (unsigned) (until_ms - now) : 50;
                if (zp_cancelled(exchange->cancel) || !zp_pause(step, kube->options.cancel))
                        return false;
        }
        return true;
}

int zp_kube_exchange_again(struct zp_kube *kube, struct zp_kube_exchange *exchange, struct zp_http_response *response,
                           struct zp_error *err) {
        uint64_t latest_ms = zp_clock_ms() + exchange->timeout_ms;
        for (unsigned failures = 1;; failures++) {
                int r = zp_kube_exchange(kube, exchange, response, err);
                bool may_repeat = failures < ATTEMPTS_MAX && !exchange->is_farewell;
                unsigned delay_ms = may_repeat ? retry_delay_ms(exchange, r, response, failures) : 0;
                uint64_t now_ms = zp_clock_ms();
                if (delay_ms == 0 || now_ms + delay_ms >= latest_ms)
                        return r;
                zp_notice_tell(&kube->options.notice, "%s %.200s: %s; trying again in %u ms",
                               exchange->method ? exchange->method : "GET", exchange->path,
                               r < 0 ? err->message : "the API server is busy", delay_ms);
                if (!pause_unless_cancelled(kube, exchange, delay_ms))
                        return zp_error_set(err, ECANCELED, "interrupted");
                now_ms = zp_clock_ms();
                if (now_ms >= latest_ms) /* the process slept meanwhile */
                        return r;
                zp_error_clear(err);
                zp_http_response_clear(response);
                exchange->timeout_ms = (unsigned) (latest_ms - now_ms);
                atomic_fetch_add(&kube->retries, 1);
        }
}

static int read_answer(const struct zp_http_response *response, const char *what, json_t **out, struct zp_error *err) {
        if (response->status < 200 || response->status > 299) {
                zp_kube_fail(response, NULL, err);
                return zp_error_wrap(err, "%s", what);
        }
        if (!out)
                return 0;
        return zp_json_load(response->body.data ? response->body.data : "", response->body.size, what, out, err);
}

int zp_kube_call(struct zp_kube *kube, const struct zp_kube_request *request, json_t **out, struct zp_error *err) {
        struct zp_error ignored = { 0 };
        err = err ? err : &ignored;
        zp_autofree char *place_path = request->path ? NULL : zp_kube_path(&request->place, NULL);
        const char *path = request->path ? request->path : place_path;
        zp_autofree char *full =
                path ? zp_format("%s%s%s", path, request->query ? "?" : "", request->query ? request->query : "")
                     : NULL;
        zp_autofree char *body = request->body ? json_dumps(request->body, JSON_COMPACT) : NULL;
        if (!full || (request->body && !body))
                return zp_error_errno(err, ENOMEM, "request");
        char text[KUBE_PLACE_SIZE] = "";
        strncat(text, request->path ? request->path : "", sizeof text - 1);
        if (!request->path)
                zp_kube_place_text(&request->place, text);
        bool is_change = request->method && strcmp(request->method, "GET") != 0;
        struct zp_kube_exchange exchange = {
                .path = full,
                .method = request->method,
                .content_type = request->content_type ? request->content_type : "application/json",
                .body = body,
                .body_limit = KUBE_ANSWER_MAX,
                .cancel = request->cancel,
                .timeout_ms = request->timeout_ms ? request->timeout_ms : CALL_TIMEOUT_MS,
                .is_farewell = request->is_farewell,
                .needs_leave = is_change && !request->is_anybodys,
        };
        struct zp_http_response response = { 0 };
        int r = zp_kube_exchange_again(kube, &exchange, &response, err);
        r = r < 0 ? zp_error_wrap(err, "%s", text) : read_answer(&response, text, out, err);
        zp_http_response_clear(&response);
        return r;
}

/* ---- the common ones ---- */

int zp_kube_get(struct zp_kube *kube, const struct zp_kube_place *place, json_t **out, struct zp_error *err) {
        return zp_kube_call(kube, &(struct zp_kube_request){ .place = *place }, out, err);
}

int zp_kube_create(struct zp_kube *kube, const struct zp_kube_place *place, json_t *object, json_t **out,
                   struct zp_error *err) {
        struct zp_kube_request request = {
                .place = *place, .query = "fieldValidation=Strict", .method = "POST", .body = object
        };
        request.place.name = NULL;
        return zp_kube_call(kube, &request, out, err);
}

int zp_kube_replace(struct zp_kube *kube, const struct zp_kube_place *place, json_t *object, json_t **out,
                    struct zp_error *err) {
        const struct zp_kube_request request = {
                .place = *place, .query = "fieldValidation=Strict", .method = "PUT", .body = object
        };
        return zp_kube_call(kube, &request, out, err);
}

int zp_kube_delete(struct zp_kube *kube, const struct zp_kube_place *place, const char *uid, struct zp_error *err) {
        zp_auto(json_decref) json_t *options = json_pack("{s:s, s:s, s:s}", "kind", "DeleteOptions", "apiVersion", "v1",
                                                         "propagationPolicy", "Background");
        if (!options || (uid && json_object_set_new(options, "preconditions", json_pack("{s:s}", "uid", uid)) < 0))
                return zp_error_errno(err, ENOMEM, "request");
        const struct zp_kube_request request = { .place = *place, .method = "DELETE", .body = options };
        return zp_kube_call(kube, &request, NULL, err);
}
