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

static sqlite3_stmt *prepared(sqlite3 *db, const char *sql) {
        sqlite3_stmt *statement = NULL;
        assert_int_equal(zp_sqlite_prepare(db, sql, &statement), SQLITE_OK);
        assert_non_null(statement);
        return statement;
}

static void released_statements_are_taken_again_with_nothing_bound(void **state) {
        (void) state;
        sqlite3 *db, *other;
        assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
        assert_int_equal(sqlite3_open(":memory:", &other), SQLITE_OK);
        sqlite3_stmt *first = prepared(db, "SELECT ?1"), *second = prepared(db, "SELECT ?1");
        assert_ptr_not_equal(first, second); /* at the same time */
        sqlite3_bind_int(first, 1, 7);
        assert_int_equal(sqlite3_step(first), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int(first, 0), 7);
        zp_sqlite_release(first);
        assert_ptr_not_equal(prepared(other, "SELECT ?1"), first);
        zp_sqlite_release(prepared(db, "SELECT 2"));
        assert_ptr_equal(prepared(db, "SELECT ?1"), first);
        assert_int_equal(sqlite3_step(first), SQLITE_ROW);
        assert_int_equal(sqlite3_column_type(first, 0), SQLITE_NULL);
        zp_sqlite_release(first);
        zp_sqlite_release(second);
        zp_sqlite_release(NULL);
        sqlite3_stmt *none = NULL;
        assert_int_not_equal(zp_sqlite_prepare(db, "SELECT nothing_such", &none), SQLITE_OK);
        assert_null(none);
        zp_sqlite_close(db);
        zp_sqlite_close(NULL);
        sqlite3_finalize(sqlite3_next_stmt(other, NULL));
        zp_sqlite_close(other);
}

static void more_statements_than_are_kept_are_freed(void **state) {
        (void) state;
        sqlite3 *db;
        sqlite3_stmt *statements[200];
        assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
        for (size_t i = 0; i < 200; i++)
                statements[i] = prepared(db, "SELECT 1");
        for (size_t i = 0; i < 200; i++)
                zp_sqlite_release(statements[i]);
        size_t left = 0;
        for (sqlite3_stmt *s = NULL; (s = sqlite3_next_stmt(db, s));)
                left++;
        assert_in_range(left, 1, 64);
        zp_sqlite_close(db);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(statements_fail_as_errno_has_it),
                cmocka_unit_test(a_file_that_cannot_be_opened_says_why),
                cmocka_unit_test(released_statements_are_taken_again_with_nothing_bound),
                cmocka_unit_test(more_statements_than_are_kept_are_freed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
