/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the running service, put together by main.c, and what each part may ask of the others.
 */
#ifndef HOOK_SERVICE_H
#define HOOK_SERVICE_H

#include <stdatomic.h>

#include "base/prometheus.h"
#include "registry-hook/config.h"
#include "registry-hook/db.h"
#include "registry-hook/deciders.h"
#include "registry-hook/live.h"
#include "registry-hook/log.h"
#include "registry-hook/scheduler.h"
#include "registry-hook/upkeep.h"

/* Since the start; for /metrics. */
struct hook_counters {
        atomic_ullong deliveries, refused, events_stored, events_ignored, events_strange, disk_full, requests;
        atomic_bool is_refusing;       /* the disk was full for the last delivery to be stored, or for /readyz since */
        struct zp_histogram stored_in; /* how long deliveries took until they were on disk */
};

struct hook_service {
        struct hook_db *db;
        struct hook_current *current;
        struct hook_live *live;
        struct hook_deciders *deciders;
        struct hook_scheduler *scheduler;
        struct hook_upkeep *upkeep;
        const char *url; /* where the service is reached, "http://127.0.0.1:8480" */
        struct hook_counters counters;
        struct hook_log_quota refused, ignored, failed; /* lines about requests that were */
        int64_t started_ms;
};

#endif
