/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/statvfs.h>

#include "store/store-internal.h"

/* SQLite tries a second time, for reading, when it cannot create its journal, and keeps that error: a file
 * that is not there. */
static bool inodes_are_used_up(const struct zp_store *store) {
        struct statvfs fs;
        return store->mode == ZP_STORE_WRITE && fstatvfs(store->dir_fd, &fs) == 0 && fs.f_files > 0 && fs.f_favail == 0;
}

static int errno_of(const struct zp_store *store, int result) {
        int code = zp_sqlite_errno(result, store->db);
        if ((result & 0xff) == SQLITE_CONSTRAINT)
                return EBADMSG; /* what is written is never there already */
        return code == ENOENT && inodes_are_used_up(store) ? ENOSPC : code;
}

int zp_sql_failed(struct zp_store *store, int result, struct zp_error *err) {
        int code = errno_of(store, result);
        const char *said = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(result);
        switch (code) {
        case ENOSPC:
        case EDQUOT:
                zp_error_errno(err, code, "store '%s'", store->path);
                zp_error_hint(err, "free some space on that file system and run the command again; "
                                   "the store is as it was before");
                return -code;
        case EACCES:
        case EPERM:
                zp_error_errno(err, code, "store '%s': the database %s", store->path, ZP_STORE_DATABASE);
                zp_store_hint_owner(store->path, err);
                return -code;
        case EBUSY:
                return zp_error_set(err, code, "store '%s': another process has kept the database locked for too long",
                                    store->path);
        case EBADMSG:
                zp_error_set(err, code, "store '%s': the database %s is damaged: %s", store->path, ZP_STORE_DATABASE,
                             said);
                zp_error_hint(err, "what is in a store can be built again: move '%s' away, and start with a new one",
                              store->path);
                return -code;
        default:
                return zp_error_set(err, code, "store '%s': database: %s (%s)", store->path, said, strerror(code));
        }
}

int zp_sql_prepare(struct zp_store *store, const char *sql, sqlite3_stmt **out, struct zp_error *err) {
        int result = zp_sqlite_prepare(store->db, sql, out);
        return result == SQLITE_OK ? 0 : zp_sql_failed(store, result, err);
}

int zp_sql_step(struct zp_store *store, sqlite3_stmt *statement, struct zp_error *err) {
        int result = sqlite3_step(statement);
        if (result == SQLITE_ROW)
                return 1;
        return result == SQLITE_DONE ? 0 : zp_sql_failed(store, result, err);
}

int zp_sql_run(struct zp_store *store, const char *sql, struct zp_error *err) {
        int result = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
        return result == SQLITE_OK ? 0 : zp_sql_failed(store, result, err);
}

int zp_sql_run_digest(struct zp_store *store, const char *sql, const struct zp_digest *digest, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = zp_sql_prepare(store, sql, &statement, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(statement, 1, digest);
        return zp_sql_step(store, statement, err);
}

void zp_sql_bind_digest(sqlite3_stmt *statement, int parameter, const struct zp_digest *digest) {
        sqlite3_bind_blob(statement, parameter, digest->bytes, sizeof digest->bytes, SQLITE_STATIC);
}

bool zp_sql_column_digest(sqlite3_stmt *statement, int column, struct zp_digest *out) {
        const void *blob = sqlite3_column_blob(statement, column);
        if (!blob || sqlite3_column_bytes(statement, column) != (int) sizeof out->bytes)
                return false;
        memcpy(out->bytes, blob, sizeof out->bytes);
        return true;
}

bool zp_sql_column_u64(sqlite3_stmt *statement, int column, uint64_t *out) {
        sqlite3_int64 value = sqlite3_column_int64(statement, column);
        *out = (uint64_t) value;
        return sqlite3_column_type(statement, column) == SQLITE_INTEGER && value >= 0;
}

bool zp_sql_column_text(sqlite3_stmt *statement, int column, char **out) {
        if (sqlite3_column_type(statement, column) != SQLITE_TEXT)
                return false;
        const char *text = (const char *) sqlite3_column_text(statement, column);
        *out = text ? strdup(text) : NULL;
        return *out != NULL;
}

int zp_sql_bad_row(struct zp_store *store, const char *table, struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "store '%s': the database %s is damaged: a row of '%s' makes no sense",
                            store->path, ZP_STORE_DATABASE, table);
}
