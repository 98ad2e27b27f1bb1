/* SPDX-License-Identifier: Apache-2.0
 *
 * provider-receive [SECRET]: what a provider makes of the request on standard input, which is in the form of
 * tests/fuzz/provider-request.h, as one JSON object.
 */
#include <jansson.h>
#include <stdio.h>

#include "base/buffer.h"
#include "tests/fuzz/provider-request.h"

static json_t *event_json(const struct hook_event *event) {
        char digest[ZP_DIGEST_TEXT_SIZE] = "";
        if (event->has_digest)
                zp_digest_text(&event->digest, digest);
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kind",
                         event->kind == HOOK_PUSH ? "push" : "delete", "host", event->host, "repository",
                         event->repository, "tag", event->tag, "digest", digest, "media_type", event->media_type, "id",
                         event->id, "agent", event->agent);
}

int main(int argc, char **argv) {
        zp_autobuffer struct zp_buffer input = { 0 };
        char piece[65536];
        for (size_t n; (n = fread(piece, 1, sizeof piece, stdin)) > 0;)
                if (!zp_buffer_append(&input, piece, n))
                        return 1;
        struct provider_request request;
        struct hook_result result = { 0 };
        bool is_request = provider_request_parse(input.data ? input.data : "", input.size, &request);
        if (is_request) {
                request.endpoint.secrets[0] = argc > 1 ? argv[1] : NULL;
                request.endpoint.secret_count = argc > 1;
                hook_provider_receive(&request.endpoint, &request.request, &result);
                json_t *events = json_array();
                for (size_t i = 0; i < result.events.count; i++)
                        json_array_append_new(events, event_json(&result.events.items[i]));
                json_t *out = json_pack("{s:i, s:s, s:s, s:o}", "status", (int) result.status, "reason", result.reason,
                                        "answer", result.answer, "events", events);
                if (!out || json_dumpf(out, stdout, JSON_COMPACT) < 0)
                        is_request = false;
                json_decref(out);
                hook_events_clear(&result.events);
        }
        provider_request_clear(&request);
        return is_request ? 0 : 1;
}
