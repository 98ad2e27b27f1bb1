/* SPDX-License-Identifier: Apache-2.0
 *
 * Statements that are kept for the next time: SQLite takes longer to read one than to run it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/sqlite.h"

/* A statement takes some KiB. */
#define KEPT_MAX 64

struct kept {
        sqlite3_stmt *statements[KEPT_MAX];
        unsigned count;
};

static void ignore(void *kept) {
        (void) kept;
}

/* A connection remembers what its rollback hook is called with, and says so when there comes another one. */
static struct kept *swap_kept(sqlite3 *db, struct kept *kept) {
        return sqlite3_rollback_hook(db, ignore, kept);
}

static struct kept *kept_of(sqlite3 *db) {
        struct kept *kept = swap_kept(db, NULL);
        swap_kept(db, kept);
        return kept;
}

int zp_sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out) {
        struct kept *kept = kept_of(db);
        for (unsigned i = 0; kept && i < kept->count; i++)
                if (strcmp(sqlite3_sql(kept->statements[i]), sql) == 0) {
                        *out = kept->statements[i];
                        kept->statements[i] = kept->statements[--kept->count];
                        return SQLITE_OK;
                }
        return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
}

void zp_sqlite_release(sqlite3_stmt *statement) {
        if (!statement)
                return;
        sqlite3 *db = sqlite3_db_handle(statement);
        struct kept *kept = kept_of(db);
        if (!kept) {
                kept = calloc(1, sizeof *kept);
                swap_kept(db, kept);
        }
        if (!kept || kept->count == KEPT_MAX) {
                sqlite3_finalize(statement);
                return;
        }
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
        kept->statements[kept->count++] = statement;
}

void zp_sqlite_close(sqlite3 *db) {
        struct kept *kept = db ? swap_kept(db, NULL) : NULL;
        while (kept && kept->count)
                sqlite3_finalize(kept->statements[--kept->count]);
        free(kept);
        sqlite3_close(db);
}
