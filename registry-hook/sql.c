/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/sql.h"

#include <stdarg.h>
#include <string.h>

#include "base/sqlite.h"

int hook_sql_failed(sqlite3 *db, int result, struct zp_error *err) {
        int code = (result & 0xff) == SQLITE_CONSTRAINT ? EEXIST : zp_sqlite_errno(result, db);
        return zp_error_set(err, code, "queue: %s", db ? sqlite3_errmsg(db) : sqlite3_errstr(result));
}

int hook_sql_exec(sqlite3 *db, const char *sql, struct zp_error *err) {
        int result = sqlite3_exec(db, sql, NULL, NULL, NULL);
        return result == SQLITE_OK ? 0 : hook_sql_failed(db, result, err);
}

static int prepare(sqlite3 *db, sqlite3_stmt **out, struct zp_error *err, const char *sql, const char *types,
                   va_list values) {
        int result = sqlite3_prepare_v2(db, sql, -1, out, NULL);
        for (int i = 1; result == SQLITE_OK && types[i - 1]; i++) {
                if (types[i - 1] == 's')
                        result = sqlite3_bind_text(*out, i, va_arg(values, const char *), -1, SQLITE_STATIC);
                else if (types[i - 1] == 'f')
                        result = sqlite3_bind_double(*out, i, va_arg(values, double));
                else
                        result = sqlite3_bind_int64(*out, i, va_arg(values, int64_t));
        }
        return result == SQLITE_OK ? 0 : hook_sql_failed(db, result, err);
}

int hook_sql_prepare(sqlite3 *db, sqlite3_stmt **out, struct zp_error *err, const char *sql, const char *types, ...) {
        va_list values;
        va_start(values, types);
        int r = prepare(db, out, err, sql, types, values);
        va_end(values);
        return r;
}

int hook_sql_step(sqlite3_stmt *statement, struct zp_error *err) {
        int result = sqlite3_step(statement);
        if (result == SQLITE_ROW || result == SQLITE_DONE)
                return result == SQLITE_ROW;
        return hook_sql_failed(sqlite3_db_handle(statement), result, err);
}

int hook_sql_run(sqlite3 *db, struct zp_error *err, const char *sql, const char *types, ...) {
        hook_autostmt sqlite3_stmt *statement = NULL;
        va_list values;
        va_start(values, types);
        int r = prepare(db, &statement, err, sql, types, values);
        va_end(values);
        if (r == 0)
                while ((r = hook_sql_step(statement, err)) > 0)
                        continue;
        return r < 0 ? r : sqlite3_changes(db);
}

int hook_sql_number(sqlite3 *db, int64_t *out, struct zp_error *err, const char *sql, const char *types, ...) {
        hook_autostmt sqlite3_stmt *statement = NULL;
        va_list values;
        va_start(values, types);
        int r = prepare(db, &statement, err, sql, types, values);
        va_end(values);
        if (r == 0)
                r = hook_sql_step(statement, err);
        if (r < 0)
                return r;
        *out = r == 1 ? sqlite3_column_int64(statement, 0) : 0;
        return 0;
}

const char *hook_sql_text(sqlite3_stmt *statement, int column) {
        const char *text = (const char *) sqlite3_column_text(statement, column);
        return text ? text : "";
}

void hook_sql_copy(sqlite3_stmt *statement, int column, char *out, size_t size) {
        snprintf(out, size, "%s", hook_sql_text(statement, column));
}
