/* SPDX-License-Identifier: Apache-2.0
 *
 * From a request to a status: the same for all providers.
 */
#include <string.h>

#include "registry-hook/providers/provider.h"

static unsigned status_of(int r) {
        switch (r) {
        case -EACCES:
                return 401;
        case -E2BIG:
        case -EFBIG:
                return 413;
        case -ENOMEM:
                return 503;
        default:
                return 400;
        }
}

static void fail(struct hook_result *out, unsigned status, const char *why) {
        hook_events_clear(&out->events);
        out->status = status;
        snprintf(out->reason, sizeof out->reason, "%.*s", HOOK_REASON_SIZE - 1, why);
}

static int authenticate(const struct hook_endpoint *endpoint, const struct hook_request *request,
                        struct zp_error *err) {
        if (endpoint->secret_count == 0 && !endpoint->keys)
                return 0;
        return endpoint->provider->authenticate(endpoint, request, err);
}

void hook_provider_receive(const struct hook_endpoint *endpoint, const struct hook_request *request,
                           struct hook_result *out) {
        const struct hook_provider *provider = endpoint->provider;
        struct zp_error err = { 0 };
        if (strcmp(request->method, "POST") != 0) {
                fail(out, 405, "only POST");
                return;
        }
        int r = authenticate(endpoint, request, &err);
        if (r == 0 && provider->answer && provider->answer(request, out->answer)) {
                out->status = 200;
                snprintf(out->reason, sizeof out->reason, "handshake answered");
                return;
        }
        if (r == 0)
                r = provider->parse(endpoint, request, &out->events, out->reason, &err);
        if (r < 0) {
                fail(out, status_of(r), err.message);
                return;
        }
        out->status = out->events.count ? 202 : 200;
        if (out->events.count && !out->events.odd)
                snprintf(out->reason, sizeof out->reason, "accepted");
        else if (!out->reason[0])
                snprintf(out->reason, sizeof out->reason, "nothing to do");
}
