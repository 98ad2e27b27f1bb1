/* SPDX-License-Identifier: Apache-2.0 */
#include "base/database.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"

/* Nobody but this process writes; a person may look with sqlite3(1). */

struct zp_database {
        char *path;
        int patience_ms;
        pthread_mutex_t mutex; /* held from begin to end */
        /* guarded by mutex */
        sqlite3 *db;
        bool is_losable; /* the transaction */
};

static int errno_of(struct zp_database *database, int result) {
        int code = zp_sqlite_errno(result, database->db);
        if (code == EBUSY)
                return EAGAIN;
        bool is_constraint = (result & 0xff) == SQLITE_CONSTRAINT;
        /* what callers tell apart must not come from a file */
        return (code == EEXIST && !is_constraint) || code == ENOENT ? EIO : code;
}

static int failed(struct zp_database *database, int result, struct zp_error *err) {
        const char *said = database->db ? sqlite3_errmsg(database->db) : sqlite3_errstr(result);
        return zp_error_set(err, errno_of(database, result), "database '%s': %s", database->path, said);
}

int zp_database_prepare(struct zp_database *database, const char *sql, sqlite3_stmt **out, struct zp_error *err) {
        int result = zp_sqlite_prepare(database->db, sql, out);
        return result == SQLITE_OK ? 0 : failed(database, result, err);
}

int zp_database_step(struct zp_database *database, sqlite3_stmt *statement, struct zp_error *err) {
        int result = sqlite3_step(statement);
        if (result == SQLITE_ROW)
                return 1;
        return result == SQLITE_DONE ? 0 : failed(database, result, err);
}

int64_t zp_database_last_id(struct zp_database *database) {
        return sqlite3_last_insert_rowid(database->db);
}

int zp_database_bad_row(struct zp_database *database, const char *table, struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "database '%s': damaged: a row of '%s' makes no sense", database->path,
                            table);
}

static int run(struct zp_database *database, const char *sql, struct zp_error *err) {
        int result = sqlite3_exec(database->db, sql, NULL, NULL, NULL);
        return result == SQLITE_OK ? 0 : failed(database, result, err);
}

int zp_database_begin(struct zp_database *database, bool writes, struct zp_error *err) {
        pthread_mutex_lock(&database->mutex);
        int r = run(database, writes ? "BEGIN IMMEDIATE" : "BEGIN", err);
        if (r < 0)
                pthread_mutex_unlock(&database->mutex);
        return r;
}

int zp_database_begin_losable(struct zp_database *database, struct zp_error *err) {
        pthread_mutex_lock(&database->mutex);
        database->is_losable = true;
        int r = run(database, "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE", err);
        return r < 0 ? zp_database_end(database, r, err) : 0;
}

int zp_database_end_or(struct zp_database *database, int result, void (*take_back)(void *context), void *context,
                       struct zp_error *err) {
        int r = result < 0 ? result : run(database, "COMMIT", err);
        if (r < 0 && !sqlite3_get_autocommit(database->db))
                sqlite3_exec(database->db, "ROLLBACK", NULL, NULL, NULL);
        if (r < 0 && take_back)
                take_back(context);
        if (database->is_losable) /* outside of transactions nothing of this can fail */
                sqlite3_exec(database->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
        database->is_losable = false;
        pthread_mutex_unlock(&database->mutex);
        return r < 0 ? r : result;
}

int zp_database_end(struct zp_database *database, int result, struct zp_error *err) {
        return zp_database_end_or(database, result, NULL, NULL, err);
}

static void settle(struct zp_database *database) {
        sqlite3_wal_checkpoint_v2(database->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
}

void zp_database_settle(struct zp_database *database) {
        pthread_mutex_lock(&database->mutex);
        settle(database);
        pthread_mutex_unlock(&database->mutex);
}

int zp_database_keep_room(struct zp_database *database, struct zp_error *err) {
        pthread_mutex_lock(&database->mutex);
        settle(database);
        /* pages that are freed in the transaction that took them are never written */
        int r = run(database, "CREATE TABLE IF NOT EXISTS room (bytes); INSERT INTO room VALUES (zeroblob(262144))",
                    err);
        if (run(database, "DROP TABLE IF EXISTS room", r < 0 ? NULL : err) < 0 && r == 0)
                r = -EIO;
        settle(database);
        pthread_mutex_unlock(&database->mutex);
        return r;
}

/* ---- opening ---- */

static int get_number(struct zp_database *database, const char *sql, int64_t *out, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = zp_database_prepare(database, sql, &statement, err);
        if (r == 0)
                r = zp_database_step(database, statement, err);
        *out = r == 1 ? sqlite3_column_int64(statement, 0) : 0;
        return r < 0 ? r : 0;
}

static int create_schema(struct zp_database *database, const struct zp_database_schema *schema, struct zp_error *err) {
        zp_autofree char *marks = zp_format("PRAGMA application_id = %u; PRAGMA user_version = %d",
                                            schema->application_id, schema->version);
        if (!marks)
                return zp_error_errno(err, ENOMEM, "database '%s'", database->path);
        int r = zp_database_begin(database, true, err);
        if (r < 0)
                return r;
        r = run(database, schema->create, err);
        if (r == 0)
                r = run(database, marks, err);
        return zp_database_end(database, r, err);
}

static int check_schema(struct zp_database *database, const struct zp_database_schema *schema, struct zp_error *err) {
        int64_t version = 0, application = 0, objects = 0;
        int r = zp_database_begin(database, false, err); /* all of one moment: somebody may just create it */
        if (r < 0)
                return r;
        r = get_number(database, "PRAGMA user_version", &version, err);
        if (r == 0)
                r = get_number(database, "PRAGMA application_id", &application, err);
        if (r == 0)
                r = get_number(database, "SELECT count(*) FROM sqlite_schema", &objects, err);
        r = zp_database_end(database, r, err);
        if (r < 0)
                return r;
        if (version == 0 && application == 0 && objects == 0)
                return create_schema(database, schema, err);
        if ((uint32_t) application != schema->application_id)
                return zp_error_set(err, EBADMSG, "database '%s': it is some other program's", database->path);
        if (version == schema->version)
                return 0;
        zp_error_set(err, EBADMSG, "database '%s': of version %lld, this program knows %d", database->path,
                     (long long) version, schema->version);
        zp_error_hint(err, "nothing is lost: use the version that wrote it");
        return -EBADMSG;
}

/* SQLite opens it without a look: a FIFO would hold it up for ever. */
static int check_file(const char *path, struct zp_error *err) {
        struct stat st;
        if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
                return zp_error_set(err, EBADMSG, "database '%s': not a regular file", path);
        return 0;
}

static int connect_to(struct zp_database *database, struct zp_error *err) {
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
                    SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
        int result = sqlite3_open_v2(database->path, &database->db, flags, NULL);
        if (result != SQLITE_OK)
                return failed(database, result, err);
        sqlite3_busy_timeout(database->db, database->patience_ms);
        sqlite3_db_config(database->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(database->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_db_config(database->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
        sqlite3_db_config(database->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
        return run(database,
                   "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                   "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; PRAGMA cache_size = -1024;"
                   /* what is only in the log has no room of its own yet */
                   "PRAGMA wal_autocheckpoint = 200",
                   err);
}

static int open_with(int (*connect)(struct zp_database *database, struct zp_error *err), const char *path,
                     const struct zp_database_schema *schema, unsigned patience_ms, struct zp_database **out,
                     struct zp_error *err) {
        zp_auto(zp_database_close) struct zp_database *database = calloc(1, sizeof *database);
        if (!database)
                return zp_error_errno(err, ENOMEM, "database '%s'", path);
        pthread_mutex_init(&database->mutex, NULL);
        database->path = strdup(path);
        database->patience_ms = (int) patience_ms;
        if (!database->path)
                return zp_error_errno(err, ENOMEM, "database '%s'", path);
        int r = check_file(path, err);
        if (r == 0)
                r = connect(database, err);
        if (r == 0)
                r = check_schema(database, schema, err);
        if (r == 0)
                *out = zp_steal(&database);
        return r;
}

int zp_database_open(const char *path, const struct zp_database_schema *schema, struct zp_database **out,
                     struct zp_error *err) {
        return open_with(connect_to, path, schema, ZP_DATABASE_PATIENCE_MS, out, err);
}

/* A database that is new, and empty, is none yet. */
static int connect_to_read(struct zp_database *database, struct zp_error *err) {
        struct stat st;
        if (stat(database->path, &st) < 0)
                return zp_error_errno(err, errno, "database '%s'", database->path);
        if (st.st_size == 0)
                return zp_error_set(err, ENOENT, "database '%s': empty", database->path);
        int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE |
                    SQLITE_OPEN_EXRESCODE;
        int result = sqlite3_open_v2(database->path, &database->db, flags, NULL);
        if (result != SQLITE_OK)
                return failed(database, result, err);
        sqlite3_busy_timeout(database->db, database->patience_ms);
        sqlite3_db_config(database->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_db_config(database->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
        sqlite3_db_config(database->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
        return run(database, "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON", err);
}

int zp_database_open_to_read(const char *path, const struct zp_database_schema *schema, unsigned patience_ms,
                             struct zp_database **out, struct zp_error *err) {
        return open_with(connect_to_read, path, schema, patience_ms, out, err);
}

void zp_database_close(struct zp_database *database) {
        if (!database)
                return;
        zp_sqlite_close(database->db);
        pthread_mutex_destroy(&database->mutex);
        free(database->path);
        free(database);
}
