/* SPDX-License-Identifier: Apache-2.0
 *
 * Where events wait for a decision.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "registry-hook/queue-internal.h"

/* How many deliveries are remembered; an older one that comes again finds its image built. */
#define DELIVERIES_MAX 65536

/* 1: it was seen before. */
static int is_replay(sqlite3 *db, const struct hook_delivery *delivery, const struct hook_event *event,
                     struct zp_error *err) {
        if (!event->id[0])
                return 0;
        /* the same notification may tell several events under one id */
        char digest[ZP_DIGEST_TEXT_SIZE] = "";
        if (event->has_digest)
                zp_digest_text(&event->digest, digest);
        zp_autofree char *name = zp_format("%s %s %s/%s:%s@%s %d", delivery->source, event->id, event->host,
                                           event->repository, event->tag, digest, event->kind);
        if (!name)
                return zp_error_errno(err, ENOMEM, "queue");
        int r = hook_sql_run(db, err, "INSERT OR IGNORE INTO deliveries (name) VALUES (?1)", "s", name);
        if (r > 0 && sqlite3_last_insert_rowid(db) % 64 == 0 &&
            hook_sql_run(db, err, "DELETE FROM deliveries WHERE number <= ?1", "i",
                         (int64_t) sqlite3_last_insert_rowid(db) - DELIVERIES_MAX) < 0)
                return -err->code;
        return r < 0 ? r : r == 0;
}

static int store_event(sqlite3 *db, struct hook_delivery *delivery, const struct hook_event *event,
                       struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE] = "";
        if (event->has_digest)
                zp_digest_text(&event->digest, digest);
        hook_autostmt sqlite3_stmt *statement = NULL;
        int r = hook_sql_prepare(
                db, &statement, err,
                /* news are due now, and not before those that have waited longer for another look */
                "INSERT INTO events (kind, host, repository, tag, digest, requested_by, is_forced, received,"
                " not_before) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)"
                " ON CONFLICT DO UPDATE SET version = version + 1,"
                " not_before = min(not_before, excluded.not_before), received = excluded.received,"
                " requested_by = " ALSO_REQUESTED_BY("excluded.requested_by") " RETURNING id, version",
                "isssssii", (int64_t) event->kind, event->host, event->repository, event->tag, digest,
                delivery->requested_by, (int64_t) delivery->is_forced, delivery->now_ms);
        if (r == 0)
                r = hook_sql_step(statement, err);
        if (r < 0)
                return r;
        delivery->last_id = sqlite3_column_int64(statement, 0);
        delivery->stored += sqlite3_column_int64(statement, 1) == 0;
        while ((r = hook_sql_step(statement, err)) > 0)
                continue;
        return r;
}

/* The first credentials stay, for others' may allow less; unless the registry was asked with them, and in vain. */
static int store_auths(sqlite3 *db, const struct hook_delivery *delivery, struct zp_error *err) {
        if (!delivery->auths)
                return 0;
        int r = hook_sql_run(db, err,
                             "INSERT INTO event_auths (event, auths) VALUES (?1, ?2)"
                             " ON CONFLICT DO UPDATE SET auths = excluded.auths"
                             " WHERE (SELECT attempts FROM events WHERE id = ?1) > 0",
                             "is", delivery->last_id, delivery->auths);
        return r < 0 ? r : 0;
}

static int read_auths(sqlite3 *db, const char *sql, int64_t id, char **out, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        *out = NULL;
        int r = hook_sql_prepare(db, &row, err, sql, "i", id);
        if (r == 0)
                r = hook_sql_step(row, err);
        if (r == 1 && !(*out = strdup(hook_sql_text(row, 0))))
                r = zp_error_errno(err, ENOMEM, "auths");
        return r < 0 ? r : 0;
}

int hook_queue_event_auths(sqlite3 *db, int64_t event, char **out, struct zp_error *err) {
        return read_auths(db, "SELECT auths FROM event_auths WHERE event = ?1", event, out, err);
}

int hook_queue_build_auths(sqlite3 *db, int64_t build, char **out, struct zp_error *err) {
        return read_auths(db, "SELECT auths FROM build_auths WHERE build = ?1", build, out, err);
}

/* News of something that waits already: what was in vain so far does not count against it. */
static int start_anew(sqlite3 *db, int64_t event, struct zp_error *err) {
        int r = hook_sql_run(db, err, "UPDATE events SET attempts = 0 WHERE id = ?1 AND attempts > 0", "i", event);
        return r < 0 ? r : 0;
}

int hook_queue_accept(sqlite3 *db, void *context, struct zp_error *err) {
        struct hook_delivery *delivery = context;
        delivery->stored = 0;
        delivery->last_id = 0;
        for (size_t i = 0; i < delivery->count; i++) {
                int r = is_replay(db, delivery, &delivery->events[i], err);
                if (r == 0 && (r = store_event(db, delivery, &delivery->events[i], err)) == 0)
                        r = store_auths(db, delivery, err);
                if (r == 0)
                        r = start_anew(db, delivery->last_id, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool fill_pending(sqlite3_stmt *row, struct hook_pending *out) {
        *out = (struct hook_pending){ .id = sqlite3_column_int64(row, 0), .event.kind = sqlite3_column_int(row, 1) };
        hook_sql_copy(row, 2, out->event.host, sizeof out->event.host);
        hook_sql_copy(row, 3, out->event.repository, sizeof out->event.repository);
        hook_sql_copy(row, 4, out->event.tag, sizeof out->event.tag);
        out->event.has_digest = hook_sql_text(row, 5)[0] != '\0';
        hook_sql_copy(row, 6, out->requested_by, sizeof out->requested_by);
        out->is_forced = sqlite3_column_int(row, 7);
        out->attempts = sqlite3_column_int(row, 8);
        out->version = sqlite3_column_int64(row, 9);
        return !out->event.has_digest || zp_digest_parse(hook_sql_text(row, 5), &out->event.digest, NULL) == 0;
}

static bool is_busy(const struct hook_busy *busy, int64_t id) {
        for (size_t i = 0; i < busy->count; i++)
                if (busy->events[i].id == id)
                        return true;
        return false;
}

static bool may_take(const struct hook_busy *busy, const char *host) {
        int of_host = 0;
        for (size_t i = 0; i < busy->count; i++)
                of_host += strcmp(busy->events[i].host, host) == 0;
        return of_host < busy->limit(busy->context, host);
}

/* The host's first that is due and not busy, if it is before the event in *out, which is due since *since_ms (id 0:
 * there is none). 1: *out is another now. */
static int first_of_host(sqlite3 *db, const char *host, int64_t now_ms, const struct hook_busy *busy,
                         struct hook_pending *out, int64_t *since_ms, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_sql_prepare(db, &row, err,
                                 "SELECT id, kind, host, repository, tag, digest, requested_by, is_forced, attempts,"
                                 " version, not_before FROM events WHERE host = ?1 AND not_before <= ?2"
                                 " ORDER BY not_before, id",
                                 "si", host, now_ms);
        while (r == 0 && (r = hook_sql_step(row, err)) == 1 && is_busy(busy, sqlite3_column_int64(row, 0)))
                r = 0;
        if (r != 1)
                return r;
        int64_t id = sqlite3_column_int64(row, 0), since = sqlite3_column_int64(row, 10);
        if (out->id && (*since_ms < since || (*since_ms == since && out->id < id)))
                return 0;
        *since_ms = since;
        return fill_pending(row, out) ? 1 : zp_error_set(err, EBADMSG, "queue: a malformed event");
}

int hook_queue_next_event(sqlite3 *db, int64_t now_ms, const struct hook_busy *busy, struct hook_pending *out,
                          int64_t *next_ms, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        int64_t since_ms = 0;
        out->id = 0;
        /* each host once, by its index, however many events it has */
        int r = hook_sql_prepare(db, &row, err,
                                 "WITH RECURSIVE hosts (host) AS (SELECT min(host) FROM events UNION ALL"
                                 " SELECT (SELECT min(e.host) FROM events e WHERE e.host > hosts.host) FROM hosts"
                                 " WHERE hosts.host IS NOT NULL) SELECT host FROM hosts WHERE host IS NOT NULL",
                                 "");
        while (r >= 0 && (r = hook_sql_step(row, err)) == 1)
                if (may_take(busy, hook_sql_text(row, 0)))
                        r = first_of_host(db, hook_sql_text(row, 0), now_ms, busy, out, &since_ms, err);
        if (r < 0 || out->id)
                return r < 0 ? r : 1;
        return hook_sql_number(db, next_ms, err, "SELECT min(not_before) FROM events WHERE not_before > ?1", "i",
                               now_ms);
}

int hook_queue_postpone(sqlite3 *db, void *context, struct zp_error *err) {
        const struct hook_postponed *postponed = context;
        const struct hook_pending *p = postponed->pending;
        int r = hook_sql_run(db, err,
                             "UPDATE events SET attempts = ?3, not_before = ?4, reason = ?5"
                             " WHERE id = ?1 AND version = ?2",
                             "iiiis", p->id, p->version, (int64_t) p->attempts + 1, postponed->not_before_ms,
                             postponed->reason);
        return r < 0 ? r : 0;
}
