/* SPDX-License-Identifier: Apache-2.0
 *
 * SQLite's results as errno has them; statements that are kept for the next time.
 */
#ifndef ZP_BASE_SQLITE_H
#define ZP_BASE_SQLITE_H

#include <sqlite3.h>

#include "base/cleanup.h"

/* The positive errno of a failed call on `db` (NULL: there is none yet): ENOSPC, EBUSY, ENOMEM, EROFS, EACCES; EEXIST
 * (a UNIQUE or PRIMARY KEY constraint, where the connection tells results apart); EBADMSG when the database is not as
 * it was made; else what the system said about its file, or EIO. */
int zp_sqlite_errno(int result, sqlite3 *db);

/* A statement for whoever has the connection to himself (its rollback hook is taken), with nothing bound; SQLite's
 * result. One that has been released is taken again: SQLite takes longer to read SQL than to run it. */
int zp_sqlite_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out);
/* Ends its run, and keeps it while its connection is open. NULL is fine. */
void zp_sqlite_release(sqlite3_stmt *statement);
ZP_DEFINE_AUTO(sqlite3_stmt, zp_sqlite_release);
/* Closes a connection with what is kept of it. NULL is fine. */
void zp_sqlite_close(sqlite3 *db);

#endif
