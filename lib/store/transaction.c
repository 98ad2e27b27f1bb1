/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "base/file.h"
#include "store/store-internal.h"

#define PAUSE_NS 2000000

static int begin(struct zp_store *store, const char *sql, struct zp_error *err) {
        pthread_mutex_lock(&store->mutex);
        if (store->is_in_batch)
                return 0;
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

static int end_in_batch(struct zp_store *store, int result, struct zp_moves *moves, struct zp_error *err) {
        int r = result < 0 || !moves ? result : zp_moves_join(store, &store->batch_moves, moves, err);
        if (r < 0) {
                store->has_batch_failed = true;
                if (moves)
                        zp_moves_undo(store, moves);
        }
        pthread_mutex_unlock(&store->mutex);
        if (moves)
                zp_moves_finish(store, moves);
        return r < 0 ? r : result;
}

int zp_store_end(struct zp_store *store, int result, struct zp_moves *moves, struct zp_error *err) {
        if (store->is_in_batch)
                return end_in_batch(store, result, moves, err);
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

int zp_store_begin_batch(struct zp_store *store, struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        if (r == 0) {
                store->is_in_batch = true;
                store->has_batch_failed = false;
        }
        return r;
}

/* What was renamed is on the disk before the records that name it. */
static int sync_places(struct zp_store *store, struct zp_error *err) {
        int r = zp_sync(store->devices_fd, "devices", err);
        if (r == 0)
                r = zp_sync(store->layers_fd, "layers", err);
        return r < 0 ? r : zp_sync(store->images_fd, "images", err);
}

int zp_store_end_batch(struct zp_store *store, int result, struct zp_error *err) {
        struct zp_moves moves = store->batch_moves;
        moves.owns_new = true;
        store->batch_moves = (struct zp_moves){ 0 };
        store->is_in_batch = false;
        if (result >= 0 && store->has_batch_failed)
                result =
                        zp_error_set(err, ECANCELED, "store '%s': a part of what belongs together failed", store->path);
        if (result >= 0 && moves.count > 0)
                result = sync_places(store, err);
        return zp_store_end(store, result, &moves, err);
}

/* 1: another process has a writing transaction open. */
static int is_being_changed(struct zp_store *store, struct zp_error *err) {
        sqlite3_file *file = NULL;
        int reserved = 0;
        pthread_mutex_lock(&store->mutex);
        int result = sqlite3_file_control(store->db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
        if (result == SQLITE_OK && file->pMethods)
                result = file->pMethods->xCheckReservedLock(file, &reserved);
        pthread_mutex_unlock(&store->mutex);
        return result == SQLITE_OK ? reserved != 0 : zp_sql_failed(store, result, err);
}

int zp_store_await_change(struct zp_store *store, const struct zp_cancel *cancel, struct zp_error *err) {
        for (long waited_ms = 0; waited_ms < ZP_STORE_BUSY_TIMEOUT_MS; waited_ms += PAUSE_NS / 1000000) {
                int r = zp_check_cancel(cancel, err);
                if (r == 0)
                        r = is_being_changed(store, err);
                if (r <= 0)
                        return r;
                nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
        }
        return zp_error_set(err, EBUSY, "store '%s': another process is changing it, and does not end", store->path);
}
