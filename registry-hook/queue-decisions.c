/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a decided event becomes builds that wait, and what its tag names is noted.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "registry-hook/queue-internal.h"

static int find_published(sqlite3 *db, struct hook_wanted *wanted, struct zp_error *err) {
        return hook_sql_number(db, &wanted->build, err,
                               "SELECT build FROM snapshots WHERE digest = ?1 AND target = ?2 AND gone = 0", "ss",
                               wanted->digest, wanted->target);
}

static int join_active(sqlite3 *db, const struct hook_pending *pending, struct hook_wanted *wanted,
                       struct zp_error *err) {
        int r = hook_sql_number(db, &wanted->build, err,
                                "SELECT id FROM builds WHERE digest = ?1 AND target = ?2"
                                " AND state IN ('queued', 'running')",
                                "ss", wanted->digest, wanted->target);
        if (r == 0 && wanted->build)
                r = hook_sql_run(db, err,
                                 "UPDATE builds SET priority = max(priority, ?2), "
                                 " requested_by = " ALSO_REQUESTED_BY("?3") " WHERE id = ?1",
                                 "iis", wanted->build, (int64_t) wanted->priority, pending->requested_by);
        return r < 0 ? r : 0;
}

static int insert_build(sqlite3 *db, const struct hook_verdict *verdict, struct hook_wanted *wanted,
                        struct zp_error *err) {
        const struct hook_pending *p = verdict->pending;
        int r = hook_sql_run(db, err,
                             "INSERT INTO builds (host, repository, digest, platform, target, state, priority, rule,"
                             " is_forced, requested_by, created, image_size)"
                             " VALUES (?1, ?2, ?3, ?4, ?5, 'queued', ?6, ?7, ?8, ?9, ?10, ?11)",
                             "sssssisisii", p->event.host, p->event.repository, wanted->digest, wanted->platform,
                             wanted->target, (int64_t) wanted->priority, wanted->rule, (int64_t) p->is_forced,
                             p->requested_by, verdict->now_ms, (int64_t) wanted->image_size);
        wanted->build = sqlite3_last_insert_rowid(db);
        return r < 0 ? r : 0;
}

/* What only other repositories want goes on in the name of one of them: this one may soon have the image no more. */
static int hand_over(sqlite3 *db, const struct hook_event *event, struct zp_error *err) {
        return hook_sql_run(db, err,
                            "UPDATE builds AS b SET (host, repository) = (SELECT host, repository FROM build_tags"
                            " WHERE build = b.id LIMIT 1) WHERE host = ?1 AND repository = ?2"
                            " AND state IN ('queued', 'running') AND EXISTS (SELECT 1 FROM build_tags WHERE"
                            " build = b.id) AND NOT EXISTS (SELECT 1 FROM build_tags WHERE build = b.id"
                            " AND host = ?1 AND repository = ?2)",
                            "ss", event->host, event->repository);
}

/* `wanted` has the digests of what the tag leads to now, perhaps none: what waits only for another image's sake need
 * not be built, nor tried again if it runs. */
static int supersede(sqlite3 *db, struct hook_verdict *verdict, const char *wanted, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        const struct hook_event *event = &verdict->pending->event;
        int r = hook_sql_run(db, err,
                             "DELETE FROM build_tags WHERE tag = ?1 AND host = ?2 AND repository = ?3 AND EXISTS"
                             " (SELECT 1 FROM builds WHERE id = build AND state IN ('queued', 'running')"
                             " AND NOT instr(?4, digest))",
                             "ssss", event->tag, event->host, event->repository, wanted);
        if (r <= 0 || (r = hand_over(db, event, err)) < 0)
                return r;
        r = hook_sql_prepare(db, &row, err,
                             "UPDATE builds SET state = 'superseded', finished = ?1, reason = 'tag ' || ?2 || ' names '"
                             " || ?3 WHERE state = 'queued' AND NOT EXISTS (SELECT 1 FROM build_tags WHERE build = id)"
                             " RETURNING id",
                             "iss", verdict->now_ms, event->tag, verdict->tag_digest);
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                if (verdict->superseded_count < QUEUE_SUPERSEDED_MAX)
                        verdict->superseded[verdict->superseded_count++] = sqlite3_column_int64(row, 0);
                r = 0;
        }
        return r;
}

/* Forgets what the tag led to before: another image's platforms, and those it has no more or that no rule marks. */
static int leave_others(sqlite3 *db, struct hook_verdict *verdict, struct zp_error *err) {
        const struct hook_event *event = &verdict->pending->event;
        zp_autobuffer struct zp_buffer wanted = { 0 };
        bool is_whole = zp_buffer_text(&wanted, " ");
        for (size_t i = 0; i < verdict->wanted_count; i++)
                is_whole = is_whole && zp_buffer_text(&wanted, verdict->wanted[i].digest);
        if (!is_whole)
                return zp_error_errno(err, ENOMEM, "queue");
        int r = supersede(db, verdict, wanted.data, err);
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "DELETE FROM tags WHERE host = ?1 AND repository = ?2 AND tag = ?3 AND platform <> ''"
                                 " AND NOT instr(?4, digest)",
                                 "ssss", event->host, event->repository, event->tag, wanted.data);
        return r < 0 ? r : 0;
}

static int note_tag(sqlite3 *db, const struct hook_verdict *verdict, const char *platform, const char *digest,
                    struct zp_error *err) {
        const struct hook_event *event = &verdict->pending->event;
        return hook_sql_run(db, err,
                            "INSERT INTO tags (host, repository, tag, platform, digest, seen)"
                            " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
                            " ON CONFLICT DO UPDATE SET digest = excluded.digest, seen = excluded.seen",
                            "sssssi", event->host, event->repository, event->tag, platform, digest, verdict->now_ms);
}

/* For whose sake it is made; BUILD_WISHED: whatever becomes of tags. */
static int name_build(sqlite3 *db, int64_t build, const struct hook_event *event, const char *tag,
                      struct zp_error *err) {
        return hook_sql_run(db, err,
                            "INSERT OR IGNORE INTO build_tags (build, host, repository, tag)"
                            " SELECT id, ?2, ?3, ?4 FROM builds WHERE id = ?1",
                            "isss", build, event->host, event->repository, tag);
}

/* A registry that tells of one push twice, by digest and by tag, in whichever order, wants it for the tag's sake. */
static int name_untagged(sqlite3 *db, int64_t build, const struct hook_event *event, struct zp_error *err) {
        return hook_sql_run(db, err,
                            "INSERT INTO build_tags (build, host, repository, tag) SELECT ?1, ?2, ?3, '" BUILD_UNTAGGED
                            "' WHERE NOT EXISTS (SELECT 1 FROM build_tags WHERE build = ?1 AND host = ?2"
                            " AND repository = ?3)",
                            "iss", build, event->host, event->repository);
}

static int name_tagged(sqlite3 *db, int64_t build, const struct hook_event *event, struct zp_error *err) {
        int r = name_build(db, build, event, event->tag, err);
        return r < 0 ? r
                     : hook_sql_run(db, err,
                                    "DELETE FROM build_tags WHERE build = ?1 AND host = ?2 AND repository = ?3"
                                    " AND tag = '" BUILD_UNTAGGED "'",
                                    "iss", build, event->host, event->repository);
}

static int note_origin(sqlite3 *db, const struct hook_event *event, const struct hook_wanted *wanted,
                       struct zp_error *err) {
        return hook_sql_run(db, err,
                            "INSERT OR IGNORE INTO origins (digest, target, host, repository) VALUES (?1, ?2, ?3, ?4)",
                            "ssss", wanted->digest, wanted->target, event->host, event->repository);
}

/* The registry has just shown the image: retention begins anew, wherever this repository wanted the snapshot. */
static int see_image(sqlite3 *db, const struct hook_verdict *verdict, const struct hook_wanted *wanted,
                     struct zp_error *err) {
        const struct hook_event *event = &verdict->pending->event;
        return hook_sql_run(db, err,
                            "UPDATE snapshots SET deleted = 0, untagged = CASE WHEN ?4 THEN 0 ELSE untagged END"
                            " WHERE digest = ?3 AND gone = 0 AND target IN (SELECT target FROM origins WHERE"
                            " digest = ?3 AND host = ?1 AND repository = ?2)",
                            "sssi", event->host, event->repository, wanted->digest,
                            (int64_t) (verdict->tag_digest != NULL));
}

static int want_one(sqlite3 *db, const struct hook_verdict *verdict, struct hook_wanted *wanted, struct zp_error *err) {
        const struct hook_pending *p = verdict->pending;
        wanted->build = 0;
        int r = p->is_forced ? 0 : find_published(db, wanted, err);
        wanted->outcome = HOOK_PUBLISHED;
        if (r == 0 && !wanted->build) {
                wanted->outcome = HOOK_JOINED;
                r = join_active(db, p, wanted, err);
        }
        if (r == 0 && !wanted->build) {
                wanted->outcome = HOOK_QUEUED;
                r = insert_build(db, verdict, wanted, err);
        }
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "INSERT OR IGNORE INTO build_events (build, event) SELECT id, ?2 FROM builds"
                                 " WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM events WHERE id = ?2)",
                                 "ii", wanted->build, p->id);
        if (r >= 0 && wanted->outcome != HOOK_PUBLISHED)
                r = hook_sql_run(db, err,
                                 "INSERT OR IGNORE INTO build_auths (build, auths) SELECT ?1, auths FROM event_auths"
                                 " WHERE event = ?2",
                                 "ii", wanted->build, p->id);
        if (r >= 0)
                r = note_origin(db, &p->event, wanted, err);
        if (r >= 0)
                r = see_image(db, verdict, wanted, err);
        if (r >= 0 && p->event.kind == HOOK_WISH)
                r = name_build(db, wanted->build, &p->event, BUILD_WISHED, err);
        /* also what is published: a registry may tell of the digest first, and of the tag when the build is over */
        if (r >= 0 && verdict->tag_digest)
                r = name_tagged(db, wanted->build, &p->event, err);
        else if (r >= 0 && wanted->outcome != HOOK_PUBLISHED)
                r = name_untagged(db, wanted->build, &p->event, err);
        if (r >= 0 && verdict->tag_digest)
                r = note_tag(db, verdict, wanted->platform, wanted->digest, err);
        return r < 0 ? r : 0;
}

static int forget_tag(sqlite3 *db, const struct hook_event *event, struct zp_error *err) {
        return hook_sql_run(db, err, "DELETE FROM tags WHERE host = ?1 AND repository = ?2 AND tag = ?3", "sss",
                            event->host, event->repository, event->tag);
}

static int look_again(sqlite3 *db, const struct hook_verdict *verdict, struct zp_error *err) {
        const struct hook_pending *p = verdict->pending;
        return hook_sql_run(
                db, err,
                "INSERT INTO events (kind, host, repository, tag, digest, requested_by, is_forced, received,"
                " not_before) VALUES (?1, ?2, ?3, ?4, '', ?5, 0, ?6, ?7) ON CONFLICT DO NOTHING",
                "issssii", (int64_t) HOOK_PUSH, p->event.host, p->event.repository, p->event.tag, p->requested_by,
                verdict->now_ms, verdict->look_again_ms);
}

int hook_queue_decide(sqlite3 *db, void *context, struct zp_error *err) {
        struct hook_verdict *verdict = context;
        verdict->superseded_count = 0;
        const struct hook_pending *p = verdict->pending;
        int r = hook_sql_run(db, err, "DELETE FROM events WHERE id = ?1 AND version = ?2", "ii", p->id, p->version);
        for (size_t i = 0; i < verdict->wanted_count && r >= 0; i++)
                r = want_one(db, verdict, &verdict->wanted[i], err);
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "DELETE FROM event_auths WHERE event = ?1 AND NOT EXISTS (SELECT 1 FROM events WHERE"
                                 " id = ?1)",
                                 "i", p->id);
        if (r >= 0 && verdict->tag_digest)
                r = note_tag(db, verdict, "", verdict->tag_digest, err);
        if (r >= 0 && verdict->tag_digest)
                r = leave_others(db, verdict, err);
        if (r >= 0 && verdict->is_tag_gone)
                r = forget_tag(db, &p->event, err);
        if (r >= 0 && verdict->look_again_ms)
                r = look_again(db, verdict, err);
        zp_autofree char *name =
                zp_format("%s/%s%s%s", p->event.host, p->event.repository, p->event.tag[0] ? ":" : "", p->event.tag);
        if (r < 0 || !name)
                return r < 0 ? r : zp_error_errno(err, ENOMEM, "queue");
        /* while the event waits, its newer news is to be decided, and whoever asked goes by that */
        r = hook_sql_run(db, err,
                         "INSERT OR REPLACE INTO decisions (event, name, decided, text, marked, problem)"
                         " SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = ?1)",
                         "isisis", p->id, name, verdict->now_ms, verdict->text, (int64_t) verdict->wanted_count,
                         verdict->problem ? verdict->problem : "");
        return r < 0 ? r : 0;
}
