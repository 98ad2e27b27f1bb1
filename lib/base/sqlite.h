/* SPDX-License-Identifier: Apache-2.0
 *
 * SQLite's results as errno has them.
 */
#ifndef ZP_BASE_SQLITE_H
#define ZP_BASE_SQLITE_H

#include <sqlite3.h>

/* The positive errno of a failed call on `db` (NULL: there is none yet): ENOSPC, EBUSY, ENOMEM, EROFS, EACCES; EEXIST
 * (a UNIQUE or PRIMARY KEY constraint, where the connection tells results apart); EBADMSG when the database is not as
 * it was made; else what the system said about its file, or EIO. */
int zp_sqlite_errno(int result, sqlite3 *db);

#endif
