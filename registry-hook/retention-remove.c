/* SPDX-License-Identifier: Apache-2.0
 *
 * Removes what retention.c has found is to go.
 */
#include "registry-hook/retention-internal.h"

#include "oci/json.h"
#include "oci/reference.h"
#include "registry-hook/clock.h"
#include "registry-hook/event.h"
#include "registry-hook/log.h"
#include "registry-hook/removal.h"

struct going {
        const json_t *snapshot;
        int64_t gone_ms; /* 0: it stays */
        bool is_claimed;
};

/* Nothing rests on the snapshot any more from here on, whatever is decided while the registry is asked to delete it.
 * Not one whose image was seen again since the survey, or is being built again. The sign is that of what is not over:
 * what came of it is asked when the service has died meanwhile, or the registry's answer was lost. */
static int claim(sqlite3 *db, void *context, struct zp_error *err) {
        struct going *g = context;
        int r = hook_sql_run(db, err,
                             "UPDATE snapshots AS s SET gone = -?3 WHERE digest = ?1 AND target = ?2 AND gone = 0"
                             " AND untagged = ?4 AND deleted = ?5 AND NOT EXISTS (SELECT 1 FROM builds b WHERE"
                             " b.digest = s.digest AND b.target = s.target AND b.state IN ('queued', 'running'))",
                             "ssiii", retention_text(g->snapshot, "digest"), retention_text(g->snapshot, "target"),
                             g->gone_ms, retention_number(g->snapshot, "untagged"),
                             retention_number(g->snapshot, "deleted"));
        g->is_claimed = r > 0;
        return r < 0 ? r : 0;
}

static int conclude(sqlite3 *db, void *context, struct zp_error *err) {
        const struct going *g = context;
        int r = hook_sql_run(db, err, "UPDATE snapshots SET gone = ?3 WHERE digest = ?1 AND target = ?2 AND gone < 0",
                             "ssi", retention_text(g->snapshot, "digest"), retention_text(g->snapshot, "target"),
                             g->gone_ms);
        return r < 0 ? r : 0;
}

/* After a removal that failed, or was not seen to its end: asks whether the snapshot is there. 1: it is not; 0: it is;
 * -EAGAIN: the registry does not say, and it is asked again later. */
static int settle(struct hook_db *db, const struct hook_config *config, const json_t *snapshot,
                  const struct zp_cancel *cancel, struct zp_error *err) {
        struct going going = { snapshot, hook_now_ms(), true };
        struct zp_error reason = { 0 };
        bool is_there;
        int r = hook_removal_has(config, retention_text(snapshot, "target"), retention_text(snapshot, "artifact"),
                                 cancel, &is_there, &reason);
        if (r == 0 && !is_there) /* the entry in its image's list may be left */
                r = hook_removal_remove(config, retention_text(snapshot, "target"), retention_text(snapshot, "digest"),
                                        retention_text(snapshot, "artifact"), cancel, &reason);
        if (r < 0)
                return zp_error_set(err, EAGAIN, "snapshot %s: whether it was removed is not known: %.300s",
                                    retention_text(snapshot, "artifact"), reason.message);
        if (is_there)
                going.gone_ms = 0;
        r = hook_db_write(db, conclude, &going, err);
        return r < 0 ? r : !is_there;
}

/* The registry that the snapshot's target is in; the target itself where that is in none. */
static void registry_of(const json_t *snapshot, char out[HOOK_HOST_SIZE]) {
        struct zp_reference place = { 0 };
        const char *target = retention_text(snapshot, "target");
        bool is_place = zp_reference_of_name(target, &place, NULL) == 0;
        snprintf(out, HOOK_HOST_SIZE, "%s", is_place ? place.registry : target);
        if (is_place)
                zp_reference_clear(&place);
}

static void note_silence(json_t *silent, const json_t *snapshot, int r, int64_t began_ms) {
        char registry[HOOK_HOST_SIZE];
        registry_of(snapshot, registry);
        retention_note_silence(silent, registry, r == -EAGAIN && hook_monotonic_ms() - began_ms > HOOK_SLOW_MS);
}

static bool is_silent(const json_t *silent, const json_t *snapshot) {
        char registry[HOOK_HOST_SIZE];
        registry_of(snapshot, registry);
        return retention_is_silent(silent, registry);
}

/* What an earlier call, or an earlier life of the service, left open. */
static int settle_all(struct hook_db *db, const struct hook_config *config, const struct zp_cancel *cancel,
                      struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        /* of its own: two that can never be settled keep no others of their registry from being removed */
        zp_auto(json_decref) json_t *open = json_array(), *silent = json_object();
        int r = hook_sql_prepare(hook_db_begin_read(db), &row, err,
                                 "SELECT digest, target, artifact FROM snapshots WHERE gone < 0", "");
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                json_array_append_new(open, json_pack("{s:s, s:s, s:s}", "digest", hook_sql_text(row, 0), "target",
                                                      hook_sql_text(row, 1), "artifact", hook_sql_text(row, 2)));
                r = 0;
        }
        hook_db_end_read(db);
        size_t count = json_array_size(open), start = (size_t) hook_now_ms();
        for (size_t i = 0; i < count; i++) { /* from another on each time, as in a survey */
                const json_t *snapshot = json_array_get(open, (start + i) % count);
                if ((r < 0 && r != -EAGAIN) || is_silent(silent, snapshot))
                        continue;
                int64_t began_ms = hook_monotonic_ms();
                int one = settle(db, config, snapshot, cancel, err);
                if (one < 0)
                        r = one;
                note_silence(silent, snapshot, one, began_ms);
        }
        return r;
}

/* 1: it was removed; 0: it stays: wanted again, or the registry kept it, which is logged; -EAGAIN as above. */
static int remove_one(struct hook_db *db, const struct hook_config *config, const json_t *snapshot,
                      const struct zp_cancel *cancel, struct zp_error *err) {
        struct going going = { snapshot, hook_now_ms(), false };
        struct zp_error reason = { 0 };
        int r = hook_db_write(db, claim, &going, err);
        if (r < 0 || !going.is_claimed)
                return r;
        int removed =
                hook_removal_remove(config, retention_text(snapshot, "target"), retention_text(snapshot, "digest"),
                                    retention_text(snapshot, "artifact"), cancel, &reason);
        if (removed == 0) {
                r = hook_db_write(db, conclude, &going, err);
                return r < 0 ? r : 1;
        }
        hook_log(HOOK_LOG_WARNING, "retention: snapshot %s: %s", retention_text(snapshot, "artifact"), reason.message);
        return settle(db, config, snapshot, cancel, err);
}

int hook_retention_remove(struct hook_db *db, const struct hook_config *config, const struct zp_cancel *cancel,
                          int64_t now_ms, void (*settled)(void *context), void *context, struct zp_error *err) {
        zp_auto(json_decref) json_t *candidates = NULL, *silent = json_object();
        json_t *snapshot;
        size_t i, kept = 0;
        int r = settle_all(db, config, cancel, err), unknown = r; /* nobody else claims */
        if (r < 0 && r != -EAGAIN)
                return r;
        settled(context);
        r = hook_retention_list(db, config, now_ms, &candidates, err);
        if (r < 0)
                return r;
        json_array_foreach(candidates, i, snapshot) {
                if (zp_cancelled(cancel))
                        break;
                if (json_is_true(json_object_get(snapshot, "dryRun"))) {
                        kept++;
                        continue;
                }
                if (is_silent(silent, snapshot))
                        continue;
                int64_t began_ms = hook_monotonic_ms();
                r = remove_one(db, config, snapshot, cancel, err);
                note_silence(silent, snapshot, r, began_ms);
                if (r == -EAGAIN)
                        unknown = r;
                else if (r < 0)
                        break;
                settled(context);
                if (r != 1)
                        continue;
                hook_log(HOOK_LOG_INFO, "retention: snapshot %s of %s@%s was removed: %s",
                         retention_text(snapshot, "artifact"), retention_text(snapshot, "repository"),
                         retention_text(snapshot, "digest"), retention_text(snapshot, "reason"));
        }
        if (kept)
                hook_log(HOOK_LOG_INFO, "retention: %zu snapshots stay because of 'dry-run'", kept);
        return r < 0 && r != -EAGAIN ? r : unknown;
}
