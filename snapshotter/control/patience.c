/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that open calls and send no request, or do not take the answer, have places that others want.
 */
#include "base/condition.h"
#include "snapshotter/control/call-internal.h"
#include "snapshotter/control/log.h"

/* How long a client may take; shorter when others have no place. A request comes with its call, in one piece. */
static const struct {
        unsigned patience_ms, when_full_ms;
        const char *what;
} awaited[SNAP_AWAITED] = {
        [SNAP_AWAITS_REQUEST] = { 10000, 1000, "sends no request" },
        [SNAP_AWAITS_RECEPTION] = { 10000, 5000, "does not take the answer" },
};

void snap_call_await(struct snap_call *call, enum snap_awaited what) {
        struct snap_calls *calls = call->calls;
        pthread_mutex_lock(&calls->lock);
        call->awaited = what;
        call->awaited_since_ms = zp_monotonic_ms();
        pthread_mutex_unlock(&calls->lock);
}

bool snap_calls_are_active(struct snap_calls *calls) {
        pthread_mutex_lock(&calls->lock);
        bool are_active = calls->active > 0;
        pthread_mutex_unlock(&calls->lock);
        return are_active;
}

/* The first that had taken too long by then, referred to; *why: what its client does. */
static struct snap_call *take_late(struct snap_calls *calls, uint64_t then_ms, const char **why) {
        struct snap_call *call;
        pthread_mutex_lock(&calls->lock);
        bool is_full = calls->active >= SNAP_CALLS_MAX;
        TAILQ_FOREACH(call, &calls->arrived, by_age) {
                unsigned ms = is_full ? awaited[call->awaited].when_full_ms : awaited[call->awaited].patience_ms;
                if (ms && call->awaited_since_ms + ms <= then_ms)
                        break;
        }
        if (call) {
                *why = awaited[call->awaited].what;
                call->awaited = SNAP_AWAITS_NOTHING;
                atomic_fetch_add(&call->references, 1);
        }
        pthread_mutex_unlock(&calls->lock);
        return call;
}

void snap_calls_look(struct snap_calls *calls, uint64_t then_ms) {
        unsigned count = 0;
        const char *why = NULL;
        for (struct snap_call *call; (call = take_late(calls, then_ms, &why)); count++) {
                grpc_call_cancel(call->call, NULL);
                snap_call_release(call);
        }
        if (count)
                snap_log_event(SNAP_LOG_WARN, "calls are cancelled whose client does not go on", "client", why, NULL);
}
