/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "store/store-internal.h"

#define SCHEMA_VERSION 2
#define APPLICATION_ID 0x7a70756c /* "zpul" */

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* Since version 2. */
#define TABLE_OF_BLOBS                                                                 \
        "CREATE TABLE blobs ("                                                         \
        " repository TEXT NOT NULL, digest BLOB NOT NULL CHECK (length(digest) = 32)," \
        " size INTEGER NOT NULL, diff_id BLOB NOT NULL CHECK (length(diff_id) = 32),"  \
        " PRIMARY KEY (repository, digest)"                                            \
        ") STRICT, WITHOUT ROWID;"
#define SET_VERSION "PRAGMA user_version = " TEXT(SCHEMA_VERSION) ";"

/* `replacing` is 1 while a directory is about to be exchanged for one with another content: a process
 * that dies then may leave the new content under the old record, and the next one looks (sweep.c). Devices and layers
 * are named by their content. */
static const char schema[] =
        "CREATE TABLE devices ("
        " digest BLOB PRIMARY KEY CHECK (length(digest) = 32),"
        " index_size INTEGER NOT NULL, pack_size INTEGER NOT NULL, pack_digest BLOB,"
        " device_size INTEGER NOT NULL, frame_size INTEGER NOT NULL, level INTEGER NOT NULL,"
        " fetched INTEGER NOT NULL, complete INTEGER NOT NULL"
        ") STRICT, WITHOUT ROWID;"
        "CREATE TABLE layers ("
        " metadata_digest BLOB PRIMARY KEY CHECK (length(metadata_digest) = 32),"
        " metadata_size INTEGER NOT NULL, blob_digest BLOB, blob_size INTEGER"
        ") STRICT, WITHOUT ROWID;"
        "CREATE TABLE conversions ("
        " diff_id BLOB NOT NULL, recipe TEXT NOT NULL,"
        " layer BLOB NOT NULL REFERENCES layers ON DELETE CASCADE,"
        " tar_size INTEGER NOT NULL, entries INTEGER NOT NULL, fetched INTEGER NOT NULL,"
        " PRIMARY KEY (diff_id, recipe, layer)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX conversions_by_layer ON conversions (layer);"
        "CREATE TABLE layer_devices ("
        " layer BLOB NOT NULL REFERENCES layers ON DELETE CASCADE,"
        " position INTEGER NOT NULL,"
        " device BLOB NOT NULL REFERENCES devices,"
        " PRIMARY KEY (layer, position)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX layer_devices_by_device ON layer_devices (device);"
        "CREATE TABLE images ("
        " manifest_digest BLOB PRIMARY KEY CHECK (length(manifest_digest) = 32),"
        " manifest_media_type TEXT NOT NULL, platform TEXT NOT NULL,"
        " metadata_digest BLOB NOT NULL, metadata_size INTEGER NOT NULL,"
        " config_digest BLOB NOT NULL, image_size INTEGER NOT NULL, created_s INTEGER NOT NULL,"
        " fetched INTEGER NOT NULL, blob_digest BLOB, blob_size INTEGER, origin TEXT, artifact_digest BLOB,"
        " replacing INTEGER NOT NULL DEFAULT 0"
        ") STRICT, WITHOUT ROWID;"
        "CREATE TABLE image_layers ("
        " image BLOB NOT NULL REFERENCES images ON DELETE CASCADE,"
        " position INTEGER NOT NULL,"
        " layer BLOB NOT NULL REFERENCES layers, diff_id BLOB NOT NULL,"
        " PRIMARY KEY (image, position)"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX image_layers_by_layer ON image_layers (layer);"
        "CREATE TABLE names ("
        " name TEXT PRIMARY KEY,"
        " manifest_digest BLOB NOT NULL REFERENCES images ON DELETE CASCADE"
        ") STRICT, WITHOUT ROWID;"
        "CREATE INDEX names_by_image ON names (manifest_digest);" TABLE_OF_BLOBS
        "PRAGMA application_id = " TEXT(APPLICATION_ID) ";" SET_VERSION;

static const char from_version_1[] = TABLE_OF_BLOBS SET_VERSION;

/* Asked in one statement, which sees the database as it was at one moment: another process may be making it. */
static const char identity[] = "SELECT (SELECT user_version FROM pragma_user_version),"
                               " (SELECT application_id FROM pragma_application_id),"
                               " (SELECT count(*) FROM sqlite_schema)";

/* Its version if the schema is ours, 0: the database is empty. */
static int check_schema(struct zp_store *store, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *statement = NULL;
        int r = zp_sql_prepare(store, identity, &statement, err);
        if (r == 0)
                r = zp_sql_step(store, statement, err);
        if (r < 0)
                return r;
        int64_t version = sqlite3_column_int64(statement, 0);
        int64_t application = sqlite3_column_int64(statement, 1);
        int64_t objects = sqlite3_column_int64(statement, 2);
        if (version == 0 && application == 0 && objects == 0)
                return 0;
        if (application != APPLICATION_ID || version < 1)
                return zp_error_set(err, EBADMSG, "store '%s': %s is not a zeropull database", store->path,
                                    ZP_STORE_DATABASE);
        if (version > SCHEMA_VERSION) {
                zp_error_set(err, EBADMSG,
                             "store '%s': written by a newer zeropull (database version %lld, this one knows %d)",
                             store->path, (long long) version, SCHEMA_VERSION);
                zp_error_hint(err, "use that version, or another store");
                return -EBADMSG;
        }
        return (int) version;
}

static int create_schema(struct zp_store *store, struct zp_error *err) {
        int r = zp_sql_run(store, "BEGIN IMMEDIATE", err);
        if (r < 0)
                return r;
        r = check_schema(store, err); /* another process may have been faster */
        if (r >= 0 && r < SCHEMA_VERSION)
                r = zp_sql_run(store, r == 0 ? schema : from_version_1, err);
        if (r >= 0)
                r = zp_sql_run(store, "COMMIT", err);
        if (!sqlite3_get_autocommit(store->db))
                sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
        return r;
}

/* SQLite opens them without a look: a FIFO would hold it up for ever. */
static int check_files(struct zp_store *store, struct zp_error *err) {
        static const char *const names[] = { ZP_STORE_DATABASE, ZP_STORE_DATABASE "-journal", ZP_STORE_DATABASE "-wal",
                                             ZP_STORE_DATABASE "-shm" };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                struct stat st;
                if (fstatat(store->dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
                        return zp_error_set(err, EBADMSG, "store '%s': '%s' is not a regular file", store->path,
                                            names[i]);
        }
        return 0;
}

static int connect(struct zp_store *store, int flags, struct zp_error *err) {
        zp_autofree char *path = NULL;
        int r = check_files(store, err);
        if (r < 0)
                return r;
        if (asprintf(&path, "%s/%s", store->path, ZP_STORE_DATABASE) < 0) {
                path = NULL;
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        }
        flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
        int result = sqlite3_open_v2(path, &store->db, flags, NULL);
        if (result != SQLITE_OK)
                return zp_sql_failed(store, result, err);
        sqlite3_busy_timeout(store->db, ZP_STORE_BUSY_TIMEOUT_MS);
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
        sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
        return zp_sql_run(store, "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON",
                          err);
}

/* A process died in the middle of a commit and left its journal. SQLite rolls that back with the first
 * connection that may write. */
static int roll_back_journal(struct zp_store *store, struct zp_error *err) {
        zp_sqlite_close(store->db);
        store->db = NULL;
        struct zp_error ignored = { 0 };
        if (connect(store, SQLITE_OPEN_READWRITE, &ignored) < 0 ||
            zp_sql_run(store, "PRAGMA user_version", &ignored) < 0) {
                zp_error_set(err, EROFS,
                             "store '%s': a process died while it wrote to the database, "
                             "which has to be written once to be read again",
                             store->path);
                zp_error_hint(err, "run any zeropull command as a user who may write to the store");
                return -EROFS;
        }
        zp_sqlite_close(store->db);
        store->db = NULL;
        return connect(store, SQLITE_OPEN_READONLY, err);
}

static int open_for_reading(struct zp_store *store, struct zp_error *err) {
        int r = connect(store, SQLITE_OPEN_READONLY, err);
        if (r == 0)
                r = check_schema(store, err);
        if (r < 0 && store->db && sqlite3_extended_errcode(store->db) == SQLITE_READONLY_ROLLBACK) {
                r = roll_back_journal(store, err);
                if (r == 0)
                        r = check_schema(store, err);
        }
        if (r < 0)
                return r;
        if (r == 0)
                return zp_error_set(err, ENOENT, "no store at '%s': its database is empty", store->path);
        return 0;
}

/* Here and not by SQLite, which does not tell why it could not; and without opening it, since closing it
 * would drop the locks of this process's other connections. */
static int create_database(struct zp_store *store, struct zp_error *err) {
        if (mknodat(store->dir_fd, ZP_STORE_DATABASE, S_IFREG | 0644, 0) == 0 || errno == EEXIST)
                return 0;
        return zp_store_failed(store, "create " ZP_STORE_DATABASE, err);
}

int zp_store_open_database(struct zp_store *store, struct zp_error *err) {
        if (store->mode == ZP_STORE_READ)
                return open_for_reading(store, err);
        int r = store->may_create ? create_database(store, err) : 0;
        if (r == 0)
                r = connect(store, SQLITE_OPEN_READWRITE, err);
        /* A rollback journal, not a write-ahead log: who may only read can read. It is kept, so that a
         * full disk still has room to remove things. */
        if (r == 0)
                r = zp_sql_run(store,
                               "PRAGMA journal_mode = PERSIST; PRAGMA journal_size_limit = 1048576;"
                               "PRAGMA synchronous = FULL",
                               err);
        if (r == 0)
                r = check_schema(store, err);
        if (r >= 0 && r < SCHEMA_VERSION)
                r = create_schema(store, err);
        return r < 0 ? r : 0;
}
