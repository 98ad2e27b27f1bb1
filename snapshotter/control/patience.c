/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that open calls and send no request, or do not take the answer, have places that others want.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/condition.h"
#include "snapshotter/control/call-internal.h"
#include "snapshotter/control/log.h"

/* A request comes with its call, in one piece. A connection may have 128 calls, but for one whose client does not heed
 * what it is told. */
#define IDLE_MAX 256

/* How long a client may take; shorter when others have no place. */
static const struct {
        unsigned patience_ms, when_full_ms;
        const char *what;
} awaited[SNAP_AWAITED] = {
        [SNAP_AWAITS_REQUEST] = { 10000, 1000, "sends no request" },
        [SNAP_AWAITS_RECEPTION] = { 10000, 5000, "does not take the answer" },
        [SNAP_AWAITS_END] = { 10000, 5000, NULL },
};

static bool is_idle(enum snap_awaited what) {
        return what == SNAP_AWAITS_REQUEST || what == SNAP_AWAITS_END;
}

/* Lock held. */
static void set_awaited(struct snap_call *call, enum snap_awaited what) {
        call->calls->idle -= is_idle(call->awaited);
        call->calls->idle += is_idle(what);
        call->awaited = what;
        call->awaited_since_ms = zp_monotonic_ms();
}

void snap_call_await(struct snap_call *call, enum snap_awaited what) {
        struct snap_calls *calls = call->calls;
        pthread_mutex_lock(&calls->lock);
        if (call->awaited != SNAP_AWAITS_END)
                set_awaited(call, what);
        pthread_mutex_unlock(&calls->lock);
}

bool snap_calls_are_active(struct snap_calls *calls) {
        pthread_mutex_lock(&calls->lock);
        bool are_active = calls->active > 0;
        pthread_mutex_unlock(&calls->lock);
        return are_active;
}

/* Another may have the number by now: that is seen, but for a moment. */
static void end_connection(const struct snap_call *call) {
        struct stat st;
        if (call->fd >= 0 && fstat(call->fd, &st) == 0 && st.st_ino == call->inode)
                shutdown(call->fd, SHUT_RDWR);
}

/* The first that had taken too long by then, referred to, and for what; those that are cancelled already have their
 * connection ended. */
static struct snap_call *take_late(struct snap_calls *calls, uint64_t then_ms, enum snap_awaited *what) {
        struct snap_call *call;
        pthread_mutex_lock(&calls->lock);
        bool is_full = calls->active - calls->idle >= SNAP_CALLS_MAX;
        TAILQ_FOREACH(call, &calls->arrived, by_age) {
                unsigned ms = is_full ? awaited[call->awaited].when_full_ms : awaited[call->awaited].patience_ms;
                if (!ms || call->awaited_since_ms + ms > then_ms)
                        continue;
                if (call->awaited != SNAP_AWAITS_END)
                        break;
                end_connection(call);
        }
        if (call) {
                *what = call->awaited;
                set_awaited(call, SNAP_AWAITS_END);
                atomic_fetch_add(&call->references, 1);
        }
        pthread_mutex_unlock(&calls->lock);
        return call;
}

void snap_calls_look(struct snap_calls *calls, uint64_t then_ms) {
        unsigned count = 0;
        enum snap_awaited what = SNAP_AWAITS_NOTHING;
        for (struct snap_call *call; (call = take_late(calls, then_ms, &what)); count++) {
                grpc_call_cancel(call->call, NULL);
                snap_call_release(call);
        }
        if (!count)
                return;
        snap_log_event(SNAP_LOG_WARN, "calls are cancelled whose client does not go on", "client", awaited[what].what,
                       NULL);
        snap_calls_arm(calls); /* they take no place any more, although they may not be over */
}

/* ---- too many ---- */

static bool is_idle_of(const struct snap_call *call, const struct snap_call *other) {
        return is_idle(call->awaited) && call->fd == other->fd && call->inode == other->inode;
}

/* Lock held. */
static unsigned count_idle_of(struct snap_calls *calls, const struct snap_call *other) {
        struct snap_call *call;
        unsigned count = 0;
        TAILQ_FOREACH(call, &calls->arrived, by_age) {
                count += is_idle_of(call, other);
        }
        return count;
}

/* How many calls it had, which are not counted as idle any more: they end. Lock held. */
static unsigned end_worst(struct snap_calls *calls) {
        struct snap_call *call, *worst = NULL;
        unsigned most = 0;
        TAILQ_FOREACH(call, &calls->arrived, by_age) {
                unsigned count = is_idle(call->awaited) ? count_idle_of(calls, call) : 0;
                if (count > most)
                        worst = call;
                most = count > most ? count : most;
        }
        end_connection(worst);
        TAILQ_FOREACH(call, &calls->arrived, by_age) {
                if (is_idle_of(call, worst))
                        set_awaited(call, SNAP_AWAITS_NOTHING);
        }
        return most;
}

void snap_calls_limit_idle(struct snap_calls *calls) {
        char count[16] = "";
        pthread_mutex_lock(&calls->lock);
        if (calls->idle > IDLE_MAX)
                snprintf(count, sizeof count, "%u", end_worst(calls));
        pthread_mutex_unlock(&calls->lock);
        if (count[0])
                snap_log_event(SNAP_LOG_WARN, "a connection is ended whose client does not go on", "calls", count,
                               NULL);
}
