/* SPDX-License-Identifier: Apache-2.0
 *
 * What SQLite says, as errno has it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/sqlite.h"

/* What becomes of the statement on a database in memory. */
static int errno_of(sqlite3 *db, const char *sql) {
        int result = sqlite3_exec(db, sql, NULL, NULL, NULL);
        return result == SQLITE_OK ? 0 : zp_sqlite_errno(result, db);
}

static void statements_fail_as_errno_has_it(void **state) {
        (void) state;
        sqlite3 *db;
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE;
        assert_int_equal(sqlite3_open_v2(":memory:", &db, flags, NULL), SQLITE_OK);
        assert_int_equal(errno_of(db, "CREATE TABLE t (a INTEGER PRIMARY KEY, b UNIQUE, c NOT NULL, d BLOB)"), 0);
        assert_int_equal(errno_of(db, "INSERT INTO t VALUES (1, 1, 1, NULL)"), 0);
        assert_int_equal(errno_of(db, "INSERT INTO t VALUES (1, 2, 1, NULL)"), EEXIST);
        assert_int_equal(errno_of(db, "INSERT INTO t VALUES (2, 1, 1, NULL)"), EEXIST);
        assert_int_equal(errno_of(db, "INSERT INTO t VALUES (2, 2, NULL, NULL)"), EBADMSG);
        assert_int_equal(errno_of(db, "SELECT e FROM t"), EBADMSG);
        assert_int_equal(errno_of(db, "PRAGMA max_page_count = 4"), 0);
        assert_int_equal(errno_of(db, "INSERT INTO t VALUES (3, 3, 3, zeroblob(1000000))"), ENOSPC);
        assert_int_equal(errno_of(db, "PRAGMA query_only = 1"), 0);
        assert_int_equal(errno_of(db, "DELETE FROM t"), EROFS);
        sqlite3_close(db);
}

static void a_file_that_cannot_be_opened_says_why(void **state) {
        (void) state;
        sqlite3 *db;
        int result = sqlite3_open_v2("/absent/database", &db, SQLITE_OPEN_READWRITE, NULL);
        assert_int_equal(zp_sqlite_errno(result, db), ENOENT);
        assert_int_equal(zp_sqlite_errno(result, NULL), EIO);
        sqlite3_close(db);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(statements_fail_as_errno_has_it),
                cmocka_unit_test(a_file_that_cannot_be_opened_says_why),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
