/* SPDX-License-Identifier: Apache-2.0
 *
 * /v1/snapshots, /v1/repositories, /v1/pending, /v1/status, /v1/retention, /v1/upkeep.
 */
#include <string.h>

#include "registry-hook/clock.h"
#include "registry-hook/retention.h"
#include "registry-hook/server.h"
#include "registry-hook/transcript.h"

#define LIST_MAX 1000
#define LIST_DEFAULT 100

/* Fills `rows` with an object for each row: a member for each column, named as it is; texts as texts, numbers as
 * numbers. */
static int rows_json(sqlite3_stmt *row, json_t *rows, struct zp_error *err) {
        int r;
        while ((r = hook_sql_step(row, err)) == 1) {
                json_t *object = json_object();
                for (int i = 0; i < sqlite3_column_count(row); i++) {
                        json_t *value = sqlite3_column_type(row, i) == SQLITE_INTEGER
                                                ? json_integer(sqlite3_column_int64(row, i))
                                        : sqlite3_column_type(row, i) == SQLITE_FLOAT
                                                ? json_real(sqlite3_column_double(row, i))
                                                : hook_json_text(hook_sql_text(row, i));
                        json_object_set_new(object, sqlite3_column_name(row, i), value);
                }
                json_array_append_new(rows, object);
        }
        return r;
}

/* Answers {NAME: rows} of a statement whose values are ?1 repository ("host/repository" or NULL), ?2 how many, and ?3
 * behind how many others. */
static enum MHD_Result reply_rows(struct hook_exchange *x, const char *name, const char *sql) {
        int64_t limit, offset;
        struct zp_error err = { 0 };
        hook_autostmt sqlite3_stmt *row = NULL;
        if (!hook_query_number(x, "limit", LIST_DEFAULT, &limit) || limit < 1 || limit > LIST_MAX)
                return hook_reply_error(x, 400, "limit: not a number from 1 to %d", LIST_MAX);
        if (!hook_query_number(x, "offset", 0, &offset))
                return hook_reply_error(x, 400, "offset: not a number");
        json_t *rows = json_array();
        int r = hook_sql_prepare(hook_db_begin_read(x->service->db), &row, &err, sql, "sii",
                                 hook_query(x, "repository"), limit, offset);
        if (r == 0)
                r = rows_json(row, rows, &err);
        hook_db_end_read(x->service->db);
        if (r < 0) {
                json_decref(rows);
                return hook_reply_failed(x, &err);
        }
        return hook_reply_json(x, 200, json_pack("{s:o}", name, rows));
}

enum MHD_Result hook_api_list_snapshots(struct hook_exchange *x) {
        return reply_rows(x, "snapshots",
                          "SELECT s.digest, s.target, s.host || '/' || s.repository AS repository, s.platform, s.rule,"
                          " s.artifact, s.build, s.published, s.image_size AS imageSize,"
                          " s.snapshot_size AS snapshotSize, s.sent_size AS sentSize, s.seconds,"
                          " coalesce((SELECT group_concat(tag, ' ') FROM tags t WHERE t.host = s.host AND"
                          " t.repository = s.repository AND t.platform = s.platform AND t.digest = s.digest), '')"
                          " AS tags FROM snapshots s"
                          " WHERE gone = 0 AND (?1 IS NULL OR s.host || '/' || s.repository = ?1)"
                          " ORDER BY published DESC, digest, target LIMIT ?2 OFFSET ?3");
}

enum MHD_Result hook_api_list_repositories(struct hook_exchange *x) {
        return reply_rows(x, "repositories",
                          "SELECT host || '/' || repository AS repository, count(*) AS builds,"
                          " sum(state = 'done') AS done, sum(state = 'failed') AS failed, max(id) AS lastBuild"
                          " FROM builds WHERE (?1 IS NULL OR host || '/' || repository = ?1)"
                          " GROUP BY host, repository ORDER BY lastBuild DESC LIMIT ?2 OFFSET ?3");
}

enum MHD_Result hook_api_list_pending(struct hook_exchange *x) {
        return reply_rows(
                x, "pending",
                "SELECT id, host || '/' || repository AS repository, tag, digest,"
                " requested_by AS requestedBy, received, attempts, not_before AS notBefore, reason"
                " FROM events WHERE (?1 IS NULL OR host || '/' || repository = ?1) ORDER BY id LIMIT ?2 OFFSET ?3");
}

enum MHD_Result hook_api_status(struct hook_exchange *x) {
        struct zp_error err = { 0 };
        hook_autostmt sqlite3_stmt *row = NULL;
        json_t *rows = json_array();
        int r = hook_sql_prepare(hook_db_begin_read(x->service->db), &row, &err,
                                 "SELECT (SELECT count(*) FROM events) AS pending,"
                                 " (SELECT count(*) FROM builds WHERE state = 'queued') AS queued,"
                                 " (SELECT count(*) FROM builds WHERE state = 'running') AS running,"
                                 " (SELECT count(*) FROM snapshots WHERE gone = 0) AS snapshots,"
                                 " (SELECT coalesce(sum(image_size), 0) FROM snapshots WHERE gone = 0) AS imageSize,"
                                 " (SELECT coalesce(sum(snapshot_size), 0) FROM snapshots WHERE gone = 0)"
                                 " AS snapshotSize,"
                                 " (SELECT coalesce(sum(sent_size), 0) FROM snapshots WHERE gone = 0) AS sentSize",
                                 "");
        if (r == 0)
                r = rows_json(row, rows, &err);
        hook_db_end_read(x->service->db);
        if (r < 0) {
                json_decref(rows);
                return hook_reply_failed(x, &err);
        }
        json_t *status = json_incref(json_array_get(rows, 0));
        json_decref(rows);
        static const char *const roles[] = { "nobody", "reader", "builder", "admin" };
        json_object_set_new(status, "version", json_string(ZP_VERSION));
        json_object_set_new(status, "role", json_string(roles[x->role]));
        json_object_set_new(status, "now", json_integer(hook_now_ms()));
        bool is_full =
                hook_scheduler_is_blocked(x->service->scheduler) || atomic_load(&x->service->counters.is_refusing);
        json_object_set_new(status, "diskIsFull", json_boolean(is_full));
        return hook_reply_json(x, 200, status);
}

/* The dry run. */
enum MHD_Result hook_api_list_retention(struct hook_exchange *x) {
        struct zp_error err = { 0 };
        json_t *candidates = NULL;
        if (hook_retention_list(x->service->db, x->config, hook_now_ms(), &candidates, &err) < 0)
                return hook_reply_failed(x, &err);
        return hook_reply_json(x, 200, json_pack("{s:o}", "toRemove", candidates));
}

enum MHD_Result hook_api_hurry_upkeep(struct hook_exchange *x) {
        hook_upkeep_hurry(x->service->upkeep);
        return hook_reply_json(x, 202, json_pack("{s:s}", "result", "under way"));
}
