/* SPDX-License-Identifier: Apache-2.0
 *
 * Statements that are kept for the next time: SQLite takes longer to read one than to run it.
 */
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/sqlite.h"

/* Of all connections together: more than a program has SQL for. A statement takes some KiB. */
#define KEPT_MAX 128

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* guarded by lock */
static sqlite3_stmt *kept[KEPT_MAX];
static unsigned kept_count;

static sqlite3_stmt *take_out(unsigned at) {
        sqlite3_stmt *statement = kept[at];
        kept[at] = kept[--kept_count];
        return statement;
}

static sqlite3_stmt *find(sqlite3 *db, const char *sql) {
        for (unsigned i = 0; i < kept_count; i++)
                if (sqlite3_db_handle(kept[i]) == db && strcmp(sqlite3_sql(kept[i]), sql) == 0)
                        return take_out(i);
        return NULL;
}

int zp_sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out) {
        pthread_mutex_lock(&lock);
        *out = find(db, sql);
        pthread_mutex_unlock(&lock);
        return *out ? SQLITE_OK : sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
}

void zp_sqlite_release(sqlite3_stmt *statement) {
        if (!statement)
                return;
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
        pthread_mutex_lock(&lock);
        bool is_kept = kept_count < KEPT_MAX;
        if (is_kept)
                kept[kept_count++] = statement;
        pthread_mutex_unlock(&lock);
        if (!is_kept)
                sqlite3_finalize(statement);
}

void zp_sqlite_close(sqlite3 *db) {
        pthread_mutex_lock(&lock);
        for (unsigned i = kept_count; db && i-- > 0;)
                if (sqlite3_db_handle(kept[i]) == db)
                        sqlite3_finalize(take_out(i));
        pthread_mutex_unlock(&lock);
        sqlite3_close(db);
}
