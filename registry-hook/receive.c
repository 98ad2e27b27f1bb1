/* SPDX-License-Identifier: Apache-2.0
 *
 * `POST /hooks/NAME`: a registry's notification. It is answered once it is on disk, or is known to mean nothing.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "registry-hook/clock.h"
#include "registry-hook/decide.h"
#include "registry-hook/log.h"
#include "registry-hook/server.h"
#include "registry-hook/transcript.h"

struct reception {
        struct hook_exchange *exchange;
        struct hook_result result;
        struct hook_db_job job;
        struct hook_delivery delivery;
        size_t ignored;
        int outcome;
        struct zp_error error;
};

static void free_reception(void *state) {
        struct reception *r = state;
        hook_events_clear(&r->result.events);
        free(r);
}

/* ---- what a provider sees ---- */

static const char *get_header(const void *context, const char *name) {
        const struct hook_exchange *x = context;
        return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static const char *get_query(const void *context, const char *name) {
        return hook_query(context, name);
}

static void peer_text(const struct hook_exchange *x, char text[INET6_ADDRSTRLEN]) {
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        const struct sockaddr *address = info ? info->client_addr : NULL;
        text[0] = '\0';
        if (address && address->sa_family == AF_INET)
                inet_ntop(AF_INET, &((const struct sockaddr_in *) (const void *) address)->sin_addr, text,
                          INET6_ADDRSTRLEN);
        else if (address && address->sa_family == AF_INET6)
                inet_ntop(AF_INET6, &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr, text,
                          INET6_ADDRSTRLEN);
}

/* ---- answers ---- */

static enum MHD_Result answer(struct hook_exchange *x, unsigned status, const char *reason, size_t stored,
                              size_t ignored) {
        return hook_reply_json(x, status,
                               json_pack("{s:o, s:I, s:I}", status < 300 ? "result" : "error", hook_json_text(reason),
                                         "stored", (json_int_t) stored, "ignored", (json_int_t) ignored));
}

static enum MHD_Result finish(struct hook_exchange *x, struct reception *r) {
        struct hook_counters *c = &x->service->counters;
        if (r->outcome == 0)
                r->outcome = hook_db_check(x->service->db, &r->error);
        atomic_store(&c->is_refusing, r->outcome == -ENOSPC);
        if (r->outcome == 0) {
                zp_histogram_add(&c->stored_in, (uint64_t) (hook_monotonic_ms() - x->started_ms) * 1000);
                atomic_fetch_add(&c->events_stored, r->delivery.stored);
                return answer(x, 202, r->delivery.stored ? "queued" : "known already", r->delivery.stored, r->ignored);
        }
        if (r->outcome == -ENOSPC)
                atomic_fetch_add(&c->disk_full, 1);
        hook_log_seldom(&x->service->failed, HOOK_LOG_ERROR, "hooks/%s: %s", x->argument, r->error.message);
        return answer(x, 503, r->error.message, 0, r->ignored);
}

/* ---- deciding what to store ---- */

/* Leaves the events that may lead to something. What is left out is no error of the sender's, events of registries that
 * are not allowed included: some send again whatever is not answered 2xx, for ever, and nothing else meanwhile. */
static void sift(struct hook_exchange *x, struct hook_events *events, char *reason) {
        size_t kept = 0;
        const char *stranger = NULL;
        for (size_t i = 0; i < events->count; i++) {
                const struct hook_event *event = &events->items[i];
                if (!hook_config_registry(x->config, event->host)) {
                        stranger = event->host;
                        atomic_fetch_add(&x->service->counters.events_strange, 1);
                        snprintf(reason, QUEUE_REASON_SIZE, "registry %s is not in the configuration", event->host);
                } else if (hook_decide_may_matter(x->config, event, reason)) {
                        events->items[kept++] = *event;
                }
        }
        if (stranger) /* a mistake, or a lie: not to be overlooked */
                hook_log_seldom(&x->service->ignored, HOOK_LOG_WARNING,
                                "hooks/%s: ignored: registry %s is not in the configuration", x->argument, stranger);
        events->count = kept;
}

static int write_events(sqlite3 *db, void *context, struct zp_error *err) {
        struct reception *r = context;
        return hook_queue_accept(db, &r->delivery, err);
}

static void stored(void *context, int result, const struct zp_error *err) {
        struct reception *r = context;
        struct hook_exchange *x = r->exchange;
        struct hook_service *service = x->service;
        bool has_news = result == 0 && r->delivery.last_id; /* also of what waits already: it is due now */
        r->outcome = result;
        r->error = *err;
        hook_resume(x->server, x->connection); /* which may free the reception at once */
        if (has_news)
                hook_deciders_wake(service->deciders);
}

static enum MHD_Result store(struct hook_exchange *x, struct reception *r) {
        r->delivery = (struct hook_delivery){ .events = r->result.events.items,
                                              .count = r->result.events.count,
                                              .source = x->argument,
                                              .requested_by = x->argument,
                                              .now_ms = hook_now_ms() };
        r->job = (struct hook_db_job){ .work = write_events, .done = stored, .context = r };
        if (!hook_suspend(x->server, x->connection))
                return hook_reply_error(x, 503, "the service is ending");
        hook_db_submit(x->service->db, &r->job);
        return MHD_YES;
}

static enum MHD_Result take(struct hook_exchange *x, const struct hook_endpoint *endpoint, struct reception *r) {
        char peer[INET6_ADDRSTRLEN], reason[QUEUE_REASON_SIZE] = "nothing of interest";
        struct hook_counters *c = &x->service->counters;
        peer_text(x, peer);
        struct hook_request request = { .path = x->argument,
                                        .method = x->method,
                                        .peer = peer,
                                        .body = x->body.data ? x->body.data : "",
                                        .body_size = x->body.size,
                                        .now_s = hook_now_ms() / 1000,
                                        .header = get_header,
                                        .query = get_query,
                                        .context = x };
        hook_provider_receive(endpoint, &request, &r->result);
        if (r->result.status > 299) {
                atomic_fetch_add(&c->refused, 1);
                hook_log_seldom(&x->service->refused, HOOK_LOG_WARNING, "hooks/%s: %u to %s: %s", x->argument,
                                r->result.status, peer, r->result.reason);
                return answer(x, r->result.status, r->result.reason, 0, 0);
        }
        if (r->result.answer[0]) {
                json_t *json = json_loads(r->result.answer, 0, NULL);
                return hook_reply_json(x, r->result.status, json);
        }
        size_t all = r->result.events.count, odd = r->result.events.odd;
        if (odd)
                hook_log_seldom(&x->service->ignored, HOOK_LOG_WARNING, "hooks/%s: ignored: %s", x->argument,
                                r->result.reason);
        sift(x, &r->result.events, reason);
        r->ignored = all - r->result.events.count + odd;
        atomic_fetch_add(&c->events_ignored, r->ignored);
        if (r->result.events.count > 0)
                return store(x, r);
        return answer(x, 200, all ? reason : r->result.reason[0] ? r->result.reason : reason, 0, r->ignored);
}

enum MHD_Result hook_receive(struct hook_exchange *x) {
        if (x->state)
                return finish(x, x->state);
        const struct hook_endpoint *endpoint = hook_config_endpoint(x->config, x->argument);
        if (!endpoint)
                return hook_reply_error(x, 404, "there is no endpoint '%s'", x->argument);
        struct reception *r = calloc(1, sizeof *r);
        if (!r)
                return hook_reply_error(x, 503, "out of memory");
        r->exchange = x;
        x->state = r;
        x->free_state = free_reception;
        atomic_fetch_add(&x->service->counters.deliveries, 1);
        return take(x, endpoint, r);
}
