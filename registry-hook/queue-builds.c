/* SPDX-License-Identifier: Apache-2.0
 *
 * The half of the queue where builds wait, run and end.
 */
#include <string.h>

#include "base/buffer.h"
#include "registry-hook/clock.h"
#include "registry-hook/queue-internal.h"

#define BACKOFF_FIRST_MS 10000
#define BACKOFF_LAST_MS 3600000
#define DECISIONS_MAX 10000
#define IS_TAG "t.tag NOT IN ('" BUILD_WISHED "', '" BUILD_UNTAGGED "')"
#define NOT_WANTED "every tag that asked for it names another image by now"

int hook_queue_recover(sqlite3 *db, void *unused, struct zp_error *err) {
        (void) unused;
        int r = hook_sql_run(db, err,
                             "UPDATE builds SET state = 'superseded', finished = ?1, reason = '" NOT_WANTED "'"
                             " WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM build_tags WHERE build = id)",
                             "i", hook_now_ms());
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "UPDATE builds SET state = 'queued', reason = 'the service was stopped while it ran'"
                                 " WHERE state = 'running'",
                                 "");
        return r < 0 ? r : 0;
}

int64_t hook_queue_backoff_ms(int attempts) {
        int64_t wait = BACKOFF_FIRST_MS;
        for (int i = 1; i < attempts && wait < BACKOFF_LAST_MS; i++)
                wait *= 2;
        return wait < BACKOFF_LAST_MS ? wait : BACKOFF_LAST_MS;
}

static void fill_build(sqlite3_stmt *row, struct hook_build *out) {
        *out = (struct hook_build){ .id = sqlite3_column_int64(row, 0) };
        hook_sql_copy(row, 1, out->host, sizeof out->host);
        hook_sql_copy(row, 2, out->repository, sizeof out->repository);
        hook_sql_copy(row, 3, out->digest, sizeof out->digest);
        hook_sql_copy(row, 4, out->platform, sizeof out->platform);
        hook_sql_copy(row, 5, out->target, sizeof out->target);
        hook_sql_copy(row, 6, out->rule, sizeof out->rule);
        out->attempts = sqlite3_column_int(row, 7);
        out->is_forced = sqlite3_column_int(row, 8);
}

static int find_startable(sqlite3 *db, struct hook_start *start, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_sql_prepare(
                db, &row, err,
                "SELECT id, host, repository, digest, platform, target, rule, attempts, is_forced,"
                " (SELECT count(*) FROM builds r WHERE r.state = 'running' AND r.host = b.host)"
                " FROM builds b WHERE state = 'queued' AND not_before <= ?1 AND NOT EXISTS (SELECT 1 FROM snapshots s"
                " WHERE s.digest = b.digest AND s.target = b.target AND s.gone < 0) ORDER BY priority DESC, id",
                "i", start->now_ms);
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                r = 0;
                if (sqlite3_column_int(row, 9) >= start->limit(start->context, hook_sql_text(row, 1)))
                        continue;
                fill_build(row, &start->build);
                start->is_found = true;
                break;
        }
        return r;
}

int hook_queue_start(sqlite3 *db, void *context, struct zp_error *err) {
        struct hook_start *start = context;
        start->is_found = false;
        int r = find_startable(db, start, err);
        if (r == 0 && start->is_found)
                r = hook_sql_run(db, err,
                                 "UPDATE builds SET state = 'running', started = ?2, reason = '' WHERE id = ?1", "ii",
                                 start->build.id, start->now_ms);
        if (r < 0)
                return r;
        return hook_sql_number(db, &start->next_ms, err,
                               "SELECT min(not_before) FROM builds WHERE state = 'queued' AND not_before > ?1", "i",
                               start->now_ms);
}

static int publish(sqlite3 *db, const struct hook_end *end, struct zp_error *err) {
        return hook_sql_run(db, err,
                            "INSERT OR REPLACE INTO snapshots (digest, target, host, repository, platform, rule,"
                            " artifact, build, published, image_size, snapshot_size, sent_size, seconds)"
                            " SELECT digest, target, host, repository, platform, rule, ?2, id, ?3, image_size, ?4, ?5,"
                            " ?6 FROM builds WHERE id = ?1",
                            "isiiif", end->build->id, end->artifact, end->now_ms, (int64_t) end->snapshot_size,
                            (int64_t) end->sent_size, end->seconds);
}

/* What nobody wants any more is not tried again. */
static int supersede_retry(sqlite3 *db, const struct hook_end *end, struct zp_error *err) {
        return hook_sql_run(db, err,
                            "UPDATE builds SET state = 'superseded', not_before = 0, finished = ?2,"
                            " reason = '" NOT_WANTED "' WHERE id = ?1 AND state = 'queued'"
                            " AND NOT EXISTS (SELECT 1 FROM build_tags WHERE build = id)",
                            "ii", end->build->id, end->now_ms);
}

/* As if each tag were pushed now, and each digest asked for, with the credentials that came with the first wish. */
static int decide_again(sqlite3 *db, const struct hook_end *end, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_sql_prepare(
                db, &row, err,
                "INSERT INTO events (kind, host, repository, tag, digest, requested_by, is_forced,"
                " received) SELECT iif(t.tag = '" BUILD_WISHED "', ?3, ?4), t.host, t.repository,"
                " iif(" IS_TAG ", t.tag, ''), iif(" IS_TAG ", '', b.digest), b.requested_by,"
                " b.is_forced, ?2 FROM builds b JOIN build_tags t ON t.build = b.id WHERE b.id = ?1"
                " AND b.state = 'running' ON CONFLICT DO UPDATE SET version = version + 1,"
                " not_before = 0, requested_by = " ALSO_REQUESTED_BY("excluded.requested_by") " RETURNING id",
                "iiii", end->build->id, end->now_ms, (int64_t) HOOK_WISH, (int64_t) HOOK_PUSH);
        while (r >= 0 && (r = hook_sql_step(row, err)) == 1)
                r = hook_sql_run(db, err,
                                 "INSERT OR IGNORE INTO event_auths (event, auths) SELECT ?1, auths FROM build_auths"
                                 " WHERE build = ?2",
                                 "ii", sqlite3_column_int64(row, 0), end->build->id);
        return r;
}

int hook_queue_end(sqlite3 *db, void *context, struct zp_error *err) {
        static const char *const states[] = { [HOOK_DONE] = "done",
                                              [HOOK_RETRY] = "queued",
                                              [HOOK_FAILED] = "failed",
                                              [HOOK_CANCELLED] = "cancelled",
                                              [HOOK_RULE_GONE] = "superseded" };
        struct hook_end *end = context;
        int attempts = end->build->attempts + 1;
        enum hook_end_kind kind = end->kind == HOOK_RETRY && attempts >= QUEUE_ATTEMPTS_MAX ? HOOK_FAILED : end->kind;
        int64_t not_before = kind == HOOK_RETRY ? end->now_ms + hook_queue_backoff_ms(attempts) : 0;
        int r = kind == HOOK_RULE_GONE ? decide_again(db, end, err) : 0;
        if (r == 0)
                r = hook_sql_run(
                        db, err,
                        "UPDATE builds SET state = ?2, attempts = ?3, not_before = ?4, finished = ?5, reason = ?6,"
                        " result = ?7, log = ?8 WHERE id = ?1 AND state = 'running'",
                        "isiiisss", end->build->id, states[kind], (int64_t) attempts, not_before,
                        kind == HOOK_RETRY ? (int64_t) 0 : end->now_ms, end->reason, end->result, end->log);
        if (r > 0 && kind == HOOK_DONE)
                r = publish(db, end, err);
        end->state = states[kind];
        end->wait_ms = kind == HOOK_RETRY ? not_before - end->now_ms : 0;
        if (r > 0 && kind == HOOK_RETRY && (r = supersede_retry(db, end, err)) > 0) {
                end->state = "superseded";
                end->wait_ms = 0;
        }
        return r < 0 ? r : 0;
}

int hook_queue_previous(sqlite3 *db, const struct hook_build *build, char digest[ZP_DIGEST_TEXT_SIZE],
                        struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        digest[0] = '\0';
        int r = hook_sql_prepare(db, &row, err,
                                 "SELECT digest FROM snapshots WHERE host = ?1 AND repository = ?2 AND platform = ?3"
                                 " AND target = ?4 AND digest <> ?5 AND gone = 0 ORDER BY published DESC LIMIT 1",
                                 "sssss", build->host, build->repository, build->platform, build->target,
                                 build->digest);
        if (r == 0)
                r = hook_sql_step(row, err);
        if (r == 1)
                hook_sql_copy(row, 0, digest, ZP_DIGEST_TEXT_SIZE);
        return r < 0 ? r : 0;
}

struct standing {
        char state[16], requested_by[QUEUE_NAME_SIZE];
};

static int look_up(sqlite3 *db, int64_t id, struct standing *out, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_sql_prepare(db, &row, err, "SELECT state, requested_by FROM builds WHERE id = ?1", "i", id);
        if (r == 0)
                r = hook_sql_step(row, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "no build %lld", (long long) id);
        if (r < 0)
                return r;
        hook_sql_copy(row, 0, out->state, sizeof out->state);
        hook_sql_copy(row, 1, out->requested_by, sizeof out->requested_by);
        return 0;
}

bool hook_queue_may_cancel(const char *requested_by, const char *who) {
        return !who || strcmp(requested_by, who) == 0;
}

int hook_queue_cancel(sqlite3 *db, void *context, struct zp_error *err) {
        struct hook_wish *wish = context;
        struct standing build;
        int r = look_up(db, wish->id, &build, err);
        if (r < 0)
                return r;
        wish->is_running = strcmp(build.state, "running") == 0;
        if (strcmp(build.state, "cancelled") == 0)
                return 0;
        if (!wish->is_running && strcmp(build.state, "queued") != 0)
                return zp_error_set(err, EBUSY, "build %lld is %s", (long long) wish->id, build.state);
        if (!hook_queue_may_cancel(build.requested_by, wish->who))
                return zp_error_set(err, EBUSY, "build %lld stays: it was not '%.100s' alone who asked for it",
                                    (long long) wish->id, wish->who);
        if (wish->is_running)
                return 0;
        r = hook_sql_run(db, err,
                         "UPDATE builds SET state = 'cancelled', finished = ?2, reason = 'cancelled before it ran'"
                         " WHERE id = ?1",
                         "ii", wish->id, wish->now_ms);
        return r < 0 ? r : 0;
}

int hook_queue_retry(sqlite3 *db, void *context, struct zp_error *err) {
        struct hook_wish *wish = context;
        struct standing build;
        int r = look_up(db, wish->id, &build, err);
        if (r < 0)
                return r;
        if (strcmp(build.state, "running") == 0 || strcmp(build.state, "done") == 0)
                return zp_error_set(err, EBUSY, "build %lld is %s", (long long) wish->id, build.state);
        r = hook_sql_run(db, err,
                         "UPDATE builds SET state = 'queued', attempts = 0, not_before = 0, finished = 0, reason = ''"
                         " WHERE id = ?1",
                         "i", wish->id);
        if (r == -EEXIST)
                return zp_error_set(err, EBUSY, "another build of the same image is queued");
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "INSERT OR IGNORE INTO build_tags (build, host, repository, tag)"
                                 " SELECT id, host, repository, '" BUILD_WISHED "' FROM builds WHERE id = ?1",
                                 "i", wish->id);
        return r < 0 ? r : 0;
}

int hook_queue_forget(sqlite3 *db, void *context, struct zp_error *err) {
        const struct hook_history *history = context;
        int r = hook_sql_run(db, err,
                             "DELETE FROM builds WHERE state NOT IN ('queued', 'running') AND (finished < ?1 OR id <="
                             " (SELECT id FROM builds WHERE state NOT IN ('queued', 'running')"
                             " ORDER BY id DESC LIMIT 1 OFFSET ?2))",
                             "ii", history->now_ms - history->age_ms, history->keep);
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "DELETE FROM origins WHERE (digest, target) NOT IN (SELECT digest, target FROM builds"
                                 " UNION SELECT digest, target FROM snapshots WHERE gone <= 0)",
                                 "");
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "DELETE FROM decisions WHERE event <= (SELECT max(event) FROM decisions) - ?1"
                                 " OR decided < ?2",
                                 "ii", (int64_t) DECISIONS_MAX, history->now_ms - history->age_ms);
        return r < 0 ? r : 0;
}
