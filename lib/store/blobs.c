/* SPDX-License-Identifier: Apache-2.0
 *
 * Blobs of layers that were read here, by the repository they came from: the proof that who may read that repository
 * may read the layer.
 */
#include "store/store-internal.h"

static int prepare(struct zp_store *store, const char *sql, const struct zp_blob_record *blob, sqlite3_stmt **out,
                   struct zp_error *err) {
        int r = zp_sql_prepare(store, sql, out, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(*out, 1, blob->repository, -1, SQLITE_STATIC);
        zp_sql_bind_digest(*out, 2, &blob->digest);
        sqlite3_bind_int64(*out, 3, (sqlite3_int64) blob->size);
        zp_sql_bind_digest(*out, 4, &blob->diff_id);
        return 0;
}

static int run(struct zp_store *store, const char *sql, const struct zp_blob_record *blob, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = prepare(store, sql, blob, &s, err);
        return r < 0 ? r : zp_sql_step(store, s, err);
}

int zp_store_has_blob(struct zp_store *store, const struct zp_blob_record *blob, struct zp_error *err) {
        static const char sql[] =
                "SELECT 1 FROM blobs WHERE repository = ? AND digest = ? AND size = ? AND diff_id = ?";
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, run(store, sql, blob, err), NULL, err);
}

int zp_store_note_blob(struct zp_store *store, const struct zp_blob_record *blob, struct zp_error *err) {
        static const char sql[] =
                "INSERT OR REPLACE INTO blobs (repository, digest, size, diff_id) VALUES (?, ?, ?, ?)";
        int r = zp_store_begin_write(store, err);
        return r < 0 ? r : zp_store_end(store, run(store, sql, blob, err), NULL, err);
}
