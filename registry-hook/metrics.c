/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics (Prometheus's text format), /healthz, /readyz.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry-hook/clock.h"
#include "registry-hook/server.h"

static void metric(struct zp_buffer *out, const char *name, const char *kind, const char *help, uint64_t value) {
        char full[64];
        snprintf(full, sizeof full, "zeropull_hook_%s", name);
        zp_prometheus_single(out, full, kind, help, value);
}

static void add_counters(struct zp_buffer *out, struct hook_counters *c) {
        const struct {
                const char *name, *help;
                atomic_ullong *value;
        } counters[] = {
                { "requests_total", "HTTP requests.", &c->requests },
                { "deliveries_total", "Notifications that arrived.", &c->deliveries },
                { "deliveries_refused_total", "Notifications refused: not authenticated, malformed, too large.",
                  &c->refused },
                { "events_stored_total", "Events that were new and are on disk.", &c->events_stored },
                { "events_ignored_total", "Events that no rule is interested in.", &c->events_ignored },
                { "events_strange_total", "Those of them of registries that are not in the configuration.",
                  &c->events_strange },
                { "disk_full_total", "Notifications refused with 503 because the disk was full.", &c->disk_full },
        };
        for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
                metric(out, counters[i].name, "counter", counters[i].help, atomic_load(counters[i].value));
        zp_prometheus_family(out, "zeropull_hook_delivery_seconds", "histogram",
                             "From a notification's first byte until it is on disk.");
        zp_prometheus_histogram(out, "zeropull_hook_delivery_seconds", NULL, &c->stored_in);
}

static int add_builds(struct zp_buffer *out, sqlite3 *db, struct zp_error *err) {
        static const char *const states[] = { "queued", "running", "done", "failed", "cancelled", "superseded" };
        char label[32];
        int64_t value;
        int r = 0;
        zp_prometheus_family(out, "zeropull_hook_builds", "gauge", "Builds by state, as far back as the history goes.");
        for (size_t i = 0; i < sizeof states / sizeof *states && r == 0; i++) {
                r = hook_sql_number(db, &value, err, "SELECT count(*) FROM builds WHERE state = ?1", "s", states[i]);
                snprintf(label, sizeof label, "state=\"%s\"", states[i]);
                if (r == 0)
                        zp_prometheus_sample(out, "zeropull_hook_builds", label, (uint64_t) value);
        }
        if (r == 0)
                r = hook_sql_number(db, &value, err, "SELECT count(*) FROM events", "");
        if (r == 0)
                metric(out, "events_pending", "gauge", "Events not yet decided about.", (uint64_t) value);
        if (r == 0)
                r = hook_sql_number(db, &value, err, "SELECT count(*) FROM snapshots WHERE gone = 0", "");
        if (r == 0)
                metric(out, "snapshots", "gauge", "Published snapshots.", (uint64_t) value);
        return r;
}

enum MHD_Result hook_metrics(struct hook_exchange *x) {
        zp_autobuffer struct zp_buffer out = { 0 };
        struct zp_error err = { 0 };
        add_counters(&out, &x->service->counters);
        metric(&out, "uptime_seconds", "gauge", "Since the service started.",
               (uint64_t) (hook_monotonic_ms() - x->service->started_ms) / 1000);
        metric(&out, "disk_full", "gauge", "1 while no build is started for want of space.",
               hook_scheduler_is_blocked(x->service->scheduler));
        int r = add_builds(&out, hook_db_begin_read(x->service->db), &err);
        hook_db_end_read(x->service->db);
        return r < 0 ? hook_reply_failed(x, &err) : hook_reply_text(x, ZP_PROMETHEUS_TYPE, &out);
}

enum MHD_Result hook_health(struct hook_exchange *x) {
        return hook_reply_static(x, "text/plain; charset=utf-8", "ok\n", 3);
}

/* Writes as an event would, and leaves nothing behind: no number of a delivery either, by which old ones are
 * forgotten. */
static int write_nothing(sqlite3 *db, void *context, struct zp_error *err) {
        (void) context;
        return hook_sql_exec(db,
                             "INSERT OR REPLACE INTO event_auths (event, auths) VALUES (0, '');"
                             "DELETE FROM event_auths WHERE event = 0",
                             err);
}

struct readiness {
        struct hook_exchange *exchange;
        struct hook_db_job job;
        int outcome;
        struct zp_error error;
};

static void tried(void *context, int result, const struct zp_error *err) {
        struct readiness *r = context;
        r->outcome = result;
        r->error = *err;
        hook_resume(r->exchange->server, r->exchange->connection); /* which may free it at once */
}

/* Anybody may ask, as often as he likes: no thread waits for the answer. */
static enum MHD_Result try_to_write(struct hook_exchange *x) {
        struct readiness *r = calloc(1, sizeof *r);
        if (!r)
                return hook_reply_error(x, 503, "out of memory");
        *r = (struct readiness){ .exchange = x, .job = { write_nothing, tried, r } };
        x->state = r;
        x->free_state = free;
        if (!hook_suspend(x->server, x->connection))
                return hook_reply_error(x, 503, "the service is ending");
        hook_db_submit(x->service->db, &r->job);
        return MHD_YES;
}

/* Ready to take notifications and to build: the database can be written to and is where it was, and so is the store. */
enum MHD_Result hook_ready(struct hook_exchange *x) {
        const struct readiness *r = x->state;
        if (!r)
                return try_to_write(x);
        atomic_store(&x->service->counters.is_refusing, r->outcome == -ENOSPC);
        struct zp_error err = r->error;
        if (r->outcome < 0 || hook_db_check(x->service->db, &err) < 0 ||
            hook_scheduler_check_store(x->service->scheduler, &err) < 0)
                return hook_reply_failed(x, &err);
        return hook_reply_static(x, "text/plain; charset=utf-8", "ready\n", 6);
}
