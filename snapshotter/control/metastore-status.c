/* SPDX-License-Identifier: Apache-2.0
 *
 * The metastore's answers to people: how many there are of what, what became of images, what shows what.
 */
#include <string.h>

#include "snapshotter/control/metastore-internal.h"

static int count(struct snap_metastore *store, struct snap_counts *out, struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *row = NULL;
        *out = (struct snap_counts){ 0 };
        int r = zp_database_prepare(store->database, "SELECT kind, count(*), count(base) FROM snapshots GROUP BY kind",
                                    &row, err);
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1) {
                int kind = sqlite3_column_int(row, 0);
                if (kind < SNAP_VIEW || kind > SNAP_COMMITTED)
                        return zp_database_bad_row(store->database, "snapshots", err);
                out->snapshots[kind] = (uint64_t) sqlite3_column_int64(row, 1);
                out->accelerated += (uint64_t) sqlite3_column_int64(row, 2);
                r = 0;
        }
        return r;
}

int snap_metastore_count(struct snap_metastore *store, struct snap_counts *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, count(store, out, err), err);
}

static int read_outcome(struct snap_metastore *store, struct zp_arena *arena, sqlite3_stmt *row,
                        struct snap_outcome *out, struct zp_error *err) {
        const void *digest = sqlite3_column_blob(row, 0);
        if (!digest || sqlite3_column_bytes(row, 0) != ZP_SHA256_SIZE)
                return zp_database_bad_row(store->database, "images", err);
        *out = (struct snap_outcome){ .reference = snap_copy_text(arena, row, 1),
                                      .reason = snap_copy_text(arena, row, 2),
                                      .updated_ns = sqlite3_column_int64(row, 3) };
        memcpy(out->manifest_digest.bytes, digest, ZP_SHA256_SIZE);
        bool has_reason = sqlite3_column_type(row, 2) != SQLITE_NULL;
        return out->reference && (out->reason || !has_reason) ? 0 : snap_no_memory(err);
}

static int list_outcomes(struct snap_metastore *store, struct zp_arena *arena, size_t max, struct snap_outcome *out,
                         struct zp_error *err) {
        zp_auto(sqlite3_finalize) sqlite3_stmt *row = NULL;
        int found = 0;
        int r = snap_prepare_id(store,
                                "SELECT manifest_digest, reference, reason, updated_ns FROM images"
                                " ORDER BY updated_ns DESC LIMIT ?1",
                                max, &row, err);
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1)
                r = read_outcome(store, arena, row, &out[found++], err);
        return r < 0 ? r : found;
}

int snap_metastore_list_outcomes(struct snap_metastore *store, struct zp_arena *arena, size_t max,
                                 struct snap_outcome *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, list_outcomes(store, arena, max, out, err), err);
}
