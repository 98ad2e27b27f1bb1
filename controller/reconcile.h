/* SPDX-License-Identifier: Apache-2.0
 *
 * One look at one object: what it wants, how that stands, what is to be done next. Each look starts from what the API
 * server has, and may be cut off anywhere: the next one, perhaps of another controller, goes on from there.
 */
#ifndef CTL_RECONCILE_H
#define CTL_RECONCILE_H

#include <stdatomic.h>

#include "controller/cache.h"
#include "controller/executor.h"
#include "controller/images.h"
#include "controller/kube/events.h"
#include "controller/queue.h"
#include "controller/slots.h"
#include "controller/usage.h"

/* Since the start; for /metrics. */
struct ctl_counters {
        atomic_ullong reconciles, failures, checks, resolved, builds_started, builds_done, builds_failed, found,
                status_writes;
};

/* What all looks share; thread-safe. */
struct ctl_world {
        const struct ctl_config *config;
        struct zp_kube *kube;
        struct zp_kube_events *events;
        struct ctl_cache *snapshots, *clusters;
        struct ctl_usage *usage; /* what pods name */
        struct ctl_queue *queue;
        struct ctl_slots *slots;
        struct zp_learned *learned; /* about registries; NULL: nothing is kept */
        struct ctl_executors executors;
        atomic_ullong logs_from_ms[CTL_LOG_PAUSES + 1]; /* executors' */
        const struct zp_cancel *cancel;
        /* Whether writing is allowed at this moment. */
        bool (*may_write)(void *context);
        /* How the nodes stand with an object, and why they may not read its pull secrets ("": they may). False: that is
         * not known yet. */
        bool (*warm_up)(void *context, const char *namespace, const char *name, struct ctl_counts *out,
                        char trouble[CTL_CONDITION_MESSAGE_SIZE]);
        void *context;
        struct ctl_counters counters;
};

/* `key` is that of an ImageSnapshot ("namespace/name"). 0: it went well, and *wake_s tells in how many seconds to look
 * again; negative: nothing does it by itself. Negative: to be tried again. */
int ctl_reconcile_snapshot(struct ctl_world *world, const char *key, int64_t *wake_s, struct zp_error *err);
/* The same for a ClusterImageSnapshot ("/name"). */
int ctl_reconcile_cluster(struct ctl_world *world, const char *key, int64_t *wake_s, struct zp_error *err);

#endif
