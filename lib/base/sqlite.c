/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sqlite.h"

#include <errno.h>

int zp_sqlite_errno(int result, sqlite3 *db) {
        if (result == SQLITE_CONSTRAINT_UNIQUE || result == SQLITE_CONSTRAINT_PRIMARYKEY)
                return EEXIST;
        switch (result & 0xff) {
        case SQLITE_FULL:
                return ENOSPC;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return EBUSY;
        case SQLITE_NOMEM:
                return ENOMEM;
        case SQLITE_READONLY:
                return EROFS;
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return EACCES;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_ERROR: /* our SQL is right: a table or column is not as we made it */
        case SQLITE_SCHEMA:
        case SQLITE_CONSTRAINT:
        case SQLITE_MISMATCH:
                return EBADMSG;
        default: {
                int code = db ? sqlite3_system_errno(db) : 0;
                return code > 0 ? code : EIO;
        }
        }
}
