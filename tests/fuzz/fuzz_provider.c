/* SPDX-License-Identifier: Apache-2.0
 *
 * A push notification, as in provider-request.h, to an endpoint that is open and to one that has a secret. Whatever
 * comes of it is one of the documented statuses; an event, put together again, is itself; nobody guesses the secret.
 */
#include <assert.h>
#include <jansson.h>
#include <stdint.h>

#include "provider-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct hook_event *a, const struct hook_event *b) {
        return a->kind == b->kind && strcmp(a->host, b->host) == 0 && strcmp(a->repository, b->repository) == 0 &&
               strcmp(a->tag, b->tag) == 0 && a->has_digest == b->has_digest &&
               (!a->has_digest || zp_digest_equal(&a->digest, &b->digest)) &&
               strcmp(a->media_type, b->media_type) == 0 && strcmp(a->id, b->id) == 0 &&
               strcmp(a->agent, b->agent) == 0;
}

static void check_event(const struct hook_event *event) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        const struct hook_event_text text = {
                .kind = event->kind,
                .host = event->host,
                .repository = event->repository,
                .tag = event->tag[0] ? event->tag : NULL,
                .digest = event->has_digest ? zp_digest_text(&event->digest, digest) : NULL,
                .media_type = event->media_type,
                .id = event->id,
                .agent = event->agent,
        };
        struct hook_events again = { 0 };
        assert(hook_events_add(&again, &text, NULL) == 0);
        assert(same(&again.items[0], event));
        hook_events_clear(&again);
}

static void check_line(const char *line) {
        for (; *line; line++)
                assert((unsigned char) *line >= ' ' && *line != 127);
}

static void receive(struct provider_request *request) {
        struct hook_result result = { 0 };
        hook_provider_receive(&request->endpoint, &request->request, &result);
        assert(result.status == 200 || result.status == 202 || result.status == 400 || result.status == 413);
        assert((result.events.count > 0) == (result.status == 202));
        assert(result.reason[0]);
        check_line(result.reason);
        for (size_t i = 0; i < result.events.count; i++)
                check_event(&result.events.items[i]);
        if (result.answer[0]) {
                json_t *answer = json_loads(result.answer, JSON_REJECT_DUPLICATES, NULL);
                assert(json_is_object(answer));
                json_decref(answer);
        }
        hook_events_clear(&result.events);
}

static void receive_unauthenticated(struct provider_request *request) {
        struct hook_result result = { 0 };
        request->endpoint.secrets[0] = "ZQ4T7vQpK1m8rXw2LcYd";
        request->endpoint.secret_count = 1;
        hook_provider_receive(&request->endpoint, &request->request, &result);
        assert(result.status == 401 && result.events.count == 0 && !result.answer[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct provider_request request;
        if (provider_request_parse(data, size, &request)) {
                receive(&request);
                receive_unauthenticated(&request);
        }
        provider_request_clear(&request);
        return 0;
}
