/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store-internal.h"

static int begin(struct zp_store *store, const char *sql, struct zp_error *err) {
        pthread_mutex_lock(&store->mutex);
        int r = zp_sql_run(store, sql, err);
        if (r < 0)
                pthread_mutex_unlock(&store->mutex);
        return r;
}

int zp_store_begin_read(struct zp_store *store, struct zp_error *err) {
        return begin(store, "BEGIN", err);
}

int zp_store_begin_write(struct zp_store *store, struct zp_error *err) {
        if (store->mode != ZP_STORE_WRITE)
                return zp_error_set(err, EROFS, "store '%s': opened for reading only", store->path);
        return begin(store, "BEGIN IMMEDIATE", err);
}

int zp_store_end(struct zp_store *store, int result, struct zp_moves *moves, struct zp_error *err) {
        int r = result < 0 ? result : zp_sql_run(store, "COMMIT", err);
        if (r < 0) {
                /* The moves first: as long as the transaction is open nobody else looks. */
                if (moves)
                        zp_moves_undo(store, moves);
                if (!sqlite3_get_autocommit(store->db))
                        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
        }
        pthread_mutex_unlock(&store->mutex);
        if (moves)
                zp_moves_finish(store, moves);
        return r < 0 ? r : result;
}
