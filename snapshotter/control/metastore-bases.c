/* SPDX-License-Identifier: Apache-2.0
 *
 * The metastore's records of accelerated snapshots, of what they show, and of what became of images.
 */
#include <string.h>

#include "snapshotter/control/metastore-internal.h"

#define OUTCOMES_MAX 1000

static void bind_digest(sqlite3_stmt *statement, int parameter, const struct zp_digest *digest) {
        sqlite3_bind_blob(statement, parameter, digest->bytes, sizeof digest->bytes, SQLITE_STATIC);
}

static bool column_digest(sqlite3_stmt *row, int column, struct zp_digest *out) {
        const void *blob = sqlite3_column_blob(row, column);
        if (!blob || sqlite3_column_bytes(row, column) != (int) sizeof out->bytes)
                return false;
        memcpy(out->bytes, blob, sizeof out->bytes);
        return true;
}

int snap_read_base(struct snap_metastore *store, struct zp_arena *arena, uint64_t id, struct snap_base *out,
                   struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_id(store,
                                "SELECT chain_id, manifest_digest, reference, layers, of_layers FROM bases"
                                " WHERE id = ?1",
                                id, &row, err);
        if (r == 0)
                r = zp_database_step(store->database, row, err);
        if (r < 0)
                return r;
        *out = (struct snap_base){ .id = id,
                                   .reference = snap_copy_text(arena, row, 2),
                                   .layers = (uint16_t) sqlite3_column_int(row, 3),
                                   .of = (uint16_t) sqlite3_column_int(row, 4) };
        if (r == 0 || !column_digest(row, 0, &out->chain_id) || !column_digest(row, 1, &out->manifest_digest))
                return zp_database_bad_row(store->database, "bases", err);
        return out->reference ? 0 : snap_no_memory(err);
}

int snap_base_of(struct snap_metastore *store, uint64_t snapshot, uint64_t *base_id, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_id(store, "SELECT coalesce(base, 0) FROM snapshots WHERE id = ?1", snapshot, &row, err);
        if (r == 0)
                r = zp_database_step(store->database, row, err);
        *base_id = r == 1 ? (uint64_t) sqlite3_column_int64(row, 0) : 0;
        return r < 0 ? r : 0;
}

int snap_drop_unused_base(struct snap_metastore *store, uint64_t base_id, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_id(store,
                                "DELETE FROM bases WHERE id = ?1"
                                " AND NOT EXISTS (SELECT 1 FROM snapshots WHERE base = ?1) RETURNING id",
                                base_id, &row, err);
        if (r == 0)
                r = zp_database_step(store->database, row, err);
        return r;
}

/* ---- accelerated snapshots ---- */

/* 1: there is one of that chain on that parent. */
static int is_there(struct snap_metastore *store, const struct snap_base *base, uint64_t parent, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_id(store,
                                "SELECT 1 FROM snapshots s JOIN bases b ON b.id = s.base"
                                " WHERE coalesce(s.parent, 0) = ?1 AND b.chain_id = ?2",
                                parent, &row, err);
        if (r < 0)
                return r;
        bind_digest(row, 2, &base->chain_id);
        return zp_database_step(store->database, row, err);
}

/* The image that was asked for last is the one most likely to be there when it is to be mounted. */
static int put_base(struct snap_metastore *store, const struct snap_base *base, uint64_t *id, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = zp_database_prepare(store->database,
                                    "INSERT INTO bases (chain_id, manifest_digest, reference, layers, of_layers)"
                                    " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (chain_id) DO UPDATE SET"
                                    " manifest_digest = ?2, reference = ?3, layers = ?4, of_layers = ?5 RETURNING id",
                                    &row, err);
        if (r < 0)
                return r;
        bind_digest(row, 1, &base->chain_id);
        bind_digest(row, 2, &base->manifest_digest);
        sqlite3_bind_text(row, 3, base->reference, -1, SQLITE_STATIC);
        sqlite3_bind_int(row, 4, base->layers);
        sqlite3_bind_int(row, 5, base->of);
        r = zp_database_step(store->database, row, err);
        *id = r == 1 ? (uint64_t) sqlite3_column_int64(row, 0) : 0;
        return r < 0 ? r : 0;
}

static int insert(struct snap_metastore *store, const struct snap_accelerated *accelerated, uint64_t parent,
                  uint64_t base, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = snap_prepare_text(store,
                                  "INSERT INTO snapshots (name, parent, kind, created_ns, updated_ns, base)"
                                  " VALUES (?1, nullif(?2, 0), ?3, ?4, ?4, ?5)",
                                  accelerated->name, &statement, err);
        if (r < 0)
                return r;
        sqlite3_bind_int64(statement, 2, (sqlite3_int64) parent);
        sqlite3_bind_int(statement, 3, SNAP_COMMITTED);
        sqlite3_bind_int64(statement, 4, snap_now_ns());
        sqlite3_bind_int64(statement, 5, (sqlite3_int64) base);
        r = zp_database_step(store->database, statement, err);
        if (r < 0)
                return r;
        return snap_write_labels(store, (uint64_t) zp_database_last_id(store->database), &accelerated->labels, err);
}

static int add_accelerated(struct snap_metastore *store, struct zp_arena *arena,
                           const struct snap_accelerated *accelerated, struct zp_error *err) {
        uint64_t parent, base;
        int r = snap_find_parent(store, arena, accelerated->parent, EINVAL, &parent, err);
        if (r == 0)
                r = is_there(store, &accelerated->base, parent, err);
        if (r != 0)
                return r < 0 ? r : 0;
        r = put_base(store, &accelerated->base, &base, err);
        return r < 0 ? r : insert(store, accelerated, parent, base, err);
}

int snap_metastore_add_accelerated(struct snap_metastore *store, const struct snap_accelerated *accelerated,
                                   struct zp_error *err) {
        struct zp_arena arena = { 0 };
        int r = zp_database_begin(store->database, true, err);
        if (r < 0)
                return r;
        r = zp_database_end(store->database, add_accelerated(store, &arena, accelerated, err), err);
        zp_arena_clear(&arena);
        return r;
}

/* ---- what became of images ---- */

static int note(struct snap_metastore *store, const struct snap_outcome *outcome, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = zp_database_prepare(store->database,
                                    "INSERT OR REPLACE INTO images (manifest_digest, reference, reason, updated_ns)"
                                    " VALUES (?1, ?2, ?3, ?4)",
                                    &statement, err);
        if (r < 0)
                return r;
        bind_digest(statement, 1, &outcome->manifest_digest);
        sqlite3_bind_text(statement, 2, outcome->reference, -1, SQLITE_STATIC);
        if (outcome->reason)
                sqlite3_bind_text(statement, 3, outcome->reason, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 4, snap_now_ns());
        return zp_database_step(store->database, statement, err);
}

/* The table is for people: the newest are enough. */
static int forget_old(struct snap_metastore *store, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = snap_prepare_id(store,
                                "DELETE FROM images WHERE manifest_digest NOT IN"
                                " (SELECT manifest_digest FROM images ORDER BY updated_ns DESC LIMIT ?1)",
                                OUTCOMES_MAX, &statement, err);
        return r < 0 ? r : zp_database_step(store->database, statement, err);
}

int snap_metastore_note(struct snap_metastore *store, const struct snap_outcome *outcome, struct zp_error *err) {
        int r = zp_database_begin_losable(store->database, err);
        if (r < 0)
                return r;
        r = note(store, outcome, err);
        if (r == 0)
                r = forget_old(store, err);
        return zp_database_end(store->database, r, err);
}
