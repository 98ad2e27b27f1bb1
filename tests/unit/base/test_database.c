/* SPDX-License-Identifier: Apache-2.0
 *
 * A daemon's database: what is committed is there when it is opened again, what is rolled back is not, and what is not
 * this program's database is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/database.h"
#include "base/file.h"

static struct zp_error err;
static char directory[64], path[80];

static const struct zp_database_schema schema = {
        .application_id = 0x7a707431,
        .version = 2,
        .create = "CREATE TABLE things (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;",
};

static int setup(void **state) {
        (void) state;
        strcpy(directory, "/tmp/zp-database-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        snprintf(path, sizeof path, "%s/test.db", directory);
        return 0;
}

static int teardown(void **state) {
        (void) state;
        return zp_remove_tree(-1, directory, &err);
}

static struct zp_database *open_it(void) {
        struct zp_database *database = NULL;
        if (zp_database_open(path, &schema, &database, &err) < 0)
                fail_msg("%s", err.message);
        return database;
}

static int insert(struct zp_database *database, const char *name) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        assert_int_equal(zp_database_prepare(database, "INSERT INTO things (name) VALUES (?1)", &statement, &err), 0);
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
        return zp_database_step(database, statement, &err);
}

static int64_t count(struct zp_database *database) {
        assert_int_equal(zp_database_begin(database, false, &err), 0);
        sqlite3_stmt *statement = NULL;
        assert_int_equal(zp_database_prepare(database, "SELECT count(*) FROM things", &statement, &err), 0);
        assert_int_equal(zp_database_step(database, statement, &err), 1);
        int64_t rows = sqlite3_column_int64(statement, 0);
        zp_sqlite_release(statement);
        assert_int_equal(zp_database_end(database, 0, &err), 0);
        return rows;
}

static void committed_rows_are_there_when_opened_again(void **state) {
        (void) state;
        struct zp_database *database = open_it();
        assert_int_equal(zp_database_begin(database, true, &err), 0);
        assert_int_equal(insert(database, "a"), 0);
        assert_int_equal(zp_database_last_id(database), 1);
        assert_int_equal(zp_database_end(database, 7, &err), 7);
        zp_database_close(database);
        database = open_it();
        assert_int_equal(count(database), 1);
        zp_database_close(database);
}

/* How SQLite says it: 2 waits for the disk at each commit, 1 does not with a write-ahead log. */
static int64_t synchronous(struct zp_database *database) {
        sqlite3_stmt *statement = NULL;
        assert_int_equal(zp_database_prepare(database, "PRAGMA synchronous", &statement, &err), 0);
        assert_int_equal(zp_database_step(database, statement, &err), 1);
        int64_t value = sqlite3_column_int64(statement, 0);
        zp_sqlite_release(statement);
        return value;
}

static void what_may_be_lost_makes_nothing_else_so(void **state) {
        (void) state;
        struct zp_database *database = open_it();
        for (int result = 0; result >= -1; result--) {
                assert_int_equal(zp_database_begin_losable(database, &err), 0);
                assert_int_equal(synchronous(database), 1);
                assert_int_equal(insert(database, result < 0 ? "b" : "a"), 0);
                assert_int_equal(zp_database_end(database, result, &err), result);
                assert_int_equal(zp_database_begin(database, true, &err), 0);
                assert_int_equal(synchronous(database), 2);
                assert_int_equal(zp_database_end(database, 0, &err), 0);
        }
        zp_database_close(database);
        database = open_it();
        assert_int_equal(count(database), 1);
        zp_database_close(database);
}

static void a_failed_transaction_leaves_nothing(void **state) {
        (void) state;
        struct zp_database *database = open_it();
        assert_int_equal(zp_database_begin(database, true, &err), 0);
        assert_int_equal(insert(database, "a"), 0);
        assert_int_equal(zp_database_end(database, -EINVAL, &err), -EINVAL);
        assert_int_equal(count(database), 0);
        zp_database_close(database);
}

static void a_second_row_of_the_same_name_is_told_apart(void **state) {
        (void) state;
        struct zp_database *database = open_it();
        assert_int_equal(zp_database_begin(database, true, &err), 0);
        assert_int_equal(insert(database, "a"), 0);
        assert_int_equal(insert(database, "a"), -EEXIST);
        assert_int_equal(zp_database_end(database, -EEXIST, &err), -EEXIST);
        zp_database_close(database);
}

/* Inside of what the log has taken: its size does not change. */
static void what_was_taken_is_enough_for_small_changes(void **state) {
        (void) state;
        struct zp_database *database = open_it();
        struct stat before, after;
        zp_autofree char *log = zp_format("%s-wal", path);
        assert_int_equal(zp_database_keep_room(database, &err), 0);
        assert_int_equal(stat(log, &before), 0);
        assert_true(before.st_size > 256 << 10);
        char name[] = "aa";
        for (int i = 0; i < 200; i++) {
                name[0] = (char) ('a' + i % 20);
                name[1] = (char) ('a' + i / 20);
                assert_int_equal(zp_database_begin(database, true, &err), 0);
                assert_int_equal(zp_database_end(database, insert(database, name), &err), 0);
                zp_database_settle(database);
        }
        assert_int_equal(stat(log, &after), 0);
        assert_int_equal(before.st_size, after.st_size);
        assert_int_equal(count(database), 200);
        zp_database_close(database);
}

static void assert_refused(int code, const char *message) {
        struct zp_database *database = NULL;
        assert_int_equal(zp_database_open(path, &schema, &database, &err), code);
        assert_null(database);
        if (!strstr(err.message, message) || !strstr(err.message, path))
                fail_msg("%s", err.message);
}

static void what_is_not_this_database_is_refused(void **state) {
        (void) state;
        struct zp_database_schema other = schema;
        struct zp_database *database = NULL;
        other.version = 3;
        assert_int_equal(zp_database_open(path, &other, &database, &err), 0);
        zp_database_close(database);
        assert_refused(-EBADMSG, "of version 3, this program knows 2");
        unlink(path);
        other.application_id = 1;
        assert_int_equal(zp_database_open(path, &other, &database, &err), 0);
        zp_database_close(database);
        assert_refused(-EBADMSG, "some other program's");
        assert_int_equal(zp_replace_file(-1, path, "no database, but long enough to be looked at", 44, 0644, &err), 0);
        assert_refused(-EBADMSG, "not a database");
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_refused(-EBADMSG, "not a regular file");
}

/* Beside the one who writes, and when nobody does. */
static void a_reader_sees_what_is_committed_and_changes_nothing(void **state) {
        (void) state;
        struct zp_database *reader = NULL;
        assert_int_equal(zp_database_open_to_read(path, &schema, ZP_DATABASE_PATIENCE_MS, &reader, &err), -ENOENT);
        assert_int_not_equal(access(path, F_OK), 0);
        struct zp_database *writer = open_it();
        assert_int_equal(zp_database_begin(writer, true, &err), 0);
        assert_int_equal(zp_database_end(writer, insert(writer, "a"), &err), 0);
        assert_int_equal(zp_database_open_to_read(path, &schema, ZP_DATABASE_PATIENCE_MS, &reader, &err), 0);
        assert_int_equal(count(reader), 1);
        assert_int_equal(zp_database_begin(reader, false, &err), 0);
        assert_int_equal(zp_database_end(reader, insert(reader, "b"), &err), -EROFS);
        assert_int_equal(zp_database_begin(writer, true, &err), 0);
        assert_int_equal(zp_database_end(writer, insert(writer, "c"), &err), 0);
        assert_int_equal(count(reader), 2);
        zp_database_close(writer);
        zp_database_close(reader);
        assert_int_equal(zp_database_open_to_read(path, &schema, ZP_DATABASE_PATIENCE_MS, &reader, &err), 0);
        assert_int_equal(count(reader), 2);
        zp_database_close(reader);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(committed_rows_are_there_when_opened_again, setup, teardown),
                cmocka_unit_test_setup_teardown(what_may_be_lost_makes_nothing_else_so, setup, teardown),
                cmocka_unit_test_setup_teardown(a_failed_transaction_leaves_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(a_second_row_of_the_same_name_is_told_apart, setup, teardown),
                cmocka_unit_test_setup_teardown(a_reader_sees_what_is_committed_and_changes_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(what_was_taken_is_enough_for_small_changes, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_not_this_database_is_refused, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
