/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/retention-internal.h"

#include <string.h>

#include "registry-hook/clock.h"
#include "registry-hook/log.h"
#include "registry-hook/removal.h"
#include "registry-hook/transcript.h"

/* ---- the survey ---- */

static int note_untagged(sqlite3 *db, void *context, struct zp_error *err) {
        const int64_t *now = context;
        int r = hook_sql_run(
                db, err,
                "UPDATE snapshots AS s SET untagged = CASE WHEN EXISTS (SELECT 1 FROM origins o JOIN tags t"
                " ON t.host = o.host AND t.repository = o.repository WHERE o.digest = s.digest"
                " AND o.target = s.target AND t.digest = s.digest) THEN 0 WHEN untagged = 0 THEN ?1 ELSE untagged END "
                "WHERE gone = 0",
                "i", *now);
        return r < 0 ? r : 0;
}

struct deletion {
        const char *digest, *target;
        int64_t since_ms; /* 0: the image is there */
};

static int note_deleted(sqlite3 *db, void *context, struct zp_error *err) {
        const struct deletion *d = context;
        int r = hook_sql_run(db, err,
                             "UPDATE snapshots SET deleted = CASE WHEN ?3 = 0 OR deleted = 0 THEN ?3 ELSE deleted END"
                             " WHERE digest = ?1 AND target = ?2",
                             "ssi", d->digest, d->target, d->since_ms);
        return r < 0 ? r : 0;
}

/* `newer`: how many are, in that of its repositories where they are fewest. One whose image is gone does not count: it
 * may go in the same round. */
static int read_snapshots(struct hook_db *db, json_t *out, struct zp_error *err) {
        static const char *const names[] = { "digest", "target", "host", "repository", "platform", "rule", "artifact" };
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_sql_prepare(
                hook_db_begin_read(db), &row, err,
                "SELECT digest, target, host, repository, platform, rule, artifact, untagged, deleted,"
                " (SELECT min((SELECT count(*) FROM origins p JOIN snapshots n"
                " ON n.digest = p.digest AND n.target = p.target WHERE p.host = o.host"
                " AND p.repository = o.repository AND n.gone = 0 AND n.deleted = 0"
                " AND n.platform = s.platform AND n.published > s.published)) FROM origins o WHERE o.digest = s.digest"
                " AND o.target = s.target) FROM snapshots s WHERE gone = 0",
                "");
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                json_t *snapshot = json_object();
                for (int i = 0; i < (int) (sizeof names / sizeof *names); i++)
                        json_object_set_new(snapshot, names[i], hook_json_text(hook_sql_text(row, i)));
                json_object_set_new(snapshot, "untagged", json_integer(sqlite3_column_int64(row, 7)));
                json_object_set_new(snapshot, "deleted", json_integer(sqlite3_column_int64(row, 8)));
                json_object_set_new(snapshot, "newer", json_integer(sqlite3_column_int64(row, 9)));
                json_array_append_new(out, snapshot);
                r = 0;
        }
        hook_db_end_read(db);
        return r;
}

/* Where the snapshot's image was wanted: [{host, repository}]. */
static int read_origins(struct hook_db *db, const json_t *snapshot, json_t *out, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_sql_prepare(hook_db_begin_read(db), &row, err,
                                 "SELECT host, repository FROM origins WHERE digest = ?1 AND target = ?2", "ss",
                                 retention_text(snapshot, "digest"), retention_text(snapshot, "target"));
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                json_array_append_new(out, json_pack("{s:s, s:s}", "host", hook_sql_text(row, 0), "repository",
                                                     hook_sql_text(row, 1)));
                r = 0;
        }
        hook_db_end_read(db);
        return r;
}

/* Whether any repository that wanted it has the image. False: one of them did not say, and no other has it. */
static bool find_image(const struct hook_config *config, const json_t *origins, const char *digest, json_t *silent,
                       const struct zp_cancel *cancel, bool *is_there) {
        bool is_known = json_array_size(origins) > 0;
        size_t i;
        json_t *origin;
        *is_there = false;
        json_array_foreach(origins, i, origin) {
                const char *host = retention_text(origin, "host"), *repository = retention_text(origin, "repository");
                const struct hook_registry *registry = hook_config_registry(config, host);
                struct zp_error reason = { 0 };
                int64_t began_ms = hook_monotonic_ms();
                if (!registry || retention_is_silent(silent, host)) {
                        is_known = false;
                        continue;
                }
                int r = hook_removal_is_there(registry, host, repository, digest, cancel, is_there, &reason);
                retention_note_silence(silent, host, r < 0 && hook_monotonic_ms() - began_ms > HOOK_SLOW_MS);
                if (r < 0) {
                        hook_log(HOOK_LOG_WARNING, "retention: %s", reason.message);
                        is_known = false;
                }
                if (*is_there)
                        return true;
        }
        return is_known;
}

static int survey_image(struct hook_db *db, const struct hook_config *config, const json_t *snapshot, json_t *silent,
                        const struct zp_cancel *cancel, struct zp_error *err) {
        bool is_there = false;
        json_t *origins = json_array();
        int r = read_origins(db, snapshot, origins, err);
        bool is_known =
                r == 0 && find_image(config, origins, retention_text(snapshot, "digest"), silent, cancel, &is_there);
        json_decref(origins);
        if (!is_known) /* as before */
                return r;
        struct deletion deletion = { retention_text(snapshot, "digest"), retention_text(snapshot, "target"),
                                     is_there ? 0 : hook_now_ms() };
        return hook_db_write(db, note_deleted, &deletion, err);
}

int hook_retention_survey(struct hook_db *db, const struct hook_config *config, const struct zp_cancel *cancel,
                          struct zp_error *err) {
        int64_t now = hook_now_ms();
        json_t *snapshots = json_array(), *silent = json_object();
        int r = hook_db_write(db, note_untagged, &now, err);
        if (r == 0)
                r = read_snapshots(db, snapshots, err);
        size_t count = json_array_size(snapshots);
        for (size_t i = 0; i < count; i++) { /* from another on each time: none waits behind the same for ever */
                const json_t *snapshot = json_array_get(snapshots, ((size_t) now + i) % count);
                const struct hook_rule *rule = hook_config_rule(config, retention_text(snapshot, "rule"));
                struct zp_error reason = { 0 };
                if (r < 0 || zp_cancelled(cancel))
                        break;
                if (rule && rule->deleted_ms && survey_image(db, config, snapshot, silent, cancel, &reason) < 0)
                        hook_log(HOOK_LOG_WARNING, "retention: %s", reason.message);
        }
        json_decref(silent);
        json_decref(snapshots);
        return r;
}

/* ---- what is to go ---- */

/* NULL: it stays. */
static const char *reason_to_go(const struct hook_rule *rule, const json_t *snapshot, int64_t now_ms) {
        int64_t untagged = retention_number(snapshot, "untagged"), deleted = retention_number(snapshot, "deleted");
        if (rule->deleted_ms && deleted && now_ms - deleted >= rule->deleted_ms)
                return "its image is gone";
        if (rule->superseded_ms && untagged && now_ms - untagged >= rule->superseded_ms &&
            retention_number(snapshot, "newer") >= (rule->keep ? rule->keep : 1))
                return "no tag names its image";
        return NULL;
}

int hook_retention_list(struct hook_db *db, const struct hook_config *config, int64_t now_ms, json_t **out,
                        struct zp_error *err) {
        json_t *snapshots = json_array(), *snapshot;
        size_t i;
        int r = read_snapshots(db, snapshots, err);
        *out = json_array();
        json_array_foreach(snapshots, i, snapshot) {
                const struct hook_rule *rule = hook_config_rule(config, retention_text(snapshot, "rule"));
                const char *reason = rule ? reason_to_go(rule, snapshot, now_ms) : NULL;
                if (!reason)
                        continue;
                json_object_set_new(snapshot, "reason", json_string(reason));
                json_object_set_new(snapshot, "dryRun", json_boolean(rule->is_dry_run));
                json_array_append(*out, snapshot);
        }
        json_decref(snapshots);
        if (r < 0)
                json_decref(zp_steal(out));
        return r;
}
